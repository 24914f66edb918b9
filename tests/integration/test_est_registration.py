"""Registration authorities over real TLS: OpenSSL makes clients' requests, curl sends them."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from brski.pki.extensions import has_extended_key_usage
from brski.registry import ID_KP_CLIENT_AUTH, ID_KP_CMC_RA
from registrar_plugin.identity.clients import RA, client_key
from registrar_plugin.store.sqlite import SQLiteJournal
from registrar_plugin.telemetry.events import Event, EventKind
from tests.kit import pki
from tests.kit.accounts import SECRET, account, written
from tests.kit.est_clients import (
    ClientSite,
    Request,
    client_site,
    issued,
    make_client,
    subject_of,
    write_anchors,
)
from tests.kit.est_site import Files, lay_out
from tests.kit.world_site import Reply

PREVIOUS = pki.make_root("Previous Owner Root CA")
STRANGER = pki.make_pki("Stranger")
GATEWAY, DNS = "gw-7.east", "gw-7.east.example.com"
BINDING = "d2hhdCB0aGUgUkEgaGFzIGNoZWNrZWQ="
SETTINGS = """
[[est.profile]]
enrollees = ["brski"]
[[est.profile]]
label = "ras"
enrollees = ["certificate"]
extended_key_usages = ["clientAuth", "cmcRA"]
[[est.profile]]
label = "plain"
enrollees = ["certificate"]
[[est.profile]]
label = "lab"
enrollees = ["brski", "ra"]
[[est.profile]]
label = "bound"
enrollees = ["ra"]
channel_binding = true
[[est.client_ca]]
name = "previous"
anchors = "previous.pem"
labels = ["ras", "plain"]
[[est.ra]]
name = "east"
client = "certificate:previous:east-ra"
labels = ["lab", "bound"]
common_names = ["gw-*.east", "printer-7"]
dns_names = ["*.east.example.com"]
foreign_binding = true
[[est.ra]]
name = "west"
client = "certificate:previous:west-ra"
labels = ["lab", "bound"]
common_names = ["gw-*.west"]
"""


def lay(folder: Path) -> Files:
    write_anchors(folder, "previous.pem", PREVIOUS)
    return lay_out(folder, more=SETTINGS)


@asynccontextmanager
async def site(folder: Path) -> AsyncIterator[ClientSite]:
    async with client_site(lay(folder)) as opened:
        yield opened


async def make_ra(here: ClientSite, name: str = "east-ra", label: str = "ras") -> pki.Entity:
    """What a registration authority shows: a certificate of ours, with id-kp-cmcRA."""
    request = await here.request(f"/CN={name}")
    reply = await here.post(f"/{label}/simpleenroll", request.body, make_client(PREVIOUS, name))
    return issued(reply, request)


async def enroll(
    here: ClientSite, ra: pki.Entity, request: Request, *arguments: str, label: str = "lab"
) -> Reply:
    return await here.post(f"/{label}/simpleenroll", request.body, ra, *arguments)


async def renew(here: ClientSite, ra: pki.Entity, request: Request, *arguments: str) -> Reply:
    return await here.post("/lab/simplereenroll", request.body, ra, *arguments)


async def lines_of(folder: Path, kind: EventKind | None = None) -> Sequence[Event]:
    journal = SQLiteJournal(folder / "registrar.db")
    lines = await journal.events(kind=kind)
    await journal.close()
    return lines


@pytest.mark.requirement("ESTS-21", "ESTS-6")
@pytest.mark.parametrize("tls", ["1.2", "1.3"])
async def test_an_ra_enrolls_and_renews_its_clients(tmp_path: Path, tls: str) -> None:
    """Subject and DNS names of the request, within its bounds; the journal says which RA asked."""
    version = (f"--tlsv{tls}", "--tls-max", tls)
    async with site(tmp_path) as here:
        ra = await make_ra(here)
        assert has_extended_key_usage(ra.certificate, ID_KP_CMC_RA)
        request = await here.request(f"/CN={GATEWAY}", DNS)
        reply = await enroll(here, ra, request, *version)
        first = issued(reply, request)
        assert (await enroll(here, ra, request, *version)).body == reply.body
        names = first.certificate.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        ).value
        assert names.get_values_for_type(x509.DNSName) == [DNS]
        assert first.certificate.subject == subject_of(GATEWAY)
        assert not has_extended_key_usage(first.certificate, ID_KP_CMC_RA)
        (tmp_path / "got.pem").write_bytes(first.chain_pem)
        checked = await here.files.run("openssl", "verify", "-CAfile", "owner.pem", "got.pem")
        assert checked.code == 0, checked.err

        again = await here.request(f"/CN={GATEWAY}", DNS)
        reply = await renew(here, ra, again, *version)
        second = issued(reply, again)
        assert (await renew(here, ra, again, *version)).body == reply.body  # the answer was lost
        more = await here.request(f"/CN={GATEWAY}", DNS)
        third = issued(await renew(here, ra, more, *version), more)
        assert len({first.der, second.der, third.der}) == 3
    journal = SQLiteJournal(tmp_path / "registrar.db")
    active = await journal.active_certificate(client_key(RA, f"east:{GATEWAY}"))
    await journal.close()
    assert active is not None
    assert active.certificate == third.der
    intents = [
        line
        for line in await lines_of(tmp_path, EventKind.LDEVID_INTENT)
        if line.device == client_key(RA, f"east:{GATEWAY}")
    ]
    shown = {"ra": "east", "ra_certificate_sha256": hashlib.sha256(ra.der).hexdigest()}
    assert [line.details for line in intents] == [shown] * 3


@pytest.mark.requirement("ESTS-22")
@pytest.mark.parametrize(
    ("subject", "names"),
    [
        ("/CN=gw-7.west", []),
        ("/CN=gw-7.north", []),
        ("/CN=gw-.east", []),
        ("/CN=gw-a.b.east", []),
        ("/CN=gw-.east/CN=gw-7.east", []),
        ("/CN=gw-7.east/O=Example", []),
        ("/O=gw-7.east", []),
        ("/CN=printer-70", []),
        ("/CN=printer-7", ["www.example.com"]),
        ("/CN=printer-7", ["east.example.com"]),
        ("/CN=printer-7", ["a.b.east.example.com"]),
        ("/CN=printer-7", ["*.east.example.com"]),
        ("/CN=printer-7", ["A.east.example.com"]),
        ("/CN=printer-7", ["a.east.example.com", "www.example.com"]),
        ("/serialNumber=SN-1/dnQualifier=6d0bba9cb9a5ba24", []),
        ("/serialNumber=SN-1", []),
        ("/CN=printer-7/serialNumber=SN-1/dnQualifier=6d0bba9cb9a5ba24", []),
        ("/CN=east-ra", []),
    ],
    ids=str,
)
async def test_an_ra_asks_within_its_bounds(tmp_path: Path, subject: str, names: list[str]) -> None:
    """Another RA's name, nobody's, a device's, or more than was agreed: 400."""
    async with site(tmp_path) as here:
        ra = await make_ra(here)
        request = await here.request(subject, *names)
        for path in ("simpleenroll", "simplereenroll"):
            reply = await here.post(f"/lab/{path}", request.body, ra)
            assert reply.status == 400
            assert b"registration authority 'east'" in reply.body
        request = await here.request("/CN=printer-7", "a.east.example.com")
        issued(await enroll(here, ra, request), request)  # the nearest that is


