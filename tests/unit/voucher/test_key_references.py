"""Keys named by certificate, by themselves and by hash: which of several leaves counts."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import datetime
from itertools import product
from typing import Any

import pytest

from brski.errors import PinMismatch, ProximityMismatch
from brski.pki.keys import spki_of
from brski.voucher.key_references import Form, KeyReference, pin_of, proximity_of
from brski.voucher.model import Voucher, VoucherRequest
from brski.voucher.rules import (
    check_pledge_request,
    check_prior_signed,
    find_pin,
    registrar_request,
)
from tests.kit import pki
from tests.kit.voucher import IDEVID_ISSUER, pledge_request, voucher_for

DOMAIN_CA = pki.make_root("Example Domain CA")
REGISTRAR = pki.make_registrar(DOMAIN_CA)
OTHER = pki.make_registrar(DOMAIN_CA, name="other.example.com")
REQUEST = pledge_request(REGISTRAR)
VOUCHER = voucher_for(REQUEST, DOMAIN_CA)
FORMS = tuple(Form)  # in the order in which they count


def named(form: Form, entity: pki.Entity) -> bytes:
    """The octets of a leaf of *form* that names *entity*."""
    spki = spki_of(entity.certificate)
    return {
        Form.PUBK_SHA256: hashlib.sha256(spki).digest(),
        Form.PUBK: spki,
        Form.CERT: entity.der,
    }[form]


def request_naming(**forms: pki.Entity) -> VoucherRequest:
    """The pledge's request with a leaf for each of *forms* (cert, pubk, pubk_sha256)."""
    leaves: dict[str, Any] = {"proximity_registrar_cert": None}
    for form, entity in forms.items():
        leaves[f"proximity_registrar_{form}"] = named(Form(form.replace("_", "-")), entity)
    return replace(REQUEST, **leaves)


def voucher_pinning(nonce: str | None = VOUCHER.nonce, /, **forms: pki.Entity) -> Voucher:
    """A voucher with a pin for each of *forms*."""
    leaves: dict[str, Any] = {"pinned_domain_cert": None, "nonce": nonce}
    for form, entity in forms.items():
        leaves[f"pinned_domain_{form}"] = named(Form(form.replace("_", "-")), entity)
    return replace(VOUCHER, **leaves)


@pytest.mark.parametrize("form", FORMS)
def test_a_key_is_known_by_each_form(form: Form) -> None:
    """The certificate may be another one of the same key; another key is another."""
    renewed = pki.make_registrar(DOMAIN_CA, key=REGISTRAR.private_key, name="renewed.example.com")
    reference = KeyReference(form=form, octets=named(form, REGISTRAR))
    assert reference.is_of(REGISTRAR.certificate)
    assert reference.is_of(renewed.certificate)
    assert not reference.is_of(OTHER.certificate)
    assert not reference.is_of(DOMAIN_CA.certificate)


# -- whom the pledge met ---------------------------------------------------------------------------


def look_at(request: VoucherRequest) -> None:
    """As the registrar and as the MASA: they agree on every request here."""
    check_pledge_request(
        request, serial_number="SN-0001", registrar_certificate=REGISTRAR.certificate
    )
    asked = registrar_request(
        request,
        b"octets",
        serial_number="SN-0001",
        idevid_issuer=IDEVID_ISSUER,
        created_on=pki.NOW,
    )
    check_prior_signed(asked, request, (REGISTRAR.certificate, DOMAIN_CA.certificate))


@pytest.mark.requirement("VR-18")
@pytest.mark.parametrize("form", ["pubk_sha256", "pubk", "cert"])
def test_proximity_is_shown_in_any_form(form: str) -> None:
    """To registrar and MASA; of another registrar it is refused."""
    look_at(request_naming(**{form: REGISTRAR}))
    with pytest.raises(ProximityMismatch, match=form.replace("_", "-")):
        look_at(request_naming(**{form: OTHER}))


@pytest.mark.requirement("VR-18")
def test_of_several_the_hash_counts_then_the_key_then_the_certificate() -> None:
    """All seven sets of leaves, with the registrar or another in each place."""
    names = [form.replace("-", "_") for form in FORMS]
    for entities in product((None, REGISTRAR, OTHER), repeat=3):
        chosen = {n: e for n, e in zip(names, entities, strict=True) if e is not None}
        request = request_naming(**chosen)
        first = next(iter(chosen.values()), None)
        found = proximity_of(request)
        if first is None:
            assert found is None
        else:
            assert found is not None
            assert found.octets == named(found.form, first)
        if first is REGISTRAR:
            look_at(request)
        else:
            with pytest.raises(ProximityMismatch):
                look_at(request)


