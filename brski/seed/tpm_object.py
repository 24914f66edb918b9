"""Public and sensitive areas of the TPM objects that a silicon vendor makes in software.

A derivation parent around a seed, or the derived key itself for a TPM that refuses to derive; and
the storage key that either is wrapped to. docs/tpm.md has them octet by octet; structures are those
of the TPM 2.0 Library, Part 2. All integers big-endian.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from brski.errors import KeyNotAllowed, Malformed
from brski.seed.secret import Seed, check_seed
from brski.seed.tpm2 import TPM2Profile

SEED_VALUE_OCTETS: Final = 32  # obfuscation value: the digest size of nameAlg

_KEYEDHASH, _XOR, _NULL, _ECDSA, _KDF1_SP800_108, _ECC = 0x08, 0x0A, 0x10, 0x18, 0x22, 0x23
_AES, _CFB = 0x06, 0x43
_SHA256, _SHA384 = 0x0B, 0x0C
_HASHES: Final[Mapping[int, str]] = MappingProxyType({_SHA256: "sha256", _SHA384: "sha384"})
_CURVES: Final[Mapping[int, ec.EllipticCurve]] = MappingProxyType(
    {3: ec.SECP256R1(), 4: ec.SECP384R1()}
)
_HASH_IDS: Final = {name: number for number, name in _HASHES.items()}

_FIXED_TPM, _USER_WITH_AUTH, _NO_DA = 1 << 1, 1 << 6, 1 << 10
_RESTRICTED, _DECRYPT, _SIGN = 1 << 16, 1 << 17, 1 << 18
_PARENT_ATTRIBUTES: Final = _USER_WITH_AUTH | _NO_DA | _RESTRICTED | _DECRYPT
_KEY_ATTRIBUTES: Final = _USER_WITH_AUTH | _NO_DA | _SIGN
_STORAGE_NEEDS: Final = _FIXED_TPM | _RESTRICTED | _DECRYPT
_SECTION: Final = "TPM 2.0 Part 2 §12.2"


@dataclass(frozen=True, slots=True, kw_only=True)
class TPMObject:
    """An object as it is before it is wrapped; shows no secret when printed."""

    public: bytes  # TPMT_PUBLIC
    sensitive: bytes = field(repr=False)  # TPMT_SENSITIVE, as secret as what it holds

    @property
    def name(self) -> bytes:
        """nameAlg and the digest of the public area, 34 octets."""
        return name_of(self.public)


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageKey:
    """The public half of a TPM's storage key."""

    public_key: ec.EllipticCurvePublicKey
    hash_name: str  # nameAlg, as hashlib calls it
    aes_octets: int  # of its symmetric algorithm's key, AES-CFB


def derivation_parent(seed: Seed, profile: TPM2Profile, seed_value: bytes) -> TPMObject:
    """An object that does nothing but derive keys from *seed*.

    Args:
        profile: says the hash of the derivation, and how long a seed may be.
        seed_value: 32 octets, uniformly random, fresh.

    Raises:
        Malformed: a seed of a length that *profile* does not take, or another length of
            *seed_value*.

    TPM 2.0 Part 1 §28 (derived objects); docs/tpm.md.
    """
    check_seed(
        seed,
        profile=profile.name,
        least=profile.least_seed_octets,
        most=profile.most_seed_octets,
    )
    if len(seed_value) != SEED_VALUE_OCTETS:
        raise Malformed(f"seedValue has {len(seed_value)} octets, not {SEED_VALUE_OCTETS}")
    scheme = _u16(_XOR) + _u16(_HASH_IDS[profile.hash_name]) + _u16(_KDF1_SP800_108)
    unique = hmac.digest(seed_value, seed.octets, "sha256")
    return TPMObject(
        public=_public_head(_KEYEDHASH, _PARENT_ATTRIBUTES) + scheme + sized(unique),
        sensitive=_u16(_KEYEDHASH) + sized(b"") + sized(seed_value) + sized(seed.octets),
    )


def signing_key(private_key: ec.EllipticCurvePrivateKey) -> TPMObject:
    """A signing key whose private half is given, for a TPM that refuses to derive it.

    Args:
        private_key: P-256 (signs with SHA-256) or P-384 (SHA-384).

    Raises:
        KeyNotAllowed: another curve.
    """
    curve = private_key.curve
    number, known = _curve_number(curve)
    octets = (known.key_size + 7) // 8
    numbers = private_key.private_numbers()
    point = numbers.public_numbers
    hash_id = _SHA256 if isinstance(curve, ec.SECP256R1) else _SHA384
    details = b"".join(map(_u16, (_NULL, _ECDSA, hash_id, number, _NULL)))
    unique = sized(point.x.to_bytes(octets, "big")) + sized(point.y.to_bytes(octets, "big"))
    scalar = numbers.private_value.to_bytes(octets, "big")
    return TPMObject(
        public=_public_head(_ECC, _KEY_ATTRIBUTES) + details + unique,
        sensitive=_u16(_ECC) + sized(b"") + sized(b"") + sized(scalar),
    )


