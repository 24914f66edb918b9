"""Paths that do not hold: each differs in one thing from one that does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID

from brski.pki import chain, extensions
from brski.pki.keys import parse_certificate
from tests.kit import pki
from tests.unit.pki.chain_cases import UNKNOWN, Case, idevid, self_issued, under_root, under_sub_ca


def _another_root(kind: str) -> Case:
    case = idevid(kind)
    return Case(case.leaf, case.leaf.issuers, idevid(kind).anchors)


def _no_intermediate(kind: str) -> Case:
    case = idevid(kind)
    return Case(case.leaf, (), case.anchors)


def _self_signed(kind: str) -> Case:
    leaf = pki.certify(pki.common_name("Example OEM Root CA"), key=pki.make_key(kind))
    return Case(leaf, leaf.chain, idevid(kind).anchors)


def _altered(kind: str) -> Case:
    case = idevid(kind)
    data = bytearray(case.leaf.der)
    data[data.index(b"SN-0001")] ^= 1
    leaf = pki.Entity(certificate=parse_certificate(bytes(data)), private_key=case.leaf.private_key)
    return Case(leaf, case.intermediates, case.anchors)


def _wrong_key_under_the_right_name(kind: str) -> Case:
    """The issuer's name and key identifier are copied, its key is not."""
    case = idevid(kind)
    real = case.intermediates[0]
    forger = pki.make_ca("x", None, kind=kind)
    identifier = extensions.subject_key_identifier(real)
    assert identifier is not None
    aki = x509.AuthorityKeyIdentifier(identifier, None, None)
    leaf = pki.make_idevid(forger, issuer_name=real.subject, aki=False, extra=[(aki, False)])
    return Case(leaf, case.intermediates, case.anchors)


def _issued_by_a_device(kind: str) -> Case:
    """An end entity issues: abuse of an IDevID as a CA."""
    issuing = pki.make_pki(kind=kind)
    device = pki.make_idevid(issuing, kind=kind)
    leaf = pki.make_idevid(device, "SN-0002")
    return Case(leaf, leaf.intermediates, (leaf.root,))


def _anchor_is_no_ca(kind: str) -> Case:
    anchor = pki.certify(pki.common_name("Anchor"), key=pki.make_key(kind))
    leaf = pki.make_idevid(anchor)
    return Case(leaf, (), (anchor.certificate,))


def _path_length_passed(kind: str) -> Case:
    root = pki.make_root("Root", kind=kind, path_length=0)
    leaf = pki.make_idevid(pki.make_ca("Sub", root, kind=kind))
    return Case(leaf, leaf.intermediates, (leaf.root,))


def _path_length_of_a_sub_ca_passed(kind: str) -> Case:
    root = pki.make_root("Root", kind=kind)
    first = pki.make_ca("First", root, kind=kind, path_length=0)
    leaf = pki.make_idevid(pki.make_ca("Second", first, kind=kind))
    return Case(leaf, leaf.intermediates, (leaf.root,))


def _expired_intermediate(kind: str) -> Case:
    return under_sub_ca(kind, not_after=pki.NOW - timedelta(seconds=1))


def _loop(kind: str) -> Case:
    """Two CAs that have issued each other, and no way out."""
    keys = [pki.make_key(kind) for _ in range(2)]
    a = pki.make_ca("A", None, key=keys[0])
    b = pki.make_ca("B", a, key=keys[1])
    a_by_b = pki.make_ca("A", b, key=keys[0])
    leaf = pki.make_idevid(a_by_b)
    return Case(leaf, (a_by_b.certificate, b.certificate), idevid(kind).anchors)


def _leaf_presented_as_its_own_intermediate(kind: str) -> Case:
    leaf = pki.make_ca("A", None, kind=kind)
    return Case(leaf, leaf.chain, idevid(kind).anchors)


def _seven_intermediates(kind: str) -> Case:
    issuing = pki.make_root("Root", kind=kind)
    for level in range(chain.INTERMEDIATES_LIMIT + 1):
        issuing = pki.make_ca(f"CA {level}", issuing, kind=kind)
    leaf = pki.make_idevid(issuing)
    return Case(leaf, leaf.intermediates, (leaf.root,))


def _key_identifiers_differ(kind: str) -> Case:
    """Name and key fit, the identifiers do not: as OpenSSL has it, that is another issuer."""
    root = pki.make_root("Root", kind=kind)
    aki = x509.AuthorityKeyIdentifier(bytes(20), None, None)
    leaf = pki.make_idevid(root, aki=False, extra=[(aki, False)])
    return Case(leaf, (), (root.certificate,))


def _root_without_a_name(kind: str) -> Case:
    root = pki.certify(
        x509.Name([]),
        key=pki.make_key(kind),
        basic_constraints=x509.BasicConstraints(ca=True, path_length=None),
        key_usage=pki.CA_KEY_USAGE,
    )
    leaf = pki.make_idevid(root)
    return Case(leaf, (), (root.certificate,))


