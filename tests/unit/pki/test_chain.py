"""Path validation: every case through the library's verifier and through the own walk.

Under a P-256 CA the verifier of ``cryptography`` judges, under an Ed25519 CA the own walk does;
without a clock always the walk. The three must agree.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import Encoding

from brski import registry
from brski.errors import ChainInvalid, KeyNotAllowed, PinMismatch
from brski.pki import chain, extensions
from brski.pki.chain import TrustAnchors, check_presented_chain, validate_to_pin
from brski.pki.keys import parse_certificate, parse_pem_certificates
from tests.kit import pki
from tests.kit.programs import require_program

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


def _idevid(kind: str, *, levels: int = 3, at: datetime = pki.NOW, **knobs: Any) -> Case:
    leaf = pki.make_idevid(pki.make_pki(levels=levels, kind=kind), **knobs)
    return Case(leaf, leaf.intermediates, (leaf.root,), at)


def _under_sub_ca(kind: str, *, at: datetime = pki.NOW, **knobs: Any) -> Case:
    root = pki.make_root("Root", kind=kind, not_after=pki.NEVER)
    leaf = pki.make_idevid(pki.make_ca("Sub", root, kind=kind, **knobs))
    return Case(leaf, leaf.intermediates, (leaf.root,), at)


def _under_root(kind: str, *, at: datetime = pki.NOW, **knobs: Any) -> Case:
    leaf = pki.make_idevid(pki.make_root("Root", kind=kind, **knobs))
    return Case(leaf, (), (leaf.root,), at)


def _san(*names: x509.GeneralName) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName(names)


# -- cases that hold
def _anchor_below_the_root(kind: str) -> Case:
    case = _idevid(kind)
    return Case(case.leaf, (), case.intermediates)


def _root_presented_too(kind: str) -> Case:
    case = _idevid(kind)
    return Case(case.leaf, case.leaf.issuers, case.anchors)


def _others_presented_too(kind: str) -> Case:
    case, other = _idevid(kind), _idevid(kind)
    return Case(
        case.leaf,
        (*other.leaf.chain, *reversed(case.leaf.chain)),
        (*other.anchors, *case.anchors),
    )


def _four_levels(kind: str) -> Case:
    return _idevid(kind, levels=5)


def _path_length_met(kind: str) -> Case:
    root = pki.make_root("Root", kind=kind, path_length=1)
    leaf = pki.make_idevid(pki.make_ca("Sub", root, kind=kind, path_length=0))
    return Case(leaf, leaf.intermediates, (leaf.root,))


def _self_issued(kind: str, *, path_length: int = 1) -> Case:
    """A CA's key roll-over certificate: same name, new key."""
    root = pki.make_root("Root", kind=kind, path_length=path_length)
    rolled = pki.make_ca("Root", root, kind=kind)
    leaf = pki.make_idevid(rolled)
    return Case(leaf, leaf.intermediates, (leaf.root,))


def _same_name_roots(kind: str) -> Case:
    """Fifty roots of one name with key identifiers: the right one is found at once."""
    leaf = pki.make_idevid(pki.make_root("Root", kind=kind))
    impostors = [pki.make_root("Root", kind=kind, key=_spare(i)).certificate for i in range(50)]
    return Case(leaf, (), (*impostors, leaf.root))


def _two_same_name_roots_without_key_identifiers(kind: str) -> Case:
    root = pki.make_root("Root", kind=kind, ski=False, aki=False)
    other = pki.make_root("Root", kind=kind, ski=False, aki=False, key=_spare(0))
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


_SPARES = [pki.make_key() for _ in range(50)]


def _spare(index: int) -> Any:
    return _SPARES[index]


