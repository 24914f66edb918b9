"""Whose a device is, for every history: told a second time, by another way, and compared."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brski.errors import DomainNotTrusted
from brski.pki.extensions import domain_id, key_identifier
from brski.pki.keys import spki_of, spki_sha256
from masa_stub.issue import check_nonceless
from masa_stub.ownership import (
    BuyerKind,
    Claimant,
    Pinning,
    Sale,
    Title,
    Unsold,
    judge_title,
    was_owner,
)
from tests.kit import pki

ENTITIES = [pki.make_registrar(pki.make_root(f"Domain {name}")) for name in "abc"]
NAMES = ["a", "b", "c"]

Step = tuple[str, int]  # what happened, and to whom
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["customer", "key", "domain-id", "withheld", "released", "voucher"]),
        st.integers(0, 2),
    ),
    max_size=8,
)


def claimant(who: int, *, known: bool = True) -> Claimant:
    customers = frozenset([NAMES[who]] if known else ())
    return Claimant(chain=ENTITIES[who].chain, customers=customers)


def history(steps: Sequence[Step]) -> tuple[list[Sale], list[Pinning]]:
    sales, pinnings = [], []
    for minute, (what, who) in enumerate(steps):
        at = pki.NOW + timedelta(minutes=minute)
        ca = ENTITIES[who].issuers[0]
        if what == "voucher":
            pinnings.append(Pinning(at=at, domain_id=domain_id(ca), spki_sha256=spki_sha256(ca)))
            continue
        kind, buyer = {
            "customer": (BuyerKind.CUSTOMER, NAMES[who]),
            "key": (BuyerKind.KEY, spki_sha256(ca).hex()),
            "domain-id": (BuyerKind.DOMAIN_ID, key_identifier(spki_of(ca)).hex()),
            "withheld": (BuyerKind.NOBODY, ""),
            "released": (BuyerKind.ANYBODY, ""),
        }[what]
        sales.append(
            Sale(at=at, idevid_issuer=bytes(20), serial_number="SN-1", kind=kind, buyer=buyer)
        )
    return sales, pinnings


def newest(pinnings: Sequence[Pinning]) -> Pinning | None:
    return pinnings[-1] if pinnings else None


def told_again(steps: Sequence[Step], who: int, unsold: Unsold) -> Title | None:
    """Step by step, as somebody would who keeps two notes: to whom it is sold, who had it last."""
    owner: int | str | None = None
    last: int | None = None
    for what, whom in steps:
        if what == "voucher":
            last = whom
        else:
            owner = {"withheld": "nobody", "released": None}.get(what, whom)
            last = None
    if owner is not None:
        return Title.SOLD if owner == who else None
    if last == who:
        return Title.KEPT
    free = unsold is Unsold.ANY or (unsold is Unsold.FIRST and last is None)
    return Title.CLAIMED if free else None


@given(steps=STEPS, who=st.integers(0, 2), unsold=st.sampled_from(Unsold))
def test_every_history_gives_the_title_that_it_tells(
    steps: list[Step], who: int, unsold: Unsold
) -> None:
    """Sales, transfers, vouchers, releases, in any order."""
    sales, pinnings = history(steps)
    try:
        title = judge_title(claimant(who), sales, newest(pinnings), unsold)
    except DomainNotTrusted:
        title = None
    assert title == told_again(steps, who, unsold)


@given(steps=STEPS, who=st.integers(0, 2))
def test_an_owner_of_some_time_is_one_whose_name_or_key_occurs(steps: list[Step], who: int) -> None:
    """Whatever came after."""
    sales, pinnings = history(steps)
    occurs = any(whom == who and what not in ("withheld", "released") for what, whom in steps)
    assert was_owner(claimant(who), sales, pinnings) is occurs


@given(steps=STEPS, who=st.integers(0, 2), unsold=st.sampled_from(Unsold), known=st.booleans())
def test_without_a_nonce_nobody_gets_what_nothing_says_is_his(
    steps: list[Step], who: int, unsold: Unsold, known: bool
) -> None:
    """Sold to a key or a name that he has shown; or his by the last voucher, and he is known."""
    sales, pinnings = history(steps)
    asks = claimant(who, known=known)
    try:
        check_nonceless(judge_title(asks, sales, newest(pinnings), unsold), authenticated=known)
    except DomainNotTrusted:
        return
    last_sale = next((s for s in reversed(steps) if s[0] != "voucher"), ("released", 0))
    if last_sale[0] == "released":
        assert known
        assert steps[-1] == ("voucher", who)
    else:
        assert last_sale[1] == who
        assert known or last_sale[0] in ("key", "domain-id")


@pytest.mark.parametrize("wrong", [b"", bytes(32), b"not a key at all, but 32 octets.."])
def test_a_key_that_is_not_in_the_chain_buys_nothing(wrong: bytes) -> None:
    """Neither nothing nor anything else."""
    sale = Sale(
        at=pki.NOW,
        idevid_issuer=bytes(20),
        serial_number="SN-1",
        kind=BuyerKind.KEY,
        buyer=wrong.hex(),
    )
    assert not claimant(0).bought(sale)
