"""The profiles of a chip whose boot ROM is Open DICE: docs/derivation.md.

The seed takes the place of the secret that the ROM feeds to ASYM_KDF; there is no CDI step here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from brski.seed import raw_key
from brski.seed.drbg import HMACDRBG
from brski.seed.hkdf import expand, extract
from brski.seed.hmac_drbg import candidate_scalar
from brski.seed.raw_key import RawKind, RawPrivateKey
from brski.seed.record import check_chip_id
from brski.seed.secret import Seed, check_seed
from brski.seed.steps import Steps, encode_scalar, scalar_octets

SEED_OCTETS: Final = 32  # DICE_CDI_SIZE, exactly
INFO: Final = b"Key Pair"
ASYM_SALT: Final = bytes.fromhex(  # 64 octets, on two lines of the profile's page
    "63b6a04d2c077fc10f639f21da793844356cc2b0b441b3a77124035c03f8e1be"
    "6035d31f282821a7450a02222ab1b3cff1679b05ab1ca5d1affb789ccd2b0b3b"
)


def asym_kdf(seed: Seed, chip_id: bytes, profile: str) -> bytes:
    """ASYM_KDF of the Open DICE profile: 32 octets.

    Args:
        chip_id: looked at and not used.
        profile: its name, for a refusal.

    Raises:
        Malformed: *seed* has other than 32 octets, or *chip_id* not 1 to 64.
    """
    check_chip_id(chip_id)
    check_seed(seed, profile=profile, least=SEED_OCTETS, most=SEED_OCTETS)
    return expand(extract(ASYM_SALT, seed.octets), INFO)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenDICECurveProfile:
    """An elliptic-curve key: HMAC_DRBG with SHA-512, started from what ASYM_KDF gave."""

    name: str
    curve: ec.EllipticCurve
    least_seed_octets: int = SEED_OCTETS
    most_seed_octets: int = SEED_OCTETS

    def derive(self, seed: Seed, chip_id: bytes) -> ec.EllipticCurvePrivateKey:
        """See :meth:`brski.seed.profiles.DerivationProfile.derive`."""
        return ec.derive_private_key(self.scalar(seed, chip_id), self.curve)

    def scalar(self, seed: Seed, chip_id: bytes) -> int:
        """See :meth:`brski.seed.profiles.ScalarProfile.scalar`."""
        generator = HMACDRBG("sha512", asym_kdf(seed, chip_id, self.name))
        return candidate_scalar(generator.generate, self.curve.group_order)

    def steps(self, seed: Seed, chip_id: bytes) -> Steps:
        """See :meth:`brski.seed.profiles.DerivationProfile.steps`."""
        entropy = asym_kdf(seed, chip_id, self.name)
        generator = HMACDRBG("sha512", entropy)
        key, v = generator.state
        return {
            "ASYM_KDF": entropy,
            "K": key,
            "V": v,
            "first-output": generator.generate(scalar_octets(self.curve)),
            "d": encode_scalar(self.scalar(seed, chip_id), self.curve),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenDICERawProfile:
    """A key that is what ASYM_KDF gave."""

    name: str
    kind: RawKind
    least_seed_octets: int = SEED_OCTETS
    most_seed_octets: int = SEED_OCTETS

    def derive(self, seed: Seed, chip_id: bytes) -> RawPrivateKey:
        """See :meth:`brski.seed.profiles.DerivationProfile.derive`."""
        return self.kind.load(asym_kdf(seed, chip_id, self.name))

    def steps(self, seed: Seed, chip_id: bytes) -> Steps:
        """See :meth:`brski.seed.profiles.DerivationProfile.steps`."""
        return {"ASYM_KDF": asym_kdf(seed, chip_id, self.name)}


ED25519: Final = OpenDICERawProfile(name="open-dice-ed25519", kind=raw_key.ED25519)
P256: Final = OpenDICECurveProfile(name="open-dice-p256", curve=ec.SECP256R1())
P384: Final = OpenDICECurveProfile(name="open-dice-p384", curve=ec.SECP384R1())
ML_DSA_65: Final = OpenDICERawProfile(name="open-dice-ml-dsa-65", kind=raw_key.ML_DSA_65)
ML_DSA_87: Final = OpenDICERawProfile(name="open-dice-ml-dsa-87", kind=raw_key.ML_DSA_87)
