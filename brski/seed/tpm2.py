"""What a TPM 2.0 derives from a seed below a derivation parent: docs/derivation.md.

Nothing here talks to a TPM. The device imports the seed as the parent and calls TPM2_CreateLoaded;
the OEM calls this.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from brski.seed.record import check_chip_id
from brski.seed.secret import LEAST_SEED_OCTETS, Seed, check_seed
from brski.seed.steps import Steps, encode_scalar, scalar_octets

LABEL: Final = b"IDevID"  # TPMS_DERIVE.label; no 00 behind it
EXTRA_OCTETS: Final = 8  # 64 bits more than the order has: FIPS 186-5 §A.2.1

_SIZE: Final = (8192).to_bytes(4, "big")  # TPM_MAX_DERIVATION_BITS, whatever is asked for


def kdfa(hash_name: str, key: bytes, label: bytes, context: bytes, octets: int) -> bytes:
    """The stream that a TPM draws a derived object's private part from.

    ``K(i) = HMAC(key, u32(i) || label || 00 || context || u32(8192))``, i from 1; the ``00`` is
    left out where *label* ends in one already.

    Args:
        hash_name: of the parent's scheme, as :mod:`hashlib` names it.
        key: the parent's sensitive data, that is the seed.
        label, context: of TPMS_DERIVE, 32 octets each at most in a TPM.
        octets: how many of the stream, from its start.

    TPM 2.0 Library Part 1, §11.4.10.2 (KDFa), §28.2 (derived objects); SP 800-108r1 §4.1.
    """
    fixed = label + (b"" if label.endswith(b"\x00") else b"\x00") + context + _SIZE
    stream = b""
    counter = 0
    while len(stream) < octets:
        counter += 1
        stream += hmac.digest(key, counter.to_bytes(4, "big") + fixed, hash_name)
    return stream[:octets]


def extra_bits_scalar(stream: bytes, order: int) -> int:
    """``(c mod (order - 1)) + 1`` for *stream* read big-endian as c.

    FIPS 186-5 §A.2.1: with 64 bits more than *order* has, no candidate needs to be turned down.
    """
    return int.from_bytes(stream, "big") % (order - 1) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TPM2Profile:
    """An elliptic-curve key as TPM2_CreateLoaded makes it below a parent that holds the seed."""

    name: str
    hash_name: str  # of the parent's XOR scheme
    curve: ec.EllipticCurve
    most_seed_octets: int  # a TPM turns down more than the block of the scheme's hash
    least_seed_octets: int = LEAST_SEED_OCTETS

    def derive(self, seed: Seed, chip_id: bytes) -> ec.EllipticCurvePrivateKey:
        """See :meth:`brski.seed.profiles.DerivationProfile.derive`."""
        return ec.derive_private_key(self.scalar(seed, chip_id), self.curve)

    def scalar(self, seed: Seed, chip_id: bytes) -> int:
        """See :meth:`brski.seed.profiles.ScalarProfile.scalar`."""
        stream = self._stream(seed, derivation_context(chip_id))
        return extra_bits_scalar(stream, self.curve.group_order)

    def steps(self, seed: Seed, chip_id: bytes) -> Steps:
        """See :meth:`brski.seed.profiles.DerivationProfile.steps`."""
        context = derivation_context(chip_id)
        stream = self._stream(seed, context)
        scalar = extra_bits_scalar(stream, self.curve.group_order)
        return {
            "label": LABEL,
            "context": context,
            "c": stream,
            "d": encode_scalar(scalar, self.curve),
        }

    def _stream(self, seed: Seed, context: bytes) -> bytes:
        check_seed(
            seed, profile=self.name, least=self.least_seed_octets, most=self.most_seed_octets
        )
        octets = scalar_octets(self.curve) + EXTRA_OCTETS
        return kdfa(self.hash_name, seed.octets, LABEL, context, octets)


def derivation_context(chip_id: bytes) -> bytes:
    """TPMS_DERIVE.context for a chip: SHA-256 of its id, since a context has 32 octets at most.

    Raises:
        Malformed: *chip_id* has not 1 to 64 octets.

    docs/derivation.md.
    """
    check_chip_id(chip_id)
    return hashlib.sha256(chip_id).digest()


TPM2_P256: Final = TPM2Profile(
    name="tpm2-p256", hash_name="sha256", curve=ec.SECP256R1(), most_seed_octets=64
)
TPM2_P384: Final = TPM2Profile(
    name="tpm2-p384", hash_name="sha384", curve=ec.SECP384R1(), most_seed_octets=128
)
