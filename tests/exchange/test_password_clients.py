"""EST clients that are no devices and say a password: which names, whose keys, how long."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from brski.errors import (
    CSRMismatch,
    LDevIDRevoked,
    NotAuthenticated,
    PasswordNeeded,
    StateError,
)
from brski.est.certs_only import decode_certs_only
from brski.est.change_subject_name import ChangeSubjectName, encode_change_subject_name
from brski.est.csr import build_csr
from brski.est.requirements import P256, CSRRequirements
from brski.pki.keys import certificate_der, spki_of
from brski.pki.names import ldevid_subject
from brski.registry import ID_CE_SUBJECT_ALT_NAME, ID_CMC_CHANGE_SUBJECT_NAME
from registrar_plugin.accounts.account import Account
from registrar_plugin.ca_backend.crl import Reason
from registrar_plugin.ca_backend.port import Pending
from registrar_plugin.enrollment.judge import judge_csr
from registrar_plugin.enrollment.profile import EnrollmentProfile, GrantedNames
from registrar_plugin.identity.clients import PASSWORD, client_key
from registrar_plugin.second_use import Signal
from registrar_plugin.store.revocation import Revocation
from registrar_plugin.store.sqlite_issuances import SQLiteIssuances
from registrar_plugin.store.sqlite_revocation import SQLiteWithdrawals
from registrar_plugin.telemetry.events import Event, EventKind, Outcome
from tests.kit import est, pki
from tests.kit.accounts import account, basic, written
from tests.kit.pending_ca import PendingCA
from tests.kit.world import World, make_world

GATEWAY = client_key(PASSWORD, "gateway")
NAMED = EnrollmentProfile(
    requirements=CSRRequirements(
        keys=(P256,), optional_extensions=frozenset([ID_CE_SUBJECT_ALT_NAME])
    ),
    change_subject_name=True,
    server_keys=True,
)


def common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def alternative(*names: str) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.DNSName(name) for name in names])


class Client:
    """One that says its password in memory."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.key = pki.KeySigner(pki.make_key())

    def csr(self, subject: x509.Name | None = None, *names: str) -> bytes:
        extensions = [alternative(*names)] if names else []
        wanted = common_name("gateway") if subject is None else subject
        return build_csr(self.key, wanted, extensions=extensions)

    async def enroll(self, csr: bytes | None = None, said: str | None = None) -> x509.Certificate:
        connection = self.world.connection([], authorization=said or basic())
        answer = await self.world.enrolling.enroll(csr or self.csr(), connection)
        assert not isinstance(answer, Pending)
        return decode_certs_only(answer)[0]

    async def renew(self, current: x509.Certificate, csr: bytes | None = None) -> x509.Certificate:
        """Over mutual TLS with the current certificate, and nothing said."""
        connection = self.world.connection([current])
        answer = await self.world.renewing.reenroll(csr or self.csr(), connection)
        assert not isinstance(answer, Pending)
        return decode_certs_only(answer)[0]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with make_world(tmp_path, profile=NAMED, accounts=written(tmp_path)) as made:
        yield made


@pytest.fixture
def client(world: World) -> Client:
    return Client(world)


def names_in(certificate: x509.Certificate) -> list[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return found.get_values_for_type(x509.DNSName)


async def state(world: World, certificate: x509.Certificate) -> str:
    digest = hashlib.sha256(certificate_der(certificate)).digest()
    found = await world.journal.certificate_by_digest(digest)
    assert found is not None
    return found.state


# -- who, and which name


@pytest.mark.requirement("ESTS-6", "ESTS-22")
async def test_an_account_gets_a_certificate_of_its_name(world: World, client: Client) -> None:
    """CN as UTF8String and nothing else; the journal has it under the client's own pair."""
    issued = await client.enroll()
    assert issued.subject.public_bytes() == common_name("gateway").public_bytes()
    assert names_in(issued) == []
    active = await world.journal.active_certificate(GATEWAY)
    assert active is not None
    assert active.certificate == certificate_der(issued)


async def test_a_subject_is_compared_as_text(client: Client) -> None:
    """strongSwan asks with PrintableString; what is issued is UTF8String all the same."""
    kind = x509.name._ASN1Type.PrintableString
    asked = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway", _type=kind)])
    assert asked.public_bytes() != common_name("gateway").public_bytes()
    issued = await client.enroll(client.csr(asked))
    assert issued.subject.public_bytes() == common_name("gateway").public_bytes()


@pytest.mark.requirement("ESTS-6", "ESTS-22")
@pytest.mark.parametrize(
    "subject",
    [
        common_name("other"),
        common_name("Gateway"),
        x509.Name([]),
        x509.Name([*common_name("gateway"), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "x")]),
        ldevid_subject("gateway", bytes(20)),
    ],
    ids=lambda subject: subject.rfc4514_string() or "none",
)
async def test_it_gets_no_other_name(client: Client, subject: x509.Name) -> None:
    """A password says who it is, not who it would like to be."""
    with pytest.raises(CSRMismatch, match="subject"):
        await client.enroll(client.csr(subject))