GOOD: dict[str, Callable[[str], Case]] = {
    "three levels": _idevid,
    "two levels": lambda k: _idevid(k, levels=2),
    "five levels": _four_levels,
    "anchor below the root": _anchor_below_the_root,
    "root presented too": _root_presented_too,
    "other certificates presented too, out of order": _others_presented_too,
    "P-384 leaf": lambda k: _idevid(k, key=pki.make_key("P-384")),
    "Ed25519 leaf": lambda k: _idevid(k, key=pki.make_key("Ed25519")),
    "ML-DSA-87 leaf": lambda k: _idevid(k, key=pki.make_key("ML-DSA-87")),
    "RSA leaf": lambda k: _idevid(k, key=pki.make_key("RSA-2048")),
    "no MASA URL": lambda k: _idevid(k, masa_url=None),
    "hardwareModuleName": lambda k: _idevid(
        k, extra=[(_san(extensions.hardware_module_name("1.3.6.1.4.1.32473.1", b"1")), False)]
    ),
    "no basic constraints on the leaf": lambda k: _idevid(k, basic_constraints=None),
    "no key usage on the leaf": lambda k: _idevid(k, key_usage=None),
    "extended key usage serverAuth only": lambda k: _idevid(k, ekus=[registry.ID_KP_SERVER_AUTH]),
    "critical extended key usage": lambda k: _idevid(
        k,
        extra=[(x509.ExtendedKeyUsage([x509.ObjectIdentifier(registry.ID_KP_CMC_RA)]), True)],
    ),
    "critical subjectAltName": lambda k: _idevid(
        k, extra=[(_san(x509.DNSName("a.example")), True)]
    ),
    "unknown extension, not critical": lambda k: _idevid(k, extra=[(UNKNOWN, False)]),
    "unknown extension of a CA, not critical": lambda k: _under_sub_ca(k, extra=[(UNKNOWN, False)]),
    "CA without key usage": lambda k: _under_sub_ca(k, key_usage=None),
    "CA without key identifiers": lambda k: _under_sub_ca(k, ski=False, aki=False),
    "root without key usage and identifiers": lambda k: _under_root(
        k, key_usage=None, ski=False, aki=False
    ),
    "in the first second": lambda k: _idevid(k, at=pki.NOT_BEFORE),
    "in the last second": lambda k: _under_sub_ca(k, at=pki.NOT_AFTER),
    "in the year 9999": lambda k: _idevid(k, at=pki.NEVER - timedelta(days=1)),
    "path length met": _path_length_met,
    "self-issued certificate": _self_issued,
    "fifty roots of one name": _same_name_roots,
    "two roots of one name, no identifiers": _two_same_name_roots_without_key_identifiers,
    "cross-signed": _cross_signed,
    "many self-issued certificates beside": _many_self_issued_beside_the_right_one,
    "expired cross-certificate beside": _expired_cross_certificate_beside_a_valid_one,
}


@pytest.mark.requirement("REG-1")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", GOOD)
def test_paths_that_hold(name: str, kind: str) -> None:
    case = GOOD[name](kind)
    path = case.validate()
    assert path[0] == case.leaf.certificate
    assert path[-1] in case.anchors
    check_presented_chain(path)
    assert path == case.validate_without_clock() or name.startswith("expired")


# -- cases that do not
def _another_root(kind: str) -> Case:
    case = _idevid(kind)
    return Case(case.leaf, case.leaf.issuers, _idevid(kind).anchors)


def _no_intermediate(kind: str) -> Case:
    case = _idevid(kind)
    return Case(case.leaf, (), case.anchors)


def _self_signed(kind: str) -> Case:
    leaf = pki.certify(pki.common_name("Example OEM Root CA"), key=pki.make_key(kind))
    return Case(leaf, leaf.chain, _idevid(kind).anchors)


def _altered(kind: str) -> Case:
    case = _idevid(kind)
    data = bytearray(case.leaf.der)
    data[data.index(b"SN-0001")] ^= 1
    leaf = pki.Entity(certificate=parse_certificate(bytes(data)), private_key=case.leaf.private_key)
    return Case(leaf, case.intermediates, case.anchors)


def _wrong_key_under_the_right_name(kind: str) -> Case:
    """The issuer's name and key identifier are copied, its key is not."""
    case = _idevid(kind)
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
    return _under_sub_ca(kind, not_after=pki.NOW - timedelta(seconds=1))


def _loop(kind: str) -> Case:
    """Two CAs that have issued each other, and no way out."""
    keys = [pki.make_key(kind) for _ in range(2)]
    a = pki.make_ca("A", None, key=keys[0])
    b = pki.make_ca("B", a, key=keys[1])
    a_by_b = pki.make_ca("A", b, key=keys[0])
    leaf = pki.make_idevid(a_by_b)
    return Case(leaf, (a_by_b.certificate, b.certificate), _idevid(kind).anchors)


