"""Path validation: every case through the library's verifier and through the own walk.

Under a P-256 CA the verifier of ``cryptography`` judges, under an Ed25519 CA the own walk does;
without a clock always the walk. The three must agree.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from brski.errors import ChainInvalid
from brski.pki.chain import TrustAnchors, check_presented_chain
from tests.kit import pki
from tests.unit.pki.bad_chains import BAD, BAD_AT_THE_TIME
from tests.unit.pki.chain_cases import KINDS, UNKNOWN, Case, idevid, under_root
from tests.unit.pki.good_chains import GOOD


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
    case = idevid(kind, not_after=pki.NOW - timedelta(seconds=1))
    assert case.validate(ignore_leaf_expiry=True)[0] == case.leaf.certificate
    assert idevid(kind).validate(ignore_leaf_expiry=True)


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
        case = idevid(kind, not_after=pki.NOW - timedelta(days=1), **knobs)
        with pytest.raises(ChainInvalid):
            case.validate(ignore_leaf_expiry=True)
    root = pki.make_root("Root", kind=kind, not_after=pki.NEVER)
    sub = pki.make_ca("Sub", root, kind=kind, not_after=pki.NOW - timedelta(days=1))
    leaf = pki.make_idevid(sub, not_after=pki.NOW - timedelta(days=1))
    with pytest.raises(ChainInvalid):
        Case(leaf, leaf.intermediates, (leaf.root,)).validate(ignore_leaf_expiry=True)


@pytest.mark.requirement("REG-1")
def test_rsa_ca() -> None:
    case, stranger = under_root("RSA-2048"), under_root("P-256")
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


def test_names_of_strangers_are_escaped_in_messages() -> None:
    """A subject with control characters does not forge a log line."""
    evil = pki.certify(pki.common_name("a\r\nverified ok\x1b[2J"))
    with pytest.raises(ChainInvalid) as caught:
        TrustAnchors([pki.make_root().certificate]).validate(evil.certificate, (), at=pki.NOW)
    assert caught.value.reason.isprintable()