def parse_storage_key(octets: bytes) -> StorageKey:
    """Read the public area of the key that a seed is to be wrapped to.

    Nothing in it proves that a TPM holds the private half; the caller knows where it comes from.

    Args:
        octets: a TPM2B_PUBLIC, as TPM2_ReadPublic answers, nothing after it.

    Raises:
        Malformed: truncated, trailing octets, or a point that is not on its curve.
        KeyNotAllowed: no ECC key on P-256 or P-384 with SHA-256 or SHA-384 and AES-CFB, or one
            that may leave its TPM or is no storage key.

    TPM 2.0 Part 2 §12.2.4.
    """
    reader = _Reader(_Reader(octets).last_sized())
    kind, name_alg, attributes = reader.u16(), reader.u16(), reader.u32()
    reader.sized()  # authPolicy
    if kind != _ECC or name_alg not in _HASHES:
        raise _not_allowed("it is no ECC key with SHA-256 or SHA-384")
    if attributes & (_STORAGE_NEEDS | _SIGN) != _STORAGE_NEEDS:
        raise _not_allowed("it may leave its TPM, or stores nothing")
    if reader.u16() != _AES:
        raise _not_allowed("its symmetric algorithm is not AES")
    bits, mode, scheme = reader.u16(), reader.u16(), reader.u16()
    if bits not in {128, 256} or mode != _CFB or scheme != _NULL:
        raise _not_allowed("its symmetric algorithm is not AES-CFB of 128 or 256 bits")
    curve, kdf = reader.u16(), reader.u16()
    if curve not in _CURVES or kdf != _NULL:
        raise _not_allowed("its curve is not P-256 or P-384")
    x, y = reader.sized(), reader.last_sized()
    return StorageKey(
        public_key=_point(_CURVES[curve], x, y),
        hash_name=_HASHES[name_alg],
        aes_octets=bits // 8,
    )


def name_of(public: bytes) -> bytes:
    """The Name of an object of ours: ``000b`` and SHA-256 of its TPMT_PUBLIC."""
    return _u16(_SHA256) + hashlib.sha256(public).digest()


def sized(octets: bytes) -> bytes:
    """*octets* with their number before them in two octets: any TPM2B structure."""
    return len(octets).to_bytes(2, "big") + octets


def _public_head(kind: int, attributes: int) -> bytes:
    return _u16(kind) + _u16(_SHA256) + attributes.to_bytes(4, "big") + sized(b"")


def _u16(value: int) -> bytes:
    return value.to_bytes(2, "big")


def _curve_number(curve: ec.EllipticCurve) -> tuple[int, ec.EllipticCurve]:
    for number, known in _CURVES.items():
        if known.name == curve.name:
            return number, known
    raise KeyNotAllowed(f"no TPM object for curve {curve.name}")


def _point(curve: ec.EllipticCurve, x: bytes, y: bytes) -> ec.EllipticCurvePublicKey:
    numbers = ec.EllipticCurvePublicNumbers(
        int.from_bytes(x, "big"), int.from_bytes(y, "big"), curve
    )
    try:
        return numbers.public_key()
    except ValueError as err:
        raise Malformed("the storage key's point is not on its curve") from err


def _not_allowed(why: str) -> KeyNotAllowed:
    return KeyNotAllowed(f"nothing is wrapped to this storage key: {why}", section=_SECTION)


class _Reader:
    """Takes a TPM structure apart from its front."""

    def __init__(self, octets: bytes) -> None:
        self._left = octets

    def u16(self) -> int:
        return int.from_bytes(self._take(2), "big")

    def u32(self) -> int:
        return int.from_bytes(self._take(4), "big")

    def sized(self) -> bytes:
        return self._take(self.u16())

    def last_sized(self) -> bytes:
        octets = self.sized()
        if self._left:
            raise Malformed(f"{len(self._left)} octets after the public area", section=_SECTION)
        return octets

    def _take(self, count: int) -> bytes:
        taken, self._left = self._left[:count], self._left[count:]
        if len(taken) != count:
            raise Malformed("the public area ends too early", section=_SECTION)
        return taken
