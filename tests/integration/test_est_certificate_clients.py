"""EST clients with certificates of another CA, over real TLS: OpenSSL's requests, sent by curl."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from brski.edge.settings import load_settings
from brski.errors import FileUnusable, SettingsError
from brski.pki.names import ldevid_subject
from brski.registry import ID_KP_SERVER_AUTH
from registrar_plugin.composition import open_registrar
from registrar_plugin.health.readiness import Finding
from registrar_plugin.identity.clients import CERTIFICATE, client_key
from registrar_plugin.settings import RegistrarSettings
from registrar_plugin.store.sqlite import SQLiteJournal
from tests.kit import pki
from tests.kit.est_clients import (
    ClientSite,
    client_site,
    issued,
    make_client,
    subject_of,
    write_anchors,
)
from tests.kit.est_site import Files, lay_out

PREVIOUS = pki.make_pki("Previous Owner")
STRANGER = pki.make_pki("Stranger")
OEM = pki.make_root("Example OEM")  # whose devices the registrar trusts
DNS = "gw-7.east.example.com"
PROFILES = """
[[est.profile]]
enrollees = ["brski"]
dns_name = "{serial_number}.devices.example.com"
[[est.profile]]
label = "gateways"
enrollees = ["brski", "certificate"]
[[est.profile]]
label = "others"
enrollees = ["certificate"]
[[est.client_ca]]
name = "other"
anchors = "other.pem"
labels = ["others"]
extended_key_usages = ["1.3.6.1.5.5.7.3.17"]
"""


def lay(folder: Path, keys: str = "") -> Files:
    """A registrar that trusts the previous owner's root for one label; *keys* of its table."""
    write_anchors(folder, "previous.pem", pki.Entity(
        certificate=PREVIOUS.root, private_key=PREVIOUS.private_key
    ))  # fmt: skip
    write_anchors(folder, "other.pem", STRANGER)
    table = f"""
[[est.client_ca]]
name = "previous"
anchors = "previous.pem"
labels = ["gateways"]
{keys}
"""
    files = lay_out(folder, more=PROFILES + table)
    write_anchors(folder, "oem.pem", OEM)
    return files


@asynccontextmanager
async def site(folder: Path, keys: str = "") -> AsyncIterator[ClientSite]:
    async with client_site(lay(folder, keys)) as opened:
        yield opened


@pytest.mark.requirement("ESTS-6", "ESTS-22")
@pytest.mark.parametrize("tls", ["1.2", "1.3"])
async def test_a_certificate_of_a_trusted_ca_leads_to_one_of_ours(tmp_path: Path, tls: str) -> None:
    """Its subject and DNS names, and a renewal over what it got; OpenSSL verifies both."""
    client = make_client(PREVIOUS, "gw-7", DNS)
    version = (f"--tlsv{tls}", "--tls-max", tls)
    async with site(tmp_path) as here:
        request = await here.request("/CN=gw-7", DNS)
        reply = await here.post("/gateways/simpleenroll", request.body, client, *version)
        first = issued(reply, request)
        again = await here.post("/gateways/simpleenroll", request.body, client, *version)
        assert again.body == reply.body
        request = await here.request("/CN=gw-7", DNS)
        reply = await here.post("/gateways/simplereenroll", request.body, first, *version)
        second = issued(reply, request)
        old = await here.post("/gateways/simplereenroll", request.body + b"\n", first, *version)
        assert old.body == reply.body  # the same request over the same certificate
        for entity in (first, second):
            names = entity.certificate.extensions.get_extension_for_class(
                x509.SubjectAlternativeName
            ).value
            assert names.get_values_for_type(x509.DNSName) == [DNS]
            assert entity.certificate.subject == subject_of("gw-7")
            (tmp_path / "got.pem").write_bytes(entity.chain_pem)
            checked = await here.files.run("openssl", "verify", "-CAfile", "owner.pem", "got.pem")
            assert checked.code == 0, checked.err
    journal = SQLiteJournal(tmp_path / "registrar.db")
    active = await journal.active_certificate(client_key(CERTIFICATE, "previous:gw-7"))
    await journal.close()
    assert active is not None
    assert active.certificate == second.der


