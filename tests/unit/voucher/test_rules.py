"""One document answering another: every rule, with its nearest refusal and its error."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brski.errors import (
    AssertionNotAcceptable,
    ChainInvalid,
    CreatedOnOutOfWindow,
    IDevIDIssuerMismatch,
    Malformed,
    NonceMismatch,
    PinMismatch,
    ProximityMismatch,
    SerialNumberMismatch,
    VoucherExpired,
)
from brski.pki.extensions import encode_idevid_issuer
from brski.pki.keys import certificate_der
from brski.voucher.cms import CMS
from brski.voucher.comparisons import CLOCK_SKEW, check_created_on, same_nonce
from brski.voucher.model import Assertion, Voucher, VoucherRequest
from brski.voucher.rules import (
    check_pledge_request,
    check_prior_signed,
    check_voucher,
    find_pin,
    registrar_request,
)
from brski.voucher.signers import signer_chain
from brski.voucher.yang_types import decode_nonce, encode_nonce
from tests.kit import pki
from tests.kit.voucher import (
    CREATED_ON,
    IDEVID_ISSUER,
    NONCE,
    OTHER_NONCE,
    REQUEST_JSON,
    pledge_request,
    voucher_for,
)

DOMAIN_ROOT = pki.make_root("Example Domain Root CA")
DOMAIN_CA = pki.make_ca("Example Domain CA", DOMAIN_ROOT)
REGISTRAR = pki.make_registrar(DOMAIN_CA)
OTHER_REGISTRAR = pki.make_registrar(DOMAIN_CA, name="other.example.com")
REQUEST = pledge_request(REGISTRAR)
VOUCHER = voucher_for(REQUEST, DOMAIN_CA)
PLEDGE_OCTETS = b"\x30\x03\x02\x01\x07"
SECOND = timedelta(seconds=1)
ALL = frozenset(Assertion)
URL_NONCE = "-_XE9zK9q8Ll1qylMtLKeg"  # RFC 8995 Appendix C
STRICT_NONCE = "+/XE9zK9q8Ll1qylMtLKeg=="


# -- nonces ----------------------------------------------------------------------------------------


@pytest.mark.requirement("VR-2", "VR-19")
@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (NONCE, NONCE, True),
        (URL_NONCE, URL_NONCE, True),
        (URL_NONCE, STRICT_NONCE, True),
        (None, None, True),
        (NONCE, OTHER_NONCE, False),
        (NONCE, NONCE.lower(), False),
        (NONCE, NONCE[:-4], False),
        (NONCE, None, False),
        (None, NONCE, False),
        (NONCE, "", False),
    ],
)
def test_nonces_are_the_same_octets(one: str | None, other: str | None, same: bool) -> None:
    """Whatever their spelling; both absent is the same, one absent is not."""
    assert same_nonce(one, other) is same
    assert same_nonce(other, one) is same


@given(st.binary(min_size=8, max_size=32), st.binary(min_size=8, max_size=32))
def test_nonces_are_compared_as_octets(one: bytes, other: bytes) -> None:
    """What is the same decoded is the same here, and nothing else."""
    spelt = encode_nonce(other)
    for spelling in (spelt, spelt.rstrip("="), spelt.translate(str.maketrans("+/", "-_"))):
        assert same_nonce(encode_nonce(one), spelling) is (one == other)
        assert decode_nonce(spelling, lenient=True) == other


# -- dates -----------------------------------------------------------------------------------------


@pytest.mark.requirement("PL-11", "PL-23")
@pytest.mark.parametrize(
    ("age", "accepted"),
    [
        (timedelta(), True),
        (-CLOCK_SKEW, True),
        (-CLOCK_SKEW - SECOND, False),
        (timedelta(hours=1), True),
        (timedelta(hours=1) + SECOND, False),
    ],
)
def test_a_date_of_making_is_near_now(age: timedelta, accepted: bool) -> None:
    """A little ahead, an hour ago; without a limit to the past any time ago, without date never."""
    moment = pki.NOW - age
    if accepted:
        check_created_on(moment, now=pki.NOW, past=timedelta(hours=1))
    else:
        with pytest.raises(CreatedOnOutOfWindow):
            check_created_on(moment, now=pki.NOW, past=timedelta(hours=1))
    check_created_on(datetime(1970, 1, 1, tzinfo=UTC), now=pki.NOW)
    check_created_on(None, now=pki.NOW, past=timedelta())


# -- the registrar looks at a pledge's request -----------------------------------------------------


def check_request(request: VoucherRequest, registrar: pki.Entity = REGISTRAR) -> None:
    check_pledge_request(
        request, serial_number="SN-0001", registrar_certificate=registrar.certificate
    )


@pytest.mark.requirement("REG-3", "REG-4", "PL-7", "PL-9", "PL-10", "PL-11")
@pytest.mark.parametrize(
    ("altered", "error"),
    [
        ({}, None),
        ({"created_on": None}, None),
        ({"idevid_issuer": b"whatever"}, None),
        ({"serial_number": "SN-0002"}, SerialNumberMismatch),
        ({"serial_number": "sn-0001"}, SerialNumberMismatch),
        ({"serial_number": "SN-00010"}, SerialNumberMismatch),
        ({"assertion": None}, ProximityMismatch),
        ({"assertion": Assertion.VERIFIED}, ProximityMismatch),
        ({"assertion": Assertion.LOGGED}, ProximityMismatch),
        ({"assertion": Assertion.AGENT_PROXIMITY}, ProximityMismatch),
        ({"proximity_registrar_cert": None}, ProximityMismatch),
        ({"proximity_registrar_cert": b""}, ProximityMismatch),
        ({"proximity_registrar_cert": REGISTRAR.der + b"\0"}, ProximityMismatch),
        ({"proximity_registrar_cert": OTHER_REGISTRAR.der}, ProximityMismatch),
        ({"proximity_registrar_cert": DOMAIN_CA.der}, ProximityMismatch),
        ({"nonce": None}, NonceMismatch),
    ],
)
def test_a_pledges_request(altered: dict[str, Any], error: type[Exception] | None) -> None:
    """Its serial number is the verified one, it saw this registrar, and it is of a moment."""
    request = replace(REQUEST, **altered)
    if error is None:
        check_request(request)
        return
    with pytest.raises(error) as caught:
        check_request(request)
    assert caught.value.section.startswith("RFC 8995")  # type: ignore[attr-defined]


@pytest.mark.requirement("REG-3")
def test_a_request_that_went_through_a_man_in_the_middle() -> None:
    """The pledge saw another certificate, though of the same domain and even of the same key."""
    renewed = pki.make_registrar(DOMAIN_CA, key=REGISTRAR.private_key, not_after=pki.AFTER)
    for registrar in (OTHER_REGISTRAR, renewed):
        with pytest.raises(ProximityMismatch):
            check_request(REQUEST, registrar)


@pytest.mark.requirement("REG-9", "VR-9", "VR-10", "VR-14", "VR-15", "VR-19")
def test_the_registrars_request() -> None:
    """Nonce as spelt, 26 octets of idevid-issuer, the pledge's message whole, and no proximity
    certificate."""
    pledges = replace(REQUEST, nonce=URL_NONCE, idevid_issuer=b"the pledge's idea of it")
    asked = registrar_request(
        pledges,
        PLEDGE_OCTETS,
        serial_number="SN-0001",
        idevid_issuer=IDEVID_ISSUER,
        created_on=pki.NOW,
    )
    assert asked == VoucherRequest(
        serial_number="SN-0001",
        assertion=Assertion.PROXIMITY,
        created_on=pki.NOW,
        nonce=URL_NONCE,
        idevid_issuer=bytes.fromhex("041830168014") + IDEVID_ISSUER,
        prior_signed_voucher_request=PLEDGE_OCTETS,
    )


@pytest.mark.requirement("REG-4", "REG-9")
def test_the_registrars_request_says_no_more_than_the_pledges() -> None:
    """No assertion of its own, no nonce of its own, and never another device."""
    for assertion in (None, Assertion.VERIFIED, Assertion.LOGGED):
        asked = registrar_request(
            replace(REQUEST, assertion=assertion, nonce=None),
            PLEDGE_OCTETS,
            serial_number="SN-0001",
            idevid_issuer=IDEVID_ISSUER,
            created_on=pki.NOW,
        )
        assert asked.assertion is None
        assert asked.nonce is None
    with pytest.raises(SerialNumberMismatch):
        registrar_request(
            REQUEST,
            PLEDGE_OCTETS,
            serial_number="SN-0002",
            idevid_issuer=IDEVID_ISSUER,
            created_on=pki.NOW,
        )


# -- the MASA looks at both ------------------------------------------------------------------------

ASKED = registrar_request(
    REQUEST,
    PLEDGE_OCTETS,
    serial_number="SN-0001",
    idevid_issuer=IDEVID_ISSUER,
    created_on=pki.NOW,
)


@pytest.mark.requirement("MASA-6", "MASA-7", "MASA-9")
@pytest.mark.parametrize(
    ("registrars", "pledges", "error"),
    [
        ({}, {}, None),
        ({"assertion": Assertion.VERIFIED}, {}, None),
        ({"assertion": None}, {}, None),
        ({"nonce": STRICT_NONCE}, {"nonce": URL_NONCE}, None),
        ({}, {"created_on": None}, None),
        ({"serial_number": "SN-0002"}, {}, SerialNumberMismatch),
        ({}, {"serial_number": "SN-0002"}, SerialNumberMismatch),
        ({"nonce": OTHER_NONCE}, {}, NonceMismatch),
        ({}, {"nonce": OTHER_NONCE}, NonceMismatch),
        ({"nonce": None}, {}, NonceMismatch),
        ({}, {"nonce": None}, NonceMismatch),
        ({"nonce": None}, {"nonce": None}, NonceMismatch),
        ({}, {"assertion": None}, ProximityMismatch),
        ({}, {"assertion": Assertion.LOGGED}, ProximityMismatch),
        ({}, {"proximity_registrar_cert": None}, ProximityMismatch),
        ({}, {"proximity_registrar_cert": OTHER_REGISTRAR.der}, ProximityMismatch),
        ({}, {"proximity_registrar_cert": DOMAIN_ROOT.der}, ProximityMismatch),
        ({}, {"proximity_registrar_cert": b""}, Malformed),
        ({}, {"proximity_registrar_cert": REGISTRAR.der[:-1]}, Malformed),
    ],
)
def test_a_prior_signed_request(
    registrars: dict[str, Any], pledges: dict[str, Any], error: type[Exception] | None
) -> None:
    """Device, moment and the registrar's key agree between the two; the rest does not matter."""
    outer, inner = replace(ASKED, **registrars), replace(REQUEST, **pledges)
    shown = (REGISTRAR.certificate, DOMAIN_CA.certificate)
    if error is None:
        check_prior_signed(outer, inner, shown)
        return
    with pytest.raises(error):
        check_prior_signed(outer, inner, shown)