async def test_names_of_another_kind_are_nobodys_to_ask_for(tmp_path: Path) -> None:
    """An address, a mail address, an extension that makes a CA."""
    async with site(tmp_path) as here:
        ra = await make_ra(here)
        for extension in (
            "subjectAltName=IP:192.0.2.7",
            "subjectAltName=DNS:a.east.example.com,email:a@example.com",
            "basicConstraints=critical,CA:TRUE",
            "extendedKeyUsage=1.3.6.1.5.5.7.3.28",
        ):
            request = await here.request("/CN=printer-7", more=["-addext", extension])
            assert (await enroll(here, ra, request)).status == 400


@pytest.mark.requirement("ESTS-21", "ESTS-6")
async def test_who_is_no_registration_authority(tmp_path: Path) -> None:
    """id-kp-cmcRA of another CA, the registrar's own, and a certificate of ours without it."""
    purposes = [ID_KP_CLIENT_AUTH, ID_KP_CMC_RA]
    async with site(tmp_path) as here:
        ra = await make_ra(here)
        registrar = here.files.registrar
        shown = {
            "another CA": make_client(STRANGER, "east-ra", ekus=purposes),
            "a CA that is trusted for its clients": make_client(PREVIOUS, "east-ra", ekus=purposes),
            "the registrar's own": registrar,
            "our CA, but not in the journal": make_client(
                here.files.owner, "east-ra", ekus=purposes
            ),
            "ours, and nobody's RA": await make_ra(here, "north-ra"),
            "a copy by its own key": make_client(
                pki.Entity(certificate=here.files.owner.certificate, private_key=pki.make_key()),
                "east-ra",
                ekus=purposes,
            ),
        }
        request = await here.request(f"/CN={GATEWAY}")
        for path in ("simpleenroll", "simplereenroll", "serverkeygen"):
            for who, entity in shown.items():
                reply = await here.post(f"/lab/{path}", request.body, entity)
                assert reply.status == 403, who
            assert (await here.post(f"/lab/{path}", request.body, None)).status == 403
        issued(await enroll(here, ra, request), request)  # the nearest that is one


