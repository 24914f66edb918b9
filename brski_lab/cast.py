"""Who takes part in the demo, and how each of them should end.

A device of another kind is a :class:`Part` with another ``device``; one of another batch a Part
with another ``batch``: the stage has the vendor mint every batch that a Part names.
"""

from __future__ import annotations

from typing import Final

from brski.idevid.record import Presentation
from brski_lab.story import REFUSED, Part
from brski_lab.vendor import LEAKED, Batch

CAST: Final = (
    Part(
        serial_number="SN-0001",
        presentation=Presentation.CARRIED,
        who="carries its IDevID certificate",
    ),
    Part(
        serial_number="SN-0002",
        presentation=Presentation.ASSERTED,
        who="only asserts its serial number",
    ),
    Part(
        serial_number="SN-0002",
        presentation=Presentation.ASSERTED,
        who="an impostor: asserts the same serial number with a key of its own",
        expected=REFUSED,
        expected_code="key-mismatch",
        genuine=False,
    ),
    Part(
        serial_number="SN-0BAD",
        presentation=Presentation.ASSERTED,
        who="asserts a serial number that the OEM does not know",
        expected=REFUSED,
        expected_code="device-unknown",
        genuine=False,
    ),
    Part(
        serial_number="SN-0003",
        presentation=Presentation.CARRIED,
        who="its MASA refuses it a voucher",
        expected=REFUSED,
        expected_code="voucher-refused",
    ),
    Part(
        serial_number="SN-0004",
        presentation=Presentation.ASSERTED,
        who="its key never leaves its TEE",
        device="tee",
    ),
    Part(
        serial_number="SN-0005",
        presentation=Presentation.ASSERTED,
        who="is certified on demand, now that it was met",
        on_demand=True,
    ),
    Part(
        serial_number="SN-0020",
        presentation=Presentation.ASSERTED,
        who="its TPM derived the key, and alone holds it",
        device="tpm",
        batch=Batch(name="batch-tpm", profile="tpm2-p256"),
    ),
    Part(
        serial_number="SN-0021",
        presentation=Presentation.CARRIED,
        who="the same on P-384, and it carries its IDevID certificate",
        device="tpm",
        batch=Batch(name="batch-tpm-p384", profile="tpm2-p384"),
    ),
    Part(
        serial_number="SN-0030",
        presentation=Presentation.ASSERTED,
        who="comes from a seed batch that has leaked: its OEM has marked the batch",
        batch=LEAKED,
        expected=REFUSED,
        expected_code="device-revoked",
    ),
)


def one_of_many(number: int) -> Part:
    """A device of the crowd; every second one asserts."""
    asserting = number % 2 == 1
    return Part(
        serial_number=f"SN-{0x1000 + number:04X}",
        presentation=Presentation.ASSERTED if asserting else Presentation.CARRIED,
        who="one of many",
    )