@pytest.mark.requirement("MASA-6")
def test_proximity_is_of_the_key_and_not_of_the_certificate() -> None:
    """A registrar that renewed its certificate passes; one that has a like certificate does not."""
    renewed = pki.make_registrar(DOMAIN_CA, key=REGISTRAR.private_key, not_after=pki.AFTER)
    alike = pki.make_registrar(DOMAIN_CA)
    assert certificate_der(renewed.certificate) != REGISTRAR.der
    check_prior_signed(ASKED, REQUEST, (renewed.certificate,))
    for shown in ((), (alike.certificate,), (alike.certificate, DOMAIN_CA.certificate)):
        with pytest.raises(ProximityMismatch):
            check_prior_signed(ASKED, REQUEST, shown)


def signed_with(entity: pki.Entity, *certificates: pki.Entity, by_key: bool = False) -> Any:
    enclosed = tuple(c.certificate for c in certificates)
    message = CMS.sign(
        REQUEST_JSON, entity.signer, certificates=enclosed, name_by_key_identifier=by_key
    )
    return CMS.open(message)


@pytest.mark.requirement("MASA-3", "CMS-8")
@pytest.mark.parametrize("by_key", [False, True])
@pytest.mark.parametrize(
    ("enclosed", "chain"),
    [
        ((REGISTRAR,), (REGISTRAR,)),
        ((DOMAIN_CA, REGISTRAR), (REGISTRAR, DOMAIN_CA)),
        ((DOMAIN_ROOT, REGISTRAR, DOMAIN_CA), (REGISTRAR, DOMAIN_CA, DOMAIN_ROOT)),
        ((DOMAIN_ROOT, REGISTRAR), (REGISTRAR,)),
        ((OTHER_REGISTRAR, DOMAIN_CA, REGISTRAR), (REGISTRAR, DOMAIN_CA)),
    ],
)
def test_the_signers_chain_is_found_in_any_order(
    enclosed: tuple[pki.Entity, ...], chain: tuple[pki.Entity, ...], by_key: bool
) -> None:
    """From the signer up as far as the message goes, strangers left out."""
    signed = signed_with(REGISTRAR, *enclosed, by_key=by_key)
    assert signer_chain(signed) == tuple(c.certificate for c in chain)


