"""Build lists: which serial number each chip got (docs/oem-formats.md)."""

from __future__ import annotations

from typing import Final

from brski.idevid.build_list import LABEL
from brski.pki import cbor
from brski_lab.inspecting.description import Fact
from brski_lab.inspecting.records import PRESENTATIONS, named_fields
from brski_lab.inspecting.signed_file import signed_file

_FIELDS: Final = ("chip id", "serial number", "presentation", "replace")


def _entry(item: cbor.Item) -> Fact:
    return named_fields(item, _FIELDS, PRESENTATIONS)


KIND: Final = signed_file("build list", LABEL, _entry)
