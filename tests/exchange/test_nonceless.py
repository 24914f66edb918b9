"""Vouchers without a nonce: who may have one from the MASA, until when, under which key."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from brski.errors import (
    CertificateRevoked,
    DomainNotTrusted,
    NonceMismatch,
    PriorRequestRefused,
    Unavailable,
)
from brski.pki.extensions import domain_id
from brski.registry import VOUCHER_CMS_JSON
from brski.voucher.cms import CMS
from brski.voucher.model import Assertion
from brski.voucher.yang_types import encode_nonce
from masa_stub.customers import Caller
from masa_stub.issue import IssuePolicy, expires_on
from masa_stub.masa import MASA
from masa_stub.ownership import BuyerKind
from masa_stub.port import Signers
from tests.kit import pki
from tests.kit.masa_desk import CUSTOMER, OWNER, REGISTRAR, STRANGER, crl, desk, pinned
from tests.kit.world import Both

LIFE = timedelta(minutes=20)
STRANGER_CA = pki.make_pki("Stranger", not_after=pki.NOT_AFTER)


# -- who may


@pytest.mark.requirement("MASA-10")
async def test_a_stranger_gets_none(tmp_path: Path) -> None:
    """Not for a device that nobody bought, nor for one that somebody else did."""
    async with desk(tmp_path) as masa:
        await masa.refusal(DomainNotTrusted, by=STRANGER)
        await masa.world.sell(masa.device, CUSTOMER.name)
        await masa.refusal(DomainNotTrusted, by=STRANGER)
        assert not await masa.world.masa_store.last(1)


@pytest.mark.requirement("MASA-10", "MASA-8")
async def test_the_customer_under_a_configured_anchor_gets_what_it_bought(tmp_path: Path) -> None:
    """By the certificate that signed the request; the sales data make it ``verified``."""
    async with desk(tmp_path) as masa:
        await masa.refusal(DomainNotTrusted)
        await masa.world.sell(masa.device, CUSTOMER.name)
        voucher = await masa.voucher()
        assert voucher.assertion is Assertion.VERIFIED
        assert voucher.nonce is None


@pytest.mark.requirement("MASA-10", "MASA-19")
@pytest.mark.parametrize(
    "caller", [Caller(chain=REGISTRAR.chain[:-1]), Caller(customer=CUSTOMER.name)]
)
async def test_the_connection_can_say_whose_registrar_it_is(tmp_path: Path, caller: Caller) -> None:
    """The request is signed under a CA that the MASA has never seen, and that one is pinned."""
    async with desk(tmp_path) as masa:
        await masa.world.sell(masa.device, CUSTOMER.name)
        await masa.refusal(DomainNotTrusted, by=STRANGER)
        voucher = await masa.voucher(by=STRANGER, caller=caller)
        assert pinned(voucher) == STRANGER.root


@pytest.mark.requirement("MASA-10")
async def test_a_client_certificate_that_is_no_registrars_says_nothing(tmp_path: Path) -> None:
    """An owner's CA certifies its devices, too: only id-kp-cmcRA tells its registrars."""
    thing = pki.make_registrar(OWNER, ekus=pki.REGISTRAR_EKUS[1:])
    async with desk(tmp_path) as masa:
        await masa.world.sell(masa.device, CUSTOMER.name)
        await masa.refusal(DomainNotTrusted, by=STRANGER, caller=Caller(chain=thing.chain[:-1]))
        expired = pki.make_registrar(OWNER, not_after=pki.NOW - timedelta(days=1))
        await masa.refusal(DomainNotTrusted, by=STRANGER, caller=Caller(chain=expired.chain[:-1]))


@pytest.mark.requirement("MASA-10")
async def test_the_key_that_the_device_was_sold_to_is_known(tmp_path: Path) -> None:
    """The sales data are configuration: no customer's name is needed."""
    async with desk(tmp_path, customers=()) as masa:
        await masa.refusal(DomainNotTrusted)
        await masa.world.sell(masa.device, OWNER.certificate)
        assert (await masa.voucher()).assertion is Assertion.VERIFIED
        await masa.refusal(DomainNotTrusted, by=STRANGER)