async def test_the_purpose_is_needed(tmp_path: Path) -> None:
    """The client of the settings, by a certificate of a profile without id-kp-cmcRA."""
    async with site(tmp_path) as here:
        plain = await make_ra(here, label="plain")
        request = await here.request(f"/CN={GATEWAY}")
        for path in ("simpleenroll", "simplereenroll"):
            reply = await here.post(f"/lab/{path}", request.body, plain)
            assert reply.status == 403
            assert b"cmcRA" in reply.body


async def test_an_ra_is_one_under_its_labels_alone(tmp_path: Path) -> None:
    """Elsewhere it is a client with a certificate of ours, which it may renew where it got it."""
    async with site(tmp_path) as here:
        ra = await make_ra(here)
        request = await here.request(f"/CN={GATEWAY}")
        for label in ("", "/plain", "/ras"):
            reply = await here.post(f"{label}/simpleenroll", request.body, ra)
            assert reply.status == 403, label
        own = await here.request("/CN=east-ra")
        reply = await here.post("/ras/simplereenroll", own.body, ra)
        renewed = issued(reply, own)
        assert has_extended_key_usage(renewed.certificate, ID_KP_CMC_RA)
        superseded = await enroll(here, ra, request)
        assert superseded.status == 403
        assert b"superseded" in superseded.body
        issued(await enroll(here, renewed, request), request)


async def test_a_revoked_ra_has_no_rights_at_once(tmp_path: Path) -> None:
    """Not for a new client, a renewal, or a request that was answered before."""
    async with site(tmp_path) as here:
        ra = await make_ra(here)
        request = await here.request(f"/CN={GATEWAY}")
        ours = issued(await enroll(here, ra, request), request)
        done = await here.files.run(
            str(Path(sys.executable).with_name("brski-registrar")),
            *("revoke", "previous:east-ra", "-s", "registrar.toml"),
        )
        assert done.code == 0, done.err
        for path in ("simpleenroll", "simplereenroll"):
            reply = await here.post(f"/lab/{path}", request.body, ra)
            assert reply.status == 403
            assert b"revoked" in reply.body
    journal = SQLiteJournal(tmp_path / "registrar.db")
    stands = await journal.active_certificate(client_key(RA, f"east:{GATEWAY}"))
    await journal.close()
    assert stands is not None  # what it asked for in its time is the owner's to judge
    assert stands.certificate == ours.der


