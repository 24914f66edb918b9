"""What the pledge says and what it makes of answers: bytes in, values or refusals out.

Until a voucher is accepted everything comes from a stranger (RFC 8995 §5.1): each body passes one
strict reader, and nothing in it is trusted but what a signature under the manufacturer's anchors,
or the pinned certificate, covers. Randomness, keys and the time are arguments.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from brski.errors import (
    ChainInvalid,
    KeyMismatch,
    LocalError,
    OnboardingError,
    Refused,
    Unavailable,
    UnexpectedResponse,
    VoucherRefused,
)
from brski.est.certs_only import decode_certs_only
from brski.est.csr_attributes import decode_csr_attributes
from brski.est.requirements import CSRRequirements
from brski.est.transfer import decode_base64, encode_base64
from brski.pki.chain import TrustAnchors, check_presented_chain, validate_to_pin
from brski.pki.extensions import has_extended_key_usage
from brski.pki.keys import (
    certificate_der,
    spki_of,
)
from brski.pki.server_name import names_server
from brski.registry import (
    BRSKI_ROOT,
    CA_CERTS,
    CSR_ATTRIBUTES,
    CSR_ATTRS,
    ENROLL_STATUS,
    EST_ROOT,
    ID_KP_CMC_RA,
    JSON,
    PKCS7_MIME,
    PKCS10,
    REQUEST_VOUCHER,
    SIMPLE_ENROLL,
    SIMPLE_REENROLL,
    TEXT,
    VOUCHER_STATUS,
)
from brski.telemetry.status import Status, encode_status
from brski.voucher.model import Assertion, VoucherRequest
from brski.voucher.yang_json import encode_voucher_request
from brski.voucher.yang_types import encode_nonce
from device_client.pledge.paths import validate
from device_client.pledge.policy import Pledge
from device_client.pledge.states import Answer, DomainCertificates, Request

NONCE_OCTETS: Final = 16  # RFC 8366 §5.3 wants 8 to 32
VOUCHER_NOT_ACCEPTED: Final = "voucher not accepted"  # all that a stranger learns, RFC 8995 §5.7
_DER, _SPKI = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
_SAID_LIMIT: Final = 200  # characters of a registrar's reason that are repeated


# -- the provisional connection


def check_registrar_chain(chain: Sequence[x509.Certificate]) -> None:
    """Raise unless each certificate that the registrar presented is signed by the next.

    Its root is unknown, and the first may be self-signed; who it is, the voucher will tell.

    Args:
        chain: as presented, leaf first.

    Raises:
        ChainInvalid: none was presented, or a signature does not verify.

    RFC 8995 §5.1.
    """
    check_presented_chain(chain)


def check_same_registrar(
    first: Sequence[x509.Certificate], again: Sequence[x509.Certificate]
) -> None:
    """Raise unless a new connection shows the registrar certificate of the first.

    Raises:
        ChainInvalid: another certificate, or none.

    RFC 8995 §5: both ends hold fast to the certificates of the first connection.
    """
    if not again or not first or first[0] != again[0]:
        raise ChainInvalid(
            "the registrar's certificate changed between two connections", section="RFC 8995 §5"
        )


# -- the voucher


def build_voucher_request(
    pledge: Pledge,
    *,
    registrar_certificate: x509.Certificate,
    nonce: bytes,
    created_on: datetime | None,
) -> tuple[VoucherRequest, bytes]:
    """Make and sign the pledge voucher-request of one attempt.

    Args:
        pledge: who asks.
        registrar_certificate: the first of the TLS chain.
        nonce: 16 fresh octets of the system's generator.
        created_on: aware UTC; None on a device without a clock, which leaves the leaf and the
            CMS signing time out.

    Returns:
        The request as a value, for the comparison with the voucher, and the signed octets. A device
        that carries its IDevID encloses the chain; one that asserts names its key by
        SubjectKeyIdentifier and encloses nothing.

    Raises:
        KeyUnusable: the IDevID key cannot sign.

    RFC 8995 §5.2; RFC 8366 §5.4; docs/identity.md.
    """
    request = VoucherRequest(
        serial_number=pledge.serial_number,
        assertion=Assertion.PROXIMITY,
        created_on=created_on,
        nonce=encode_nonce(nonce),
        proximity_registrar_cert=certificate_der(registrar_certificate),
    )
    octets = pledge.serialization.sign(
        encode_voucher_request(request),
        pledge.signer,
        certificates=pledge.idevid_chain,
        signing_time=created_on,
        name_by_key_identifier=not pledge.idevid_chain,
    )
    return request, octets


def voucher_request_message(octets: bytes, media_type: str, path: str | None = None) -> Request:
    """The HTTP request that carries a voucher-request, raw (RFC 8995 §5.2, §6)."""
    return Request(
        method="POST",
        path=path or BRSKI_ROOT + REQUEST_VOUCHER,
        body=octets,
        content_type=media_type,
        accept=media_type,
    )


def voucher_of(answer: Answer, media_type: str) -> bytes:
    """The voucher's octets out of the final answer to a voucher-request.

    Raises:
        VoucherRefused: the registrar said no, for itself or for the MASA.
        Unavailable: it cannot answer now.
        UnexpectedResponse: another status, another media type, or nothing in it.

    RFC 8995 §5.6.
    """
    check_success(answer, VoucherRefused, what="the voucher-request", section="RFC 8995 §5.6")
    if answer.media_type != media_type:
        raise UnexpectedResponse(
            f"the registrar sent {answer.media_type or 'no media type'}, not {media_type}",
            section="RFC 8995 §5.6",
        )
    if not answer.body:
        raise UnexpectedResponse("the registrar sent an empty voucher", section="RFC 8995 §5.6")
    return answer.body


# -- telemetry


def voucher_status_message(error: OnboardingError | None) -> Request:
    """Tell whether the voucher was accepted; of a refusal nothing but that (RFC 8995 §5.7)."""
    reason = None if error is None else VOUCHER_NOT_ACCEPTED
    return _status_message(VOUCHER_STATUS, reason)


def enroll_status_message(error: OnboardingError | None) -> Request:
    """Tell whether enrollment succeeded, and why not (RFC 8995 §5.9.4).

    The registrar has been vouched for by then. What went wrong inside the device stays there.
    """
    if error is None:
        return _status_message(ENROLL_STATUS, None)
    inside = isinstance(error, LocalError)
    reason = "the device could not keep its certificate" if inside else str(error)
    return _status_message(ENROLL_STATUS, reason[:_SAID_LIMIT])


def _status_message(path: str, reason: str | None) -> Request:
    return Request(
        method="POST",
        path=BRSKI_ROOT + path,
        body=encode_status(Status(status=reason is None, reason=reason)),
        content_type=JSON,
    )


# -- EST


def ca_certs_message() -> Request:
    """Ask for the domain's CA certificates (RFC 7030 §4.1)."""
    return Request(method="GET", path=EST_ROOT + CA_CERTS, accept=PKCS7_MIME)