async def test_a_subject_key_identifier_is_anybodys_to_choose(tmp_path: Path) -> None:
    """A CA that bears the owner's identifier is not the owner's."""
    ski = x509.SubjectKeyIdentifier(domain_id(OWNER.certificate))
    false = pki.make_root("Known Owner Issuing CA 1", ski=False, extra=[(ski, False)])
    async with desk(tmp_path) as masa:
        sale = masa.world.sale(masa.device, BuyerKind.DOMAIN_ID, domain_id(OWNER.certificate).hex())
        await masa.world.sales.add(sale)
        await masa.refusal(DomainNotTrusted, by=pki.make_registrar(false))
        await masa.voucher()


@pytest.mark.requirement("AUD-5")
async def test_nobody_hides_under_another_domain_id_in_the_log(tmp_path: Path) -> None:
    """The owner would see but its own domainID, where somebody else has been before it.

    Nor does who took it first keep the one away whose key it follows from.
    """
    ski = x509.SubjectKeyIdentifier(domain_id(OWNER.certificate))
    thieves = [
        pki.make_registrar(pki.make_root("Thief", ski=False, extra=[(ski, False)])) for _ in "12"
    ]
    async with desk(tmp_path, allow_logged=True) as masa:
        nonce = encode_nonce(bytes(16))
        await masa.voucher(by=thieves[0], nonce=nonce)
        reason = await masa.refusal(DomainNotTrusted, by=thieves[1], nonce=nonce)
        assert "another domain's" in reason
        await masa.voucher(nonce=nonce)
        await masa.refusal(DomainNotTrusted, by=thieves[0], nonce=nonce)


@pytest.mark.requirement("MASA-10")
async def test_a_device_that_only_asserts_needs_a_switch(tmp_path: Path) -> None:
    """Without its own request nothing but the sales data speaks for it."""
    async with desk(tmp_path / "off", asserting=True) as masa:
        await masa.world.sell(masa.device, CUSTOMER.name)
        await masa.refusal(PriorRequestRefused)
    async with desk(tmp_path / "on", asserting=True, asserting_without_request=True) as masa:
        await masa.refusal(DomainNotTrusted)
        await masa.world.sell(masa.device, CUSTOMER.name)
        assert (await masa.voucher()).assertion is Assertion.VERIFIED


@pytest.mark.requirement("MASA-7")
async def test_a_nonce_on_one_side_only_is_refused(tmp_path: Path) -> None:
    """The device's request is of one moment; a voucher without nonce is of any."""
    async with desk(tmp_path) as masa:
        await masa.world.sell(masa.device, CUSTOMER.name)
        prior = masa.device.request(REGISTRAR.certificate)
        reason = await masa.refusal(PriorRequestRefused, prior_signed_voucher_request=prior)
        assert "nonces are on one side only" in reason
        assert NonceMismatch("").code == "nonce-mismatch"


# -- until when


@pytest.mark.requirement("MASA-13", "VR-7")
async def test_it_ends_after_twenty_minutes(tmp_path: Path) -> None:
    """With a nonce there is no end: the two exclude one another."""
    async with desk(tmp_path) as masa:
        await masa.world.sell(masa.device, CUSTOMER.name)
        voucher = await masa.voucher()
        assert (voucher.nonce, voucher.expires_on) == (None, pki.NOW + LIFE)
        nonce = encode_nonce(bytes(range(16)))
        fresh = await masa.voucher(nonce=nonce)
        assert (fresh.nonce, fresh.expires_on) == (nonce, None)


