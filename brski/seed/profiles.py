"""The named ways from a seed to a key pair. A released name never changes what it means.

The profiles of docs/derivation.md are in the table below. Others come by entry point, group
``brski.derivation_profile``: the name leads to a value that is a :class:`DerivationProfile`. None
can take the place of one in the table.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final, Protocol, TypeAlias, runtime_checkable

from cryptography.hazmat.primitives.asymmetric import ec

from brski.errors import SettingsError, UnknownFormat
from brski.seed import hkdf, open_dice
from brski.seed.hmac_drbg import HMAC_DRBG_P256, HMAC_DRBG_P384
from brski.seed.raw_key import RawPrivateKey
from brski.seed.secret import LEAST_SEED_OCTETS, Seed
from brski.seed.steps import Steps
from brski.seed.tpm2 import TPM2_P256, TPM2_P384

GROUP: Final = "brski.derivation_profile"
_NAME: Final = re.compile(r"(?=.{1,64}\Z)[a-z0-9]+(?:-[a-z0-9]+)*")  # as records take it

DevicePrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | RawPrivateKey


class DerivationProfile(Protocol):
    """One way from a seed to a key pair. The factory and the device ask the same object."""

    @property
    def name(self) -> str:
        """ASCII, as in the seed batch and the fuse file; bound into the derivation."""

    @property
    def least_seed_octets(self) -> int:
        """What the strength of the key needs; 32 or more."""

    @property
    def most_seed_octets(self) -> int:
        """The longest seed that it takes; 512 at most, which is what a seed batch carries."""

    def derive(self, seed: Seed, chip_id: bytes) -> DevicePrivateKey:
        """The device's private key: a function of profile, *seed* and *chip_id* alone.

        Args:
            chip_id: 1 to 64 octets, exactly as the vendor gave them.

        Raises:
            Malformed: *seed* or *chip_id* has a length that this profile does not take.
        """

    def steps(self, seed: Seed, chip_id: bytes) -> Steps:
        """The same derivation with every intermediate value, all of them secrets.

        Raises:
            Malformed: as :meth:`derive`.
        """


@runtime_checkable
class ScalarProfile(Protocol):
    """What a profile also is whose private key is a scalar of a curve.

    For a factory, which needs the point alone and may have a quicker way to it.
    """

    @property
    def curve(self) -> ec.EllipticCurve:
        """On which the key lies."""

    def scalar(self, seed: Seed, chip_id: bytes) -> int:
        """The private scalar of the key that ``derive`` gives.

        Raises:
            Malformed: as :meth:`DerivationProfile.derive`.
        """


PROFILES: Final[Mapping[str, DerivationProfile]] = MappingProxyType(
    {
        each.name: each
        for each in (
            HMAC_DRBG_P256,
            HMAC_DRBG_P384,
            hkdf.ED25519,
            hkdf.ML_DSA_44,
            hkdf.ML_DSA_65,
            hkdf.ML_DSA_87,
            open_dice.ED25519,
            open_dice.P256,
            open_dice.P384,
            open_dice.ML_DSA_65,
            open_dice.ML_DSA_87,
            TPM2_P256,
            TPM2_P384,
        )
    }
)
NAMES: Final = tuple(PROFILES)


def profile(name: str) -> DerivationProfile:
    """The profile called *name*.

    Raises:
        UnknownFormat: there is none of that name.
        SettingsError: an installed one cannot be used: see :func:`find_installed`.
    """
    found = PROFILES.get(name) or find_installed(name)
    if found is None:
        raise UnknownFormat(
            f"derivation profile {name!r} is not known", hint=f"known: {', '.join(NAMES)}"
        )
    return found


@lru_cache(maxsize=16)
def find_installed(name: str) -> DerivationProfile | None:
    """The profile that another installed distribution brings under *name*, or None.

    Raises:
        SettingsError: two distributions bring it, it cannot be loaded, calls itself by another
            name, or takes seeds under 32 octets.
    """
    if not _NAME.fullmatch(name):  # a bundle could not say how its devices came to their keys
        return None
    # By name, as entry points themselves are loaded: the module costs a worker a third of its
    # start, and no profile of the table needs it.
    metadata = importlib.import_module("importlib.metadata")
    points = metadata.entry_points(group=GROUP, name=name)
    if not points:
        return None
    if len({point.value for point in points}) > 1:
        raise SettingsError(f"derivation profile {name!r} is installed twice")
    (point, *_) = points
    try:
        loaded: DerivationProfile = point.load()
        fits = loaded.name == name and loaded.least_seed_octets >= LEAST_SEED_OCTETS
    except Exception as err:  # a plug-in may fail in any way
        raise SettingsError(f"derivation profile {name!r}: {point.value}: {err}") from err
    if not fits:
        raise SettingsError(f"derivation profile {name!r}: {point.value} is not that profile")
    return loaded