def csr_attrs_message() -> Request:
    """Ask what the CSR should hold (RFC 7030 §4.5; RFC 8995 §5.9.2: a MUST)."""
    return Request(method="GET", path=EST_ROOT + CSR_ATTRS, accept=CSR_ATTRIBUTES)


def enroll_message(csr: bytes, *, again: bool = False) -> Request:
    """Ask for a certificate, or for one in place of that which is shown in TLS; *csr* is DER
    (RFC 7030 §4.2; RFC 8951 §3).
    """
    return Request(
        method="POST",
        path=EST_ROOT + (SIMPLE_REENROLL if again else SIMPLE_ENROLL),
        body=encode_base64(csr),
        content_type=PKCS10,
        accept=PKCS7_MIME,
    )


def domain_certificates_of(answer: Answer) -> DomainCertificates:
    """Read the domain's CA certificates.

    The connection has been authenticated by the voucher, so this is more authoritative than the
    pinned certificate (RFC 8995 §5.6.2) and need not contain it.

    Returns:
        As anchors those that are self-signed; all of them where none names itself as its issuer.

    Raises:
        Unavailable, Refused, UnexpectedResponse: no such body.
        ChainInvalid: there are roots, and none has signed itself.
        Malformed, TooLarge: it cannot be read, or holds no certificate.

    RFC 7030 §4.1.3.
    """
    der = _est_body(answer, PKCS7_MIME, what="the CA certificates", section="RFC 7030 §4.1")
    certificates = decode_certs_only(der)
    self_issued = [c for c in certificates if c.issuer == c.subject]
    roots = tuple(filter(_is_self_signed, self_issued))
    if self_issued and not roots:
        raise ChainInvalid("no root of /cacerts has signed itself", section="RFC 7030 §4.1.3")
    return DomainCertificates(anchors=roots or certificates, certificates=certificates)


def _is_self_signed(self_issued: x509.Certificate) -> bool:
    # a CA that changed its key also sends its new certificate signed by the old one, and vice versa
    try:
        check_presented_chain((self_issued,))
    except ChainInvalid:
        return False
    return True


def csr_requirements_of(answer: Answer) -> CSRRequirements:
    """Read what the CSR should hold; 204 and 404 mean that nothing is asked for.

    Raises:
        Unavailable, Refused, UnexpectedResponse: no such body.
        Malformed, UnknownFormat, TooLarge: it cannot be read.

    RFC 7030 §4.5.2; RFC 9908 §3.
    """
    if answer.status in (204, 404):
        return CSRRequirements()
    der = _est_body(answer, CSR_ATTRIBUTES, what="the CSR attributes", section="RFC 7030 §4.5")
    return decode_csr_attributes(der).requirements