@pytest.mark.requirement("MASA-3")
def test_a_self_signed_signer_is_its_own_chain() -> None:
    """As is a registrar's whose domain is nothing but itself."""
    alone = pki.make_registrar(None)
    assert signer_chain(signed_with(alone, alone, DOMAIN_CA)) == (alone.certificate,)


@pytest.mark.requirement("MASA-3")
def test_a_chain_that_does_not_hold_together_is_refused() -> None:
    """No signer in it, or an issuer of the right name and key identifier and the wrong key."""
    with pytest.raises(ChainInvalid, match="does not hold"):
        signer_chain(signed_with(REGISTRAR, DOMAIN_CA, DOMAIN_ROOT))
    namesake = pki.make_ca("Example Domain CA", DOMAIN_ROOT)
    assert signer_chain(signed_with(REGISTRAR, REGISTRAR, namesake)) == (REGISTRAR.certificate,)
    nameless = pki.make_registrar(DOMAIN_CA, aki=False)
    assert len(signer_chain(signed_with(nameless, nameless, DOMAIN_CA))) == 2
    with pytest.raises(ChainInvalid):
        signer_chain(signed_with(nameless, nameless, namesake))


@pytest.mark.requirement("MASA-3")
def test_two_cas_that_certify_each_other_make_no_loop() -> None:
    """Every certificate is used once."""
    one, other = pki.make_root("One CA", aki=False), pki.make_root("Other CA", aki=False)
    one_by_other = pki.make_ca("One CA", other, key=one.private_key, aki=False)
    other_by_one = pki.make_ca("Other CA", one, key=other.private_key, aki=False)
    leaf = pki.make_registrar(one, aki=False)
    chain = signer_chain(signed_with(leaf, leaf, one_by_other, other_by_one))
    assert chain == (leaf.certificate, one_by_other.certificate, other_by_one.certificate)


