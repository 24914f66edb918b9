"""serverkeygen: curl asks, openssl opens, and nothing of the key stays behind (RFC 7030 §4.4)."""

from __future__ import annotations

import base64
import logging
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

from brski import registry
from brski.edge.signers.file import write_chain, write_private_key
from brski.est.requirements import P256, P384, CSRRequirements, KeyRequirement
from brski.pki import der
from brski.pki.keys import certificate_der, encode_spki, spki_of
from brski.pki.names import ldevid_subject
from brski.pki.signatures import PrivateKey
from registrar_plugin.enrollment.profile import EnrollmentProfile
from tests.kit import est, pki
from tests.kit.key_delivery import (
    Parts,
    capable_of,
    encrypted_to,
    opened,
    same_key,
    take_apart,
)
from tests.kit.openssl import OpenSSL
from tests.kit.pending_ca import PendingCA
from tests.kit.world import Device, World, make_world
from tests.kit.world_site import Reply, Site, est_site

GENEROUS = EnrollmentProfile(server_keys=True)
AES128_GCM = "2.16.840.1.101.3.4.1.6"  # which we do not write


def parts_of(reply: Reply) -> Parts:
    """Of an answer that nobody on the way may keep."""
    assert reply.status == 200, reply.body
    assert reply.headers["cache-control"] == "no-store"
    return take_apart(reply.headers["content-type"], reply.body)


class Client:
    """A device that has accepted its voucher and lets its key be made."""

    def __init__(self, world: World, site: Site, device: Device) -> None:
        self.world, self.site, self.device = world, site, device

    @classmethod
    async def of(cls, world: World, site: Site) -> Client:
        device = world.make_device()
        await world.voucher(device)
        await world.accept(device)
        return cls(world, site, device)

    def csr(self, key: PrivateKey, *attributes: bytes, spoilt: bool = False) -> bytes:
        subject = ldevid_subject(self.device.serial_number, self.device.issuer).public_bytes()
        csr = est.raw_csr(key, subject=subject, attributes=sorted(attributes))
        return csr[:-1] + bytes([csr[-1] ^ 1]) if spoilt else csr

    async def ask(self, csr: bytes) -> Reply:
        shown = self.site.credentials(self.device.shown, self.device.entity.private_key)
        return await self.site.post("/serverkeygen", base64.b64encode(csr), *shown)


@pytest.mark.requirement("ESTS-18")
@pytest.mark.parametrize(
    "kind", [P256, P384, KeyRequirement(algorithm=registry.RSA_ENCRYPTION, rsa_bits=2048)], ids=str
)
async def test_a_key_is_made_and_certified(tmp_path: Path, kind: KeyRequirement) -> None:
    """Of the profile's kind; the request's own key and its signature do not count."""
    profile = EnrollmentProfile(
        server_keys=True, requirements=CSRRequirements(keys=(kind,)), base64="line"
    )
    async with make_world(tmp_path, profile=profile) as world, est_site(world, tmp_path) as site:
        client = await Client.of(world, site)
        made = parts_of(await client.ask(client.csr(pki.make_key(), spoilt=True)))
        assert made.key_type == "application/pkcs8"
        assert await same_key(OpenSSL(tmp_path), made.key, made.certificate)
        assert kind.matches(made.certificate.public_key())  # type: ignore[arg-type]  # of ours
        entitled = ldevid_subject(client.device.serial_number, client.device.issuer)
        assert made.certificate.subject == entitled
        active = await world.journal.active_certificate(client.device.key)
        assert active is not None
        assert active.certificate == certificate_der(made.certificate)


async def test_the_same_request_gets_another_key(tmp_path: Path) -> None:
    """The one before was not kept; its certificate is superseded."""
    async with make_world(tmp_path, profile=GENEROUS) as world, est_site(world, tmp_path) as site:
        client = await Client.of(world, site)
        csr = client.csr(pki.make_key())
        first, second = parts_of(await client.ask(csr)), parts_of(await client.ask(csr))
        assert spki_of(first.certificate) != spki_of(second.certificate)
        active = await world.journal.active_certificate(client.device.key)
        assert active is not None
        assert active.certificate == certificate_der(second.certificate)


CIPHERS = {
    "AES-256-GCM": registry.AES256_GCM,
    "AES-256-CBC": registry.AES256_CBC,
    "AES-128-CBC": registry.AES128_CBC,
}


