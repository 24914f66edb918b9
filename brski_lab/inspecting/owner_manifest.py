"""Manifests: the records of one order's devices, for an owner without a line (docs/manifest.md)."""

from __future__ import annotations

from typing import Final

from brski.idevid.manifest import LABEL
from brski.pki import cbor
from brski_lab.inspecting.description import Fact
from brski_lab.inspecting.records import PRESENTATIONS, STATUSES, named_fields
from brski_lab.inspecting.signed_file import signed_file

_FIELDS: Final = (
    *("serial number", "chain", "origin", "presentation", "certificate", "chunk"),
    *("status", "reason"),
)


def _record(item: cbor.Item) -> Fact:
    return named_fields(item, _FIELDS, {**PRESENTATIONS, **STATUSES})


KIND: Final = signed_file("owner manifest", LABEL, _record)