# -- whom the voucher pins -------------------------------------------------------------------------


@pytest.mark.requirement("PL-26", "PL-36")
@pytest.mark.parametrize("form", ["pubk_sha256", "pubk"])
@pytest.mark.parametrize("at", [pki.NOW, None])
def test_a_key_pins_the_registrar_that_has_it(form: str, at: datetime | None) -> None:
    """And not a CA above it, nor another of its domain; the registrar itself becomes the anchor."""
    chain = REGISTRAR.chain
    pinned = find_pin(voucher_pinning(**{form: REGISTRAR}), REQUEST, chain, at=at)
    assert pinned == REGISTRAR.certificate
    for stranger in (OTHER, DOMAIN_CA):
        with pytest.raises(PinMismatch, match=f"pinned-domain-{form.replace('_', '-')}"):
            find_pin(voucher_pinning(**{form: stranger}), REQUEST, chain, at=at)
    with pytest.raises(PinMismatch):
        find_pin(voucher_pinning(**{form: REGISTRAR}), REQUEST, (), at=at)


@pytest.mark.requirement("PL-36")
def test_an_expired_registrar_is_not_pinned_by_its_key() -> None:
    """Where there is a clock, its certificate is held against it, as with a pinned certificate."""
    voucher = voucher_pinning(pubk=REGISTRAR)
    find_pin(voucher, REQUEST, REGISTRAR.chain, at=pki.NOW)
    find_pin(voucher, REQUEST, REGISTRAR.chain, at=None)
    with pytest.raises(PinMismatch):
        find_pin(voucher, REQUEST, REGISTRAR.chain, at=pki.AFTER)


@pytest.mark.requirement("PL-36")
@pytest.mark.parametrize("asked", ["pubk_sha256", "pubk", "cert"])
def test_the_pin_in_the_form_that_was_asked_with_counts(asked: str) -> None:
    """The others are ignored, even where they would come first and name somebody else."""
    request = request_naming(**{asked: REGISTRAR})
    pins = dict.fromkeys(("pubk_sha256", "pubk", "cert"), OTHER)
    found = pin_of(voucher_pinning(**pins | {asked: REGISTRAR}), request)
    assert found == KeyReference(
        form=Form(asked.replace("_", "-")), octets=named(Form(asked.replace("_", "-")), REGISTRAR)
    )
    find_pin(voucher_pinning(**pins | {asked: REGISTRAR}), request, REGISTRAR.chain, at=pki.NOW)
    others = {name: REGISTRAR for name in pins if name != asked}
    with pytest.raises(PinMismatch):
        find_pin(voucher_pinning(**others | {asked: OTHER}), request, REGISTRAR.chain, at=pki.NOW)


@pytest.mark.requirement("PL-36", "PL-19")
def test_without_nonce_the_first_in_order_counts() -> None:
    """Such a voucher answers no request in particular, so the request's form does not matter."""
    request = request_naming(cert=REGISTRAR)
    for nonce, form in ((None, Form.PUBK_SHA256), (VOUCHER.nonce, Form.CERT)):
        found = pin_of(voucher_pinning(nonce, pubk_sha256=OTHER, pubk=OTHER, cert=OTHER), request)
        assert found is not None
        assert found.form is form
    keys = pin_of(voucher_pinning(None, pubk=OTHER, cert=OTHER), request)
    assert keys is not None
    assert keys.form is Form.PUBK


@pytest.mark.requirement("PL-36", "PL-24")
def test_a_voucher_with_no_pin_in_that_form_pins_with_what_it_has() -> None:
    """A single leaf is used whatever was asked with; no leaf pins nothing."""
    request = request_naming(cert=REGISTRAR)
    for form in Form:
        found = pin_of(voucher_pinning(**{form.replace("-", "_"): REGISTRAR}), request)
        assert found is not None
        assert found.form is form
    assert pin_of(voucher_pinning(), request) is None
    with pytest.raises(PinMismatch, match="pins no"):
        find_pin(voucher_pinning(), request, REGISTRAR.chain, at=pki.NOW)