@pytest.mark.requirement("ESTS-18")
@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("recipient", ["P-256", "P-384", "RSA-2048", "the TLS key"])
async def test_openssl_opens_an_encrypted_key(tmp_path: Path, cipher: str, recipient: str) -> None:
    """cms -decrypt with the client's key, cms -verify up to the owner's root, then pkey."""
    async with make_world(tmp_path, profile=GENEROUS) as world, est_site(world, tmp_path) as site:
        client = await Client.of(world, site)
        own = pki.make_key("P-256" if recipient == "the TLS key" else recipient)
        named = client.device.entity.private_key if recipient == "the TLS key" else own
        wish = encrypted_to(pki.key_identifier(named.public_key()))
        csr = client.csr(own, wish, capable_of(AES128_GCM, CIPHERS[cipher]))
        made = parts_of(await client.ask(csr))
        assert made.key_type == "application/pkcs7-mime; smime-type=server-generated-key"
        write_private_key(tmp_path / "own.key", named)
        write_chain(tmp_path / "root.pem", [world.owner.root])
        key = await opened(OpenSSL(tmp_path), made.key)
        assert await same_key(OpenSSL(tmp_path), key, made.certificate)


@pytest.mark.requirement("ESTS-18")
async def test_a_protection_that_cannot_be_had_ends_the_request(tmp_path: Path) -> None:
    """Never a key in the clear where an encrypted one was asked for (RFC 7030 §4.4.1.2)."""
    async with make_world(tmp_path, profile=GENEROUS) as world, est_site(world, tmp_path) as site:
        client = await Client.of(world, site)
        own, able = pki.make_key(), capable_of(registry.AES256_GCM)
        ours = encrypted_to(pki.key_identifier(own.public_key()))
        secret = est.attribute(
            registry.ID_AA_DECRYPT_KEY_ID, der.encode(der.OCTET_STRING, b"shared")
        )
        edwards = pki.make_key("Ed25519")
        not_ours = encrypted_to(pki.key_identifier(pki.make_key().public_key()))
        for csr in (
            client.csr(own, not_ours, able),
            client.csr(own, encrypted_to(b""), able),
            client.csr(own, ours, able, spoilt=True),
            client.csr(own, ours),
            client.csr(own, ours, capable_of(AES128_GCM)),
            client.csr(own, ours, capable_of()),
            client.csr(own, secret, able),
            client.csr(edwards, encrypted_to(pki.key_identifier(edwards.public_key())), able),
        ):
            reply = await client.ask(csr)
            assert reply.status == 400, reply.body
            assert b"RFC" in reply.body
        assert await world.journal.active_certificate(client.device.key) is None


async def test_it_is_off_unless_the_profile_has_it(tmp_path: Path) -> None:
    """501 with text; and another subject is refused here as anywhere."""
    async with make_world(tmp_path) as world, est_site(world, tmp_path) as site:
        client = await Client.of(world, site)
        reply = await client.ask(client.csr(pki.make_key()))
        assert reply.status == 501
        assert b"makes no keys" in reply.body
    async with make_world(tmp_path, profile=GENEROUS) as world, est_site(world, tmp_path) as site:
        client = await Client.of(world, site)
        csr = est.raw_csr(pki.make_key())
        assert (await client.ask(csr)).status == 400


@pytest.mark.requirement("ESTS-18")
async def test_the_key_is_nowhere_but_in_the_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in the journal's files, not in a log line, in none of the forms that it could have; a
    key that was planted there is found.
    """
    caplog.set_level(logging.DEBUG)
    folder = tmp_path / "world"
    folder.mkdir()
    async with make_world(folder, profile=GENEROUS) as world, est_site(world, tmp_path) as site:
        client = await Client.of(world, site)
        made = parts_of(await client.ask(client.csr(pki.make_key())))
        key = load_der_private_key(made.key, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        scalar = key.private_numbers().private_value.to_bytes(32, "big")
        forms = [
            scalar,
            scalar[::-1],
            scalar.hex().encode(),
            base64.b64encode(made.key)[60:100],
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())[60:100],
        ]

        def found() -> list[int]:
            octets = b"".join(p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file())
            octets += caplog.text.encode()
            octets += repr([record.__dict__ for record in caplog.records]).encode()
            return [place for place, form in enumerate(forms) if form in octets]

        assert found() == []
        assert encode_spki(key.public_key()) in (folder / "registrar.db-wal").read_bytes()
        (folder / "planted").write_bytes(b"x" + scalar)
        assert found() == [0]


async def test_a_ca_that_takes_its_time_gets_no_key(tmp_path: Path) -> None:
    """503: nobody would keep the key; the intent is closed, not left to be certified later."""
    owner = pki.make_pki("Example Owner", not_after=pki.NOT_AFTER)
    ca = PendingCA(owner.signer, tmp_path / "ca")
    async with (
        make_world(tmp_path, ca=ca, profile=GENEROUS) as world,
        est_site(world, tmp_path) as site,
    ):
        client = await Client.of(world, site)
        reply = await client.ask(client.csr(pki.make_key()))
        assert reply.status == 503
        assert [i for i in await world.journal.open_intents() if i.kind.value == "ldevid"] == []