async def test_nor_an_alternative_one(client: Client) -> None:
    """Unless its account or the profile has it, see below."""
    with pytest.raises(CSRMismatch, match="alternative name"):
        await client.enroll(client.csr(None, "www.example.com"))


@pytest.mark.requirement("ESTS-22")
async def test_an_account_may_have_names_of_its_own(tmp_path: Path) -> None:
    """All of them, asked for or not, in whatever order, and no others."""
    names = ("gw.example.com", "gw2.example.com")
    accounts = written(tmp_path, account(dns_names=names, subject_text="CN=Gateway 7,O=Example"))
    async with make_world(tmp_path, profile=NAMED, accounts=accounts) as world:
        client, subject = Client(world), x509.Name.from_rfc4514_string("CN=Gateway 7,O=Example")
        for asked in ((), names, names[::-1]):
            issued = await client.enroll(client.csr(subject, *asked))
            assert issued.subject == subject
            assert names_in(issued) == [*names]
        for others in (names[:1], (*names, "gw3.example.com"), (*names, names[0])):
            with pytest.raises(CSRMismatch, match="alternative name"):
                await client.enroll(client.csr(subject, *others))
        with pytest.raises(CSRMismatch, match="subject"):
            await client.enroll(client.csr())


async def test_the_profiles_name_is_made_of_the_accounts(tmp_path: Path) -> None:
    """Beside its own; a user name that is no label gets nothing there."""
    profile = EnrollmentProfile(dns_name="{serial_number}.clients.example.com")
    accounts = written(
        tmp_path, account(dns_names=("gw.example.com",)), account("gate.way", "password")
    )
    async with make_world(tmp_path, profile=profile, accounts=accounts) as world:
        client = Client(world)
        issued = await client.enroll()
        assert names_in(issued) == ["gateway.clients.example.com", "gw.example.com"]
        with pytest.raises(CSRMismatch, match="no label"):
            await client.enroll(client.csr(common_name("gate.way")), basic("gate.way", "password"))


@pytest.mark.requirement("ESTS-22")
@pytest.mark.parametrize(
    "named",
    [
        account(dns_names=("sn-1.devices.example.com",)),
        account("SN-1.devices.example.com"),
        account(subject_text="CN=sn-1.devices.example.com"),
    ],
    ids=str,
)
async def test_an_account_has_no_name_of_a_device(tmp_path: Path, named: Account) -> None:
    """Though an operator wrote it: the domain is the devices', which prove whose number it is."""
    accounts = written(tmp_path, named)
    domains = frozenset(["devices.example.com"])
    async with make_world(tmp_path, accounts=accounts, device_domains=domains) as world:
        client = Client(world)
        with pytest.raises(CSRMismatch, match="is a device's"):
            await client.enroll(client.csr(named.subject), basic(named.name))
    async with make_world(tmp_path, profile=NAMED, accounts=accounts) as world:
        client = Client(world)
        assert await client.enroll(client.csr(named.subject), basic(named.name))


