"""The groups of entry points under which the registrar's adapters are found."""

from __future__ import annotations

from typing import Final

CA_BACKENDS: Final = "brski.ca_backend"
OEM_SOURCES: Final = "brski.oem_source"
