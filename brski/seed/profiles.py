"""The named ways from a seed to a key pair. A released name never changes what it means.

To add one: a module with a value that has ``name``, ``least_seed_octets`` and ``derive``, a line in
the table below, and a section with pseudo-code and confirmed values in docs/derivation.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Protocol, TypeAlias

from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from brski.errors import UnknownFormat
from brski.seed.hmac_drbg import HMAC_DRBG_P256
from brski.seed.secret import Seed

DevicePrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class DerivationProfile(Protocol):
    """One way from a seed to a key pair. The factory and the device ask the same object."""

    @property
    def name(self) -> str:
        """ASCII, as in the seed batch and the fuse file; bound into the derivation."""

    @property
    def least_seed_octets(self) -> int:
        """What the strength of the key needs; 32 or more."""

    def derive(self, seed: Seed, chip_id: bytes) -> DevicePrivateKey:
        """The device's private key: a function of profile, *seed* and *chip_id* alone.

        Args:
            chip_id: 1 to 64 octets, exactly as the vendor gave them.

        Raises:
            Malformed: *seed* is too short for this profile, or *chip_id* has another length.
        """


PROFILES: Final[Mapping[str, DerivationProfile]] = MappingProxyType(
    {each.name: each for each in (HMAC_DRBG_P256,)}
)
NAMES: Final = tuple(PROFILES)


def profile(name: str) -> DerivationProfile:
    """The profile called *name*.

    Raises:
        UnknownFormat: there is none of that name.
    """
    try:
        return PROFILES[name]
    except KeyError:
        raise UnknownFormat(
            f"derivation profile {name!r} is not known", hint=f"known: {', '.join(NAMES)}"
        ) from None
