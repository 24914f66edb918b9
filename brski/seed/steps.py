"""A derivation told step by step, for whoever brings up a chip: every value is a secret."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from cryptography.hazmat.primitives.asymmetric import ec

# Intermediate values by the names that docs/derivation.md gives them, in the order of computation;
# raw octets, integers big-endian in as many octets as the group's order has.
Steps: TypeAlias = Mapping[str, bytes]


def scalar_octets(curve: ec.EllipticCurve) -> int:
    """How many octets a private key of *curve* has: 32 for P-256, 48 for P-384."""
    return (curve.group_order.bit_length() + 7) // 8


def encode_scalar(scalar: int, curve: ec.EllipticCurve) -> bytes:
    """*scalar*, big-endian, with leading zeros.

    SEC 1 §2.3.7.
    """
    return scalar.to_bytes(scalar_octets(curve), "big")
