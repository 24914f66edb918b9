"""Which request meets which fault: armed one by one, or by rates and a seed.

The n-th request for a serial number at an endpoint meets the same fault whenever the seed and the
rates are the same: however many devices there are at once and in whichever order they come.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from brski.errors import SettingsError
from masa_stub.faults.kinds import OF_AUDIT_LOGS, OF_VOUCHERS, Fault

_REMEMBERED: Final = 100_000  # serial numbers whose requests are counted
_ARMS: Final = 1000
_WHOLE: Final = 1 << 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How many of the requests that a fault fits meet it."""

    fault: Fault
    share: float  # 0 to 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """The next *left* requests that *fault* fits meet it."""

    fault: Fault
    left: int = 1
    serial_number: str | None = None  # None: of any device


@dataclass(frozen=True, slots=True, kw_only=True)
class Struck:
    """One request's fault, and what chance gives it."""

    fault: Fault
    chance: bytes  # 32 octets


class FaultPlan:
    """Decides for each request. Until something is armed or rated it decides for none.

    Args:
        seed: of the rates, and of what is random in a fault.
        rates: no more than 1 in all at either endpoint.

    Raises:
        SettingsError: rates of more than 1 in all.
    """

    def __init__(self, seed: str, rates: Sequence[Rate] = ()) -> None:
        self.seed = seed
        self.rates = tuple(rates)
        self._arms: list[Arm] = []
        self._counts: OrderedDict[tuple[bool, str], int] = OrderedDict()
        for of_audit_log in (False, True):
            if sum(rate.share for rate in self._fitting(of_audit_log)) > 1:
                raise SettingsError("the rates of faults are more than 100% in all")

    @property
    def arms(self) -> tuple[Arm, ...]:
        """What is armed and not used up, in the order in which it is used."""
        return tuple(self._arms)

    def arm(self, arm: Arm) -> None:
        """Put *arm* behind those that wait.

        Raises:
            SettingsError: too many wait already.
        """
        if len(self._arms) >= _ARMS:
            raise SettingsError(f"{_ARMS} faults are armed already")
        self._arms.append(arm)

    def disarm(self) -> None:
        """Forget what is armed; rates stay."""
        self._arms.clear()

    def strike(self, serial_number: str, *, of_audit_log: bool) -> Struck | None:
        """The fault of the next request, or None.

        Args:
            serial_number: of the device; empty where the request cannot be read.
            of_audit_log: at requestauditlog; else at requestvoucher.
        """
        chance = self._chance(serial_number, of_audit_log)
        fault = self._armed(serial_number, of_audit_log) or self._rated(chance, of_audit_log)
        return None if fault is None else Struck(fault=fault, chance=chance)

    def _chance(self, serial_number: str, of_audit_log: bool) -> bytes:
        key = (of_audit_log, serial_number)
        count = self._counts[key] = self._counts.get(key, 0) + 1
        self._counts.move_to_end(key)
        if len(self._counts) > _REMEMBERED:
            self._counts.popitem(last=False)
        text = f"{self.seed}\0{of_audit_log:d}\0{serial_number}\0{count}"
        return hashlib.sha256(text.encode()).digest()

    def _armed(self, serial_number: str, of_audit_log: bool) -> Fault | None:
        for place, arm in enumerate(self._arms):
            if not _fits(arm.fault, of_audit_log) or arm.serial_number not in (None, serial_number):
                continue
            if arm.left > 1:
                self._arms[place] = replace(arm, left=arm.left - 1)
            else:
                del self._arms[place]
            return arm.fault
        return None

    def _rated(self, chance: bytes, of_audit_log: bool) -> Fault | None:
        drawn = int.from_bytes(chance[:8], "big") / _WHOLE
        for rate in self._fitting(of_audit_log):
            if drawn < rate.share:
                return rate.fault
            drawn -= rate.share
        return None

    def _fitting(self, of_audit_log: bool) -> list[Rate]:
        return [rate for rate in self.rates if _fits(rate.fault, of_audit_log)]


def _fits(fault: Fault, of_audit_log: bool) -> bool:
    return fault not in (OF_VOUCHERS if of_audit_log else OF_AUDIT_LOGS)


def parse_rates(text: str) -> tuple[Rate, ...]:
    """Read ``retry-after=10%,503=5%``.

    Raises:
        SettingsError: no such fault, one twice, or no share between 0% and 100%.
    """
    rates = tuple(
        Rate(fault=parse_fault(name), share=_share(share)) for name, share in _parts(text)
    )
    if len({rate.fault for rate in rates}) != len(rates):
        raise SettingsError(f"a fault stands twice in {text!a}")
    return rates


def parse_fault(name: str) -> Fault:
    """Read a fault's name.

    Raises:
        SettingsError: there is none of that name; the hint lists all.
    """
    try:
        return Fault(name)
    except ValueError:
        listed = ", ".join(fault.value for fault in Fault)
        raise SettingsError(f"no fault is named {name[:80]!a}", hint=listed) from None


def _parts(text: str) -> Iterator[tuple[str, str]]:
    for part in text.split(","):
        name, equals, share = part.strip().partition("=")
        if not equals:
            raise SettingsError(f"{part[:80]!a} is no fault with its rate, as in 503=5%")
        yield name, share


def _share(text: str) -> float:
    try:
        share = float(text.removesuffix("%")) / 100
    except ValueError:
        share = -1.0
    if not text.endswith("%") or not 0 <= share <= 1:
        raise SettingsError(f"{text[:80]!a} is no rate between 0% and 100%")
    return share