def _leaf_presented_as_its_own_intermediate(kind: str) -> Case:
    leaf = pki.make_ca("A", None, kind=kind)
    return Case(leaf, leaf.chain, _idevid(kind).anchors)


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
    "path length passed by a self-issued certificate": lambda k: _self_issued(k, path_length=0),
    "CA without basic constraints": lambda k: _under_sub_ca(k, basic_constraints=None),
    "root without basic constraints": lambda k: _under_root(k, basic_constraints=None),
    "CA whose basic constraints say no": lambda k: _under_sub_ca(
        k, basic_constraints=x509.BasicConstraints(ca=False, path_length=None)
    ),
    "CA without keyCertSign": lambda k: _under_sub_ca(k, key_usage=pki.LEAF_KEY_USAGE),
    "root without keyCertSign": lambda k: _under_root(k, key_usage=pki.LEAF_KEY_USAGE),
    "unknown critical extension": lambda k: _idevid(k, extra=[(UNKNOWN, True)]),
    "unknown critical extension of a CA": lambda k: _under_sub_ca(k, extra=[(UNKNOWN, True)]),
    "unknown critical extension of the root": lambda k: _under_root(k, extra=[(UNKNOWN, True)]),
    "critical name constraints": lambda k: _under_sub_ca(k, extra=[(NO_PERMITTED, True)]),
    "name constraints": lambda k: _under_sub_ca(k, extra=[(NO_PERMITTED, False)]),
    "leaf of a weak key": lambda k: _idevid(k, key=pki.make_key("RSA-1024")),
    "leaf of P-521": lambda k: _idevid(k, key=pki.make_key("P-521")),
    "CA of a weak key": lambda k: _under_sub_ca(k, key=pki.make_key("RSA-1024")),
    "CA of P-521": lambda k: _under_sub_ca(k, key=pki.make_key("P-521")),
    "issuers in a loop": _loop,
    "own issuer": _leaf_presented_as_its_own_intermediate,
    "seven intermediates": _seven_intermediates,
    "key identifiers differ": _key_identifiers_differ,
}
BAD_AT_THE_TIME: dict[str, Callable[[str], Case]] = {
    "leaf expired": lambda k: _idevid(k, not_after=pki.NOW - timedelta(seconds=1)),
    "leaf not yet valid": lambda k: _idevid(k, not_before=pki.NOW + timedelta(seconds=1)),
    "CA expired": _expired_intermediate,
    "CA not yet valid": lambda k: _under_sub_ca(k, not_before=pki.NOW + timedelta(seconds=1)),
    "root expired": lambda k: _under_root(k, not_after=pki.NOW - timedelta(seconds=1)),
    "root not yet valid": lambda k: _under_root(k, not_before=pki.NOW + timedelta(seconds=1)),
    "before all": lambda k: _idevid(k, at=pki.BEFORE),
    "after the last second": lambda k: _under_sub_ca(k, at=pki.NOT_AFTER + timedelta(seconds=1)),
}


@pytest.mark.requirement("REG-1")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", BAD)
def test_paths_that_do_not_hold(name: str, kind: str) -> None:
    """Abuse case 18."""
    case = BAD[name](kind)
    for validate in (case.validate, case.validate_without_clock):
        with pytest.raises(ChainInvalid):
            validate()
    with pytest.raises(ChainInvalid):
        case.validate(ignore_leaf_expiry=True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", BAD_AT_THE_TIME)
def test_paths_that_do_not_hold_at_the_time(name: str, kind: str) -> None:
    """A pledge without a clock cannot know (RFC 8995 §2.6.1)."""
    case = BAD_AT_THE_TIME[name](kind)
    with pytest.raises(ChainInvalid):
        case.validate()
    assert case.validate_without_clock()[0] == case.leaf.certificate


@pytest.mark.requirement("REG-2")
@pytest.mark.parametrize("kind", KINDS)
def test_expired_leaf_holds_where_its_expiry_is_ignored(kind: str) -> None:
    case = _idevid(kind, not_after=pki.NOW - timedelta(seconds=1))
    assert case.validate(ignore_leaf_expiry=True)[0] == case.leaf.certificate
    assert _idevid(kind).validate(ignore_leaf_expiry=True)


@pytest.mark.requirement("REG-2")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name",
    ["leaf not yet valid", "CA expired", "CA not yet valid", "root expired", "root not yet valid"],
)
def test_only_the_expiry_of_the_leaf_is_ignored(name: str, kind: str) -> None:
    with pytest.raises(ChainInvalid):
        BAD_AT_THE_TIME[name](kind).validate(ignore_leaf_expiry=True)


