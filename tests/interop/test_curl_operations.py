"""Each EST operation with curl and openssl, by a client that is no device (RFC 7030 §4).

The way of RFC 7030's appendix: curl carries, over each version of TLS and HTTP, openssl makes the
keys and requests and judges what comes. The client has a user name and password first, then the
certificate that they got it.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from brski import registry
from brski.registry import PKCS10
from tests.kit import est, pki
from tests.kit.accounts import SECRET, account, written
from tests.kit.est_site import Site, lay_out, served
from tests.kit.key_delivery import capable_of, encrypted_to, opened, same_key, take_apart
from tests.kit.openssl import OpenSSL
from tests.kit.programs import require_program

SETTINGS = """
[est]
password_file = "accounts"
[[est.profile]]
enrollees = ["password"]
server_keys = true
csrattrs = "both"
"""
BY_PASSWORD = ("-u", f"gateway:{SECRET}")
BY_CERTIFICATE = ("--cert", "held.pem", "--key", "held.key")
_PEM = re.compile(rb"-----BEGIN CERT.*?END CERTIFICATE-----\n", re.DOTALL)

each_way = pytest.mark.parametrize(
    ("tls", "http"), [("1.2", "1.1"), ("1.3", "1.1"), ("1.2", "1.0"), ("1.3", "1.0")]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What curl saw, its framing checked."""

    status: int
    content_type: str
    body: bytes


class Client:
    """curl and openssl in one folder, which speak one version of TLS and one of HTTP."""

    def __init__(self, site: Site, tls: str, http: str) -> None:
        self.site, self.folder = site, site.files.folder
        self.openssl = OpenSSL(self.folder)
        self._tls, self._http = tls, http

    async def ask(self, operation: str, *more: str) -> Answer:
        """One operation; the server is verified up to the owner's root, and by its name."""
        port = self.site.addresses["pledges"].rpartition(":")[2]
        ran = await self.site.files.run(
            *(require_program("curl", "curl"), "-sS", "-i", "--cacert", "root.pem"),
            *(f"--tlsv{self._tls}", "--tls-max", self._tls, f"--http{self._http}"),
            *("-H", "Expect:", "--max-time", "30", *more),
            f"https://localhost:{port}/.well-known/est/{operation}",
        )
        assert ran.code == 0, ran.err
        head, _, body = ran.out.partition(b"\r\n\r\n")
        status, *fields = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (f.partition(": ") for f in fields)}
        assert status.startswith(f"HTTP/{self._http} ")
        assert "transfer-encoding" not in headers
        assert int(headers["content-length"]) == len(body)
        return Answer(
            status=int(status.split()[1]),
            content_type=headers.get("content-type", ""),
            body=body,
        )

    async def post(self, operation: str, csr: bytes, *credentials: str) -> Answer:
        """A certificate request, DER, in base64 as ``openssl base64`` wraps it."""
        (self.folder / "request").write_bytes(base64.encodebytes(csr))
        sent = ("-H", f"Content-Type: {PKCS10}", "--data-binary", "@request")
        return await self.ask(operation, *sent, *credentials)

    async def request(self, key: str) -> bytes:
        """A new key in the file *key*, and openssl's request for it, DER."""
        return await self.openssl(
            *("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", key, "-subj", "/CN=gateway", "-outform", "DER"),
        )

    async def take(self, answer: Answer, name: str) -> x509.Certificate:
        """The one certificate of *answer*, verified by openssl up to the root, in file *name*."""
        assert answer.status == 200, answer.body
        assert answer.content_type == "application/pkcs7-mime; smime-type=certs-only"
        (pem,) = await self.certificates(answer)
        (self.folder / name).write_bytes(pem)
        await self.openssl(
            *("verify", "-purpose", "sslclient", "-CAfile", "root.pem"),
            *("-untrusted", "owner.pem", name),
        )
        return x509.load_pem_x509_certificate(pem)

    async def certificates(self, answer: Answer) -> list[bytes]:
        """Those of a certs-only answer, PEM each."""
        (self.folder / "answer.b64").write_bytes(answer.body)
        await self.openssl("base64", "-d", "-in", "answer.b64", "-out", "answer.p7")
        pem = await self.openssl("pkcs7", "-inform", "DER", "-in", "answer.p7", "-print_certs")
        return _PEM.findall(pem)


@pytest.mark.requirement("ESTS-1", "ESTS-4", "ESTS-5", "ESTS-6", "ESTS-9", "ESTS-12", "ESTS-18")
@each_way
async def test_curl_and_openssl_do_everything(tmp_path: Path, tls: str, http: str) -> None:
    """cacerts, csrattrs, simpleenroll, simplereenroll, serverkeygen in the clear and encrypted; and
    fullcmc, which is 501. Beside each of the first, the same request with the wrong credentials.
    """
    written(tmp_path, account())
    files = lay_out(tmp_path, more=SETTINGS)
    async with served(files) as site:
        client = Client(site, tls, http)
        answer = await client.ask("cacerts")
        assert answer.status == 200
        chain = _PEM.findall((tmp_path / "owner.pem").read_bytes())
        assert set(await client.certificates(answer)) == set(chain)
        answer = await client.ask("csrattrs")
        assert (answer.status, answer.content_type) == (200, "application/csrattrs")
        (tmp_path / "csrattrs").write_bytes(base64.b64decode(answer.body))
        shown = await client.openssl("asn1parse", "-inform", "DER", "-in", "csrattrs")
        assert b":id-ecPublicKey" in shown

        csr = await client.request("held.key")
        assert (await client.post("simpleenroll", csr)).status == 401
        first = await client.take(await client.post("simpleenroll", csr, *BY_PASSWORD), "held.pem")

        csr = await client.request("next.key")
        assert (await client.post("simplereenroll", csr, *BY_PASSWORD)).status == 403
        answer = await client.post("simplereenroll", csr, *BY_CERTIFICATE)
        renewed = await client.take(answer, "next.pem")
        assert renewed.subject == first.subject
        assert renewed.public_key() != first.public_key()

        csr = await client.request("own.key")
        made = await client.post("serverkeygen", csr, *BY_PASSWORD)
        assert made.status == 200, made.body
        parts = take_apart(made.content_type, made.body)
        assert parts.key_type == "application/pkcs8"
        assert await same_key(client.openssl, parts.key, parts.certificate)

        made = await client.post("serverkeygen", sealed_request(tmp_path), *BY_PASSWORD)
        assert made.status == 200, made.body
        parts = take_apart(made.content_type, made.body)
        assert parts.key_type == "application/pkcs7-mime; smime-type=server-generated-key"
        key = await opened(client.openssl, parts.key)
        assert await same_key(client.openssl, key, parts.certificate)

        cmc = ("-H", "Content-Type: application/pkcs7-mime; smime-type=CMC-request")
        answer = await client.ask("fullcmc", *cmc, "-d", "MAA=", *BY_CERTIFICATE)
        assert answer.status == 501
        assert b"Full CMC is not offered" in answer.body


def sealed_request(folder: Path) -> bytes:
    """A request with the attributes that ask for an encrypted key; openssl req has no word for
    them. The key is to be encrypted to that of "own.key".
    """
    key = load_pem_private_key((folder / "own.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    wishes = sorted(
        (encrypted_to(pki.key_identifier(key.public_key())), capable_of(registry.AES256_GCM))
    )
    return est.raw_csr(key, subject=pki.common_name("gateway").public_bytes(), attributes=wishes)
