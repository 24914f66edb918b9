"""A manifest for an owner out of the database: the devices of one order, as they stand now.

The order is a file of serial numbers; the manifest is signed by a key of its own
(docs/manifest.md).
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from brski.edge.atomic_file import open_atomically, read_file
from brski.errors import DeviceUnknown, Malformed, ManifestRefused
from brski.idevid.manifest import ManifestTerms, write_manifest
from brski.idevid.record import DeviceRecord
from brski.pki.names import check_serial_number
from brski.pki.signer import Signer
from oem_backend.database.opening import open_reader
from oem_backend.database.port import Place
from oem_backend.database.reader import Reader

_ISSUER: Final = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderedDevice:
    """One line of an order."""

    serial_number: str
    idevid_issuer: bytes | None  # keyIdentifier, where two issuers have this serial number


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeManifest:
    """What was written."""

    digest: bytes
    records: int
    marked: int  # of them, revoked or flagged


def read_order(path: Path) -> tuple[OrderedDevice, ...]:
    """The devices that an order names.

    Args:
        path: UTF-8 text, a serial number a line, or ``SERIAL@`` and 40 hex digits; empty lines and
            lines that begin with ``#`` are passed over.

    Raises:
        Malformed: a line that is neither, with its number; no device at all.
        FileUnusable: *path* cannot be read, or is longer than 16 MiB.
    """
    try:
        text = read_file(path).decode("utf-8")
    except UnicodeDecodeError as err:
        raise Malformed(f"{path} is not UTF-8 text") from err
    ordered = tuple(_devices(text))
    if not ordered:
        raise Malformed(f"{path} names no device")
    return ordered


def _devices(text: str) -> Iterator[OrderedDevice]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line or line.startswith("#"):
            continue
        serial_number, at, issuer = line.partition("@")
        try:
            check_serial_number(serial_number)
        except Malformed as err:
            raise Malformed(f"line {number}: {err.reason}") from err
        if at and not _ISSUER.fullmatch(issuer):
            raise Malformed(f"line {number}: behind @ are not 40 hex digits")
        yield OrderedDevice(
            serial_number=serial_number, idevid_issuer=bytes.fromhex(issuer) if at else None
        )


def make_manifest(
    database: Place | Path, order: Path, out: Path, terms: ManifestTerms, signer: Signer
) -> MadeManifest:
    """Write the manifest of *order* to *out*, whole or not at all.

    Args:
        database: what ``brski-oem database load`` wrote.
        order: see :func:`read_order`.
        signer: the manifest key.

    Raises:
        DeviceUnknown: a serial number that is not on record.
        ManifestRefused: one that is on record under several issuers, or stands twice.
        Malformed: the order file, or *terms*.
        StateError, FileUnusable, Unavailable: the database, or *out*.

    docs/manifest.md.
    """
    ordered = read_order(order)
    reader = open_reader(database)
    try:
        records = [_record(reader, each) for each in ordered]
    finally:
        reader.close()
    with tempfile.TemporaryFile() as spool, open_atomically(out, mode=0o644) as file:
        digest = write_manifest(file, spool, records, terms, signer)
    marked = sum(1 for record in records if record.status_reason)
    return MadeManifest(digest=digest, records=len(records), marked=marked)


def _record(reader: Reader, ordered: OrderedDevice) -> DeviceRecord:
    found = reader.find(ordered.idevid_issuer, ordered.serial_number)
    if not found:
        raise DeviceUnknown(f"the database knows no device {ordered.serial_number}")
    if len(found) > 1:
        raise ManifestRefused(
            f"{len(found)} devices have the serial number {ordered.serial_number}",
            hint=f"write {ordered.serial_number}@{found[0].idevid_issuer.hex()}, or another issuer",
        )
    return found[0]
