"""The port through which identity asks manufacturers for device records."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from brski.idevid.record import DeviceRecord


class RecordLookup(Protocol):
    """Every source of device records that this registrar may ask, by its name in the settings.

    :class:`registrar_plugin.oem_source.lookup.CachedLookup` is one: it adds caches and budgets.
    """

    async def find(
        self,
        sources: Collection[str],
        idevid_issuer: bytes | None,
        serial_number: str,
        *,
        spki_sha256: bytes | None,
        fresh: bool = False,
    ) -> Mapping[str, tuple[DeviceRecord, ...]]:
        """Ask all of *sources*; the answer has an entry for each, empty where nothing is known.

        What comes back is a claim of the source's, judged by the caller.

        Args:
            sources: names; each is one that the lookup knows.
            idevid_issuer: 20-octet keyIdentifier that narrows the search, or None.
            serial_number: checked by :func:`brski.pki.names.check_serial_number`.
            spki_sha256: of the key that the device has proven, 32 octets; None where none was met.
            fresh: past every cache; for a question whose answer is about to be signed upon.

        Raises:
            Unavailable: one of *sources* gave no answer, whatever the others said; or a budget is
                used up.
        """

    async def close(self) -> None:
        """Give back connections and files."""
