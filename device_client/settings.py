"""The pledge's settings file; conf/pledge.toml has every key with its comment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from brski.edge.settings import Seconds, Settings
from brski.errors import Malformed
from brski.voucher.interoperability import Interoperability
from brski.voucher.model import Assertion
from device_client.pledge.origin import Origin, parse_origin

LONG_WEEKEND_S = 4 * 24 * 3600  # RFC 8995 §5.6


def _address(value: str) -> str:
    try:
        parse_origin(value)
    except Malformed as err:
        raise ValueError(err.reason) from err
    return value


Registrar = Annotated[str, AfterValidator(_address)]
"""``"https://host[:port]"``."""

Patience = Annotated[int, Field(ge=0, le=30 * 24 * 3600)]
"""How long a 202 is borne with, in whole seconds."""


class VoucherSettings(Settings):
    """``[voucher]``: which are accepted."""

    assertions: Annotated[tuple[Assertion, ...], Field(min_length=1)] = (
        Assertion.VERIFIED,
        Assertion.LOGGED,
        Assertion.PROXIMITY,
    )
    allow_nonceless: bool = False
    trusted_clock: bool = False


class TimingSettings(Settings):
    """``[timing]``: how long whom."""

    progress_s: Seconds = 5.0
    answer_s: Seconds = 30.0
    voucher_wait_s: Patience = LONG_WEEKEND_S
    enroll_wait_s: Patience = LONG_WEEKEND_S
    first_delay_s: Seconds = 5.0
    rounds: Annotated[int, Field(ge=0)] = 1


class PledgeSettings(Settings):
    """The whole file."""

    identity: dict[str, Any]  # kind = "...", and what that kind of identity wants
    registrars: tuple[Registrar, ...] = ()
    discovery: dict[str, Any] | None = None  # kind = "...", and what that kind wants
    keystore: Path = Path("keystore")
    interoperability: Interoperability = Interoperability.STRICT
    voucher: VoucherSettings = VoucherSettings()
    timing: TimingSettings = TimingSettings()

    @property
    def origins(self) -> tuple[Origin, ...]:
        """The registrars, in order."""
        return tuple(map(parse_origin, self.registrars))
