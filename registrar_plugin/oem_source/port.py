"""The port that asks an OEM for device records."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from brski.idevid.record import DeviceRecord


class DeviceRecordSource(Protocol):
    """One manufacturer's directory of devices, believed only after docs/identity.md's checks."""

    async def find(
        self, idevid_issuer: bytes | None, serial_number: str, *, spki_sha256: bytes | None
    ) -> tuple[DeviceRecord, ...]:
        """All records of *serial_number*, revoked and flagged ones too; empty when there is none.

        Args:
            idevid_issuer: 20-octet keyIdentifier that narrows the search, or None.
            serial_number: checked by :func:`brski.pki.names.check_serial_number`.
            spki_sha256: of the key that the device has proven; some OEMs ask for it. None where no
                device was met: a source that answers by key alone then has nothing to say.

        Raises:
            Unavailable: no answer in time, or an answer that is none.
        """

    async def close(self) -> None:
        """Give back connections and files."""


@runtime_checkable
class Local(Protocol):
    """An ability that not every source has: to answer from this machine."""

    @property
    def is_local(self) -> bool:
        """Whether asking costs less than remembering would: no cache and no budget is needed."""


@runtime_checkable
class KeyBound(Protocol):
    """An ability that not every source has: to answer only those who have met the device's key."""

    @property
    def answers_by_key(self) -> bool:
        """Whether another *spki_sha256* may get another answer to the same question."""
