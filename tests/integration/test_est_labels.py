"""EST labels over real TLS: each is a profile with its CA, and none leaks into another."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from brski import registry
from brski.est.certs_only import decode_certs_only
from brski.est.csr import build_csr
from brski.est.csr_attributes import Announcement, decode_csr_attributes
from brski.est.requirements import P256, P384, CSRRequirements
from brski.est.transfer import encode_base64
from brski.pki.extensions import has_extended_key_usage
from brski.pki.keys import certificate_der, encode_spki, spki_of
from brski.pki.names import ldevid_subject
from brski.pki.signatures import PrivateKey
from registrar_plugin.ca_backend.embedded import EmbeddedCA
from registrar_plugin.enrollment.profile import EnrollmentProfile
from tests.kit import pki
from tests.kit.world import Device, World, make_world
from tests.kit.world_site import Reply, Site, est_site

SENSORS = EnrollmentProfile(
    label="sensors",
    requirements=CSRRequirements(
        keys=(P384,), optional_extensions=frozenset({registry.ID_CE_SUBJECT_ALT_NAME})
    ),
    announcement=Announcement.TEMPLATE,
    base64="wrap",
    validity=timedelta(days=30),
    extended_key_usages=(registry.ID_KP_CLIENT_AUTH, "1.3.6.1.5.5.7.3.17"),
    dns_name="{serial_number}.devices.example.com",
)
SHY = EnrollmentProfile(label="shy", announcement=Announcement.NONE, renewable=False)
OPEN = EnrollmentProfile(label="open", requirements=CSRRequirements())
OTHER = pki.make_pki("Sensor Owner", not_after=pki.NOT_AFTER)
LABELLED = {
    SENSORS: EmbeddedCA(OTHER.signer),
    SHY: EmbeddedCA(OTHER.signer),
    OPEN: EmbeddedCA(OTHER.signer),
}


class Client:
    """A device that has accepted its voucher, by curl."""

    def __init__(self, world: World, site: Site, device: Device) -> None:
        self.world, self.site, self.device = world, site, device
        self.keys: dict[bytes, PrivateKey] = {}

    async def onboard(self) -> Client:
        await self.world.voucher(self.device)
        await self.world.accept(self.device)
        return self

    def csr(self, kind: str = "P-256", *names: str) -> bytes:
        key = pki.make_key(kind)
        self.keys[encode_spki(key.public_key())] = key
        subject = ldevid_subject(self.device.serial_number, self.device.issuer)
        alternative = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        extensions = [alternative] if names else []
        return build_csr(pki.KeySigner(key), subject, extensions=extensions)

    async def enroll(self, label: str, csr: bytes) -> Reply:
        shown = self.site.credentials(self.device.shown, self.device.entity.private_key)
        return await self.site.post(f"{label}/simpleenroll", encode_base64(csr), *shown)

    async def renew(self, label: str, ldevid: x509.Certificate, csr: bytes) -> Reply:
        shown = self.site.credentials([ldevid], self.keys[spki_of(ldevid)])
        return await self.site.post(f"{label}/simplereenroll", encode_base64(csr), *shown)


def certificate(reply: Reply) -> x509.Certificate:
    """The one certificate of a good answer."""
    assert reply.status == 200, reply.body
    assert reply.headers["content-type"] == "application/pkcs7-mime; smime-type=certs-only"
    (issued,) = decode_certs_only(reply.der)
    return issued


@pytest.mark.requirement("ESTS-9", "ESTS-14", "ESTS-15", "ESTS-16")
async def test_a_label_has_its_own_ca_and_its_own_rules(tmp_path: Path) -> None:
    """CA, validity, purposes, key type, name, announcement and base64 shape are the label's."""
    async with make_world(tmp_path, labelled=LABELLED) as world, est_site(world, tmp_path) as site:
        client = await Client(world, site, world.make_device()).onboard()
        cas = {c.subject for c in decode_certs_only((await site.curl("/sensors/cacerts")).der)}
        assert cas == {c.subject for c in OTHER.chain}
        attributes = decode_csr_attributes((await site.curl("/sensors/csrattrs")).der)
        assert attributes.template is not None
        assert attributes.requirements.keys == (P384,)

        plain = await client.enroll("", client.csr())
        assert certificate(plain).issuer == world.owner.certificate.subject
        assert b"\n" not in plain.body[:-1]  # one line

        assert (await client.enroll("/sensors", client.csr("P-256"))).status == 400
        reply = await client.enroll("/sensors", client.csr("P-384"))
        issued = certificate(reply)
        assert max(map(len, reply.body.split(b"\n"))) == 64
        assert issued.issuer == OTHER.certificate.subject
        assert issued.not_valid_after_utc == pki.NOW + timedelta(days=30)
        assert has_extended_key_usage(issued, "1.3.6.1.5.5.7.3.17")
        names = issued.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == ["sn-1.devices.example.com"]


