"""Trust anchors: which are taken, and what an end entity among them vouches for."""

from __future__ import annotations

import pytest

from brski.errors import ChainInvalid, KeyNotAllowed
from brski.pki.chain import TrustAnchors
from tests.kit import pki
from tests.unit.pki.chain_cases import KINDS


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
