"""What is presented for validation, and to which anchors: what the tables are made of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography import x509

from brski.pki.chain import TrustAnchors
from tests.kit import pki

KINDS = ("P-256", "P-384", "ML-DSA-65", "Ed25519")  # of the CAs; the last takes the own walk
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.32473.99"), b"\5\0")


@dataclass(frozen=True)
class Case:
    """What is presented, and to which anchors."""

    leaf: pki.Entity
    intermediates: tuple[x509.Certificate, ...]
    anchors: tuple[x509.Certificate, ...]
    at: datetime = pki.NOW

    def validate(self, **options: Any) -> tuple[x509.Certificate, ...]:
        anchors = TrustAnchors(self.anchors)
        return anchors.validate(self.leaf.certificate, self.intermediates, at=self.at, **options)

    def validate_without_clock(self) -> tuple[x509.Certificate, ...]:
        anchors = TrustAnchors(self.anchors)
        return anchors.validate_without_clock(self.leaf.certificate, self.intermediates)


def idevid(kind: str, *, levels: int = 3, at: datetime = pki.NOW, **knobs: Any) -> Case:
    leaf = pki.make_idevid(pki.make_pki(levels=levels, kind=kind), **knobs)
    return Case(leaf, leaf.intermediates, (leaf.root,), at)


def under_sub_ca(kind: str, *, at: datetime = pki.NOW, **knobs: Any) -> Case:
    root = pki.make_root("Root", kind=kind, not_after=pki.NEVER)
    leaf = pki.make_idevid(pki.make_ca("Sub", root, kind=kind, **knobs))
    return Case(leaf, leaf.intermediates, (leaf.root,), at)


def under_root(kind: str, *, at: datetime = pki.NOW, **knobs: Any) -> Case:
    leaf = pki.make_idevid(pki.make_root("Root", kind=kind, **knobs))
    return Case(leaf, (), (leaf.root,), at)


def self_issued(kind: str, *, path_length: int = 1) -> Case:
    """A CA's key roll-over certificate: same name, new key."""
    root = pki.make_root("Root", kind=kind, path_length=path_length)
    rolled = pki.make_ca("Root", root, kind=kind)
    leaf = pki.make_idevid(rolled)
    return Case(leaf, leaf.intermediates, (leaf.root,))


_SPARES = [pki.make_key() for _ in range(50)]


def spare(index: int) -> Any:
    return _SPARES[index]