async def test_an_ra_renews_its_own_clients_alone(tmp_path: Path) -> None:
    """Not another RA's, not one that was never enrolled; and its client does not by itself."""
    async with site(tmp_path) as here:
        east, west = await make_ra(here), await make_ra(here, "west-ra")
        request = await here.request(f"/CN={GATEWAY}")
        ours = issued(await enroll(here, east, request), request)
        again = await here.request(f"/CN={GATEWAY}")
        assert (await renew(here, west, again)).status == 400
        by_itself = await renew(here, ours, again)
        assert by_itself.status == 403
        assert b"'east' renews" in by_itself.body
        never = await here.request("/CN=gw-8.east")
        reply = await renew(here, east, never)
        assert reply.status == 403
        assert b"to be enrolled" in reply.body
        named = await here.request(f"/CN={GATEWAY}", DNS)
        assert (await renew(here, east, named)).status == 400  # another alternative name
        issued(await renew(here, east, again), again)


async def test_no_two_clients_of_an_ra_share_a_key(tmp_path: Path) -> None:
    """Nor does a client have the RA's own."""
    async with site(tmp_path) as here:
        ra = await make_ra(here)
        (tmp_path / "ra.key").write_bytes(ra.key_pem)
        made = await here.files.run(
            *("openssl", "req", "-new", "-key", "ra.key", "-subj", f"/CN={GATEWAY}")
        )
        assert (await here.post("/lab/simpleenroll", made.out, ra)).status == 400


@pytest.mark.requirement("ESTS-21")
async def test_an_ra_may_have_begun_with_a_password(tmp_path: Path) -> None:
    """It shows its certificate from then on; the password alone asks for nobody."""
    settings = SETTINGS.replace("certificate:previous:east-ra", "password:east-ra").replace(
        'label = "ras"\nenrollees = ["certificate"]',
        'label = "ras"\nenrollees = ["certificate", "password"]',
    )
    write_anchors(tmp_path, "previous.pem", PREVIOUS)
    written(tmp_path, account("east-ra", labels=("ras",)))
    files = lay_out(tmp_path, more=f'[est]\npassword_file = "accounts"\n{settings}')
    said = ("--user", f"east-ra:{SECRET}")
    async with client_site(files) as here:
        own = await here.request("/CN=east-ra")
        ra = issued(await here.post("/ras/simpleenroll", own.body, None, *said), own)
        request = await here.request(f"/CN={GATEWAY}")
        assert (await here.post("/lab/simpleenroll", request.body, None, *said)).status == 403
        issued(await enroll(here, ra, request), request)


@pytest.mark.requirement("ESTS-21")
async def test_an_ra_may_vouch_for_another_connection(tmp_path: Path) -> None:
    """Where the settings let it; a request must be bound to some, and its signature is verified."""
    async with site(tmp_path) as here:
        east, west = await make_ra(here), await make_ra(here, "west-ra")
        bound = await bound_request(here, GATEWAY)
        other = await bound_request(here, "gw-7.west")
        reply = await enroll(here, west, other, label="bound")
        assert reply.status == 400
        assert b"challengePassword" in reply.body
        unbound = await here.request("/CN=printer-7")
        assert (await enroll(here, east, unbound, label="bound")).status == 400
        broken = Request(private_key=bound.private_key, body=altered(bound.body))
        assert (await enroll(here, east, broken, label="bound")).status == 400
        issued(await enroll(here, east, bound, label="bound"), bound)


async def bound_request(here: ClientSite, name: str) -> Request:
    """One with a challengePassword that is of no connection here."""
    (here.files.folder / "bound.cnf").write_text(
        "[req]\nprompt = no\ndistinguished_name = dn\nattributes = at\n"
        f"[dn]\nCN = {name}\n[at]\nchallengePassword = {BINDING}\n"
    )
    return await here.request("", more=["-config", "bound.cnf"])


def altered(pem: bytes) -> bytes:
    """Its last octets, the end of the signature, are others; as DER."""
    der = bytearray(x509.load_pem_x509_csr(pem).public_bytes(Encoding.DER))
    der[-1] ^= 1
    made = x509.load_der_x509_csr(bytes(der))
    return made.public_bytes(Encoding.PEM)