@pytest.mark.requirement("MASA-13", "VR-8")
async def test_no_certificate_that_it_rests_on_ends_before_it(tmp_path: Path) -> None:
    """The registrar's own, in this case."""
    end = pki.NOW + timedelta(minutes=3)
    registrar = pki.make_registrar(OWNER, not_after=end)
    async with desk(tmp_path) as masa:
        await masa.world.sell(masa.device, CUSTOMER.name)
        assert (await masa.voucher(by=registrar)).expires_on == end


@pytest.mark.requirement("MASA-13")
async def test_by_policy_it_has_no_end(tmp_path: Path) -> None:
    """For devices without a clock (RFC 8995 §7.4.1)."""
    async with desk(tmp_path, life=None) as masa:
        await masa.world.sell(masa.device, CUSTOMER.name)
        assert (await masa.voucher()).expires_on is None


@pytest.mark.requirement("MASA-13")
async def test_revocation_bounds_it_and_forbids_it(tmp_path: Path) -> None:
    """What is known of the registrar is known until the list's next update, and no longer."""
    until = pki.NOW + timedelta(minutes=5)
    thief = replace(OWNER, private_key=pki.make_key())
    for name, lists, error in (
        ("fresh", crl(until=until), None),
        ("another's", crl(by=STRANGER_CA, until=pki.NOW - timedelta(hours=1)), None),
        ("revoked", crl(REGISTRAR.certificate, until=until), CertificateRevoked),
        ("stale", crl(until=pki.NOW - timedelta(hours=1)), Unavailable),
        ("forged", crl(by=thief, until=until), Unavailable),
    ):
        known = replace(CUSTOMER, crls=(lists,))
        async with desk(tmp_path / name, customers=[known]) as masa:
            await masa.world.sell(masa.device, CUSTOMER.name)
            if error is not None:
                await masa.refusal(error)
                continue
            end = until if name == "fresh" else pki.NOW + LIFE
            assert (await masa.voucher()).expires_on == end


@pytest.mark.requirement("MASA-13", "VR-8")
@given(
    life=st.integers(1, 10**7),
    ends=st.lists(st.integers(1, 10**7), min_size=1, max_size=4),
    update=st.none() | st.integers(1, 10**7),
)
def test_the_end_is_the_nearest_of_all_ends(life: int, ends: list[int], update: int | None) -> None:
    """Whatever is given, nothing ends before the voucher does."""
    chain = [Ending(pki.NOW + timedelta(seconds=end)) for end in ends]
    next_update = None if update is None else pki.NOW + timedelta(seconds=update)
    end = expires_on(pki.NOW, timedelta(seconds=life), chain, next_update)  # type: ignore[arg-type]  # dates alone
    wanted = min([life, *ends, update or life])
    assert end == pki.NOW + timedelta(seconds=wanted)


@dataclass
class Ending:
    not_valid_after_utc: datetime


# -- which key signs it


@pytest.mark.requirement("MASA-17")
async def test_another_key_signs_what_lives_long(tmp_path: Path) -> None:
    """The key that signs every day never makes a voucher that outlives the day."""
    usual, apart = (pki.make_masa_signer(pki.make_root(name)) for name in ("Usual", "Apart"))
    async with desk(tmp_path) as masa:
        world = masa.world
        world.wire.masa = MASA(
            records=Both(world.records),
            store=world.masa_store,
            sales=world.sales,
            signers=Signers(usual=usual.signer, nonceless=apart.signer),
            serializations={VOUCHER_CMS_JSON: CMS},
            policy=IssuePolicy(),
            clock=world.clock,
            customers=[CUSTOMER],
        )
        assert world.wire.masa.anchors == (usual.root, apart.root)
        await world.sell(masa.device, CUSTOMER.name)
        nonce = encode_nonce(bytes(range(16)))
        cases: list[tuple[dict[str, Any], pki.Entity]] = [({}, apart), ({"nonce": nonce}, usual)]
        for leaves, signer in cases:
            opened = CMS.open(await masa.ask(masa.request(**leaves)))
            assert opened.signer_certificate() == signer.certificate
            opened.verify(signer.private_key.public_key())