# -- the pledge looks at a voucher -----------------------------------------------------------------


def check(voucher: Voucher = VOUCHER, request: VoucherRequest = REQUEST, **policy: Any) -> None:
    settings: dict[str, Any] = {
        "idevid_issuer": IDEVID_ISSUER,
        "now": pki.NOW,
        "acceptable": ALL,
        "allow_nonceless": False,
    }
    check_voucher(voucher, request, **settings | policy)


@pytest.mark.requirement("PL-17", "PL-18", "PL-19", "PL-20", "PL-21", "PL-22", "PL-23", "VR-11")
@pytest.mark.parametrize(
    ("altered", "policy", "error"),
    [
        ({}, {}, None),
        # serial number
        ({"serial_number": "SN-0002"}, {}, SerialNumberMismatch),
        ({"serial_number": "sn-0001"}, {}, SerialNumberMismatch),
        # nonce
        ({"nonce": OTHER_NONCE}, {}, NonceMismatch),
        ({"nonce": OTHER_NONCE}, {"allow_nonceless": True}, NonceMismatch),
        ({"nonce": None}, {"allow_nonceless": True}, None),
        ({"nonce": None}, {}, NonceMismatch),
        # idevid-issuer
        ({"idevid_issuer": IDEVID_ISSUER}, {}, None),
        ({"idevid_issuer": encode_idevid_issuer(IDEVID_ISSUER)}, {}, None),
        ({"idevid_issuer": encode_idevid_issuer(IDEVID_ISSUER)[2:]}, {}, None),
        ({"idevid_issuer": encode_idevid_issuer(bytes(20))}, {}, IDevIDIssuerMismatch),
        ({"idevid_issuer": bytes(20)}, {}, IDevIDIssuerMismatch),
        ({"idevid_issuer": IDEVID_ISSUER}, {"idevid_issuer": None}, IDevIDIssuerMismatch),
        ({}, {"idevid_issuer": None}, None),
        ({"idevid_issuer": b""}, {}, Malformed),
        ({"idevid_issuer": IDEVID_ISSUER[:-1]}, {}, Malformed),
        # assertion
        ({"assertion": Assertion.LOGGED}, {}, None),
        ({"assertion": Assertion.LOGGED}, {"acceptable": frozenset({Assertion.LOGGED})}, None),
        (
            {"assertion": Assertion.LOGGED},
            {"acceptable": frozenset({Assertion.VERIFIED, Assertion.PROXIMITY})},
            AssertionNotAcceptable,
        ),
        ({}, {"acceptable": frozenset()}, AssertionNotAcceptable),
        ({"assertion": None}, {}, AssertionNotAcceptable),
        # dates
        ({"expires_on": pki.NOW + SECOND}, {}, None),
        ({"expires_on": pki.NOW}, {}, VoucherExpired),
        ({"expires_on": pki.NOW - SECOND}, {}, VoucherExpired),
        ({"expires_on": pki.NOW - SECOND}, {"now": None}, None),
        ({"created_on": pki.NOW + CLOCK_SKEW}, {}, None),
        ({"created_on": pki.NOW + CLOCK_SKEW + SECOND}, {}, CreatedOnOutOfWindow),
        ({"created_on": pki.NOW + timedelta(days=9)}, {"now": None}, None),
        ({"created_on": None}, {}, None),
        ({"created_on": pki.NOW - timedelta(days=9)}, {}, None),
        # what is not for these rules
        ({"pinned_domain_cert": None}, {}, None),
        ({"domain_cert_revocation_checks": True}, {}, None),
    ],
)
def test_a_voucher(
    altered: dict[str, Any], policy: dict[str, Any], error: type[Exception] | None
) -> None:
    """Device, manufacturer, moment, assertion and dates, each refused by its own error."""
    voucher = replace(VOUCHER, **altered)
    if error is None:
        check(voucher, **policy)
        return
    with pytest.raises(error):
        check(voucher, **policy)


