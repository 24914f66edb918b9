"""Two owners with a registrar each, two manufacturers that number devices alike, one MASA, and
whoever comes: honest devices, clones, strangers. Everything in memory but the journals.

What happened really is kept beside, so that :mod:`tests.kit.invariants` can hold it against what
the journals say and what pledges hold. The decisions and flows are the real ones, the pledge's too.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from cryptography import x509

from brski.errors import LocalError, OnboardingError
from brski.est.certs_only import decode_certs_only
from brski.est.csr import build_csr
from brski.pki.keys import certificate_der
from brski.pki.names import ldevid_subject
from brski.registry import VOUCHER_CMS_JSON
from brski.telemetry.status import Status
from brski.voucher.cms import CMS
from device_client.pledge.judging import judge_voucher
from device_client.pledge.messages import build_voucher_request
from device_client.pledge.policy import Pledge
from registrar_plugin.ca_backend.port import Pending
from registrar_plugin.connection import PledgeConnection
from registrar_plugin.pledge_facing.error_responses import BRSKI_STATUS, EST_STATUS
from registrar_plugin.store.port import IssuedCertificate
from registrar_plugin.telemetry.events import Outcome
from tests.kit import pki
from tests.kit.town_ground import Ground
from tests.kit.townspeople import Party
from tests.kit.world import World

T = TypeVar("T")


class Town(Ground):
    """Everybody, and what they do."""

    async def attempt(
        self, number: int, step: Callable[[World], Awaitable[T]], statuses: Any = BRSKI_STATUS
    ) -> T | None:
        """One request at a gate. A refusal is journalled with its code before it is told (I8), has
        a status, and is no fault of ours (I5).
        """
        gate = self.gates[number]
        world = gate.open
        before = len(await world.journal.events(limit=100_000))
        try:
            return await step(world)
        except OnboardingError as err:
            refusal = err
        self.said.append(str(refusal))
        assert any(kind in statuses for kind in type(refusal).__mro__), f"I5: {refusal!r}"
        assert not isinstance(refusal, LocalError), f"I5: our own fault: {refusal!r}"
        new = (await world.journal.events(limit=100_000))[before:]
        codes = {event.code for event in new if event.outcome is Outcome.REFUSED}
        assert codes & _codes(refusal), f"I8: {refusal.code} is not in the journal"
        return None

    def connection(self, number: int, chain: tuple[x509.Certificate, ...]) -> PledgeConnection:
        return PledgeConnection(
            peer_chain=chain,
            registrar_certificate=self.gates[number].certificate,
            address="192.0.2.7",
        )

    def pledge_of(self, party: Party) -> Pledge:
        return Pledge(
            serial_number=party.device.serial_number,
            idevid_issuer=party.device.issuer,
            signer=party.pledge_key,
            idevid_chain=party.device.shown if party.device.carried else (),
            voucher_anchors=(self.masa_root,),
            serialization=CMS,
        )

    async def ask(
        self, party: Party, number: int, *, nonce: bytes | None, times: int = 1, lost: bool = False
    ) -> None:
        """requestvoucher, *times* at once; a new request with *nonce*, else the last one again."""
        if nonce is not None or number not in party.requests:
            party.requests[number] = build_voucher_request(
                self.pledge_of(party),
                registrar_certificate=self.gates[number].certificate,
                nonce=nonce or bytes(16),
                created_on=None,
            )
        await self.post(party, number, party.requests[number][1], times=times, lost=lost)

    async def post(
        self, party: Party, number: int, body: bytes, *, times: int = 1, lost: bool = False
    ) -> None:
        connection = self.connection(number, party.device.shown)

        def one() -> Awaitable[Any]:
            return self.attempt(
                number, lambda w: w.registrar.request_voucher(body, VOUCHER_CMS_JSON, connection)
            )

        answers = await asyncio.gather(*(one() for _ in range(times)))
        got = {answer.body for answer in answers if answer and not isinstance(answer, Pending)}
        assert len(got) <= 1, "one request, one voucher"
        for voucher in got:
            assert party.is_genuine, f"I1: a voucher for {party.name}"
            assert not self.is_revoked(party), "I1: a voucher for a revoked device"
            if not lost:
                party.vouchers[number] = voucher

    async def judge(self, party: Party, number: int) -> None:
        """The pledge judges what it holds, and tells the registrar, truly."""
        voucher, asked = party.vouchers.get(number), party.requests.get(number)
        if voucher is None or asked is None:
            return
        chain = self.gates[number].domain[1].chain[:-1]
        try:
            accepted = judge_voucher(
                voucher,
                pledge=self.pledge_of(party),
                request=asked[0],
                registrar_chain=chain,
                now=None,
            )
        except OnboardingError as refusal:
            self.said.append(str(refusal))
            party.pinned.pop(number, None)
            await self.report(party, number, accepted=False)
            return
        party.pinned[number] = (voucher, asked[0], accepted.pin)
        await self.report(party, number, accepted=True)

    async def report(self, party: Party, number: int, *, accepted: bool) -> None:
        connection = self.connection(number, party.device.shown)
        status = Status(status=accepted, reason=None if accepted else "no")
        await self.attempt(number, lambda w: w.registrar.voucher_status(status, connection))
        await asyncio.sleep(0)

    async def enroll(
        self, party: Party, number: int, *, again: bool, times: int = 1, lost: bool = False
    ) -> None:
        """simpleenroll, *times* at once; with the last CSR, or with a new key."""
        if not (again and number in party.csrs):
            key = pki.make_key()
            self.keep_secret(key)
            subject = ldevid_subject(party.device.serial_number, party.device.issuer)
            party.csrs[number] = build_csr(pki.KeySigner(key), subject)
        connection, csr = self.connection(number, party.device.shown), party.csrs[number]

        def one() -> Awaitable[Any]:
            return self.attempt(number, lambda w: w.enrolling.enroll(csr, connection), EST_STATUS)

        answers = await asyncio.gather(*(one() for _ in range(times)))
        if any(isinstance(answer, bytes) for answer in answers):
            stands = await self.gates[number].open.journal.onboarding(party.device.key)
            assert stands is not None, "I1: an LDevID without an onboarding"
            assert stands.voucher is not None, "I1: an LDevID without a voucher"
            assert stands.voucher_status, "I1: an LDevID whose voucher was not accepted"
            assert stands.audit_verdict, "I1: an LDevID without a good audit log"
        self._take(party, number, answers, lost=lost)

    async def renew(self, party: Party, place: int, *, lost: bool = False) -> None:
        """simplereenroll over one of the LDevIDs that the party has ever held."""
        if not party.ldevids:
            return
        number, held = party.ldevids[place % len(party.ldevids)]
        key = pki.make_key()
        self.keep_secret(key)
        csr = build_csr(pki.KeySigner(key), held.subject)
        was_active = await self._state(number, held) == "active"
        connection = self.connection(number, (held,))
        answer = await self.attempt(
            number, lambda w: w.renewing.reenroll(csr, connection), EST_STATUS
        )
        assert answer is None or was_active, "I3: an LDevID that is not active was renewed"
        self._take(party, number, [answer], lost=lost)

    def _take(self, party: Party, number: int, answers: list[Any], *, lost: bool) -> None:
        got = {answer for answer in answers if isinstance(answer, bytes)}
        assert len(got) <= 1, "one request, one certificate"
        for answer in got:
            assert party.is_genuine, f"I1: an LDevID for {party.name}"
            assert not self.is_revoked(party), "I1: an LDevID for a revoked device"
            if not lost:
                party.ldevids.append((number, decode_certs_only(answer)[0]))

    async def enrolled(self, party: Party, place: int) -> None:
        """enrollstatus over one of the LDevIDs that the party has ever held."""
        if not party.ldevids:
            return
        number, held = party.ldevids[place % len(party.ldevids)]
        was_active = await self._state(number, held) == "active"
        connection = self.connection(number, (held,))
        done = await self.attempt(number, lambda w: _said(w, connection))
        assert done is None or was_active, "I3: an LDevID that is not active was believed"

    async def _state(self, number: int, held: x509.Certificate) -> str:
        digest = hashlib.sha256(certificate_der(held)).digest()
        found = await self.gates[number].open.journal.certificate_by_digest(digest)
        assert isinstance(found, IssuedCertificate), "I4: a certificate that is not on record"
        return found.state


def _codes(refusal: OnboardingError) -> set[str]:
    """How the journal may name it: as it is told, or by the fault that brought it about."""
    cause = refusal.__cause__
    return {refusal.code, *([cause.code] if isinstance(cause, OnboardingError) else [])}


async def _said(world: World, connection: PledgeConnection) -> bool:
    await world.reports.enroll_status(Status(status=True), connection)
    return True
