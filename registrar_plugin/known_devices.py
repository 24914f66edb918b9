"""Devices that this registrar has met, by what they show; and one step of a device at a time."""

from __future__ import annotations

import asyncio
import hashlib
import weakref

from brski.errors import NotAuthenticated
from brski.pki.keys import certificate_der, spki_sha256
from registrar_plugin.connection import PledgeConnection
from registrar_plugin.identity.clients import client_kind
from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.second_use import SecondUse
from registrar_plugin.store.port import Journal, Onboarding


class KnownDevices:
    """Shared by the voucher exchange and the EST server: both move the same device along."""

    def __init__(self, journal: Journal, second_use: SecondUse) -> None:
        self._journal = journal
        self._second_use = second_use
        self._locks: weakref.WeakValueDictionary[DeviceKey, asyncio.Lock] = (
            weakref.WeakValueDictionary()
        )

    def lock(self, device: DeviceKey) -> asyncio.Lock:
        """To be held while *device* goes one step further."""
        lock = self._locks.get(device)
        if lock is None:
            lock = self._locks[device] = asyncio.Lock()
        return lock

    async def onboarding_of(self, connection: PledgeConnection) -> Onboarding:
        """The onboarding whose IDevID key is at the other end.

        Raises:
            NotAuthenticated: there is none.
        """
        onboarding = await self._journal.onboarding_by_key(spki_sha256(connection.leaf()))
        if onboarding is None:
            raise NotAuthenticated(
                "the client's key belongs to no onboarding", section="RFC 8995 §5.9"
            )
        return onboarding

    async def device_of(self, connection: PledgeConnection) -> tuple[DeviceKey, bool]:
        """The device at the other end, and whether it showed its LDevID.

        Raises:
            NotAuthenticated: no device of ours, or an LDevID that is not accepted any more.
        """
        octets = certificate_der(connection.leaf())
        ldevid = await self._journal.certificate_by_digest(hashlib.sha256(octets).digest())
        if ldevid is None:
            return (await self.onboarding_of(connection)).device, False
        if client_kind(ldevid.device) is not None:
            raise NotAuthenticated("this certificate is an EST client's, which is no device")
        if ldevid.state == "superseded":
            await self._second_use.superseded(ldevid, connection)
        if ldevid.state != "active":
            raise NotAuthenticated(f"this LDevID is {ldevid.state}")
        return ldevid.device, True
