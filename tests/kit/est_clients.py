"""EST clients that are no devices: OpenSSL makes their requests, curl sends them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from brski.est.certs_only import decode_certs_only
from brski.pki import signatures
from brski.registry import ID_KP_CLIENT_AUTH
from tests.kit import pki
from tests.kit.est_site import Files, served, write_pem
from tests.kit.programs import require_program
from tests.kit.world_site import Reply, Site


def subject_of(common_name: str) -> x509.Name:
    return pki.common_name(common_name)


def make_client(
    issuer: pki.Entity,
    common_name: str = "gw-7",
    *dns_names: str,
    subject: x509.Name | None = None,
    ekus: Sequence[str] = (ID_KP_CLIENT_AUTH,),
    **knobs: object,
) -> pki.Entity:
    """A client's certificate of *issuer*; further knobs are :func:`tests.kit.pki.certify`'s."""
    san = x509.SubjectAlternativeName([x509.DNSName(name) for name in dns_names])
    knobs.setdefault("key_usage", pki.LEAF_KEY_USAGE)
    return pki.certify(
        subject or subject_of(common_name),
        issuer=issuer,
        ekus=ekus,
        extra=[(san, False)] if dns_names else [],
        **knobs,  # type: ignore[arg-type]  # its knobs
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A key of OpenSSL's, and its certificate request."""

    private_key: signatures.PrivateKey
    body: bytes  # PEM, as it is posted


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSite:
    """A registrar on loopback, opened from its settings file, and a folder for curl."""

    files: Files
    site: Site

    async def request(self, subject: str, *dns_names: str, more: Sequence[str] = ()) -> Request:
        """Have OpenSSL make a P-256 key and a request; *subject* as in ``/CN=gw-7``, or empty where
        *more* tells it.
        """
        names = ("-addext", "subjectAltName=" + ",".join(f"DNS:{name}" for name in dns_names))
        made = await self.files.run(
            *(require_program("openssl", "openssl"), "req", "-new", "-newkey", "ec"),
            *("-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "new.key"),
            *(("-subj", subject) if subject else ()),
            *(*(names if dns_names else ()), *more),
        )
        assert made.code == 0, made.err
        key = load_pem_private_key((self.files.folder / "new.key").read_bytes(), None)
        assert isinstance(key, signatures.PrivateKey)
        return Request(private_key=key, body=made.out)

    async def post(
        self,
        path: str,
        body: bytes,
        shown: pki.Entity | None,
        *arguments: str,
        media_type: str = "application/pkcs10",
    ) -> Reply:
        """POST to an operation, such as ``/gateways/simpleenroll``, with what *shown* is."""
        sent = (shown.certificate, *shown.intermediates) if shown else ()
        credentials = self.site.credentials(sent, shown.private_key) if shown else ()
        return await self.site.post(path, body, *credentials, *arguments, media_type=media_type)


@asynccontextmanager
async def client_site(files: Files) -> AsyncIterator[ClientSite]:
    """Serve the registrar of *files* while the block runs."""
    async with served(files) as site:
        address = site.addresses["pledges"]
        yield ClientSite(files=files, site=Site(address=address, folder=files.folder))


def issued(reply: Reply, request: Request) -> pki.Entity:
    """The one certificate of a good answer, with its key."""
    assert reply.status == 200, reply.body
    (certificate,) = decode_certs_only(reply.der)
    assert certificate.public_key() == request.private_key.public_key()
    return pki.Entity(certificate=certificate, private_key=request.private_key)


def write_anchors(folder: Path, name: str, *entities: pki.Entity) -> None:
    """*name* holds the certificates of *entities*, PEM."""
    write_pem(folder / name, [entity.certificate for entity in entities])
