"""Sees when two parties seem to hold one identity, and has it written down; refuses nothing.

A key that has been copied out of a device is as good as the device itself. What gives it away is
that two parties cannot know what the other has done. docs/journal.md tells what each signal means.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509

from brski.pki.keys import spki_sha256
from registrar_plugin.clerk import Clerk
from registrar_plugin.connection import PledgeConnection
from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.store.port import IssuedCertificate, Journal, Onboarding
from registrar_plugin.telemetry.events import Event, EventKind

CODE: Final = "second-use"  # of these alarms; others have their refusal's

_MOST_KEYS: Final = 4096  # whose connections are remembered
_MOST_ADDRESSES: Final = 8  # of one key


class Signal(enum.StrEnum):
    """What gave it away."""

    REQUEST_RETURNED = "request-returned"  # an earlier voucher-request came back after a later one
    LDEVID_SUPERSEDED = "ldevid-superseded"  # a replaced LDevID is still in use
    LDEVID_REPLACED = "ldevid-replaced"  # onboarded again, by another key, while it has an LDevID
    PRESENTATION_CHANGED = "presentation-changed"  # asserted before, carried now, or vice versa
    TWO_ADDRESSES = "two-addresses"  # connected from two addresses at once


@dataclass(slots=True)
class _Live:
    """One open connection of a key."""

    is_open: Callable[[], bool]
    told: set[str] = field(default_factory=set)  # other addresses that an alarm has named


class SecondUse:
    """Looks at what one registrar process sees, and at what its journal remembers."""

    def __init__(self, journal: Journal, clerk: Clerk) -> None:
        self._journal = journal
        self._clerk = clerk
        self._live: OrderedDict[bytes, dict[str, _Live]] = OrderedDict()

    async def of_request(
        self, standing: Onboarding, new: Onboarding, connection: PledgeConnection
    ) -> tuple[Event, ...]:
        """Alarms to go with an onboarding that is about to take the place of *standing*."""
        alarms = []
        if await self._journal.has_begun(new.device, new.request_digest):
            why = "an earlier voucher-request came back after a later one"
            alarms.append(self._alarm(Signal.REQUEST_RETURNED, new.device, connection, why))
        if new.presentation != standing.presentation:
            why = f"the identity was {standing.presentation} before and is {new.presentation} now"
            alarms.append(self._alarm(Signal.PRESENTATION_CHANGED, new.device, connection, why))
        return tuple(alarms)

    async def of_csr(
        self, device: DeviceKey, spki_sha256: bytes, connection: PledgeConnection
    ) -> tuple[Event, ...]:
        """Alarms to go with an LDevID that is about to be issued over the IDevID.

        Args:
            spki_sha256: of the key that the new LDevID will have.
        """
        active = await self._journal.active_certificate(device)
        if active is None or active.spki_sha256 == spki_sha256:
            return ()
        ends = x509.load_der_x509_certificate(active.certificate).not_valid_after_utc
        if ends < self._clerk.now():
            return ()  # of no use to anybody: it has to be replaced, and over the IDevID
        why = f"another key is to replace the LDevID of {active.issued_at:%F %T}, which stands"

        return (self._alarm(Signal.LDEVID_REPLACED, device, connection, why),)

    async def superseded(self, ldevid: IssuedCertificate, connection: PledgeConnection) -> None:
        """Write down that an LDevID is shown which another one has replaced."""
        why = f"the LDevID of {ldevid.issued_at:%F %T}, since replaced, is still in use"
        await self._journal.record(
            self._alarm(Signal.LDEVID_SUPERSEDED, ldevid.device, connection, why)
        )

    async def met(self, device: DeviceKey, connection: PledgeConnection) -> None:
        """Write down, once, that the key at the other end is connected from elsewhere, too.

        Args:
            connection: of a device that has been verified.
        """
        others = self._others(connection)
        if others:
            why = f"connected at once from {', '.join((connection.address, *others))}"
            await self._journal.record(self._alarm(Signal.TWO_ADDRESSES, device, connection, why))

    def _others(self, connection: PledgeConnection) -> list[str]:
        """Addresses that the same key is connected from, and no alarm has named beside this one."""
        if connection.is_open is None or not connection.address:
            return []
        key, address = spki_sha256(connection.leaf()), connection.address
        known = self._live.pop(key, {})
        live = {where: seen for where, seen in known.items() if seen.is_open()}
        if address not in live and len(live) < _MOST_ADDRESSES:
            live[address] = _Live(connection.is_open)
        self._live[key] = live
        if len(self._live) > _MOST_KEYS:
            self._live.popitem(last=False)
        told = {address, *(live[address].told if address in live else ())}
        others = [where for where in live if where not in told]
        for where in others:
            live[where].told.add(address)
            if address in live:
                live[address].told.add(where)
        return others

    def _alarm(
        self, signal: Signal, device: DeviceKey, connection: PledgeConnection, why: str
    ) -> Event:
        return self._clerk.event(
            EventKind.ALARM,
            device,
            connection,
            reason=why,
            code=CODE,
            details={"signal": signal.value},
        )
