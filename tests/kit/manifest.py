"""Manifests for an owner, as a manufacturer would sign them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from brski.idevid.manifest import ManifestTerms, write_manifest
from brski.idevid.record import DeviceRecord
from tests.kit import pki

CREATED: Final = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
ALIVE: Final = CREATED + timedelta(days=1)
OWNER: Final = "Example Owner"
SIGNER_ID: Final = "example-oem"


def terms(**changes: Any) -> ManifestTerms:
    """What a manifest says of itself; *changes* bend it."""
    facts: dict[str, Any] = {
        "signer_id": SIGNER_ID,
        "owner": OWNER,
        "order": "order 7",
        "created_at": CREATED,
        "expires_at": CREATED + timedelta(days=90),
        "generation": 1,
    }
    return ManifestTerms(**(facts | changes))


def manifest(records: Sequence[DeviceRecord], signer: pki.KeySigner, **changes: Any) -> bytes:
    """A signed manifest of *records*."""
    out = io.BytesIO()
    write_manifest(out, io.BytesIO(), records, terms(**changes), signer)
    return out.getvalue()
