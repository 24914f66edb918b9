"""Secrets for other purposes than the identity, out of the same seed (docs/secrets.md).

OEM and device come to the same octets. No derivation profile begins with this salt, so none of its
values can be one of these.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NoReturn

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from brski.errors import Malformed, SettingsError, UnknownFormat
from brski.pki import cbor
from brski.seed.profiles import profile
from brski.seed.recipient_key import HybridPrivateKey, HybridPublicKey
from brski.seed.record import check_chip_id
from brski.seed.secret import Seed

SALT: Final = b"brski device secret v1"
USUAL_OCTETS: Final = 32
LEAST_OCTETS: Final = 16
MOST_OCTETS: Final = 64
MOST_SEALED_FILE_OCTETS: Final = 8192

_SEALED: Final = "brski sealed secret v1"
_PURPOSE: Final = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_MOST_PURPOSE: Final = 32
_RESERVED: Final = frozenset({"idevid", "ldevid"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Purpose:
    """What a secret is for, and how long it is.

    Raises:
        SettingsError: a name that is none, or that an identity has; a length out of 16 to 64.
    """

    name: str
    octets: int = USUAL_OCTETS

    def __post_init__(self) -> None:
        if len(self.name) > _MOST_PURPOSE or not _PURPOSE.fullmatch(self.name):
            raise SettingsError(
                f"a purpose has 1 to {_MOST_PURPOSE} of a-z and 0-9, words joined by -",
                hint="firmware-encryption",
            )
        if self.name in _RESERVED or _is_profile(self.name):
            raise SettingsError(f"{self.name!r} is an identity's, no other purpose's")
        if not LEAST_OCTETS <= self.octets <= MOST_OCTETS:
            raise SettingsError(f"a secret has {LEAST_OCTETS} to {MOST_OCTETS} octets")


class DeviceSecret:
    """A derived secret. Shows nothing when printed, and is neither pickled nor copied."""

    __slots__ = ("_octets",)

    def __init__(self, octets: bytes) -> None:
        self._octets = octets

    @property
    def octets(self) -> bytes:
        """The secret itself, raw."""
        return self._octets

    def __repr__(self) -> str:
        return "DeviceSecret(hidden)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a device secret is not pickled or copied")


def derive_secret(seed: Seed, chip_id: bytes, purpose: Purpose) -> DeviceSecret:
    """The secret of one device for one purpose.

    Args:
        chip_id: 1 to 64 octets, exactly as the vendor gave them.

    Raises:
        Malformed: *chip_id* has another length.

    RFC 5869; docs/secrets.md.
    """
    check_chip_id(chip_id)
    name = purpose.name.encode("ascii")
    info = b"".join(
        (
            *(len(name).to_bytes(1, "big"), name),
            *(len(chip_id).to_bytes(2, "big"), chip_id),
            purpose.octets.to_bytes(2, "big"),
        )
    )
    hkdf = HKDF(algorithm=hashes.SHA256(), length=purpose.octets, salt=SALT, info=info)
    return DeviceSecret(hkdf.derive(seed.octets))


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedSecret:
    """A secret on its way to whom it is for. Public."""

    chip_id: bytes
    purpose: Purpose
    recipient_key_id: bytes
    sealed: bytes

    def encode(self) -> bytes:
        """The file: deterministic CBOR."""
        return cbor.encode(
            [
                *(_SEALED, self.chip_id, self.purpose.name, self.purpose.octets),
                *(self.recipient_key_id, self.sealed),
            ]
        )

    @classmethod
    def parse(cls, octets: bytes) -> SealedSecret:
        """Read what :meth:`encode` wrote.

        Raises:
            UnknownFormat: something else.
            Malformed, TooLarge: not deterministic CBOR, or a part of it that is none.
        """
        match cbor.decode(octets, max_octets=MOST_SEALED_FILE_OCTETS):
            case [
                label,
                bytes() as chip_id,
                str(name),
                int(size),
                bytes() as to,
                bytes() as sealed,
            ]:
                if label == _SEALED:
                    return cls(
                        chip_id=chip_id,
                        purpose=_purpose_of(name, size),
                        recipient_key_id=to,
                        sealed=sealed,
                    )
        raise UnknownFormat(f"not a {_SEALED}")


def seal_secret(
    secret: DeviceSecret, chip_id: bytes, purpose: Purpose, recipient: HybridPublicKey
) -> SealedSecret:
    """Seal a secret; HPKE's randomness comes from the system's generator.

    RFC 9180 §6.1.
    """
    return SealedSecret(
        chip_id=chip_id,
        purpose=purpose,
        recipient_key_id=recipient.key_id,
        sealed=recipient.seal(secret.octets, _info(chip_id, purpose)),
    )


def open_secret(sealed: SealedSecret, recipient: HybridPrivateKey) -> DeviceSecret:
    """What :func:`seal_secret` sealed.

    Raises:
        KeyMismatch: sealed to another key, or altered.
        Malformed: of another length than it says.
    """
    octets = recipient.open(sealed.sealed, _info(sealed.chip_id, sealed.purpose))
    if len(octets) != sealed.purpose.octets:
        raise Malformed("a sealed secret has another length than it says")
    return DeviceSecret(octets)


def _info(chip_id: bytes, purpose: Purpose) -> bytes:
    return cbor.encode([_SEALED, chip_id, purpose.name, purpose.octets])


def _purpose_of(name: str, octets: int) -> Purpose:
    try:
        return Purpose(name=name, octets=octets)
    except SettingsError as err:
        raise Malformed(f"a sealed secret's purpose: {err.reason}") from err


def _is_profile(name: str) -> bool:
    try:
        profile(name)
    except UnknownFormat:
        return False
    return True
