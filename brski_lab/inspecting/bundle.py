"""Bundles: what the factory publishes of certified devices (docs/oem-formats.md)."""

from __future__ import annotations

from typing import Final

from brski.idevid.bundle import LABEL
from brski.pki import cbor
from brski_lab.inspecting.description import Fact
from brski_lab.inspecting.records import PRESENTATIONS, named_fields
from brski_lab.inspecting.signed_file import signed_file

_FIELDS: Final = ("serial number", "presentation", "certificate", "chunk", "replaces")


def _record(item: cbor.Item) -> Fact:
    return named_fields(item, _FIELDS, PRESENTATIONS)


KIND: Final = signed_file("bundle", LABEL, _record)
