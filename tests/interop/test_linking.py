"""Proof of possession linked to the connection, where the client's end is OpenSSL's or GnuTLS's.

The binding, the connection and the certificate request are all of programs that are not ours:
``gnutls-cli`` and ``openssl s_client`` tell what binds, ``openssl req`` puts it into the
challengePassword (RFC 7030 §3.5; RFC 5929 §3; RFC 9266).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from brski.est.certs_only import decode_certs_only
from brski.est.csr_attributes import Announcement
from brski.est.requirements import P256, CSRRequirements
from registrar_plugin.enrollment.profile import EnrollmentProfile
from registrar_plugin.telemetry.events import Event, Outcome
from tests.kit import pki, talkers
from tests.kit.openssl import OpenSSL
from tests.kit.pending_ca import PendingCA
from tests.kit.talkers import Talker
from tests.kit.world import Device, World, make_world
from tests.kit.world_site import Reply, Site, est_site

LINKED = EnrollmentProfile(requirements=CSRRequirements(keys=(P256,), challenge_password=True))
NAMES = {"1.2": "tls-unique", "1.3": "tls-exporter"}

Opener = Callable[..., AbstractAsyncContextManager[Talker]]
CLIENTS: dict[str, Opener] = {"openssl": talkers.openssl, "gnutls": talkers.gnutls}

both_versions = pytest.mark.parametrize("version", ["1.2", "1.3"])
both_clients = pytest.mark.parametrize("client", CLIENTS)


def binding_of(talker: Talker) -> bytes:
    """What RFC 7030 and RFC 9266 want of this connection."""
    return talker.exporter if talker.tls_unique is None else talker.tls_unique


@dataclass(frozen=True, slots=True, kw_only=True)
class Applicant:
    """A device with a site to enroll at, one operation and the credentials for it."""

    world: World
    site: Site
    device: Device
    operation: str
    credentials: tuple[str, ...]

    async def csr(self, challenge_password: str | None) -> bytes:
        """A request of ``openssl req`` with a new key, in base64."""
        folder, device = self.site.folder, self.device
        qualifier = hashlib.sha256(device.issuer).hexdigest()[:16]
        attributes = "" if challenge_password is None else "attributes = more\n"
        (folder / "req.cnf").write_text(
            f"[req]\nprompt = no\ndistinguished_name = dn\n{attributes}"
            f"[dn]\nserialNumber = {device.serial_number}\ndnQualifier = {qualifier}\n"
            f"[more]\nchallengePassword = {challenge_password}\n"
        )
        csr = await OpenSSL(folder)(
            *("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", "new.key", "-config", "req.cnf", "-outform", "DER"),
        )
        return base64.b64encode(csr)

    async def post(self, talker: Talker, binding: bytes | str | None) -> Reply:
        """A request with *binding*, base64 if it is octets, over the talker's connection."""
        text = base64.b64encode(binding).decode() if isinstance(binding, bytes) else binding
        return await talker.post(self.operation, await self.csr(text))

    async def is_refused(self, talker: Talker, binding: bytes | str | None, *words: str) -> None:
        """400 with one line that has all *words*; the journal has the same line."""
        before = await self.world.journal.active_certificate(self.device.key)
        reply = await self.post(talker, binding)
        assert reply.status == 400, reply.body
        assert reply.headers["content-type"] == "text/plain; charset=utf-8"
        (line,) = reply.body.decode().splitlines()
        assert [word for word in words if word not in line] == [], line
        refusal = (await self.refusals())[-1]
        assert (refusal.reason, refusal.code) == (line, "csr-mismatch")
        assert refusal.device == self.device.key
        assert await self.world.journal.active_certificate(self.device.key) == before

    async def is_given(self, talker: Talker, binding: bytes | str | None) -> x509.Certificate:
        """200, and the certificate is of the request's key and the active one."""
        reply = await self.post(talker, binding)
        assert reply.status == 200, reply.body
        (issued,) = decode_certs_only(reply.der)
        folder = self.site.folder
        (folder / "new.crt").write_bytes(issued.public_bytes(Encoding.PEM))
        openssl = OpenSSL(folder)
        certified = await openssl("x509", "-in", "new.crt", "-noout", "-pubkey")
        assert certified == await openssl("pkey", "-in", "new.key", "-pubout")
        active = await self.world.journal.active_certificate(self.device.key)
        assert active is not None
        assert active.certificate == issued.public_bytes(Encoding.DER)
        return issued

    async def refusals(self) -> list[Event]:
        return [e for e in await self.world.journal.events() if e.outcome is Outcome.REFUSED]


