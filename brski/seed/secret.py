"""A seed as a value that does not leak by accident. Whoever holds the seed is the device."""

from __future__ import annotations

import hmac
from typing import Final, NoReturn

from brski.errors import Malformed

LEAST_SEED_OCTETS: Final = 32  # 256 bits; a profile may ask for more


class Seed:
    """The secret that a chip and its OEM share.

    Shows nothing when printed, compares in constant time, is no dictionary key, and refuses to be
    copied or pickled, so that it stays in the process that opened it. It is not wiped; processes
    that hold seeds are short-lived (docs/threat-model.md).

    Args:
        octets: 32 or more, uniformly random.

    Raises:
        Malformed: fewer than 32 octets. The message has their number only.
    """

    __slots__ = ("_octets",)

    def __init__(self, octets: bytes) -> None:
        if len(octets) < LEAST_SEED_OCTETS:
            raise Malformed(
                f"seed has {len(octets)} octets, {LEAST_SEED_OCTETS} or more are needed"
            )
        self._octets = bytes(octets)

    @property
    def octets(self) -> bytes:
        """The secret itself, raw."""
        return self._octets

    def __len__(self) -> int:
        return len(self._octets)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Seed):
            return NotImplemented
        return hmac.compare_digest(self._octets, other._octets)

    def __repr__(self) -> str:
        return "Seed(hidden)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a seed is not pickled or copied")


def check_seed(seed: Seed, *, profile: str, least: int, most: int) -> None:
    """Raise unless *seed* has as many octets as a derivation profile asks for.

    Args:
        profile: its name, for the message.
        least, most: octets, both allowed.

    Raises:
        Malformed: too few, or too many. The message has their number only.

    docs/derivation.md.
    """
    if not least <= len(seed) <= most:
        asked = f"{least}" if least == most else f"{least} to {most}"
        raise Malformed(f"seed has {len(seed)} octets, {profile} needs {asked}")
