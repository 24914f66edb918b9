"""Hands out vouchers that were fetched ahead, by policy (docs/stored-vouchers.md)."""

from __future__ import annotations

import enum
import logging

from brski.errors import PeerError
from brski.pki.signer import Signer
from brski.voucher.serialization import VoucherSerialization
from registrar_plugin.clerk import Clerk
from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.masa_link.port import MASAAnswer
from registrar_plugin.store.vouchers import StoredVouchers
from registrar_plugin.stored_vouchers.judge import judge_stored

log = logging.getLogger(__name__)


class Use(enum.StrEnum):
    """When a pledge gets a stored voucher; never unless an owner wants it (RFC 8995 §7.3)."""

    NEVER = "never"
    MASA_SILENT = "masa-silent"
    FIRST = "first"


class VoucherShelf:
    """What is on it is judged anew each time.

    Args:
        signer: the registrar's; a certificate of its chain is to be pinned.
    """

    def __init__(
        self,
        use: Use,
        *,
        vouchers: StoredVouchers,
        signer: Signer,
        serialization: VoucherSerialization,
        clerk: Clerk,
    ) -> None:
        self._use = use
        self._vouchers = vouchers
        self._signer = signer
        self._serialization = serialization
        self._clerk = clerk

    async def before_asking(self, device: DeviceKey, manufacturer: str) -> MASAAnswer | None:
        """A voucher in place of the MASA's, where the policy prefers it."""
        if self._use is not Use.FIRST:
            return None
        return await self._good(device, manufacturer)

    async def in_silence(self, device: DeviceKey, manufacturer: str) -> MASAAnswer | None:
        """A voucher in place of the MASA's, which does not answer."""
        if self._use is Use.NEVER:
            return None
        return await self._good(device, manufacturer)

    async def _good(self, device: DeviceKey, manufacturer: str) -> MASAAnswer | None:
        current = await self._vouchers.current(device)
        if current is None or current.voucher is None or current.manufacturer != manufacturer:
            return None
        try:
            judge_stored(
                current.voucher,
                device,
                signer=self._signer,
                serialization=self._serialization,
                now=self._clerk.now(),
            )
        except PeerError as fault:
            log.warning(
                "stored voucher is of no use",
                extra={"serial_number": device.serial_number, "reason": str(fault)},
            )
            return None
        return MASAAnswer(body=current.voucher, media_type=current.media_type)