@asynccontextmanager
async def applicant(
    folder: Path,
    profile: EnrollmentProfile,
    operation: str = "/simpleenroll",
    ca: PendingCA | None = None,
) -> AsyncIterator[Applicant]:
    """A device that has accepted its voucher; for a renewal it has got its LDevID, too."""
    async with (
        make_world(folder, profile=profile, ca=ca) as world,
        est_site(world, folder) as site,
    ):
        device = world.make_device()
        await world.voucher(device)
        await world.accept(device)
        shown = site.credentials(device.shown, device.entity.private_key)
        there = Applicant(
            world=world, site=site, device=device, operation="/simpleenroll", credentials=shown
        )
        if operation == "/simpleenroll":
            yield there
            return
        async with talkers.gnutls(site, "1.3", *shown) as first:
            ldevid = await there.is_given(first, first.exporter)
        (folder / "ldevid.pem").write_bytes(ldevid.public_bytes(Encoding.PEM))
        (folder / "new.key").rename(folder / "ldevid.key")
        yield Applicant(
            world=world,
            site=site,
            device=device,
            operation=operation,
            credentials=("--cert", "ldevid.pem", "--key", "ldevid.key"),
        )


@pytest.mark.requirement("ESTS-6", "ESTS-20")
@both_clients
@both_versions
@pytest.mark.parametrize("operation", ["/simpleenroll", "/simplereenroll"])
async def test_a_request_is_for_its_connection(
    tmp_path: Path, operation: str, version: str, client: str
) -> None:
    """None where one is wanted, another connection's, its own over the other: refused; then 200."""
    async with applicant(tmp_path, LINKED, operation) as device:
        open_ = CLIENTS[client]
        async with (
            open_(device.site, version, *device.credentials) as talker,
            open_(device.site, version, *device.credentials) as other,
        ):
            assert binding_of(talker) != binding_of(other)
            name = NAMES[version]
            await device.is_refused(talker, None, "has no challengePassword", name, "RFC 7030 §3.5")
            await device.is_refused(
                *(talker, binding_of(other)),
                *(f"not the {name} of this TLS {version} connection", "of another connection"),
            )
            await device.is_given(talker, binding_of(talker))


@pytest.mark.requirement("ESTS-6", "ESTS-20")
@both_versions
@pytest.mark.parametrize("operation", ["/simpleenroll", "/simplereenroll"])
async def test_a_request_that_comes_again_is_for_its_connection_still(
    tmp_path: Path, operation: str, version: str
) -> None:
    """The same octets: the same certificate over the same connection, nothing over another."""
    async with (
        applicant(tmp_path, LINKED, operation) as device,
        talkers.gnutls(device.site, version, *device.credentials) as talker,
        talkers.gnutls(device.site, version, *device.credentials) as other,
    ):
        csr = await device.csr(base64.b64encode(binding_of(talker)).decode())
        answers = [await talker.post(operation, csr) for _ in range(2)]
        assert [reply.status for reply in answers] == [200, 200]
        assert answers[0].body == answers[1].body
        refused = await other.post(operation, csr)
        assert refused.status == 400
        assert b"of another connection" in refused.body