# Known to every library, and of a criticality that RFC 5280 does not let it have.
ISSUER_AT = x509.AuthorityInformationAccess(
    [
        x509.AccessDescription(
            AuthorityInformationAccessOID.CA_ISSUERS,
            x509.UniformResourceIdentifier("http://ca.example.com/"),
        )
    ]
)
POLICY_WANTED = x509.PolicyConstraints(require_explicit_policy=0, inhibit_policy_mapping=None)
NO_PERMITTED = x509.NameConstraints([x509.DNSName("example.com")], None)

BAD: dict[str, Callable[[str], Case]] = {
    "another root of the same name": _another_root,
    "intermediate missing": _no_intermediate,
    "self-signed under the root's name": _self_signed,
    "an octet altered": _altered,
    "forged issuer": _wrong_key_under_the_right_name,
    "issued by a device": _issued_by_a_device,
    "anchor that is no CA": _anchor_is_no_ca,
    "path length of the root passed": _path_length_passed,
    "path length of a CA passed": _path_length_of_a_sub_ca_passed,
    "path length passed by a self-issued certificate": lambda k: self_issued(k, path_length=0),
    "CA without basic constraints": lambda k: under_sub_ca(k, basic_constraints=None),
    "root without basic constraints": lambda k: under_root(k, basic_constraints=None),
    "CA whose basic constraints say no": lambda k: under_sub_ca(
        k, basic_constraints=x509.BasicConstraints(ca=False, path_length=None)
    ),
    "CA without keyCertSign": lambda k: under_sub_ca(k, key_usage=pki.LEAF_KEY_USAGE),
    "root without keyCertSign": lambda k: under_root(k, key_usage=pki.LEAF_KEY_USAGE),
    "unknown critical extension": lambda k: idevid(k, extra=[(UNKNOWN, True)]),
    "unknown critical extension of a CA": lambda k: under_sub_ca(k, extra=[(UNKNOWN, True)]),
    "unknown critical extension of the root": lambda k: under_root(k, extra=[(UNKNOWN, True)]),
    "critical name constraints": lambda k: under_sub_ca(k, extra=[(NO_PERMITTED, True)]),
    "name constraints": lambda k: under_sub_ca(k, extra=[(NO_PERMITTED, False)]),
    "critical authority information access": lambda k: idevid(k, extra=[(ISSUER_AT, True)]),
    "critical authority information access of a CA": lambda k: under_sub_ca(
        k, extra=[(ISSUER_AT, True)]
    ),
    "critical authority information access of the root": lambda k: under_root(
        k, extra=[(ISSUER_AT, True)]
    ),
    "policy constraints": lambda k: under_sub_ca(k, extra=[(POLICY_WANTED, False)]),
    "critical policy constraints of the root": lambda k: under_root(
        k, extra=[(POLICY_WANTED, True)]
    ),
    "root without a name": _root_without_a_name,
    "keyCertSign on a leaf": lambda k: idevid(k, key_usage=pki.CA_KEY_USAGE),
    "keyCertSign on a leaf without basic constraints": lambda k: idevid(
        k, key_usage=pki.CA_KEY_USAGE, basic_constraints=None
    ),
    "leaf of a weak key": lambda k: idevid(k, key=pki.make_key("RSA-1024")),
    "leaf of P-521": lambda k: idevid(k, key=pki.make_key("P-521")),
    "CA of a weak key": lambda k: under_sub_ca(k, key=pki.make_key("RSA-1024")),
    "CA of P-521": lambda k: under_sub_ca(k, key=pki.make_key("P-521")),
    "issuers in a loop": _loop,
    "own issuer": _leaf_presented_as_its_own_intermediate,
    "seven intermediates": _seven_intermediates,
    "key identifiers differ": _key_identifiers_differ,
}
BAD_AT_THE_TIME: dict[str, Callable[[str], Case]] = {
    "leaf expired": lambda k: idevid(k, not_after=pki.NOW - timedelta(seconds=1)),
    "leaf not yet valid": lambda k: idevid(k, not_before=pki.NOW + timedelta(seconds=1)),
    "CA expired": _expired_intermediate,
    "CA not yet valid": lambda k: under_sub_ca(k, not_before=pki.NOW + timedelta(seconds=1)),
    "root expired": lambda k: under_root(k, not_after=pki.NOW - timedelta(seconds=1)),
    "root not yet valid": lambda k: under_root(k, not_before=pki.NOW + timedelta(seconds=1)),
    "before all": lambda k: idevid(k, at=pki.BEFORE),
    "after the last second": lambda k: under_sub_ca(k, at=pki.NOT_AFTER + timedelta(seconds=1)),
}