@pytest.mark.requirement("PL-18")
def test_a_nonce_that_was_not_asked_for_is_refused() -> None:
    """By a pledge that sent none; a voucher without one is what it asked for."""
    asked = replace(REQUEST, nonce=None)
    check(replace(VOUCHER, nonce=None), asked)
    for allow_nonceless in (False, True):
        with pytest.raises(NonceMismatch, match="one side"):
            check(VOUCHER, asked, allow_nonceless=allow_nonceless)


@pytest.mark.requirement("PL-18", "SEC-3")
def test_an_earlier_voucher_is_refused() -> None:
    """A voucher replayed from an earlier run pins no domain, however the nonce is spelt."""
    earlier = replace(VOUCHER, nonce=URL_NONCE)
    check(earlier, replace(REQUEST, nonce=STRICT_NONCE))
    with pytest.raises(NonceMismatch, match="differ"):
        check(earlier, REQUEST, allow_nonceless=True)


@pytest.mark.requirement("PL-24", "PL-26")
@pytest.mark.parametrize(
    ("pin", "accepted"),
    [
        (REGISTRAR, True),
        (pki.make_registrar(DOMAIN_CA, key=REGISTRAR.private_key, name="renewed"), True),
        (DOMAIN_CA, True),
        (DOMAIN_ROOT, True),
        (OTHER_REGISTRAR, False),
        (pki.make_root("Example Domain Root CA"), False),
        (pki.make_ca("Example Domain CA", DOMAIN_ROOT), False),
    ],
)
@pytest.mark.parametrize("at", [pki.NOW, None])
def test_the_pin_is_the_only_anchor(pin: pki.Entity, accepted: bool, at: datetime | None) -> None:
    """The registrar itself, a CA above it, or the root; with and without a clock."""
    voucher = replace(VOUCHER, pinned_domain_cert=pin.der)
    if accepted:
        assert find_pin(voucher, REQUEST, REGISTRAR.chain[:-1], at=at) == pin.certificate
        return
    with pytest.raises(PinMismatch):
        find_pin(voucher, REQUEST, REGISTRAR.chain[:-1], at=at)


@pytest.mark.requirement("PL-22", "PL-24", "PL-26")
def test_pins_that_cannot_be_used() -> None:
    """None at all, no certificate, or a time at which the chain does not hold."""
    chain = REGISTRAR.chain[:-1]
    find_pin(VOUCHER, REQUEST, chain, at=pki.NOW)
    with pytest.raises(PinMismatch, match="pins no"):
        find_pin(replace(VOUCHER, pinned_domain_cert=None), REQUEST, chain, at=pki.NOW)
    with pytest.raises(Malformed):
        find_pin(replace(VOUCHER, pinned_domain_cert=b"\x30\x00"), REQUEST, chain, at=pki.NOW)
    for at in (pki.BEFORE, pki.AFTER):
        with pytest.raises(PinMismatch):
            find_pin(VOUCHER, REQUEST, chain, at=at)


def test_refusals_name_what_differs() -> None:
    """Both values and the section, in one line."""
    with pytest.raises(SerialNumberMismatch) as serial:
        check(replace(VOUCHER, serial_number="SN-0002"))
    assert str(serial.value) == "serial-number is 'SN-0002', not 'SN-0001' (RFC 8995 §5.5)"
    with pytest.raises(AssertionNotAcceptable) as assertion:
        check(acceptable=frozenset({Assertion.VERIFIED, Assertion.LOGGED}))
    assert assertion.value.reason == (
        "voucher's assertion is proximity, acceptable: logged, verified"
    )
    with pytest.raises(VoucherExpired) as expiry:
        check(replace(VOUCHER, expires_on=CREATED_ON))
    assert expiry.value.reason == (
        "voucher expired 2025-06-01T12:00:00+00:00, now is 2025-06-01T12:00:00+00:00"
    )