@pytest.mark.requirement("ESTS-10", "ESTS-20")
@both_versions
async def test_a_slow_ca_is_waited_for_on_the_connection(tmp_path: Path, version: str) -> None:
    """202, then the same octets over the same connection: the certificate. Over another they are
    refused; there a client makes a new request (RFC 7030 §4.2.3).
    """
    ca = PendingCA(pki.make_pki("Slow Owner", not_after=pki.NOT_AFTER).signer, tmp_path / "ca")
    async with (
        applicant(tmp_path, LINKED, ca=ca) as device,
        talkers.gnutls(device.site, version, *device.credentials) as talker,
        talkers.gnutls(device.site, version, *device.credentials) as other,
    ):
        csr = await device.csr(base64.b64encode(binding_of(talker)).decode())
        answer = await talker.post(device.operation, csr)
        assert (answer.status, answer.headers["retry-after"]) == (202, "7")
        ca.approve()
        assert (await other.post(device.operation, csr)).status == 400
        assert (await talker.post(device.operation, csr)).status == 200


@pytest.mark.requirement("ESTS-6", "ESTS-20")
@both_clients
@both_versions
async def test_what_is_not_wanted_is_checked_where_it_is_sent(
    tmp_path: Path, version: str, client: str
) -> None:
    """A profile that does not want the attribute: without it 200, with a wrong one refused."""
    async with (
        applicant(tmp_path, EnrollmentProfile()) as device,
        CLIENTS[client](device.site, version, *device.credentials) as talker,
    ):
        await device.is_refused(talker, bytes(len(binding_of(talker))), "another value")
        await device.is_given(talker, None)
        await device.is_given(talker, binding_of(talker))


@pytest.mark.requirement("ESTS-20")
async def test_tls_1_3_has_no_tls_unique(tmp_path: Path) -> None:
    """GnuTLS says so; what OpenSSL's client sent as its Finished there binds to nothing."""
    async with (
        applicant(tmp_path, LINKED) as device,
        talkers.gnutls(device.site, "1.3", *device.credentials) as talker,
    ):
        assert talker.tls_unique is None
        async with talkers.openssl(device.site, "1.3", *device.credentials) as talker:
            finished = talker.finished
            assert len(finished) == 48  # of SHA-384; TLS 1.2 has 12 octets always
            await device.is_refused(talker, finished, "not the tls-exporter", "48 octets")
            await device.is_refused(
                *(talker, finished[:12], "not the tls-exporter of this TLS 1.3 connection"),
                *("12 octets, as tls-unique has, which is of TLS 1.2",),
            )
            await device.is_given(talker, talker.exporter)


@pytest.mark.requirement("ESTS-20")
@both_clients
async def test_tls_1_2_is_bound_by_tls_unique_alone(tmp_path: Path, client: str) -> None:
    """RFC 7030 says tls-unique; the exporter, which TLS 1.2 has as well, is not taken instead."""
    async with (
        applicant(tmp_path, LINKED) as device,
        CLIENTS[client](device.site, "1.2", *device.credentials) as talker,
    ):
        await device.is_refused(
            *(talker, talker.exporter, "not the tls-unique of this TLS 1.2 connection"),
            *("32 octets, as tls-exporter has, which is of TLS 1.3",),
        )
        assert talker.tls_unique is not None
        await device.is_given(talker, talker.tls_unique)


@both_versions
async def test_the_reason_says_how_it_was_written_wrong(tmp_path: Path, version: str) -> None:
    """The right octets in another spelling, or none at all; the value itself is never repeated."""
    async with (
        applicant(tmp_path, LINKED) as device,
        talkers.gnutls(device.site, version, *device.credentials) as talker,
    ):
        binding, name = binding_of(talker), NAMES[version]
        await device.is_refused(talker, binding.hex(), f"{name} in hexadecimal")
        text = base64.b64encode(binding).decode()
        await device.is_refused(
            talker, f"{text[:8]} {text[8:]}", f"{name} in base64 of another spelling"
        )
        await device.is_refused(talker, "correct horse: battery staple", "no base64")
        assert "horse" not in repr(await device.refusals())
        await device.is_given(talker, binding)


