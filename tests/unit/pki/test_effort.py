"""The counter of signature verifications: what it counts, and that it ends the count."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from brski.errors import ChainInvalid, SignatureInvalid, TooLarge
from brski.pki import effort, signatures, walk
from brski.pki.chain import TrustAnchors, check_presented_chain
from brski.pki.effort import counted
from tests.kit import pki
from tests.unit.pki.chain_cases import Case
from tests.unit.pki.test_chain_bounds import HOSTILE

KEY = pki.make_key()
SIGNATURE = signatures.sign(KEY, b"data")


def _verify(signature: bytes = SIGNATURE) -> None:
    signatures.verify(KEY.public_key(), signature, b"data", what="test")


def test_outside_of_a_count_nothing_is_counted() -> None:
    for _ in range(effort.VERIFICATIONS_LIMIT + 5):
        _verify()


@pytest.mark.requirement("SEC-10")
def test_the_limit_itself_is_allowed_and_one_more_is_not() -> None:
    """Failed ones count as the others do; the eleventh is not made."""
    with counted() as spent:
        for _ in range(effort.VERIFICATIONS_LIMIT - 1):
            _verify()
        with pytest.raises(SignatureInvalid):
            _verify(SIGNATURE[:-1] + bytes([SIGNATURE[-1] ^ 1]))
        with pytest.raises(TooLarge, match="more than 10 signature verifications"):
            _verify()
        assert spent.spent == effort.VERIFICATIONS_LIMIT
    _verify()


def test_a_count_inside_another_is_the_other() -> None:
    """Whoever is called cannot lift what its caller has set."""
    with counted(2) as outer:
        with counted(99) as inner:
            _verify()
        assert inner is outer
        _verify()
        with pytest.raises(TooLarge):
            _verify()


async def test_tasks_of_one_request_share_its_count() -> None:
    """And what outlives the request is not held to it."""
    over = asyncio.Event()

    async def verify() -> None:
        _verify()

    async def later() -> None:
        await over.wait()
        for _ in range(3):
            _verify()

    with counted(2) as spent:
        await asyncio.gather(verify(), asyncio.to_thread(_verify))
        assert spent.spent == 2
        with pytest.raises(TooLarge):
            await asyncio.create_task(verify())
        left_over = asyncio.create_task(later())
    over.set()
    await left_over


def test_paths_count_one_for_each_certificate() -> None:
    """By the library's verifier and by the own walk; what is known costs nothing."""
    for kind in ("P-256", "Ed25519"):
        oem = pki.make_pki(levels=4, kind=kind)
        anchors = TrustAnchors([oem.root])
        for serial_number, cost in (("SN-1", 3), ("SN-2", 1)):
            device = pki.make_idevid(oem, serial_number)
            for expected in (cost, 0):
                with counted() as spent:
                    anchors.validate(device.certificate, device.intermediates, at=pki.NOW)
                assert spent.spent == expected, kind


def test_a_chain_that_was_checked_is_not_verified_again() -> None:
    """As a MASA does it: the chain in itself, then as a path to its own end."""
    domain = pki.make_root("Domain CA")
    for level in range(6):
        domain = pki.make_ca(f"Domain CA {level}", domain)
    registrar = pki.make_registrar(domain)
    with counted() as spent:
        check_presented_chain(registrar.chain)
        anchors = TrustAnchors(registrar.chain[-1:])
        anchors.validate(registrar.certificate, registrar.intermediates, at=pki.NOW)
    assert len(registrar.chain) == 8
    assert spent.spent == 8


def test_issuers_of_another_name_cost_nothing() -> None:
    one, other = pki.make_root("One"), pki.make_root("Other")
    with counted() as spent, pytest.raises(ChainInvalid):
        walk.check_issued(one.certificate, other.certificate)
    assert spent.spent == 0


@pytest.mark.requirement("SEC-10")
@pytest.mark.parametrize("kind", ["P-256", "Ed25519"])
@pytest.mark.parametrize("make", HOSTILE)
def test_hostile_chains_stay_within_the_count(make: Callable[[str], Case], kind: str) -> None:
    """Abuse cases 7 and 18: refused, and at ten verifications at the latest."""
    case = make(kind)
    for validate in (case.validate, case.validate_without_clock):
        with counted() as spent, pytest.raises((ChainInvalid, TooLarge)):
            validate()
        assert spent.spent <= effort.VERIFICATIONS_LIMIT