@pytest.mark.requirement("REG-2")
@pytest.mark.parametrize("kind", KINDS)
def test_everything_else_counts_for_an_expired_leaf(kind: str) -> None:
    """Where the expiry is ignored the own walk judges: it must not forget the rest."""
    for knobs in ({"extra": [(UNKNOWN, True)]}, {"key": pki.make_key("P-521")}):
        case = _idevid(kind, not_after=pki.NOW - timedelta(days=1), **knobs)
        with pytest.raises(ChainInvalid):
            case.validate(ignore_leaf_expiry=True)
    root = pki.make_root("Root", kind=kind, not_after=pki.NEVER)
    sub = pki.make_ca("Sub", root, kind=kind, not_after=pki.NOW - timedelta(days=1))
    leaf = pki.make_idevid(sub, not_after=pki.NOW - timedelta(days=1))
    with pytest.raises(ChainInvalid):
        Case(leaf, leaf.intermediates, (leaf.root,)).validate(ignore_leaf_expiry=True)


@pytest.mark.requirement("REG-1")
def test_rsa_ca() -> None:
    case, stranger = _under_root("RSA-2048"), _under_root("P-256")
    assert case.validate() == case.validate_without_clock()
    for validate in (
        Case(case.leaf, (), stranger.anchors).validate,
        Case(stranger.leaf, (), case.anchors).validate_without_clock,
    ):
        with pytest.raises(ChainInvalid):
            validate()


@pytest.mark.parametrize("kind", ["P-256", "RSA-2048"])
def test_signature_algorithms_that_are_not_accepted(kind: str) -> None:
    root = pki.make_root("Root", kind=kind)
    leaf = pki.make_idevid(root, digest=hashes.SHA224())
    case = Case(leaf, (), (root.certificate,))
    for validate in (case.validate, case.validate_without_clock):
        with pytest.raises(ChainInvalid):
            validate()


def test_rsa_pss_is_not_accepted() -> None:
    root = pki.make_root("Root", kind="RSA-2048")
    builder = (
        x509.CertificateBuilder()
        .subject_name(pki.common_name("leaf"))
        .issuer_name(root.certificate.subject)
        .public_key(pki.make_key().public_key())
        .serial_number(1)
        .not_valid_before(pki.NOT_BEFORE)
        .not_valid_after(pki.NOT_AFTER)
    )
    pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
    key: Any = root.private_key
    certificate = builder.sign(key, hashes.SHA256(), rsa_padding=pss)
    anchors = TrustAnchors([root.certificate])
    for validate in (anchors.validate_without_clock, _at_now(anchors)):
        with pytest.raises(ChainInvalid, match="not accepted"):
            validate(certificate, ())


def _at_now(anchors: TrustAnchors) -> Callable[..., Any]:
    return lambda leaf, others: anchors.validate(leaf, others, at=pki.NOW)


@pytest.mark.parametrize("kind", ["P-256", "P-384"])
def test_other_digests_of_sha_2_are_accepted_on_certificates(kind: str) -> None:
    """RFC 8995 Appendix C itself signs with SHA-256 under a P-384 key."""
    root = pki.make_root("Root", kind=kind)
    for digest in (hashes.SHA256(), hashes.SHA384(), hashes.SHA512()):
        leaf = pki.make_idevid(root, digest=digest)
        case = Case(leaf, (), (root.certificate,))
        assert case.validate() == case.validate_without_clock()


def test_mixed_kinds_on_one_path() -> None:
    """An Ed25519 CA under a P-256 root, and the other way round."""
    for upper, lower in (("P-256", "Ed25519"), ("Ed25519", "P-256")):
        root = pki.make_root("Root", kind=upper)
        leaf = pki.make_idevid(pki.make_ca("Sub", root, kind=lower))
        case = Case(leaf, leaf.intermediates, (leaf.root,))
        assert case.validate() == leaf.chain
        forged = pki.make_idevid(pki.make_ca("Sub", pki.make_root("Root", kind=upper), kind=lower))
        with pytest.raises(ChainInvalid):
            Case(forged, forged.intermediates, (leaf.root,)).validate()


# -- anchors
def test_anchors_are_kept_in_order_and_once() -> None:
    first, second = (pki.make_root(name).certificate for name in ("A", "B"))
    assert TrustAnchors([first, second, first]).anchors == (first, second)


