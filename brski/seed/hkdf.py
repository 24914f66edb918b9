"""The profiles whose private key is 32 octets of HKDF under their name: docs/derivation.md."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Final

from brski.seed import raw_key
from brski.seed.raw_key import RAW_OCTETS, RawKind, RawPrivateKey
from brski.seed.record import MOST_SEED_OCTETS, check_chip_id
from brski.seed.secret import LEAST_SEED_OCTETS, Seed, check_seed
from brski.seed.steps import Steps

NO_SALT: Final = bytes(64)  # RFC 5869 §2.2: not given is a block of zeros


def extract(salt: bytes, secret: bytes) -> bytes:
    """HKDF-Extract with SHA-512: PRK, 64 octets.

    RFC 5869 §2.2.
    """
    return hmac.digest(salt, secret, "sha512")


def expand(prk: bytes, info: bytes) -> bytes:
    """HKDF-Expand with SHA-512: the first 32 octets.

    RFC 5869 §2.3.
    """
    return hmac.digest(prk, info + b"\x01", "sha512")[:RAW_OCTETS]


@dataclass(frozen=True, slots=True, kw_only=True)
class HKDFProfile:
    """A key from 32 octets of HKDF-SHA-512, the profile's name and the chip id as info."""

    name: str
    kind: RawKind
    least_seed_octets: int = LEAST_SEED_OCTETS
    most_seed_octets: int = MOST_SEED_OCTETS

    def derive(self, seed: Seed, chip_id: bytes) -> RawPrivateKey:
        """See :meth:`brski.seed.profiles.DerivationProfile.derive`."""
        return self.kind.load(expand(self._prk(seed), self._info(chip_id)))

    def steps(self, seed: Seed, chip_id: bytes) -> Steps:
        """See :meth:`brski.seed.profiles.DerivationProfile.steps`."""
        info, prk = self._info(chip_id), self._prk(seed)
        return {"info": info, "PRK": prk, self.kind.octets_name: expand(prk, info)}

    def _prk(self, seed: Seed) -> bytes:
        check_seed(
            seed, profile=self.name, least=self.least_seed_octets, most=self.most_seed_octets
        )
        return extract(NO_SALT, seed.octets)

    def _info(self, chip_id: bytes) -> bytes:
        check_chip_id(chip_id)
        return b"%s\x00%s%s" % (
            self.name.encode("ascii"),
            len(chip_id).to_bytes(2, "big"),
            chip_id,
        )


ED25519: Final = HKDFProfile(name="ed25519", kind=raw_key.ED25519)
ML_DSA_44: Final = HKDFProfile(name="ml-dsa-44", kind=raw_key.ML_DSA_44)
ML_DSA_65: Final = HKDFProfile(name="ml-dsa-65", kind=raw_key.ML_DSA_65)
ML_DSA_87: Final = HKDFProfile(name="ml-dsa-87", kind=raw_key.ML_DSA_87)
