"""One desk at which a registrar, a MASA and a pledge each get a message from a stranger."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509

from brski.edge.web_errors import status_of
from brski.errors import OnboardingError, PeerError, Refused
from brski.pki.effort import VERIFICATIONS_LIMIT, counted
from brski.registry import VOUCHER_CMS_JSON
from brski.voucher.cms import CMS
from brski.voucher.model import Assertion, Voucher, VoucherRequest
from brski.voucher.rules import registrar_request
from brski.voucher.yang_json import (
    decode_voucher_request,
    encode_voucher,
    encode_voucher_request,
)
from device_client.pledge.judging import judge_voucher
from device_client.pledge.policy import Pledge, Policy
from masa_stub.web.registrar_facing import STATUS as MASA_STATUS
from registrar_plugin.pledge_facing.error_responses import BRSKI_STATUS
from registrar_plugin.telemetry.events import Outcome
from tests.kit import pki
from tests.kit.voucher import pledge_request, voucher_for
from tests.kit.world import Device, World, make_world

RECEIVERS = ("registrar", "masa", "pledge")
PROXIMITY_ALONE = Policy(acceptable=frozenset({Assertion.PROXIMITY}))


@dataclass(frozen=True)
class Refusal:
    """What somebody's message came to."""

    error: OnboardingError
    spent: int  # signature verifications
    status: int | None  # what the front answers; None for a pledge, which answers nobody


@dataclass
class Desk:
    """Everybody, one carrying device, and a stranger who holds every key that helps him."""

    world: World
    device: Device
    masa_signer: pki.Entity

    @property
    def request(self) -> VoucherRequest:
        """What the device asks."""
        return pledge_request(self.world.registrar_entity, self.device.serial_number)

    @property
    def voucher(self) -> Voucher:
        """What the MASA answers, pinning the owner's CA."""
        return voucher_for(self.request, self.world.owner)

    def honest(self, receiver: str) -> bytes:
        """The document that *receiver* waits for."""
        if receiver == "pledge":
            return encode_voucher(self.voucher)
        if receiver == "registrar":
            return encode_voucher_request(self.request)
        signed = self.device.sign(encode_voucher_request(self.request))
        asked = registrar_request(
            self.request,
            signed,
            serial_number=self.device.serial_number,
            idevid_issuer=self.device.issuer,
            created_on=pki.NOW,
        )
        return encode_voucher_request(asked)

    def sender(self, receiver: str) -> pki.Entity:
        """Whose signature *receiver* would believe."""
        return {
            "registrar": self.device.entity,
            "masa": self.world.registrar_entity,
            "pledge": self.masa_signer,
        }[receiver]

    def enclosed(self, receiver: str) -> Sequence[x509.Certificate]:
        """The certificates that go with it, as usual."""
        if receiver == "registrar":
            return self.device.shown
        return self.sender(receiver).chain

    def signed(self, receiver: str, document: bytes) -> bytes:
        """*document* in a message whose signature is right."""
        sender = self.sender(receiver)
        return CMS.sign(document, sender.signer, certificates=tuple(self.enclosed(receiver)))

    def pledge(self, **altered: object) -> Pledge:
        """The device's own side."""
        facts: dict[str, object] = {
            "serial_number": self.device.serial_number,
            "idevid_issuer": self.device.issuer,
            "signer": pki.KeySigner(self.device.entity.private_key, self.device.shown),
            "idevid_chain": self.device.shown,
            "voucher_anchors": (self.masa_signer.root,),
            "serialization": CMS,
            "policy": PROXIMITY_ALONE,
        }
        return Pledge(**(facts | altered))  # type: ignore[arg-type]  # its own fields

    async def give(self, receiver: str, message: bytes) -> None:
        """Hand *message* to *receiver*, who raises if he refuses."""
        hear: dict[str, Callable[[bytes], Awaitable[None]]] = {
            "registrar": self._registrar,
            "masa": self._masa,
            "pledge": self._pledge,
        }
        await hear[receiver](message)

    async def _registrar(self, message: bytes) -> None:
        connection = self.world.connection(self.device.shown)
        await self.world.registrar.request_voucher(message, VOUCHER_CMS_JSON, connection)

    async def _masa(self, message: bytes) -> None:
        await self.world.wire.masa.request_voucher(message, VOUCHER_CMS_JSON)

    async def _pledge(self, message: bytes) -> None:
        judge_voucher(
            message,
            pledge=self.pledge(),
            request=self.request,
            registrar_chain=self.world.registrar_entity.chain,
            now=pki.NOW,
        )

    async def refusal(self, receiver: str, message: bytes) -> Refusal:
        """Hand *message* over and see it refused: a peer's fault, cheap, on record, and told well.

        I5 and I8: no more verifications than the limit, a status below 500, a reason that fits on
        a log's line, an entry in the journal; and nobody has asked anybody else anything.
        """
        asked = len(self.world.wire.sent)
        with counted() as effort, pytest.raises((PeerError, Refused)) as caught:
            await self.give(receiver, message)
        error = caught.value
        assert effort.spent <= VERIFICATIONS_LIMIT
        assert error.reason.isprintable()
        assert len(error.reason) < 500
        assert len(self.world.wire.sent) == asked
        table = {"registrar": BRSKI_STATUS, "masa": MASA_STATUS}.get(receiver)
        status = None if table is None else status_of(table, error)
        if table is not None:
            assert status is not None
            assert 400 <= status < 500
        if receiver == "registrar":
            events = await self.world.journal.events()
            assert events[-1].outcome is Outcome.REFUSED
            assert events[-1].code == error.code
        return Refusal(error, effort.spent, status)

    async def nothing_was_given(self) -> None:
        """I1: no voucher passed on, no certificate issued."""
        assert self.world.wire.answers == []
        assert await self.world.journal.active_certificate(self.device.key) is None


@asynccontextmanager
async def open_desk(folder: Path) -> AsyncIterator[Desk]:
    """A desk in *folder*."""
    async with make_world(folder) as world:
        device = world.make_device()
        signer = pki.make_masa_signer(pki.make_root("Example MASA Root"))
        yield Desk(world=world, device=device, masa_signer=signer)


def same_request(message: bytes) -> VoucherRequest:
    """What a pledge's message says."""
    return decode_voucher_request(CMS.open(message).payload)