@pytest.mark.requirement("ESTS-22")
async def test_no_name_but_its_own(tmp_path: Path) -> None:
    """Another subject, another DNS name, one more, or the names of a device."""
    client = make_client(PREVIOUS, "gw-7", DNS)
    async with site(tmp_path) as here:
        for subject, names in (
            ("/CN=gw-8", [DNS]),
            ("/CN=gw-7/O=Example", [DNS]),
            ("/CN=gw-7", ["www.example.com"]),
            ("/CN=gw-7", [DNS, "www.example.com"]),
            ("/serialNumber=SN-1/dnQualifier=00", []),
        ):
            request = await here.request(subject, *names)
            reply = await here.post("/gateways/simpleenroll", request.body, client)
            assert reply.status == 400, (subject, names, reply.body)


@pytest.mark.requirement("ESTS-22")
async def test_no_ca_makes_a_device_of_its_client(tmp_path: Path) -> None:
    """A subject like an LDevID's, and a DNS name that profiles give to devices."""
    shaped = make_client(PREVIOUS, subject=ldevid_subject("SN-1", bytes(20)))
    beside = make_client(
        PREVIOUS,
        subject=x509.Name([*ldevid_subject("SN-1", bytes(20)), *subject_of("gw-7")]),
    )
    named = make_client(PREVIOUS, "gw-7", "SN-1.Devices.Example.Com")
    broad = make_client(PREVIOUS, "gw-7", "*.devices.example.com")
    async with site(tmp_path) as here:
        request = await here.request("/CN=gw-7")
        for client in (shaped, beside, named, broad):
            reply = await here.post("/gateways/simpleenroll", request.body, client)
            assert reply.status == 400
            assert b"is a device's" in reply.body


async def test_a_subject_that_no_ca_here_issues_is_the_clients_fault(tmp_path: Path) -> None:
    """400 with the reason, and not a 500 of ours."""
    unit = x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "one")
    twice = x509.Name([unit, unit, *subject_of("gw-7")])
    async with site(tmp_path) as here:
        request = await here.request("/CN=gw-7")
        client = make_client(PREVIOUS, subject=twice)
        reply = await here.post("/gateways/simpleenroll", request.body, client)
        assert reply.status == 400
        assert b"attribute twice" in reply.body


@dataclass(frozen=True)
class Wrong:
    client: pki.Entity
    said: bytes
    label: str = "/gateways"


PAST = datetime.now(UTC) - timedelta(days=1)
AHEAD = PAST + timedelta(days=300)
WRONG = {
    "another CA": Wrong(make_client(STRANGER), b"onboarding"),
    "another label's CA": Wrong(make_client(PREVIOUS), b"under this label", "/others"),
    "a label without the kind": Wrong(make_client(PREVIOUS), b"onboarding", ""),
    "an IDevID": Wrong(pki.make_idevid(OEM), b"onboarding"),
    "self-signed": Wrong(make_client(pki.make_root("Previous Owner Root CA")), b""),
    "expired": Wrong(make_client(PREVIOUS, not_after=PAST), b"not valid at"),
    "not yet valid": Wrong(make_client(PREVIOUS, not_before=AHEAD), b"not valid at"),
    "another purpose": Wrong(make_client(PREVIOUS, ekus=[ID_KP_SERVER_AUTH]), b"TLS clients"),
    "a key that signs nothing": Wrong(
        make_client(PREVIOUS, key_usage=pki.key_usage("key_agreement")), b"TLS clients"
    ),
    "a CA": Wrong(
        make_client(PREVIOUS, basic_constraints=x509.BasicConstraints(ca=True, path_length=0)),
        b"a CA's certificate",
    ),
    "a wanted purpose that is missing": Wrong(
        make_client(STRANGER), b"lacks 1.3.6.1.5.5.7.3.17", "/others"
    ),
}


@pytest.mark.requirement("ESTS-6")
@pytest.mark.parametrize("which", sorted(WRONG))
async def test_who_is_no_such_client_is_refused(tmp_path: Path, which: str) -> None:
    """403, with the reason where the certificate names a CA that counts."""
    wrong = WRONG[which]
    async with site(tmp_path) as here:
        request = await here.request("/CN=gw-7")
        reply = await here.post(f"{wrong.label}/simpleenroll", request.body, wrong.client)
        assert reply.status == 403
        assert wrong.said in reply.body, reply.body
    journal = SQLiteJournal(tmp_path / "registrar.db")
    lines = await journal.events()
    await journal.close()
    assert [line.outcome for line in lines] == ["refused"]


