"""The profiles that seed HMAC_DRBG with the secret and test candidates: docs/derivation.md."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from brski.seed.drbg import HMACDRBG
from brski.seed.record import MOST_SEED_OCTETS, check_chip_id
from brski.seed.secret import Seed, check_seed
from brski.seed.steps import Steps, encode_scalar, scalar_octets


def candidate_scalar(generate: Callable[[int], bytes], order: int) -> int:
    """The first output of *generate*, read big-endian, that lies between 0 and *order*.

    Args:
        generate: gives the next so many octets.
        order: of the group; as many octets as it has are asked for each time.

    Returns:
        c with 0 < c < *order*: the private key itself, neither shifted nor reduced.
    """
    octets = (order.bit_length() + 7) // 8
    while True:
        candidate = int.from_bytes(generate(octets), "big")
        if 0 < candidate < order:
            return candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class HMACDRBGProfile:
    """An elliptic-curve key from the first suitable output of a generator started from the seed."""

    name: str
    least_seed_octets: int
    hash_name: str
    curve: ec.EllipticCurve
    most_seed_octets: int = MOST_SEED_OCTETS

    def derive(self, seed: Seed, chip_id: bytes) -> ec.EllipticCurvePrivateKey:
        """See :meth:`brski.seed.profiles.DerivationProfile.derive`.

        docs/derivation.md; SP 800-90A Rev. 1 §10.1.2.
        """
        return ec.derive_private_key(self.scalar(seed, chip_id), self.curve)

    def scalar(self, seed: Seed, chip_id: bytes) -> int:
        """See :meth:`brski.seed.profiles.ScalarProfile.scalar`."""
        generator = self._generator(seed, self._personalization(chip_id))
        return candidate_scalar(generator.generate, self.curve.group_order)

    def steps(self, seed: Seed, chip_id: bytes) -> Steps:
        """See :meth:`brski.seed.profiles.DerivationProfile.steps`."""
        personalization = self._personalization(chip_id)
        key, v = self._generator(seed, personalization).state
        first = self._generator(seed, personalization).generate(scalar_octets(self.curve))
        return {
            "personalization": personalization,
            "K": key,
            "V": v,
            "first-output": first,
            "d": encode_scalar(self.scalar(seed, chip_id), self.curve),
        }

    def _personalization(self, chip_id: bytes) -> bytes:
        check_chip_id(chip_id)
        return b"%s\x00%s%s" % (
            self.name.encode("ascii"),
            len(chip_id).to_bytes(2, "big"),
            chip_id,
        )

    def _generator(self, seed: Seed, personalization: bytes) -> HMACDRBG:
        check_seed(
            seed, profile=self.name, least=self.least_seed_octets, most=self.most_seed_octets
        )
        return HMACDRBG(self.hash_name, seed.octets, personalization=personalization)


HMAC_DRBG_P256: Final = HMACDRBGProfile(
    name="hmac-drbg-p256", least_seed_octets=32, hash_name="sha256", curve=ec.SECP256R1()
)
HMAC_DRBG_P384: Final = HMACDRBGProfile(
    name="hmac-drbg-p384", least_seed_octets=36, hash_name="sha384", curve=ec.SECP384R1()
)