@pytest.mark.requirement("ESTS-6")
@pytest.mark.parametrize(
    "said",
    [
        basic(password="wrong"),
        basic("nobody"),
        basic("Gateway"),
        "Basic !",
        "Basic",
        "Bearer x",
        "",
    ],
)
async def test_who_is_not_known_is_asked_for_a_password(world: World, said: str) -> None:
    """And gets nothing."""
    csr, connection = Client(world).csr(), world.connection([], authorization=said)
    with pytest.raises(PasswordNeeded):
        await world.enrolling.enroll(csr, connection)
    assert await world.journal.active_certificate(GATEWAY) is None
    line = (await world.journal.events())[-1]
    assert (line.kind, line.outcome) == (EventKind.ENROLL, Outcome.REFUSED)
    text = f"{line.reason} {line.details} {line.asserted_serial_number}"
    assert "wrong" not in text.replace("password is wrong", "")
    assert "nobody" not in text


async def test_a_wrong_password_is_a_claim_of_its_account(world: World, client: Client) -> None:
    """explain shows it; a name that is no account's stands nowhere: it may be a password."""
    with pytest.raises(PasswordNeeded):
        await client.enroll(said=basic(password="wrong"))
    line = (await world.journal.events())[-1]
    assert (line.device, line.asserted_serial_number) == (None, "gateway")


async def test_two_headers_are_nobody(world: World, client: Client) -> None:
    """Which of them a proxy in front had seen, nobody could tell."""
    shown = world.connection([], authorization=basic())
    twice = type(shown)(
        peer_chain=(),
        registrar_certificate=shown.registrar_certificate,
        authorization=(basic(), basic()),
    )
    with pytest.raises(PasswordNeeded, match="more than one"):
        await world.enrolling.enroll(client.csr(), twice)


async def test_a_certificate_of_ones_own_does_not_harm(world: World, client: Client) -> None:
    """The password counts: the key at the other end is nobody's."""
    stranger = pki.make_idevid(pki.make_pki("Nobody"), "gateway")
    connection = world.connection([stranger.certificate], authorization=basic())
    answer = await world.enrolling.enroll(client.csr(), connection)
    assert isinstance(answer, bytes)


async def test_where_no_passwords_are_taken_nobody_is_asked(tmp_path: Path) -> None:
    """403, as ever: the right password is none there."""
    async with make_world(tmp_path, profile=NAMED) as world:
        connection = world.connection([], authorization=basic())
        with pytest.raises(NotAuthenticated) as caught:
            await world.enrolling.enroll(Client(world).csr(), connection)
        assert type(caught.value) is NotAuthenticated


# -- one certificate for each account, and its end


async def test_the_next_certificate_supersedes_the_one_before(world: World, client: Client) -> None:
    """And a person is told, if it has another key: two may know the password."""
    first = await client.enroll()
    csr = client.csr()
    assert await client.enroll(csr) == await client.enroll(csr)  # the same request
    client.key = pki.KeySigner(pki.make_key())
    second = await client.enroll()
    assert await state(world, first) == "superseded"
    assert await state(world, second) == "active"
    alarms = await world.journal.events(kind=EventKind.ALARM)
    assert [event.details["signal"] for event in alarms] == [Signal.LDEVID_REPLACED]
    assert alarms[0].device == GATEWAY


@pytest.mark.requirement("ESTS-6", "ESTS-8")
async def test_it_is_renewed_over_itself(world: World, client: Client) -> None:
    """RFC 7030 §4.2.2: without a password, with the same key or another."""
    first = await client.enroll()
    second = await client.renew(first)
    assert second.subject == first.subject
    assert spki_of(second) == spki_of(first)
    assert await state(world, first) == "superseded"
    client.key = pki.KeySigner(pki.make_key())
    third = await client.renew(second)
    assert spki_of(third) != spki_of(first)
    with pytest.raises(CSRMismatch):
        await client.renew(third, client.csr(common_name("other")))
    stranger = pki.make_idevid(pki.make_pki("Nobody"), "gateway")
    with pytest.raises(NotAuthenticated, match="no LDevID"):
        await client.renew(stranger.certificate)


async def test_a_password_alone_renews_nothing(world: World, client: Client) -> None:
    """What is to be renewed has to be shown."""
    await client.enroll()
    connection = world.connection([], authorization=basic())
    with pytest.raises(NotAuthenticated, match="no certificate"):
        await world.renewing.reenroll(client.csr(), connection)