async def test_the_nearest_acceptance(tmp_path: Path) -> None:
    """The other label's CA, with the purpose that it wants."""
    client = make_client(STRANGER, ekus=["1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.17"])
    async with site(tmp_path) as here:
        request = await here.request("/CN=gw-7")
        issued(await here.post("/others/simpleenroll", request.body, client), request)


async def test_a_manufacturers_root_counts_where_it_is_listed(tmp_path: Path) -> None:
    """For that label, and nobody becomes a device by it: the subject is the IDevID's own."""
    files = lay(tmp_path)
    write_anchors(tmp_path, "previous.pem", OEM)
    idevid = pki.make_idevid(OEM, "SN-1")
    async with client_site(files) as here:
        request = await here.request("/serialNumber=SN-1")
        assert (await here.post("/others/simpleenroll", request.body, idevid)).status == 403
        reply = await here.post("/gateways/simpleenroll", request.body, idevid)
        ours = issued(reply, request)
        assert ours.certificate.subject == idevid.certificate.subject
        status = await here.site.post(
            "/../brski/enrollstatus",
            b'{"version": 1, "status": true}',
            *("--path-as-is", *here.site.credentials([ours.certificate], ours.private_key)),
            media_type="application/json",
        )
        assert status.status in {401, 403, 404}


async def test_what_this_registrar_issued_is_renewed_and_is_no_credential(tmp_path: Path) -> None:
    """Nor is the registrar's own certificate, whatever anchors the owner lists."""
    client = make_client(PREVIOUS)
    async with site(tmp_path) as here:
        request = await here.request("/CN=gw-7")
        ours = issued(await here.post("/gateways/simpleenroll", request.body, client), request)
        request = await here.request("/CN=gw-7")
        own = pki.Entity(
            certificate=here.files.registrar.certificate,
            private_key=here.files.registrar.private_key,
            issuers=here.files.registrar.issuers,
        )
        for shown in (ours, own):
            for path in ("/gateways/simpleenroll", "/others/simpleenroll"):
                assert (await here.post(path, request.body, shown)).status == 403
        assert (await here.post("/gateways/simplereenroll", request.body, own)).status == 403
        foreign = await here.post("/gateways/simplereenroll", request.body, client)
        assert foreign.status == 403  # a certificate of another CA is not renewed


async def test_the_other_cas_list_counts_from_the_moment_that_it_is_there(tmp_path: Path) -> None:
    """At enrollment, and at each renewal of what it led to; a list that has ended stops all."""
    client, second = make_client(PREVIOUS), make_client(PREVIOUS, "gw-8")
    lists = tmp_path / "previous.crl"
    lists.write_bytes(pki.make_crl(PREVIOUS))
    async with site(tmp_path, 'crl = "previous.crl"') as here:
        request = await here.request("/CN=gw-7")
        ours = issued(await here.post("/gateways/simpleenroll", request.body, client), request)
        replace(lists, pki.make_crl(PREVIOUS, client.certificate))
        again = await here.request("/CN=gw-7")
        for path, shown in (("simpleenroll", client), ("simplereenroll", ours)):
            reply = await here.post(f"/gateways/{path}", again.body, shown)
            assert reply.status == 403
            assert b"revoked" in reply.body
        other = await here.request("/CN=gw-8")
        replace(lists, pki.make_crl(PREVIOUS, this_update=pki.BEFORE, next_update=pki.NOT_BEFORE))
        reply = await here.post("/gateways/simpleenroll", other.body, second)
        assert reply.status == 503
        assert reply.headers["retry-after"] == "3600"
        replace(lists, pki.make_crl(STRANGER))
        assert (await here.post("/gateways/simpleenroll", other.body, second)).status == 503
        replace(lists, pki.make_crl(PREVIOUS, client.certificate))
        issued(await here.post("/gateways/simpleenroll", other.body, second), other)


def replace(path: Path, octets: bytes) -> None:
    """As a person does it: the file's inode changes."""
    new = path.with_suffix(".new")
    new.write_bytes(octets)
    new.replace(path)


