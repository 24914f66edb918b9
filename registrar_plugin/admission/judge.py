"""May it: whether this domain wants a device whose identity is verified (RFC 8995 §5.3)."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from brski.errors import PledgeNotExpected
from registrar_plugin.identity.model import DeviceKey, VerifiedIDevID

_SECTION = "RFC 8995 §5.3"


class Admission(enum.Enum):
    """What a device is granted that is not refused."""

    ADMITTED = enum.auto()
    MUST_WAIT = enum.auto()  # for a person


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionPolicy:
    """Who may join. Trusting a manufacturer (its anchors are configured) is the first gate; this is
    the second.
    """

    any_device: bool = False  # of a trusted manufacturer
    expected: frozenset[str] = frozenset()  # serial numbers, or "serial@issuer-hex"
    denied: frozenset[str] = frozenset()  # likewise; wins over the other two
    by_hand: bool = False  # a person decides of those that are neither
    by_hand_of: Mapping[str, bool] = field(default_factory=dict)  # of one manufacturer, instead


def judge_admission(
    verified: VerifiedIDevID, policy: AdmissionPolicy, *, approved: bool | None = None
) -> Admission:
    """Say whether *policy* and the persons of this domain let the device join.

    Args:
        approved: what a person has decided of this device; None while none has.

    Raises:
        PledgeNotExpected: it is denied, or not among those expected and no person is asked.

    docs/approval.md.
    """
    check_not_denied(verified.device, policy, approved=approved)
    if policy.any_device or _names(verified.device) & policy.expected:
        return Admission.ADMITTED
    if policy.by_hand_of.get(verified.manufacturer, policy.by_hand):
        return Admission.ADMITTED if approved else Admission.MUST_WAIT
    raise PledgeNotExpected(
        f"{verified.device.serial_number} is not among the expected devices",
        section=_SECTION,
        hint="add it to admission.expected, or set admission.any_device or admission.approval",
    )


def check_not_denied(
    device: DeviceKey, policy: AdmissionPolicy, *, approved: bool | None = None
) -> None:
    """Raise if the settings or a person say no to *device*; for the steps after the first.

    Raises:
        PledgeNotExpected: they do.
    """
    if _names(device) & policy.denied:
        raise PledgeNotExpected("the device is on the list of the denied", section=_SECTION)
    if approved is False:
        raise PledgeNotExpected("a person has denied the device", section=_SECTION)


def _names(device: DeviceKey) -> frozenset[str]:
    return frozenset((device.serial_number, str(device)))
