"""The pinned domain certificate: whom it vouches for, with a clock and without."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from brski.errors import PinMismatch
from brski.pki.chain import validate_to_pin
from tests.kit import pki
from tests.unit.pki.chain_cases import UNKNOWN

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