async def test_without_an_account_nothing_is_renewed(
    world: World, client: Client, tmp_path: Path
) -> None:
    """Nor given again; and a file that cannot be used is nobody's account."""
    first = await client.enroll()
    csr = client.csr()
    second = await client.renew(first, csr)
    assert await client.renew(first, csr) == second  # a lost answer
    accounts = written(tmp_path, account("other"))
    for certificate in (first, second):
        with pytest.raises(NotAuthenticated, match="account was removed"):
            await client.renew(certificate, csr)
    accounts.chmod(0o644)
    with pytest.raises(StateError):
        await client.renew(second)


@pytest.mark.requirement("ESTS-22")
async def test_a_name_that_the_account_has_lost_is_not_renewed(tmp_path: Path) -> None:
    """A change to what it has today is, where the profile lets names change."""
    accounts = written(tmp_path, account(dns_names=("old.example.com",)))
    async with make_world(tmp_path, profile=NAMED, accounts=accounts) as world:
        client = Client(world)
        first = await client.enroll()
        assert names_in(first) == ["old.example.com"]
        written(tmp_path, account(dns_names=("new.example.com",)))
        with pytest.raises(CSRMismatch, match=r"old\.example\.com, the client .* new\.example"):
            await client.renew(first, client.csr(None, "old.example.com"))
        change = ChangeSubjectName(
            subject=None, alternative_name=alternative("new.example.com").public_bytes()
        )
        old = est.extension(est.SAN_OID, alternative("old.example.com").public_bytes())
        csr = est.raw_csr(
            pki.make_key(),
            subject=common_name("gateway").public_bytes(),
            attributes=[
                est.attribute(ID_CMC_CHANGE_SUBJECT_NAME, encode_change_subject_name(change)),
                est.attribute(est.EXTENSION_REQUEST, est.extensions(old)),
            ],
        )
        assert names_in(await client.renew(first, csr)) == ["new.example.com"]