def test_no_anchor_trusts_nobody() -> None:
    with pytest.raises(ChainInvalid):
        TrustAnchors([])


@pytest.mark.parametrize("kind", ["P-521", "RSA-1024"])
def test_anchor_of_a_key_that_is_not_accepted_is_refused_at_once(kind: str) -> None:
    with pytest.raises(KeyNotAllowed):
        TrustAnchors([pki.make_root(kind=kind).certificate])


@pytest.mark.requirement("PL-16")
@pytest.mark.parametrize("kind", KINDS)
def test_end_entity_anchor_is_trusted_only_where_that_was_said(kind: str) -> None:
    """A pledge may hold the MASA's signing certificate itself as its voucher anchor."""
    masa = pki.make_masa_signer(pki.make_root("MASA CA"), kind=kind).certificate
    allowed = TrustAnchors([masa], allow_end_entity_anchor=True)
    assert allowed.validate(masa, (), at=pki.NOW) == (masa,)
    assert allowed.validate_without_clock(masa, ()) == (masa,)
    with pytest.raises(ChainInvalid):
        TrustAnchors([masa]).validate(masa, (), at=pki.NOW)
    with pytest.raises(ChainInvalid):
        allowed.validate(masa, (), at=pki.AFTER)


def test_end_entity_anchor_does_not_issue() -> None:
    masa = pki.make_masa_signer(pki.make_root("MASA CA"))
    child = pki.make_idevid(masa)
    with pytest.raises(ChainInvalid):
        TrustAnchors([masa.certificate], allow_end_entity_anchor=True).validate(
            child.certificate, (), at=pki.NOW
        )


def test_another_certificate_of_an_end_entity_anchors_key_is_not_the_anchor() -> None:
    root = pki.make_root("MASA CA")
    masa = pki.make_masa_signer(root)
    other = pki.make_masa_signer(root, key=masa.private_key, name="Other")
    with pytest.raises(ChainInvalid):
        TrustAnchors([masa.certificate], allow_end_entity_anchor=True).validate(
            other.certificate, (), at=pki.NOW
        )


# -- bounds
def test_more_certificates_than_a_path_is_made_from_are_refused() -> None:
    case = _idevid("P-256")
    others = [pki.make_root(f"CA {i}", key=_spare(i)).certificate for i in range(16)]
    many = Case(case.leaf, (*case.intermediates, *others[:15]), case.anchors)
    assert many.validate()
    with pytest.raises(ChainInvalid, match="17 certificates"):
        Case(case.leaf, (*case.intermediates, *others), case.anchors).validate()


def _one_name_one_key(kind: str) -> Case:
    """Certificates of one CA that could each have issued each other."""
    key = pki.make_key(kind)
    itself = pki.make_ca("Storm", None, key=key)
    storm = [
        pki.make_ca("Storm", itself, key=key, not_before=pki.NOT_BEFORE - timedelta(days=i))
        for i in range(15)
    ]
    leaf = pki.make_idevid(itself)
    return Case(leaf, tuple(s.certificate for s in storm), _idevid(kind).anchors)


def _one_name_many_keys(kind: str) -> Case:
    """No key identifier tells which one has issued which, and the anchor bears the name too."""
    entities = [pki.make_ca("Storm", None, ski=False, aki=False, key=_spare(i)) for i in range(15)]
    anchor = pki.make_ca("Storm", None, kind=kind, ski=False, aki=False)
    leaf = pki.make_idevid(entities[-1], aki=False)
    return Case(leaf, tuple(e.certificate for e in entities), (anchor.certificate,))


def _one_name_many_keys_and_no_anchor(kind: str) -> Case:
    """As many paths as there are orders of fifteen certificates, and none ends."""
    case = _one_name_many_keys(kind)
    return Case(case.leaf, case.intermediates, (pki.make_root("Other", kind=kind).certificate,))


def _many_roots_without_identifiers(kind: str) -> Case:
    roots = [pki.make_root("Root", ski=False, aki=False, key=_spare(i)) for i in range(49)]
    forger = pki.make_root("Root", kind=kind, ski=False, aki=False)
    leaf = pki.make_idevid(forger, aki=False)
    return Case(leaf, (), tuple(r.certificate for r in roots))


