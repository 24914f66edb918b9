"""Paths that hold, each under a CA of any kind."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from cryptography import x509

from brski import registry
from brski.pki import extensions
from tests.kit import pki
from tests.unit.pki.bad_chains import ISSUER_AT
from tests.unit.pki.chain_cases import (
    UNKNOWN,
    Case,
    idevid,
    self_issued,
    spare,
    under_root,
    under_sub_ca,
)


def _san(*names: x509.GeneralName) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName(names)


def _anchor_below_the_root(kind: str) -> Case:
    case = idevid(kind)
    return Case(case.leaf, (), case.intermediates)


def _root_presented_too(kind: str) -> Case:
    case = idevid(kind)
    return Case(case.leaf, case.leaf.issuers, case.anchors)


def _others_presented_too(kind: str) -> Case:
    case, other = idevid(kind), idevid(kind)
    return Case(
        case.leaf,
        (*other.leaf.chain, *reversed(case.leaf.chain)),
        (*other.anchors, *case.anchors),
    )


def _four_levels(kind: str) -> Case:
    return idevid(kind, levels=5)


def _path_length_met(kind: str) -> Case:
    root = pki.make_root("Root", kind=kind, path_length=1)
    leaf = pki.make_idevid(pki.make_ca("Sub", root, kind=kind, path_length=0))
    return Case(leaf, leaf.intermediates, (leaf.root,))


def _same_name_roots(kind: str) -> Case:
    """Fifty roots of one name with key identifiers: the right one is found at once."""
    leaf = pki.make_idevid(pki.make_root("Root", kind=kind))
    impostors = [pki.make_root("Root", kind=kind, key=spare(i)).certificate for i in range(50)]
    return Case(leaf, (), (*impostors, leaf.root))


def _two_same_name_roots_without_key_identifiers(kind: str) -> Case:
    root = pki.make_root("Root", kind=kind, ski=False, aki=False)
    other = pki.make_root("Root", kind=kind, ski=False, aki=False, key=spare(0))
    leaf = pki.make_idevid(root, aki=False)
    return Case(leaf, (), (other.certificate, root.certificate))


def _cross_signed(kind: str) -> Case:
    """One CA with a certificate under a root that we lack, and one under ours."""
    ours, theirs = (pki.make_root(name, kind=kind) for name in ("Ours", "Theirs"))
    key = pki.make_key(kind)
    other = pki.make_ca("Sub", theirs, key=key)
    sub = pki.make_ca("Sub", ours, key=key)
    leaf = pki.make_idevid(sub)
    return Case(leaf, (other.certificate, sub.certificate), (ours.certificate,))


def _expired_cross_certificate_beside_a_valid_one(kind: str) -> Case:
    root, key = pki.make_root("Root", kind=kind), pki.make_key(kind)
    old = pki.make_ca("Sub", root, key=key, not_after=pki.NOW - timedelta(days=1))
    sub = pki.make_ca("Sub", root, key=key)
    leaf = pki.make_idevid(sub)
    return Case(leaf, (old.certificate, sub.certificate), (root.certificate,))


def _many_self_issued_beside_the_right_one(kind: str) -> Case:
    """Fourteen certificates that a CA gave itself lead nowhere and do not use the search up."""
    key = pki.make_key(kind)
    itself = pki.make_ca("Sub", None, key=key)
    others = [
        pki.make_ca("Sub", itself, key=key, not_before=pki.NOT_BEFORE - timedelta(days=i))
        for i in range(14)
    ]
    sub = pki.make_ca("Sub", pki.make_root("Root", kind=kind, path_length=1), key=key)
    leaf = pki.make_idevid(sub)
    return Case(leaf, tuple(e.certificate for e in (*others, sub)), (leaf.root,))


GOOD: dict[str, Callable[[str], Case]] = {
    "three levels": idevid,
    "two levels": lambda k: idevid(k, levels=2),
    "five levels": _four_levels,
    "anchor below the root": _anchor_below_the_root,
    "root presented too": _root_presented_too,
    "other certificates presented too, out of order": _others_presented_too,
    "P-384 leaf": lambda k: idevid(k, key=pki.make_key("P-384")),
    "Ed25519 leaf": lambda k: idevid(k, key=pki.make_key("Ed25519")),
    "ML-DSA-87 leaf": lambda k: idevid(k, key=pki.make_key("ML-DSA-87")),
    "RSA leaf": lambda k: idevid(k, key=pki.make_key("RSA-2048")),
    "no MASA URL": lambda k: idevid(k, masa_url=None),
    "hardwareModuleName": lambda k: idevid(
        k, extra=[(_san(extensions.hardware_module_name("1.3.6.1.4.1.32473.1", b"1")), False)]
    ),
    "no basic constraints on the leaf": lambda k: idevid(k, basic_constraints=None),
    "no key usage on the leaf": lambda k: idevid(k, key_usage=None),
    "extended key usage serverAuth only": lambda k: idevid(k, ekus=[registry.ID_KP_SERVER_AUTH]),
    "critical extended key usage": lambda k: idevid(
        k,
        extra=[(x509.ExtendedKeyUsage([x509.ObjectIdentifier(registry.ID_KP_CMC_RA)]), True)],
    ),
    "critical subjectAltName": lambda k: idevid(k, extra=[(_san(x509.DNSName("a.example")), True)]),
    "unknown extension, not critical": lambda k: idevid(k, extra=[(UNKNOWN, False)]),
    "unknown extension of a CA, not critical": lambda k: under_sub_ca(k, extra=[(UNKNOWN, False)]),
    "CA without key usage": lambda k: under_sub_ca(k, key_usage=None),
    "CA without key identifiers": lambda k: under_sub_ca(k, ski=False, aki=False),
    "root without key usage and identifiers": lambda k: under_root(
        k, key_usage=None, ski=False, aki=False
    ),
    "in the first second": lambda k: idevid(k, at=pki.NOT_BEFORE),
    "in the last second": lambda k: under_sub_ca(k, at=pki.NOT_AFTER),
    "in the last fraction of the last second": lambda k: under_sub_ca(
        k, at=pki.NOT_AFTER + timedelta(microseconds=999_999)
    ),
    "authority information access": lambda k: idevid(k, extra=[(ISSUER_AT, False)]),
    "a CA as the leaf": lambda k: idevid(
        k,
        key_usage=pki.CA_KEY_USAGE,
        basic_constraints=x509.BasicConstraints(ca=True, path_length=0),
    ),
    "in the year 9999": lambda k: idevid(k, at=pki.NEVER - timedelta(days=1)),
    "path length met": _path_length_met,
    "self-issued certificate": self_issued,
    "fifty roots of one name": _same_name_roots,
    "two roots of one name, no identifiers": _two_same_name_roots_without_key_identifiers,
    "cross-signed": _cross_signed,
    "many self-issued certificates beside": _many_self_issued_beside_the_right_one,
    "expired cross-certificate beside": _expired_cross_certificate_beside_a_valid_one,
}
