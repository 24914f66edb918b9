"""Whether one voucher document answers another: every rule with its error.

Signatures have been verified by the caller, unless a function says otherwise; what is judged here
is contents. No clock, no policy and no key of one's own is known: they are arguments. A date that
is None is not checked, and a policy that is missing means no.

RFC 8366 §5.3; RFC 8995 §5.2 to §5.6.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from typing import Final

from cryptography import x509

from brski.errors import (
    AssertionNotAcceptable,
    IDevIDIssuerMismatch,
    NonceMismatch,
    PinMismatch,
    ProximityMismatch,
    VoucherExpired,
)
from brski.pki.chain import validate_to_pin
from brski.pki.extensions import (
    decode_idevid_issuer,
    encode_idevid_issuer,
)
from brski.pki.keys import certificate_der, parse_certificate, spki_sha256
from brski.voucher.comparisons import (
    check_created_on,
    check_nonce,
    check_serial_number,
)
from brski.voucher.key_references import Form, KeyReference, pin_of, proximity_of
from brski.voucher.model import Assertion, Voucher, VoucherRequest
from brski.voucher.rule import Rule

REQUEST_AGE: Final = timedelta(days=30)  # ours: a pledge asks again for four days (RFC 8995 §5.6)
REQUEST_AHEAD: Final = timedelta(days=1)  # ours


def check_request_date(request: VoucherRequest, *, now: datetime) -> None:
    """Raise if *request* says that it was made at a time that nobody can mean.

    Freshness is the nonce's. But a request may be sent again for days, and its maker's clock need
    not be good: thirty days in the past and a day in the future are believed.

    Raises:
        CreatedOnOutOfWindow: longer ago, or further ahead; none at all passes.

    RFC 8995 §5.2, §5.6.
    """
    check_created_on(request.created_on, now=now, past=REQUEST_AGE, future=REQUEST_AHEAD)


# -- the registrar ---------------------------------------------------------------------------------


def check_pledge_request(
    request: VoucherRequest, *, serial_number: str, registrar_certificate: x509.Certificate
) -> None:
    """Raise unless a pledge's voucher-request may be taken to its MASA by this registrar.

    Args:
        request: as decoded.
        serial_number: the device's, from where the registrar has it on authority, never from
            *request*.
        registrar_certificate: what the registrar showed on the connection that *request* came by.

    Raises:
        SerialNumberMismatch: *request* is of another device.
        ProximityMismatch: the assertion is not proximity, or the pledge saw another registrar. Of
            several leaves that tell the first counts, as in :func:`.key_references.proximity_of`.
        NonceMismatch: there is no nonce, so that *request* is of no particular moment.

    RFC 8995 §5.2, §5.5; RFC 8366bis §9.
    """
    for rule in pledge_request_rules(
        request, serial_number=serial_number, registrar_certificate=registrar_certificate
    ):
        rule.check()


def pledge_request_rules(
    request: VoucherRequest, *, serial_number: str, registrar_certificate: x509.Certificate
) -> Iterator[Rule]:
    """The rules of :func:`check_pledge_request`, in their order; arguments are the same."""
    yield Rule(
        name="serial-number",
        section="RFC 8995 §5.5",
        found=request.serial_number,
        wanted=serial_number,
        check=partial(check_serial_number, request.serial_number, serial_number),
    )
    yield Rule(
        name="proximity",
        section="RFC 8995 §5.2",
        found=f"assertion {request.assertion or 'absent'}",
        wanted="assertion proximity, and the certificate that this registrar shows",
        check=partial(_check_proximity, request, registrar_certificate),
    )
    yield Rule(
        name="nonce",
        section="RFC 8995 §5.2",
        found=request.nonce or "none",
        wanted="one",
        check=partial(_check_fresh, request),
    )


def _check_proximity(request: VoucherRequest, registrar_certificate: x509.Certificate) -> None:
    seen = _proximity(request)
    if not _is_exactly(seen, registrar_certificate):
        raise ProximityMismatch(
            f"proximity-registrar-{seen.form} is another registrar's",
            section="RFC 8995 §5.2",
            found=f"{seen.form} {_thumbprint(seen).hex()}",
            wanted=f"{seen.form} {_thumbprint_of(registrar_certificate, seen.form).hex()}",
        )


def _is_exactly(reference: KeyReference, certificate: x509.Certificate) -> bool:
    if reference.form is Form.CERT:  # not only its key: RFC 8995 §5.2 has the very certificate
        return reference.octets == certificate_der(certificate)
    return reference.is_of(certificate)


def registrar_request(
    pledge_request: VoucherRequest,
    pledge_octets: bytes,
    *,
    serial_number: str,
    idevid_issuer: bytes,
    created_on: datetime,
) -> VoucherRequest:
    """Build the registrar's voucher-request for a pledge's.

    Args:
        pledge_request: as decoded; its nonce is passed on in the very spelling that it came in.
        pledge_octets: the signed message that it came in, complete.
        serial_number: the device's, from its verified certificate.
        idevid_issuer: the keyIdentifier of that certificate's issuer, 20 octets.
        created_on: now, aware.

    Returns:
        A request without proximity-registrar-cert; the assertion is proximity or absent.

    Raises:
        SerialNumberMismatch: *pledge_request* is of another device.
        Malformed: *idevid_issuer* is not 20 octets.

    RFC 8995 §5.5; rfc8366bis §6.1, §6.3.
    """
    check_serial_number(pledge_request.serial_number, serial_number)
    proximity = pledge_request.assertion is Assertion.PROXIMITY
    return VoucherRequest(
        serial_number=serial_number,
        assertion=Assertion.PROXIMITY if proximity else None,
        created_on=created_on,
        nonce=pledge_request.nonce,
        idevid_issuer=encode_idevid_issuer(idevid_issuer),
        prior_signed_voucher_request=pledge_octets,
    )


# -- the MASA --------------------------------------------------------------------------------------


def check_prior_signed(
    registrar_voucher_request: VoucherRequest,
    pledge_voucher_request: VoucherRequest,
    registrar_certificates: Sequence[x509.Certificate],
) -> None:
    """Raise unless the pledge's request, held in the registrar's, bears it out.

    Only then may a voucher say proximity. Keys are compared, not certificates: a registrar may have
    renewed its own.

    Args:
        registrar_voucher_request: as decoded; its assertion is not looked at.
        pledge_voucher_request: decoded from its prior-signed-voucher-request, whose signature has
            been verified under the device's key.
        registrar_certificates: those that came with the registrar's request, signer's among them.

    Raises:
        SerialNumberMismatch: the two are of different devices.
        NonceMismatch: the two are of different moments, or of none.
        ProximityMismatch: the pledge does not say proximity, or saw a key that is none of
            *registrar_certificates*.
        Malformed, TooLarge: the proximity-registrar-cert cannot be read.

    RFC 8995 §5.5.5, §5.5.6; RFC 8366bis §9.
    """
    check_serial_number(
        pledge_voucher_request.serial_number, registrar_voucher_request.serial_number
    )
    _check_fresh(pledge_voucher_request)
    check_nonce(registrar_voucher_request.nonce, pledge_voucher_request.nonce, "RFC 8995 §5.5.6")
    seen = _proximity(pledge_voucher_request)
    if not any(map(seen.is_of, registrar_certificates)):
        raise ProximityMismatch(
            f"proximity-registrar-{seen.form} is of a key that the registrar does not show",
            section="RFC 8995 §5.5.5",
        )


# -- the pledge ------------------------------------------------------------------------------------


def check_voucher(
    voucher: Voucher,
    request: VoucherRequest,
    *,
    idevid_issuer: bytes | None,
    now: datetime | None,
    acceptable: frozenset[Assertion],
    allow_nonceless: bool,
) -> None:
    """Raise unless *voucher* answers *request* at *now*.

    The signature has been verified to the manufacturer's anchor by the caller; this judges the
    contents alone. Whom the voucher pins is for :func:`find_pin`.

    Args:
        voucher: as decoded.
        request: what this pledge sent.
        idevid_issuer: the keyIdentifier of this device's IDevID issuer, 20 octets, or None if the
            device does not know it, and then takes no voucher that names one.
        now: aware UTC; None for a pledge without a clock that it trusts.
        acceptable: the assertions that this pledge takes.
        allow_nonceless: take a voucher without nonce though *request* had one.

    Raises:
        SerialNumberMismatch: *voucher* is of another device.
        IDevIDIssuerMismatch: it is of another manufacturer's device.
        NonceMismatch: the nonces differ, or only one side has one and that is not allowed.
        AssertionNotAcceptable: the assertion is absent or not among *acceptable*.
        VoucherExpired: expires-on is not after *now*.
        CreatedOnOutOfWindow: created-on is more than :data:`CLOCK_SKEW` after *now*.
        Malformed: its idevid-issuer cannot be read.

    RFC 8995 §5.6.1, §2.6.1, §7.2; RFC 8366 §5.3.
    """
    for rule in voucher_rules(
        voucher,
        request,
        idevid_issuer=idevid_issuer,
        now=now,
        acceptable=acceptable,
        allow_nonceless=allow_nonceless,
    ):
        rule.check()


def voucher_rules(
    voucher: Voucher,
    request: VoucherRequest,
    *,
    idevid_issuer: bytes | None,
    now: datetime | None,
    acceptable: frozenset[Assertion],
    allow_nonceless: bool,
) -> Iterator[Rule]:
    """The rules of :func:`check_voucher`, in their order; arguments are the same."""
    yield Rule(
        name="serial-number",
        section="RFC 8995 §5.6.1",
        found=voucher.serial_number,
        wanted=request.serial_number,
        check=partial(check_serial_number, voucher.serial_number, request.serial_number),
    )
    yield Rule(
        name="idevid-issuer",
        section="RFC 8366 §5.3; RFC 8366bis §6.3",
        found=_hex(voucher.idevid_issuer),
        wanted=f"{_hex(idevid_issuer)}, or absent",
        check=partial(_check_idevid_issuer, voucher.idevid_issuer, idevid_issuer),
    )
    yield Rule(
        name="nonce",
        section="RFC 8995 §5.6.1",
        found=voucher.nonce or "none",
        wanted=(request.nonce or "none") + (", or none by policy" if allow_nonceless else ""),
        check=partial(_check_own_nonce, voucher.nonce, request.nonce, allow_nonceless),
    )
    yield Rule(
        name="assertion",
        section="RFC 8366 §5.3",
        found=str(voucher.assertion or "absent"),
        wanted=", ".join(sorted(acceptable)) or "none",
        check=partial(_check_assertion, voucher.assertion, acceptable),
    )
    yield from _date_rules(voucher, now)


def _date_rules(voucher: Voucher, now: datetime | None) -> Iterator[Rule]:
    for name, section, moment, wanted, check in (
        ("expires-on", "RFC 8366 §5.3", voucher.expires_on, "after", _check_expires_on),
        ("created-on", "RFC 8995 §2.6.1", voucher.created_on, "not after", _check_made),
    ):
        yield Rule(
            name=name,
            section=section,
            found=moment.isoformat() if moment else "absent",
            wanted=f"{wanted} {now.isoformat() if now else 'now, which is not known'}",
            check=partial(check, moment, now),
            judged=now is not None,
        )


def _hex(octets: bytes | None) -> str:
    return octets.hex() if octets else "absent"


def _check_own_nonce(found: str | None, expected: str | None, allow_nonceless: bool) -> None:
    if found is not None or not allow_nonceless:
        check_nonce(found, expected, "RFC 8995 §5.6.1")


def _check_assertion(assertion: Assertion | None, acceptable: frozenset[Assertion]) -> None:
    if assertion not in acceptable:
        raise AssertionNotAcceptable(
            f"voucher's assertion is {assertion or 'absent'}, "
            f"acceptable: {', '.join(sorted(acceptable)) or 'none'}",
            section="RFC 8366 §5.3",
        )


def _check_expires_on(moment: datetime | None, now: datetime | None) -> None:
    if moment is not None and now is not None and moment <= now:
        raise VoucherExpired(
            f"voucher expired {moment.isoformat()}, now is {now.isoformat()}",
            section="RFC 8366 §5.3",
        )


def _check_made(moment: datetime | None, now: datetime | None) -> None:
    if now is not None:
        check_created_on(moment, now=now)


def find_pin(
    voucher: Voucher,
    request: VoucherRequest,
    registrar_chain: Sequence[x509.Certificate],
    *,
    at: datetime | None,
) -> x509.Certificate:
    """Return the certificate that *voucher* pins, once the registrar's TLS chain leads to it.

    Which of several leaves counts: :func:`.key_references.pin_of`. A key pins the registrar that
    has it, so the certificate is then the registrar's own.

    Args:
        voucher: accepted by :func:`check_voucher`.
        request: what this pledge sent.
        registrar_chain: as the registrar presented it in the handshake, its own first.
        at: aware UTC; None for a pledge without a clock that it trusts.

    Raises:
        PinMismatch: the chain does not lead there, or the voucher pins nothing.
        Malformed, TooLarge: the pinned-domain-cert cannot be read.

    RFC 8995 §5.6.1, §5.6.2; RFC 8366bis §8.
    """
    reference = pin_of(voucher, request)
    if reference is None:
        raise PinMismatch("voucher pins no certificate and no key", section="RFC 8995 §5.6.1")
    pin = _pinned(reference, registrar_chain)
    validate_to_pin(registrar_chain, pin, at=at)
    return pin


def _pinned(reference: KeyReference, chain: Sequence[x509.Certificate]) -> x509.Certificate:
    if reference.form is Form.CERT:
        return parse_certificate(reference.octets)
    if not chain or not reference.is_of(chain[0]):
        raise PinMismatch(
            f"pinned-domain-{reference.form} is of another key than the registrar's",
            section="RFC 8366bis §8",
        )
    return chain[0]


# -- shared ----------------------------------------------------------------------------------------


def _thumbprint(seen: KeyReference) -> bytes:
    """SHA-256 of what a leaf holds, which need not be what it should."""
    return seen.octets if seen.form is Form.PUBK_SHA256 else sha256(seen.octets).digest()


def _thumbprint_of(certificate: x509.Certificate, form: Form) -> bytes:
    """What :func:`_thumbprint` would be, were it of *certificate*."""
    if form is Form.CERT:
        return sha256(certificate_der(certificate)).digest()
    return spki_sha256(certificate)


def _check_fresh(request: VoucherRequest) -> None:
    if request.nonce is None:
        raise NonceMismatch("pledge's voucher-request has no nonce", section="RFC 8995 §5.2")


def _check_idevid_issuer(found: bytes | None, expected: bytes | None) -> None:
    if found is None:
        return
    issuer = decode_idevid_issuer(found)
    if issuer != expected:
        raise IDevIDIssuerMismatch(
            f"idevid-issuer is {issuer.hex()}, not {expected.hex() if expected else 'known here'}",
            section="RFC 8366 §5.3",
            found=issuer.hex(),
            wanted=expected.hex() if expected else "",
        )


def _proximity(request: VoucherRequest) -> KeyReference:
    if request.assertion is not Assertion.PROXIMITY:
        raise ProximityMismatch(
            f"pledge's assertion is {request.assertion or 'absent'}, not proximity",
            section="RFC 8995 §5.2",
            found=str(request.assertion or "absent"),
            wanted="proximity",
        )
    reference = proximity_of(request)
    if reference is None:
        raise ProximityMismatch("proximity-registrar-cert is missing", section="RFC 8995 §5.2")
    return reference