HOSTILE = (
    _one_name_one_key,
    _one_name_many_keys,
    _one_name_many_keys_and_no_anchor,
    _many_roots_without_identifiers,
)


@pytest.mark.parametrize("kind", ["P-256", "Ed25519"])
@pytest.mark.parametrize("make", HOSTILE)
def test_hostile_chains_cost_little(make: Callable[[str], Case], kind: str) -> None:
    """Abuse cases 7 and 18: under 50 ms; ten times that fails here, whatever else is running."""
    case = make(kind)
    for validate in (case.validate, case.validate_without_clock):
        started = time.process_time()
        with pytest.raises(ChainInvalid):
            validate()
        assert time.process_time() - started < 0.5


def test_signature_verifications_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is presented, the own walk verifies at most paths x certificates signatures."""
    calls: list[object] = []
    real = chain._check_issued

    def counted(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
        calls.append(certificate)
        real(certificate, issuer)

    monkeypatch.setattr(chain, "_check_issued", counted)
    for make in HOSTILE:
        calls.clear()
        with pytest.raises(ChainInvalid):
            make("Ed25519").validate()
        assert len(calls) <= 28


# -- the chain that a registrar presents
@pytest.mark.requirement("PL-3")
@pytest.mark.parametrize("kind", KINDS)
def test_presented_chain_hangs_together(kind: str) -> None:
    registrar = pki.make_registrar(pki.make_pki("Owner", kind=kind))
    for length in (1, 2, 3):
        check_presented_chain(registrar.chain[:length])


@pytest.mark.requirement("PL-3")
def test_self_signed_registrar_is_a_chain() -> None:
    registrar = pki.make_registrar(None).certificate
    check_presented_chain([registrar])
    check_presented_chain([registrar, registrar])


def _tampered(entity: pki.Entity) -> x509.Certificate:
    """One bit of its notAfter is another."""
    data = bytearray(entity.der)
    data[data.index(b"340101000000Z")] ^= 1
    return parse_certificate(bytes(data))


@pytest.mark.requirement("PL-3")
def test_presented_chain_that_does_not_hang_together_is_refused() -> None:
    owner = pki.make_pki("Owner")
    registrar = pki.make_registrar(owner)
    leaf, sub, root = registrar.chain
    other = pki.make_registrar(pki.make_pki("Owner"))
    tampered = _tampered(registrar)
    forged_root = _tampered(pki.make_root("Owner CA"))
    for presented in (
        [],
        [leaf, root],
        [leaf, sub, leaf],
        [leaf, root, sub],
        [leaf, *other.chain[1:]],
        [tampered, sub, root],
        [forged_root],
        [leaf, *[sub] * 8],
    ):
        with pytest.raises(ChainInvalid):
            check_presented_chain(presented)


def test_presented_chain_with_a_weak_key_is_refused() -> None:
    for kind in ("RSA-1024", "P-521"):
        with pytest.raises(ChainInvalid):
            check_presented_chain([pki.make_registrar(None, kind=kind).certificate])


def test_self_signed_is_by_name_and_by_key() -> None:
    owner = pki.make_pki("Owner")
    assert chain.is_self_signed(owner.root)
    assert not chain.is_self_signed(owner.certificate)
    forged = pki.make_root(owner.root.subject.rfc4514_string()[3:])
    rolled = pki.make_ca("Owner Root CA", forged)
    assert rolled.certificate.subject == rolled.certificate.issuer
    assert not chain.is_self_signed(rolled.certificate)


# -- the pin
PIN_KINDS = ("P-256", "Ed25519")


@pytest.mark.requirement("PL-26")
@pytest.mark.parametrize("at", [pki.NOW, None], ids=["clock", "no clock"])
@pytest.mark.parametrize("kind", PIN_KINDS)
def test_pin_is_the_registrar_a_ca_above_it_or_the_root(kind: str, at: datetime | None) -> None:
    registrar = pki.make_registrar(pki.make_pki("Owner", kind=kind))
    for pin in registrar.chain:
        validate_to_pin(registrar.chain, pin, at=at)
        validate_to_pin(registrar.chain[:2], pin, at=at)
    validate_to_pin(registrar.chain[:1], registrar.chain[1], at=at)


@pytest.mark.requirement("PL-26")
@pytest.mark.parametrize("at", [pki.NOW, None], ids=["clock", "no clock"])
def test_pin_of_the_registrars_key_in_another_certificate(at: datetime | None) -> None:
    """The same public key is enough: the registrar may have renewed its certificate."""
    key = pki.make_key()
    old = pki.make_registrar(pki.make_root("Old CA"), key=key)
    new = pki.make_registrar(pki.make_root("New CA"), key=key)
    validate_to_pin(new.chain, old.certificate, at=at)
    with pytest.raises(PinMismatch):
        validate_to_pin(new.chain, old.root, at=at)


@pytest.mark.requirement("PL-26")
@pytest.mark.parametrize("at", [pki.NOW, None], ids=["clock", "no clock"])
@pytest.mark.parametrize("kind", PIN_KINDS)
def test_unrelated_pin_is_refused(kind: str, at: datetime | None) -> None:
    registrar = pki.make_registrar(pki.make_pki("Owner", kind=kind))
    stranger = pki.make_registrar(pki.make_pki("Owner", kind=kind))
    for pin in stranger.chain:
        with pytest.raises(PinMismatch):
            validate_to_pin(registrar.chain, pin, at=at)
        with pytest.raises(PinMismatch):
            validate_to_pin((*registrar.chain, *stranger.chain), pin, at=at)
    with pytest.raises(PinMismatch):
        validate_to_pin((), registrar.root, at=at)


@pytest.mark.requirement("PL-26")
@pytest.mark.parametrize("at", [pki.NOW, None], ids=["clock", "no clock"])
def test_pin_that_is_an_end_entity_does_not_vouch_for_others(at: datetime | None) -> None:
    """A pinned registrar is pinned alone: what it signs is not the domain."""
    owner = pki.make_root("Owner CA")
    pinned = pki.make_registrar(owner)
    child = pki.make_registrar(pinned, name="evil.example.com")
    sibling = pki.make_registrar(owner)
    for other in (child, sibling):
        with pytest.raises(PinMismatch):
            validate_to_pin(other.chain, pinned.certificate, at=at)


@pytest.mark.requirement("PL-23")
def test_with_a_clock_dates_count_and_without_one_they_do_not() -> None:
    day = timedelta(days=1)
    owner = pki.make_root("Owner CA")
    expired_registrar = pki.make_registrar(owner, not_after=pki.NOW - day)
    expired_owner = pki.make_registrar(pki.make_root("Owner CA", not_after=pki.NOW - day))
    early = pki.make_registrar(owner, not_before=pki.NOW + day)
    for registrar, pins in (
        (expired_registrar, expired_registrar.chain),
        (early, early.chain),
        (expired_owner, expired_owner.chain[1:]),
    ):
        for pin in pins:
            validate_to_pin(registrar.chain, pin, at=None)
            with pytest.raises(PinMismatch):
                validate_to_pin(registrar.chain, pin, at=pki.NOW)


def test_pinned_registrar_with_an_unknown_critical_extension_or_weak_key_is_refused() -> None:
    odd = pki.make_registrar(None, extra=[(UNKNOWN, True)])
    weak = pki.make_registrar(None, kind="RSA-1024")
    for registrar in (odd, weak):
        for at in (pki.NOW, None):
            with pytest.raises(PinMismatch):
                validate_to_pin(registrar.chain, registrar.certificate, at=at)


def test_names_of_strangers_are_escaped_in_messages() -> None:
    """A subject with control characters does not forge a log line."""
    evil = pki.certify(pki.common_name("a\r\nverified ok\x1b[2J"))
    with pytest.raises(ChainInvalid) as caught:
        TrustAnchors([pki.make_root().certificate]).validate(evil.certificate, (), at=pki.NOW)
    assert caught.value.reason.isprintable()


# -- published certificates, at their own date
APPENDIX_C = datetime(2021, 6, 1, tzinfo=UTC)


def _published(vectors: Path, name: str) -> x509.Certificate:
    return parse_pem_certificates((vectors / "rfc8995-appC" / name).read_bytes())[0]


def test_published_chains_of_rfc_8995_appendix_c(vectors: Path) -> None:
    vendor = _published(vectors, "vendor.crt")
    owner = _published(vectors, "ownerca_secp384r1.crt")
    idevid = _published(vectors, "idevid_00-D0-E5-F2-00-02.crt")
    masa = _published(vectors, "masa.crt")
    jrc = _published(vectors, "jrc_prime256v1.crt")
    for leaf, anchor in ((idevid, vendor), (masa, vendor), (jrc, owner)):
        assert TrustAnchors([anchor]).validate(leaf, (), at=APPENDIX_C) == (leaf, anchor)
        assert TrustAnchors([anchor]).validate_without_clock(leaf, ()) == (leaf, anchor)
        with pytest.raises(ChainInvalid):
            TrustAnchors([anchor]).validate(leaf, (), at=pki.NOW)
    with pytest.raises(ChainInvalid):
        TrustAnchors([owner]).validate(idevid, (), at=APPENDIX_C)


def test_published_vendor_of_the_same_name_is_another(vectors: Path) -> None:
    """The draft's folder has a CA of the same name that has not issued these certificates."""
    (other,) = parse_pem_certificates(
        (vectors / "rfc8366bis-cms" / "vendor-00-D0-E5-F2-00-02.crt").read_bytes()
    )
    idevid = _published(vectors, "idevid_00-D0-E5-F2-00-02.crt")
    at = datetime(2021, 5, 1, tzinfo=UTC)
    with pytest.raises(ChainInvalid):
        TrustAnchors([other]).validate(idevid, (), at=at)
    path = TrustAnchors([other, _published(vectors, "vendor.crt")]).validate(idevid, (), at=at)
    assert path[-1] == _published(vectors, "vendor.crt")


