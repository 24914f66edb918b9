"""Which certificate a voucher pins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from brski.errors import ChainInvalid
from brski.pki.chain import TrustAnchors
from brski.voucher.yang_types import encode_nonce
from masa_stub.customers import Customer
from masa_stub.pin import Pin, pinned_place
from tests.kit import pki
from tests.kit.examples import SHARED_FIXTURE
from tests.kit.masa_desk import CUSTOMER, OWNER, REGISTRAR, STRANGER, desk, pinned

ROOT_KEY = pki.make_key()

# -- whom it pins


@pytest.mark.requirement("MASA-4")
@pytest.mark.parametrize("nonced", [False, True])
@pytest.mark.parametrize(
    ("pin", "place"), [(Pin.END_ENTITY, 0), (Pin.LOWEST_CA, 1), (Pin.HIGHEST_CA, 2)]
)
async def test_policy_says_which_certificate_is_pinned(
    tmp_path: Path, pin: Pin, place: int, nonced: bool
) -> None:
    """With a nonce and without, each by its own policy."""
    other = Pin.END_ENTITY if pin is not Pin.END_ENTITY else Pin.HIGHEST_CA
    policy: dict[str, Any] = {
        "pin": pin if nonced else other,
        "pin_nonceless": other if nonced else pin,
    }
    async with desk(tmp_path, **policy) as masa:
        await masa.world.sell(masa.device, CUSTOMER.name)
        leaves: dict[str, Any] = {"nonce": encode_nonce(bytes(16))} if nonced else {}
        assert pinned(await masa.voucher(**leaves)) == REGISTRAR.chain[place]


@pytest.mark.requirement("MASA-4")
async def test_nothing_above_what_was_bought_is_pinned(tmp_path: Path) -> None:
    """A root that the owner shares with others would let them have its device."""
    async with desk(tmp_path, customers=()) as masa:
        await masa.world.sell(masa.device, OWNER.certificate)
        assert pinned(await masa.voucher()) == OWNER.certificate
    known = Customer(name="known-owner", anchors=TrustAnchors([OWNER.certificate]))
    async with desk(tmp_path / "anchor", customers=[known]) as masa:
        await masa.world.sell(masa.device, known.name)
        assert pinned(await masa.voucher()) == OWNER.certificate


@pytest.mark.requirement("MASA-16")
@settings(
    max_examples=200,
    suppress_health_check=SHARED_FIXTURE,
)
@given(
    length=st.integers(1, 8),
    pin=st.sampled_from(Pin),
    highest=st.none() | st.integers(0, 20),
)
def test_a_pin_is_always_in_the_chain(length: int, pin: Pin, highest: int | None) -> None:
    """For every chain, policy and bound."""
    chain = [REGISTRAR.certificate] * length
    place = pinned_place(chain, pin, highest)
    assert 0 <= place < length
    assert highest is None or place <= highest


@pytest.mark.requirement("MASA-16")
async def test_no_certificate_beside_the_chain_is_pinned(tmp_path: Path) -> None:
    """A stranger's root in the same message is not the registrar's."""
    for pin in Pin:
        async with desk(tmp_path / pin.value, pin_nonceless=pin) as masa:
            await masa.world.sell(masa.device, CUSTOMER.name)
            chain = (*REGISTRAR.chain, *STRANGER.chain[1:])
            assert pinned(await masa.voucher(chain=chain)) in REGISTRAR.chain


def resembling(root: pki.Entity, **knobs: Any) -> x509.Certificate:
    """A certificate of *root*'s name and key that its key has not signed."""
    return pki.certify(
        root.certificate.subject,
        issuer=pki.make_root("Forger"),
        key=ROOT_KEY,
        basic_constraints=x509.BasicConstraints(ca=True, path_length=None),
        key_usage=pki.CA_KEY_USAGE,
        not_after=pki.NEVER,
        **knobs,
    ).certificate


@pytest.mark.requirement("MASA-3", "MASA-16")
async def test_a_root_that_only_resembles_the_owners_is_not_pinned(tmp_path: Path) -> None:
    """Certificates in a message are not signed with it; this one has the root's key and no end."""
    root = pki.make_root("Real Root", key=ROOT_KEY, not_after=pki.NOT_AFTER)
    ca = pki.make_ca("Real CA", root, not_after=pki.NOT_AFTER)
    registrar = pki.make_registrar(ca)
    false = resembling(root)
    known = Customer(name="known-owner", anchors=TrustAnchors([root.certificate]))
    async with desk(tmp_path, customers=[known]) as masa:
        await masa.world.sell(masa.device, known.name)
        honest, bent = registrar.chain, (*registrar.chain[:-1], false)
        assert pinned(await masa.voucher(by=registrar, chain=honest)) == root.certificate
        assert pinned(await masa.voucher(by=registrar, chain=bent)) == ca.certificate


@pytest.mark.requirement("MASA-3")
async def test_a_root_that_has_not_signed_itself_is_none(tmp_path: Path) -> None:
    """It says by key identifier that it is a root, and by name that it is not."""
    root = pki.make_root("Real Root", key=ROOT_KEY, not_after=pki.NOT_AFTER)
    registrar = pki.make_registrar(root)
    own = pki.key_identifier(ROOT_KEY.public_key())
    authority = x509.AuthorityKeyIdentifier(own, None, None)
    false = resembling(root, aki=False, extra=[(authority, False)])
    async with desk(tmp_path) as masa:
        await masa.world.sell(masa.device, root.certificate)
        await masa.voucher(by=registrar)
        body = masa.request(by=registrar, chain=(registrar.certificate, false))
        with pytest.raises(ChainInvalid):
            await masa.ask(body)
