"""May it: whether this domain wants a device whose identity is verified (RFC 8995 §5.3)."""

from __future__ import annotations

from dataclasses import dataclass

from brski.errors import PledgeNotExpected
from registrar_plugin.identity.model import DeviceKey, VerifiedIDevID

_SECTION = "RFC 8995 §5.3"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionPolicy:
    """Who may join. Trusting a manufacturer (its anchors are configured) is the first gate; this is
    the second.
    """

    any_device: bool = False  # of a trusted manufacturer
    expected: frozenset[str] = frozenset()  # serial numbers, or "serial@issuer-hex"
    denied: frozenset[str] = frozenset()  # likewise; wins over the other two


def check_admission(verified: VerifiedIDevID, policy: AdmissionPolicy) -> None:
    """Raise unless *policy* lets the device join.

    Raises:
        PledgeNotExpected: it is denied, or not among those expected.
    """
    names = _names(verified.device)
    if names & policy.denied:
        raise PledgeNotExpected("the device is on the list of the denied", section=_SECTION)
    if not policy.any_device and not names & policy.expected:
        raise PledgeNotExpected(
            f"{verified.device.serial_number} is not among the expected devices",
            section=_SECTION,
            hint="add it to admission.expected, or set admission.any_device",
        )


def _names(device: DeviceKey) -> frozenset[str]:
    return frozenset((device.serial_number, str(device)))