async def test_an_account_that_changes_meanwhile_gets_nothing(
    world: World, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is looked at once more right before the signature."""
    await client.enroll()  # the password is remembered now

    def changing(*given: Any, **more: Any) -> GrantedNames:
        written(tmp_path, account(dns_names=("new.example.com",)))
        return judge_csr(*given, **more)

    monkeypatch.setattr("registrar_plugin.est_server.enrolling.judge_csr", changing)
    with pytest.raises(NotAuthenticated, match="changed meanwhile"):
        await client.enroll()


async def revoke(world: World) -> int:
    revocation = Revocation(
        device=GATEWAY, at=world.clock(), reason=Reason.KEY_COMPROMISE, by="a person"
    )
    event = Event(at=world.clock(), kind=EventKind.REVOCATION, device=GATEWAY)
    return await SQLiteWithdrawals(world.journal.writer).revoke(revocation, event)


async def test_revoked_certificates_renew_nothing(world: World, client: Client) -> None:
    """The account gets another one for another request: it stands until it is removed."""
    csr = client.csr()
    first = await client.enroll(csr)
    assert await revoke(world) == 1
    stands = await SQLiteWithdrawals(world.journal.writer).of(GATEWAY)
    assert stands is not None
    assert stands.reason is Reason.KEY_COMPROMISE
    with pytest.raises(NotAuthenticated, match="revoked"):
        await client.renew(first)
    client.key = pki.KeySigner(pki.make_key())
    second = await client.enroll()
    assert await state(world, second) == "active"
    assert await state(world, first) == "revoked"


async def test_an_intent_is_completed_at_the_next_start(tmp_path: Path) -> None:
    """A CA that decides later issues to a client as to a device; a revocation ends its intent."""
    accounts = written(tmp_path)
    ca = PendingCA(pki.make_pki("Owner", not_after=pki.NOT_AFTER).signer, tmp_path / "ca")
    async with make_world(tmp_path, ca=ca, accounts=accounts) as world:
        connection = world.connection([], authorization=basic())
        csr = Client(world).csr()
        assert isinstance(await world.enrolling.enroll(csr, connection), Pending)
        await revoke(world)
        with pytest.raises(LDevIDRevoked):
            await world.enrolling.enroll(csr, connection)
        other = Client(world).csr()
        assert isinstance(await world.enrolling.enroll(other, connection), Pending)
    ca.approve()
    async with make_world(tmp_path, ca=ca, accounts=accounts) as world:
        active = await world.journal.active_certificate(GATEWAY)
        assert active is not None
        assert active.csr_digest == hashlib.sha256(other).digest()


# -- devices and clients are apart


async def test_a_devices_key_is_never_a_clients(world: World, client: Client) -> None:
    """Neither its IDevID's nor its LDevID's, superseded ones included."""
    device, key = world.make_device(), pki.KeySigner(pki.make_key())
    await world.voucher(device)
    client.key = pki.KeySigner(device.entity.private_key)
    with pytest.raises(CSRMismatch, match="another client's or device's"):
        await client.enroll()
    await world.accept(device)
    await world.enroll(device, key)
    client.key = key
    with pytest.raises(CSRMismatch, match="another client's or device's"):
        await client.enroll()
    await world.enroll(device)
    with pytest.raises(CSRMismatch, match="another client's or device's"):
        await client.enroll()
    client.key = pki.KeySigner(pki.make_key())
    first = await client.enroll()
    client.key = key
    with pytest.raises(CSRMismatch, match="another client's or device's"):
        await client.renew(first)


async def test_a_clients_key_is_never_a_devices(world: World, client: Client) -> None:
    """At its enrollment and its renewal; nor is it another client's."""
    await client.enroll()
    taken = client.key
    device = world.make_device()
    ldevid = await world.onboard(device)
    with pytest.raises(CSRMismatch, match="another client's or device's"):
        await world.enroll(device, taken)
    with pytest.raises(CSRMismatch, match="another client's or device's"):
        await world.reenroll(device, ldevid, world.csr(device, taken))


async def test_one_clients_key_is_not_anothers(tmp_path: Path) -> None:
    """The one that had it first keeps it, renews with it, and enrolls with it again."""
    accounts = written(tmp_path, account(), account("other", "other password"))
    async with make_world(tmp_path, accounts=accounts) as world:
        client = Client(world)
        first = await client.enroll()
        with pytest.raises(CSRMismatch, match="another client's or device's"):
            await client.enroll(client.csr(common_name("other")), basic("other", "other password"))
        second = await client.enroll()
        assert spki_of(await client.renew(second)) == spki_of(first)


async def test_a_client_of_a_devices_name_is_another(tmp_path: Path) -> None:
    """Its certificate neither replaces the device's nor speaks for it."""
    accounts = written(tmp_path, account("SN-1"))
    async with make_world(tmp_path, accounts=accounts) as world:
        device, client = world.make_device("SN-1"), Client(world)
        ldevid = await world.onboard(device)
        issued = await client.enroll(client.csr(common_name("SN-1")), basic("SN-1"))
        assert await state(world, ldevid) == "active"
        assert issued.subject != ldevid.subject
        with pytest.raises(CSRMismatch, match="subject"):
            await client.enroll(client.csr(ldevid.subject), basic("SN-1"))
        with pytest.raises(CSRMismatch, match="subject"):
            await client.renew(issued, client.csr(ldevid.subject))
        await revoke(world)
        assert await state(world, ldevid) == "active"
        assert len(await world.journal.devices("SN-1")) == 1


async def test_a_device_is_a_device_whatever_it_says(world: World, client: Client) -> None:
    """Its key has been recognised first; a password changes nothing, a wrong one neither."""
    device = world.make_device()
    await world.voucher(device)
    await world.accept(device)
    for said in (basic(), basic(password="wrong")):
        connection = world.connection(device.shown, authorization=said)
        with pytest.raises(CSRMismatch, match="subject"):
            await world.enrolling.enroll(client.csr(), connection)
        assert await world.enrolling.enroll(world.csr(device), connection)


async def test_a_key_is_made_for_a_client_too(world: World) -> None:
    """serverkeygen, RFC 7030 §4.4: its certificate has the account's name."""
    connection = world.connection([], authorization=basic())
    answer = await world.est.desk("").generating.generate(Client(world).csr(), connection)  # type: ignore[union-attr]  # the default desk is there
    (issued,) = decode_certs_only(answer.certificate)
    assert issued.subject == common_name("gateway")
    was = await world.journal.active_certificate(GATEWAY)
    assert was is not None
    why = await SQLiteIssuances(world.journal.writer).of_request(GATEWAY, was.csr_digest)
    assert (why.enrollee, why.key_made_here) == (PASSWORD, True)
