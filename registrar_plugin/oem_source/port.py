"""The port that asks an OEM for device records."""

from __future__ import annotations

from typing import Protocol

from brski.idevid.record import DeviceRecord


class DeviceRecordSource(Protocol):
    """One manufacturer's directory; believed only after the checks of docs/identity.md."""

    async def find(
        self, idevid_issuer: bytes | None, serial_number: str, *, spki_sha256: bytes
    ) -> tuple[DeviceRecord, ...]:
        """All records of *serial_number*, revoked and flagged ones too; empty when there is none.

        Args:
            idevid_issuer: 20-octet keyIdentifier that narrows the search, or None.
            serial_number: checked by :func:`brski.pki.names.check_serial_number`.
            spki_sha256: of the key that the device has proven; some OEMs ask for it.

        Raises:
            Unavailable: no answer in time, or an answer that is none.
        """

    async def close(self) -> None:
        """Give back connections and files."""
