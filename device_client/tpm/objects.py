"""Objects of a TPM as values: loaded, or as octets to be kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from tpm2_pytss import ESYS_TR, TPM2B_PUBLIC, TSS2_Exception

from brski.errors import KeyUnusable
from device_client.tpm import templates


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """An object as the TPM gives it out for keeping: encrypted under its storage key."""

    public: bytes  # TPM2B_PUBLIC
    private: bytes  # TPM2B_PRIVATE

    @property
    def public_key(self) -> ec.EllipticCurvePublicKey:
        """The key's public half.

        Raises:
            KeyUnusable: the octets are damaged, or no key on P-256 or P-384.
        """
        return templates.public_key_of(parse_public(self.public))


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A signing key that is loaded now, or persistent."""

    handle: ESYS_TR
    public: TPM2B_PUBLIC

    @property
    def public_key(self) -> ec.EllipticCurvePublicKey:
        """Its public half.

        Raises:
            KeyUnusable: it is no key on P-256 or P-384.
        """
        return templates.public_key_of(self.public)


def parse_public(octets: bytes) -> TPM2B_PUBLIC:
    """A public area from its octets; raises as :func:`unmarshalled`."""
    return unmarshalled(TPM2B_PUBLIC, octets)


def unmarshalled(kind: Any, octets: bytes) -> Any:
    """A structure of *kind*, a class of tpm2-pytss, from its octets, size included.

    Raises:
        KeyUnusable: truncated, or octets after it.
    """
    try:
        value, used = kind.unmarshal(octets)
    except TSS2_Exception as err:
        raise KeyUnusable(f"a damaged {kind.__name__}") from err
    if used != len(octets):
        raise KeyUnusable(f"{len(octets) - used} octets after a {kind.__name__}")
    return value
