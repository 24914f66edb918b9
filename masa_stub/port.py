"""What the MASA is given, and what it gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from cryptography import x509

from brski.idevid.record import DeviceRecord
from brski.pki.signer import Signer


class DeviceRecords(Protocol):
    """The MASA's own records; the OEM database's are such."""

    async def find(
        self, idevid_issuer: bytes | None, serial_number: str
    ) -> tuple[DeviceRecord, ...]:
        """All records of *serial_number*, revoked and flagged ones too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a registrar gets."""

    body: bytes
    media_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Signers:
    """The keys of a MASA; each one's chain (end entity first, up to what pledges hold as anchor)
    goes into its vouchers.
    """

    usual: Signer
    nonceless: Signer | None = None  # for vouchers without nonce (RFC 8995 §11.6.2.2)

    @property
    def anchors(self) -> tuple[x509.Certificate, ...]:
        """What devices need to believe the vouchers: the top of each chain, once."""
        both = (self.usual, self.nonceless)
        return tuple(dict.fromkeys(signer.chain[-1] for signer in both if signer is not None))

    def of(self, nonce: str | None) -> Signer:
        """The key for a voucher with this nonce, or without one."""
        return self.usual if nonce is not None or self.nonceless is None else self.nonceless
