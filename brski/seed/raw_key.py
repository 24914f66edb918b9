"""Private keys that are 32 octets and nothing else: Ed25519, and ML-DSA by its seed xi."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from cryptography.hazmat.primitives.asymmetric import ed25519, mldsa

from brski.pki.signatures import MLDSAPrivateKey

RAW_OCTETS: Final = 32

RawPrivateKey: TypeAlias = ed25519.Ed25519PrivateKey | MLDSAPrivateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class RawKind:
    """An algorithm whose private key is any 32 octets.

    RFC 8032 §5.1.5 (Ed25519); FIPS 204 §5.1, algorithm 6 (ML-DSA.KeyGen_internal).
    """

    octets_name: str  # what the standard calls the 32 octets
    load: Callable[[bytes], RawPrivateKey]


ED25519: Final = RawKind(
    octets_name="private-key", load=ed25519.Ed25519PrivateKey.from_private_bytes
)
ML_DSA_44: Final = RawKind(octets_name="xi", load=mldsa.MLDSA44PrivateKey.from_seed_bytes)
ML_DSA_65: Final = RawKind(octets_name="xi", load=mldsa.MLDSA65PrivateKey.from_seed_bytes)
ML_DSA_87: Final = RawKind(octets_name="xi", load=mldsa.MLDSA87PrivateKey.from_seed_bytes)