def ldevid_chain_of(
    answer: Answer, *, csr: bytes, domain: DomainCertificates, now: datetime | None
) -> tuple[x509.Certificate, ...]:
    """Read the issued certificate and judge it.

    Args:
        answer: to the CSR.
        csr: DER, as posted.
        domain: what ``/cacerts`` brought on this connection.
        now: aware UTC, or None where there is no clock.

    Returns:
        The LDevID and what leads from it to an anchor, leaf first, the anchor left out.

    Raises:
        KeyMismatch: no certificate in the answer is for the key of *csr*.
        ChainInvalid: it does not lead to an anchor of *domain*.
        Unavailable, Refused, UnexpectedResponse: no such body.
        Malformed, TooLarge: it cannot be read.

    RFC 7030 §4.2.3.
    """
    der = _est_body(answer, PKCS7_MIME, what="the CSR", section="RFC 7030 §4.2")
    received = decode_certs_only(der)
    spki = x509.load_der_x509_csr(csr).public_key().public_bytes(_DER, _SPKI)  # our own octets
    ours = [c for c in received if spki_of(c) == spki]
    if not ours:
        raise KeyMismatch(
            "the issued certificate is not for the key of the CSR", section="RFC 7030 §4.2.3"
        )
    path = validate(
        TrustAnchors(domain.anchors), ours[0], (*received, *domain.certificates), now=now
    )
    return path[:-1]


def check_known_registrar(
    chain: Sequence[x509.Certificate],
    *,
    domain: DomainCertificates,
    host: str,
    now: datetime | None,
    pin: x509.Certificate | None = None,
) -> None:
    """Raise unless *chain* is a registrar of the domain that this device has joined.

    Its chain leads to one of the anchors that ``/cacerts`` brought, and its certificate is that of
    an RA (id-kp-cmcRA) or names *host*. Those anchors have replaced the pinned certificate, which
    is none any more; but where the voucher pinned the server itself, its key says enough.

    Args:
        chain: as presented, leaf first.
        domain: of the enrollment that is kept.
        host: where the device connected to, from the enrollment that is kept.
        now: aware UTC, or None where there is no clock.
        pin: the pinned certificate, while the enrollment that it led to is being reported.

    Raises:
        ChainInvalid: it does not lead there, or is not a registrar's.
        PinMismatch: the pinned server's certificate is out of its validity.

    RFC 7030 §3.6.1; RFC 8995 §5.6.2, §5.9.4.
    """
    check_registrar_chain(chain)
    if pin is not None and spki_of(chain[0]) == spki_of(pin):
        validate_to_pin(chain, pin, at=now)
        return
    validate(TrustAnchors(domain.anchors), chain[0], (*chain, *domain.certificates), now=now)
    if not has_extended_key_usage(chain[0], ID_KP_CMC_RA) and not names_server(chain[0], host):
        raise ChainInvalid(
            f"the server's certificate is neither a registrar's (id-kp-cmcRA) nor {host}'s",
            section="RFC 7030 §3.6.1",
        )


def _est_body(answer: Answer, media_type: str, *, what: str, section: str) -> bytes:
    check_success(answer, Refused, what=what, section=section)
    if answer.media_type != media_type:
        raise UnexpectedResponse(
            f"the registrar sent {answer.media_type or 'no media type'}, not {media_type}",
            section=section,
        )
    return decode_base64(answer.body)


# -- answers


def check_success(answer: Answer, refusal: type[Refused], *, what: str, section: str) -> None:
    """Raise unless the registrar answered 200.

    Raises:
        Refused: of the type *refusal*, for a 4xx.
        Unavailable: for 408, 429 and 5xx; with what Retry-After asked for.
        UnexpectedResponse: for anything else.
    """
    if answer.status == 200:
        return
    said = f"the registrar answered {answer.status} to {what}{_said(answer)}"
    if answer.status in (408, 429) or answer.status >= 500:
        raise Unavailable(said, retry_after_s=answer.retry_after_s or 0, section=section)
    if 400 <= answer.status < 500:
        raise refusal(said, section=section)
    raise UnexpectedResponse(said, section=section)


def _said(answer: Answer) -> str:
    """A registrar's own words, made harmless (RFC 8995 §5.6: UTF-8 plain text)."""
    if answer.media_type != TEXT:
        return ""
    text = answer.body[: 4 * _SAID_LIMIT].decode("utf-8", "replace")
    words = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return f': "{words[:_SAID_LIMIT]}"' if words else ""


def domain_of(pin: x509.Certificate) -> bytes:
    """What a kept CSR is bound to: SHA-256 of the pinned certificate's DER."""
    return hashlib.sha256(certificate_der(pin)).digest()


def aware(moment: datetime) -> datetime:
    """*moment* to the second in UTC, as it goes into a message."""
    return moment.astimezone(UTC).replace(microsecond=0)
