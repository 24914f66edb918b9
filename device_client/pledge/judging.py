"""Whether a voucher is to be believed, and whom it then names: the one gate before any trust.

RFC 8995 §5.6.1, §5.6.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from brski.errors import (
    ChainInvalid,
    PinMismatch,
    SignatureInvalid,
)
from brski.pki.chain import TrustAnchors
from brski.pki.effort import counted
from brski.pki.extensions import has_extended_key_usage, masa_url, subject_key_identifier
from brski.pki.keys import (
    public_key_of_certificate,
    spki_of,
)
from brski.registry import (
    ID_KP_CMC_RA,
)
from brski.voucher.comparisons import check_created_on
from brski.voucher.model import VoucherRequest
from brski.voucher.rules import check_voucher, find_pin
from brski.voucher.serialization import Signed
from device_client.pledge.paths import validate
from device_client.pledge.policy import Pledge


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What a voucher that is believed says."""

    pin: x509.Certificate
    revocation_checks: bool | None  # domain-cert-revocation-checks; None: the usual rules


@counted()  # what a registrar's answer may cost
def judge_voucher(
    octets: bytes,
    *,
    pledge: Pledge,
    request: VoucherRequest,
    registrar_chain: Sequence[x509.Certificate],
    now: datetime | None,
) -> Accepted:
    """Decide whether this device belongs to the domain that *octets* name.

    In this order: the signature leads to the manufacturer's anchors and to none else; the contents
    answer the request; the chain that the registrar showed in TLS leads to the pinned certificate.

    Args:
        octets: the signed voucher, as received.
        pledge: who asked.
        request: what it asked.
        registrar_chain: what the registrar presented, leaf first.
        now: aware UTC, or None where there is no clock: then nothing is held against a date.

    Returns:
        What follows from it; whether the domain's certificates are revoked has not been asked.

    Raises:
        SignatureInvalid, ChainInvalid: not signed under the manufacturer's anchors.
        SerialNumberMismatch, NonceMismatch, IDevIDIssuerMismatch, VoucherExpired,
        AssertionNotAcceptable: its contents, as :func:`brski.voucher.rules.check_voucher`.
        PinMismatch: it pins nothing, or somebody else.
        Malformed, UnknownFormat, TooLarge: it cannot be read.

    RFC 8995 §5.6.1, §5.6.2.
    """
    signed = pledge.serialization.open(octets)
    check_voucher_signature(signed, pledge.voucher_anchors, now=now)
    voucher = signed.voucher()
    check_voucher(
        voucher,
        request,
        idevid_issuer=pledge.idevid_issuer,
        now=now,
        acceptable=pledge.policy.acceptable,
        allow_nonceless=pledge.policy.allow_nonceless,
    )
    pin = find_pin(voucher, request, registrar_chain, at=now)
    check_speaks_for_domain(registrar_chain[0], pin)
    return Accepted(pin=pin, revocation_checks=voucher.domain_cert_revocation_checks)


def check_speaks_for_domain(registrar: x509.Certificate, pin: x509.Certificate) -> None:
    """Raise unless *registrar*, whose chain leads to *pin*, may speak for the domain.

    Under a pinned CA every member of the domain has a certificate; only an RA's (id-kp-cmcRA) is
    that of a registrar. A pinned end entity needs no more words.

    Raises:
        PinMismatch: it may not.

    RFC 7030 §3.6.1.
    """
    if spki_of(registrar) != spki_of(pin) and not has_extended_key_usage(registrar, ID_KP_CMC_RA):
        raise PinMismatch(
            "the server is of the pinned domain, and not its registrar (id-kp-cmcRA)",
            section="RFC 7030 §3.6.1",
        )


def check_voucher_signature(
    signed: Signed, anchors: tuple[x509.Certificate, ...], *, now: datetime | None
) -> None:
    """Raise unless the manufacturer signed a voucher.

    Args:
        signed: as opened.
        anchors: the manufacturer's; nobody else is believed. The signer may be one of them.
        now: aware UTC; None where no date is held against anything.

    Raises:
        SignatureInvalid: the signature, or its signer is neither enclosed nor an anchor.
        ChainInvalid: the signer does not lead to an anchor, or is a device.
        CreatedOnOutOfWindow: signed in the future.

    RFC 8995 §5.6.1.
    """
    signer = signed.signer_certificate() or _anchor_named(signed, anchors)
    if signer is None:
        raise SignatureInvalid(
            "the voucher's signer is neither enclosed nor an anchor of this device",
            section="RFC 8995 §5.6.1",
        )
    if masa_url(signer) is not None:
        # where devices and MASA share a root, a device could vouch for whom it likes
        raise ChainInvalid("the voucher is signed by a device", section="RFC 8995 §5.6.1")
    trusted = TrustAnchors(anchors, allow_end_entity_anchor=True)
    validate(trusted, signer, signed.certificates, now=now)
    signed.verify(public_key_of_certificate(signer))
    if now is not None:
        check_created_on(signed.signing_time, now=now)


def _anchor_named(signed: Signed, anchors: Iterable[x509.Certificate]) -> x509.Certificate | None:
    reference = signed.signer
    for anchor in anchors:
        if reference.subject_key_identifier is not None:
            if subject_key_identifier(anchor) == reference.subject_key_identifier:
                return anchor
        elif (anchor.issuer.public_bytes(), anchor.serial_number) == (
            reference.issuer,
            reference.certificate_serial,
        ):
            return anchor
    return None
