"""Marks that a person makes: a device's key is revoked, or flagged (docs/oem-database.md)."""

from __future__ import annotations

import hashlib
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Final

from brski.edge.sqlite import transaction
from brski.errors import Malformed
from brski.idevid.record import DeviceRecord, DeviceStatus, check_token
from oem_backend.database.schema import open_to_write

_MARK: Final = """
INSERT INTO mark (digest, kind, idevid_issuer, serial_number, status, reason, bundle, marked_at)
VALUES (?, 'key', ?, ?, ?, ?, NULL, ?)
ON CONFLICT DO NOTHING
"""


def mark_device(
    database: Path, device: DeviceRecord, status: DeviceStatus, reason: str, *, now: datetime
) -> bool:
    """Mark the key of *device*, for ever and whatever certificate it gets later.

    Args:
        device: as the reader found it; what is marked is the key that stands there.
        status: revoked or flagged.
        reason: a token, such as ``"clone-suspected"``; registrars see it.
        now: aware.

    Returns:
        Whether the mark is new; False if the very same one stood already.

    Raises:
        Malformed: a status that is no mark, or a reason that is no token.
        Unavailable: locked for long, full or failing disk; nothing has changed.
        StateError, FileUnusable: *database* is not one, or cannot be opened.
    """
    if status is DeviceStatus.ACTIVE:
        raise Malformed("a mark says revoked or flagged; none can be lifted")
    check_token(reason, "reason")
    with closing(open_to_write(database)) as connection, transaction(connection):
        added = connection.execute(
            _MARK,
            (
                hashlib.sha256(device.spki).digest(),
                device.idevid_issuer,
                device.serial_number,
                status.value,
                reason,
                int(now.timestamp()),
            ),
        )
        return added.rowcount > 0
