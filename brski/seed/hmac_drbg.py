"""The profiles that seed HMAC_DRBG with the secret and test candidates: docs/derivation.md."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from brski.errors import Malformed
from brski.seed.drbg import HMACDRBG
from brski.seed.record import check_chip_id
from brski.seed.secret import Seed


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

    def derive(self, seed: Seed, chip_id: bytes) -> ec.EllipticCurvePrivateKey:
        """The device's private key: a function of profile, *seed* and *chip_id* alone.

        Args:
            chip_id: 1 to 64 octets, exactly as the vendor gave them.

        Raises:
            Malformed: *seed* is shorter than this profile asks, or *chip_id* has another length.

        docs/derivation.md; SP 800-90A Rev. 1 §10.1.2.
        """
        check_chip_id(chip_id)
        if len(seed) < self.least_seed_octets:
            raise Malformed(
                f"seed has {len(seed)} octets, {self.name} needs {self.least_seed_octets} or more"
            )
        personalization = b"%s\x00%s%s" % (
            self.name.encode("ascii"),
            len(chip_id).to_bytes(2, "big"),
            chip_id,
        )
        generator = HMACDRBG(self.hash_name, seed.octets, personalization=personalization)
        scalar = candidate_scalar(generator.generate, self.curve.group_order)
        return ec.derive_private_key(scalar, self.curve)


HMAC_DRBG_P256: Final = HMACDRBGProfile(
    name="hmac-drbg-p256", least_seed_octets=32, hash_name="sha256", curve=ec.SECP256R1()
)
