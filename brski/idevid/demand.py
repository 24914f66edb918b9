"""A demand: somebody has met a device that is not certified yet (docs/on-demand.md).

A file from the manufacturer's service to its factory. Not signed: it is a question, answered only
where the asker knows the key that the device has proven.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from brski.errors import Malformed
from brski.idevid import fields
from brski.idevid.certificate import check_certifiable
from brski.pki import cbor

LABEL: Final = "brski demand v1"
MOST_OCTETS: Final = 160
SUFFIX: Final = ".demand"

_FILE_NAME: Final = re.compile(r"[0-9a-f]{64}" + re.escape(SUFFIX))


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Whom somebody has met, and with which key."""

    serial_number: str  # as asserted
    spki_sha256: bytes  # of the SubjectPublicKeyInfo that was proven, 32 octets

    def encode(self) -> bytes:
        """The file's octets."""
        return cbor.encode([LABEL, self.serial_number, self.spki_sha256])

    @property
    def digest(self) -> bytes:
        """SHA-256 of :meth:`encode`: what names the demand and its answer."""
        return hashlib.sha256(self.encode()).digest()

    @property
    def file_name(self) -> str:
        """How its file is called."""
        return self.digest.hex() + SUFFIX


def is_demand_name(name: str) -> bool:
    """Whether a file of this *name* could be a demand."""
    return _FILE_NAME.fullmatch(name) is not None


def parse_demand(octets: bytes, name: str) -> Demand:
    """Read a demand.

    Args:
        octets: untrusted.
        name: of the file that they were in.

    Raises:
        Malformed: not the CBOR of docs/on-demand.md, or a file of another name.
        TooLarge: more than 160 octets.
    """
    item = cbor.decode(octets, max_octets=MOST_OCTETS)
    label, serial_number, spki_sha256 = fields.take_array(item, "demand", least=3, most=3)
    if label != LABEL:
        raise Malformed(f"this is no {LABEL!r}")
    demand = Demand(
        serial_number=check_certifiable(fields.take_text(serial_number, "serial number")),
        spki_sha256=fields.take_digest(spki_sha256, "key digest"),
    )
    if name != demand.file_name:
        raise Malformed(f"a demand in a file of another name, {name[:80]!r}")
    return demand