@pytest.mark.requirement("ESTS-20")
@both_versions
async def test_no_session_is_resumed_under_an_old_binding(tmp_path: Path, version: str) -> None:
    """OpenSSL offers to resume: it gets a new handshake and with it a new binding.

    On TLS 1.2 it is given nothing that it could offer; on 1.3 OpenSSL's server sends tickets that
    it does not know when they come back.
    """
    async with applicant(tmp_path, LINKED) as device:
        kept = ("-sess_out", "session.pem")
        async with talkers.openssl(device.site, version, *device.credentials, more=kept) as first:
            was = binding_of(first)
            await device.is_refused(first, None, "has no challengePassword")
        again = ("-sess_in", "session.pem") if (tmp_path / "session.pem").exists() else ()
        assert bool(again) == (version == "1.3")
        async with talkers.openssl(device.site, version, *device.credentials, more=again) as second:
            assert second.shown().count("CertificateVerify") == (1 if version == "1.2" else 2)
            assert binding_of(second) != was
            await device.is_refused(second, was, "of another connection")
            await device.is_given(second, binding_of(second))


@pytest.mark.requirement("ESTS-20")
async def test_no_renegotiation_puts_another_finished_first(tmp_path: Path) -> None:
    """RFC 5929 §3 speaks of the most recent handshake; there is one. Whoever asks for another is
    refused it, and OpenSSL's client ends.
    """
    async with (
        applicant(tmp_path, LINKED) as device,
        talkers.openssl(device.site, "1.2", *device.credentials) as talker,
    ):
        await device.is_refused(talker, bytes(12), "another value")
        await talker.write(b"R\n")
        said = await talker.ends()
        assert b"RENEGOTIATING" in said
        assert b"no renegotiation" in said
        assert talker.shown().count("Finished") == 2  # one of each side


@pytest.mark.requirement("ESTS-20")
async def test_new_traffic_keys_leave_the_binding(tmp_path: Path) -> None:
    """A KeyUpdate, of both sides, is no new handshake (RFC 8446 §4.6.3, §7.5)."""
    async with (
        applicant(tmp_path, LINKED) as device,
        talkers.openssl(device.site, "1.3", *device.credentials) as talker,
    ):
        await device.is_refused(talker, None, "has no challengePassword")
        await talker.write(b"K\n")
        await device.is_given(talker, talker.exporter)
        assert talker.shown().count("KeyUpdate") == 2


@pytest.mark.requirement("ESTS-20")
async def test_a_client_without_extended_master_secret(tmp_path: Path) -> None:
    """tls-unique is its, too: where nothing is resumed RFC 7627 §1 has no attack on it."""
    async with (
        applicant(tmp_path, LINKED) as device,
        talkers.gnutls(device.site, "1.2:%NO_SESSION_HASH", *device.credentials) as talker,
    ):
        assert b"extended master secret" not in talker.handshake
        assert talker.tls_unique is not None
        await device.is_refused(talker, talker.tls_unique[::-1], "of another connection")
        await device.is_given(talker, talker.tls_unique)


@pytest.mark.requirement("ESTS-13")
@pytest.mark.parametrize("form", [Announcement.LIST, Announcement.TEMPLATE, Announcement.BOTH])
async def test_openssl_sees_that_linking_is_wanted(tmp_path: Path, form: Announcement) -> None:
    """csrattrs of a profile that wants it has the OID of challengePassword, of another it has not.

    RFC 7030 §4.5.2; in a template it is an attribute (RFC 9908 §3.4).
    """
    plain = EnrollmentProfile(announcement=form)
    linked = EnrollmentProfile(requirements=LINKED.requirements, announcement=form)
    for profile, wanted in ((linked, True), (plain, False)):
        async with applicant(tmp_path, profile) as device:
            reply = await device.site.curl("/csrattrs")
            (tmp_path / "csrattrs").write_bytes(reply.der)
            shown = await OpenSSL(tmp_path)("asn1parse", "-inform", "DER", "-in", "csrattrs")
            assert (b":challengePassword" in shown) == wanted
