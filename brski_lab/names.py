"""What everybody on the lab's desk is called."""

from __future__ import annotations

from typing import Final

VENDOR: Final = "example-silicon"
FACTORY: Final = "factory-1"
ASSEMBLY: Final = "assembly-1"
PRODUCT: Final = "sensor"
MANUFACTURER: Final = "example-oem"
SERIAL_PATTERN: Final = "SN-[0-9A-F]{4}"