async def test_a_list_that_has_ended_is_told_to_the_operator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At /readyz, under the CA's name; nobody but its clients is the worse for it."""
    monkeypatch.setattr("registrar_plugin.health.readiness.KEPT_S", 0.0)
    lists = tmp_path / "previous.crl"
    lists.write_bytes(pki.make_crl(PREVIOUS))
    settings = lay(tmp_path, 'crl = "previous.crl"').settings
    opened = open_registrar(load_settings(settings, RegistrarSettings), source=settings)

    async def found() -> Finding:
        (one,) = [
            finding
            for finding in await opened.readiness.findings()
            if finding.name == "client CA previous"
        ]
        return one

    assert (await found()).is_ready
    replace(lists, pki.make_crl(PREVIOUS, this_update=pki.BEFORE, next_update=pki.NOT_BEFORE))
    assert "has ended" in (await found()).reason
    lists.unlink()
    assert (await found()).code == "file-unusable"
    await opened.close()


async def test_a_ca_that_admits_nobody_new_lets_its_clients_renew(tmp_path: Path) -> None:
    """And a client that the owner denies gets nothing more."""
    client = make_client(PREVIOUS)
    files = lay(tmp_path)
    async with client_site(files) as here:
        request = await here.request("/CN=gw-7")
        first = issued(await here.post("/gateways/simpleenroll", request.body, client), request)
    settings = files.settings.read_text()
    files.settings.write_text(settings + "admit_new = false\n")
    async with client_site(files) as here:
        request = await here.request("/CN=gw-7")
        assert (await here.post("/gateways/simpleenroll", request.body, client)).status == 403
        reply = await here.post("/gateways/simplereenroll", request.body, first)
        second = issued(reply, request)
    files.settings.write_text(settings + 'denied = ["previous:gw-7"]\n')
    async with client_site(files) as here:
        request = await here.request("/CN=gw-7")
        for path, shown in (("simpleenroll", client), ("simplereenroll", second)):
            reply = await here.post(f"/gateways/{path}", request.body, shown)
            assert reply.status == 403
            assert b"is denied" in reply.body


async def test_a_ca_that_is_gone_from_the_settings_vouches_for_nobody(tmp_path: Path) -> None:
    """Nor one of the same name with other anchors."""
    files = lay(tmp_path)
    async with client_site(files) as here:
        request = await here.request("/CN=gw-7")
        reply = await here.post("/gateways/simpleenroll", request.body, make_client(PREVIOUS))
        ours = issued(reply, request)
    write_anchors(tmp_path, "previous.pem", STRANGER)
    async with client_site(files) as here:
        request = await here.request("/CN=gw-7")
        reply = await here.post("/gateways/simplereenroll", request.body, ours)
        assert reply.status == 403
        assert b"no longer counts" in reply.body


async def test_another_certificate_of_the_same_client_is_the_same_client(tmp_path: Path) -> None:
    """One active certificate; what the former led to is superseded."""
    async with site(tmp_path) as here:
        request = await here.request("/CN=gw-7")
        reply = await here.post("/gateways/simpleenroll", request.body, make_client(PREVIOUS))
        former = issued(reply, request)
        request = await here.request("/CN=gw-7")
        reply = await here.post("/gateways/simpleenroll", request.body, make_client(PREVIOUS))
        issued(reply, request)
        request = await here.request("/CN=gw-7")
        reply = await here.post("/gateways/simplereenroll", request.body, former)
        assert reply.status == 403
        assert b"superseded" in reply.body


def test_a_ca_of_the_domain_is_no_other_ca(tmp_path: Path) -> None:
    """Nothing that it issued is a stranger's certificate; and a list must be one."""
    files = lay(tmp_path)
    write_anchors(tmp_path, "previous.pem", files.owner)
    settings = load_settings(files.settings, RegistrarSettings)
    with pytest.raises(SettingsError, match="own"):
        open_registrar(settings, source=files.settings)


def test_a_list_must_be_one(tmp_path: Path) -> None:
    """Told at the start, and not when the first client comes."""
    (tmp_path / "previous.crl").write_bytes(b"no list")
    files = lay(tmp_path, 'crl = "previous.crl"')
    settings = load_settings(files.settings, RegistrarSettings)
    with pytest.raises(FileUnusable, match=r"previous\.crl"):
        open_registrar(settings, source=files.settings)