@pytest.mark.requirement("REG-28", "ESTS-22")
async def test_an_alternative_name_is_the_profiles_and_not_the_requests(tmp_path: Path) -> None:
    """Asked for as it is, it is granted; another, or one beside it, is refused."""
    async with make_world(tmp_path, labelled=LABELLED) as world, est_site(world, tmp_path) as site:
        client = await Client(world, site, world.make_device()).onboard()
        right = "sn-1.devices.example.com"
        for names in (["sn-2.devices.example.com"], [right, "www.example.com"], ["example.com"]):
            reply = await client.enroll("/sensors", client.csr("P-384", *names))
            assert reply.status == 400
            assert b"alternative name" in reply.body
        certificate(await client.enroll("/sensors", client.csr("P-384", right)))
        assert (await client.enroll("", client.csr("P-256", right))).status == 400


@pytest.mark.requirement("ESTS-8", "E2E-10")
async def test_a_certificate_is_renewed_under_its_own_label(tmp_path: Path) -> None:
    """With its names, and not under another label's CA."""
    async with make_world(tmp_path, labelled=LABELLED) as world, est_site(world, tmp_path) as site:
        client = await Client(world, site, world.make_device()).onboard()
        first = certificate(await client.enroll("/sensors", client.csr("P-384")))
        csr = client.csr("P-384", "sn-1.devices.example.com")
        refused = await client.renew("", first, csr)
        assert refused.status == 403
        assert b"'sensors'" in refused.body
        second = certificate(await client.renew("/sensors", first, csr))
        assert second.issuer == OTHER.certificate.subject
        assert second.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        assert (await client.renew("/sensors", second, client.csr("P-384"))).status == 400


async def test_what_a_profile_does_not_renew_is_refused(tmp_path: Path) -> None:
    """It says which rule it was."""
    async with make_world(tmp_path, labelled=LABELLED) as world, est_site(world, tmp_path) as site:
        client = await Client(world, site, world.make_device()).onboard()
        first = certificate(await client.enroll("/shy", client.csr()))
        reply = await client.renew("/shy", first, client.csr())
        assert reply.status == 403
        assert b"not renewed" in reply.body


@pytest.mark.requirement("ESTS-12")
async def test_nothing_to_announce_has_three_forms(tmp_path: Path) -> None:
    """204 where the profile says so, an empty SEQUENCE where it asks for nothing, 404."""
    async with make_world(tmp_path, labelled=LABELLED) as world, est_site(world, tmp_path) as site:
        shy = await site.curl("/shy/csrattrs")
        assert (shy.status, shy.body) == (204, b"")
        assert (await site.curl("/open/csrattrs")).der == b"\x30\x00"
        assert (await site.curl("/nobody/csrattrs")).status == 404


@pytest.mark.parametrize(
    "path",
    [
        "/nobody/cacerts",
        "/sensors/sensors/cacerts",
        "/sensors/",
        "/sensors",
        "/",
        "/CACERTS",
        "/cacerts/",
        "//cacerts",
        "/%73ensors%2fcacerts",
        "/sensors/../secret/cacerts",
    ],
)
async def test_an_unknown_path_is_nothing(tmp_path: Path, path: str) -> None:
    """404, whatever the label."""
    async with make_world(tmp_path, labelled=LABELLED) as world, est_site(world, tmp_path) as site:
        assert (await site.curl(path, "--path-as-is")).status == 404


async def test_one_request_belongs_to_one_label(tmp_path: Path) -> None:
    """The octets of one profile's answer are not another's."""
    async with make_world(tmp_path, labelled=LABELLED) as world, est_site(world, tmp_path) as site:
        client = await Client(world, site, world.make_device()).onboard()
        csr = client.csr()
        issued = certificate(await client.enroll("", csr))
        reply = await client.enroll("/open", csr)
        assert reply.status == 403
        active = await world.journal.active_certificate(client.device.key)
        assert active is not None
        assert active.certificate == certificate_der(issued)
        assert decode_csr_attributes((await site.curl("/csrattrs")).der).requirements.keys == (
            P256,
        )