def test_published_chains_of_constrained_voucher(vectors: Path) -> None:
    folder = vectors / "cbrski-cose"
    read = {
        name: parse_certificate((folder / f"{name}.der").read_bytes())
        for name in ("pledge", "registrar", "masa_ca", "domain_ca")
    }
    for leaf, anchor in (("pledge", "masa_ca"), ("registrar", "domain_ca")):
        at = read[leaf].not_valid_before_utc + timedelta(days=1)
        assert TrustAnchors([read[anchor]]).validate(read[leaf], (), at=at)
        validate_to_pin([read[leaf]], read[anchor], at=at)


# -- a second opinion
OPENSSL_DIFFERS = {
    "many self-issued certificates beside": "openssl does not try a second certificate of one CA",
    "cross-signed": "openssl does not try a second certificate of one CA",
    "two roots of one name, no identifiers": "openssl does not try a second root of one name",
    "in the last second": "openssl ends validity one second earlier",
    "path length passed by a self-issued certificate": "openssl counts as RFC 5280 §4.2.1.9",
    "leaf of a weak key": "openssl verify has no key policy at its default level",
    "leaf of P-521": "our key policy",
    "CA of a weak key": "openssl verify has no key policy at its default level",
    "CA of P-521": "our key policy",
    "name constraints": "openssl obeys them, we refuse them",
    "critical name constraints": "openssl obeys them, we refuse them",
    "in the year 9999": "beyond the end of some platforms' time",
    "CA without basic constraints": "openssl takes a CA by its key usage alone",
    "root without basic constraints": "openssl takes a CA by its key usage alone",
    "ML-DSA-87 leaf": "openssl has ML-DSA from 3.5 on",
}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.startswith("ML-DSA")])
@pytest.mark.parametrize("name", sorted({*GOOD, *BAD, *BAD_AT_THE_TIME} - {*OPENSSL_DIFFERS}))
def test_openssl_agrees(name: str, kind: str, tmp_path: Path) -> None:
    """``openssl verify`` at the same time with the same certificates, where it has an opinion."""
    openssl = require_program("openssl", "openssl")
    case = {**GOOD, **BAD, **BAD_AT_THE_TIME}[name](kind)
    files = {
        "anchors": case.anchors,
        "leaf": [case.leaf.certificate],
        "others": case.intermediates,
    }
    for file, certificates in files.items():
        pem = b"".join(c.public_bytes(Encoding.PEM) for c in certificates)
        (tmp_path / f"{file}.pem").write_bytes(pem)
    command = [openssl, "verify", "-no-CApath", "-no-CAstore", "-partial_chain"]
    command += ["-CAfile", "anchors.pem", "-attime", str(int(case.at.timestamp()))]
    command += ["-verify_depth", str(chain.INTERMEDIATES_LIMIT)]
    if case.intermediates:
        command += ["-untrusted", "others.pem"]
    result = subprocess.run(
        [*command, "leaf.pem"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (result.returncode == 0) == (name in GOOD), result.stdout + result.stderr
