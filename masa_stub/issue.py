"""May this registrar have this voucher: the MASA's decisions, values in, value or refusal out.

A device's verifying key comes from the MASA's own record alone; what a pledge encloses in its
request is a source of nothing (docs/masa.md; RFC 8995 §5.5).
"""

from __future__ import annotations

import enum
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from brski.errors import (
    ChainInvalid,
    DeviceAmbiguous,
    DeviceRevoked,
    DeviceUnknown,
    DomainNotTrusted,
    PeerError,
    PriorRequestRefused,
    SignatureInvalid,
)
from brski.idevid.record import DeviceRecord, DeviceStatus, Presentation
from brski.pki.chain import TrustAnchors
from brski.pki.extensions import (
    decode_idevid_issuer,
    encode_idevid_issuer,
    has_extended_key_usage,
    key_identifier,
)
from brski.pki.keys import load_spki, parse_certificate, public_key_of_certificate
from brski.registry import ID_KP_CMC_RA
from brski.voucher.model import Assertion, Voucher, VoucherRequest
from brski.voucher.rules import check_prior_signed, signer_chain
from brski.voucher.serialization import Signed, VoucherSerialization


class Pin(enum.StrEnum):
    """Which certificate of the registrar's chain a voucher pins (RFC 8995 §5.5.2)."""

    END_ENTITY = "end-entity"  # the registrar itself
    LOWEST_CA = "lowest-ca"  # the CA that issued it; the registrar itself where none came along
    HIGHEST_CA = "highest-ca"  # the farthest from it


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuePolicy:
    """What the manufacturer lets its MASA do. The defaults trust only what a device has signed."""

    pin: Pin = Pin.LOWEST_CA
    allow_logged: bool = False  # a voucher without a request of the device's own
    refused: frozenset[str] = frozenset()  # serial numbers that get no voucher


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrarRequest:
    """A registrar's voucher-request: its signature and its chain hold together."""

    request: VoucherRequest
    chain: tuple[x509.Certificate, ...]  # signer first, as far up as it came
    idevid_issuer: bytes | None  # 20-octet keyIdentifier


def open_registrar_request(signed: Signed, *, now: datetime) -> RegistrarRequest:
    """Verify a registrar's voucher-request in itself: who signed it is not known yet.

    An unknown domain's CA counts as an anchor for this one message: what is verified is that the
    chain is consistent, not whose it is (RFC 8995 §5.5.2).

    Args:
        signed: as its serialization opened it.
        now: aware UTC.

    Raises:
        SignatureInvalid, ChainInvalid, Malformed, KeyNotAllowed: the message does not hold
            together.
        DomainNotTrusted: its signer is no registrar: the certificate lacks id-kp-cmcRA (§5.5.4).
    """
    chain = signer_chain(signed)
    signed.verify(public_key_of_certificate(chain[0]))
    if len(chain) > 1:
        TrustAnchors(chain[-1:]).validate(chain[0], chain[1:-1], at=now)
    elif not chain[0].not_valid_before_utc <= now <= chain[0].not_valid_after_utc:
        raise ChainInvalid("the registrar's certificate has expired", section="RFC 8995 §5.5.2")
    if not has_extended_key_usage(chain[0], ID_KP_CMC_RA):
        raise DomainNotTrusted(
            "the signer's certificate lacks id-kp-cmcRA, so it is no registrar's",
            section="RFC 8995 §5.5.4",
        )
    request = signed.voucher_request()
    issuer = request.idevid_issuer
    return RegistrarRequest(
        request=request,
        chain=chain,
        idevid_issuer=None if issuer is None else decode_idevid_issuer(issuer),
    )


def select_record(records: Sequence[DeviceRecord], asked: RegistrarRequest) -> DeviceRecord:
    """The one record that a registrar's request speaks of.

    Args:
        records: everything that the MASA has under the request's serial number.

    Raises:
        DeviceUnknown: none; DeviceAmbiguous: several, and the request names no issuer.
        DeviceRevoked: it is revoked or flagged.
    """
    found = [
        record
        for record in records
        if record.serial_number == asked.request.serial_number
        and asked.idevid_issuer in (None, record.idevid_issuer)
    ]
    if not found:
        raise DeviceUnknown(
            f"no device {asked.request.serial_number} of this issuer is on record",
            section="RFC 8995 §5.6",
        )
    if len(found) > 1:
        raise DeviceAmbiguous(
            f"{len(found)} devices have the serial number {asked.request.serial_number}, "
            "and idevid-issuer names none of them",
            section="RFC 8366bis §6.2",
        )
    if found[0].status is not DeviceStatus.ACTIVE:
        raise DeviceRevoked(f"the device is {found[0].status.value}", section="RFC 8995 §5.6")
    return found[0]


def judge_assertion(
    asked: RegistrarRequest,
    record: DeviceRecord,
    policy: IssuePolicy,
    serialization: VoucherSerialization,
) -> Assertion:
    """What a voucher for *record* may say of how the MASA knows (RFC 8995 §5.5.5).

    Raises:
        DomainNotTrusted: policy gives this device, or a request like this, no voucher.
        PriorRequestRefused: the device's own request is enclosed and fails a check, or is missing
            where it must be there.
    """
    if asked.request.serial_number in policy.refused:
        raise DomainNotTrusted("the manufacturer gives out no voucher for this device")
    if asked.request.nonce is None:
        raise DomainNotTrusted(
            "a voucher without a nonce needs a registrar that is known",
            section="RFC 8995 §5.5.4",
        )
    prior = asked.request.prior_signed_voucher_request
    if prior is not None:
        _check_prior(prior, asked, record, serialization)
        return Assertion.PROXIMITY
    if record.presentation is Presentation.ASSERTED:
        raise PriorRequestRefused(
            "this device only asserts its serial number, so its own signed request is needed",
            section="RFC 8995 §5.5.5",
        )
    if not policy.allow_logged:
        raise PriorRequestRefused(
            "the device's own signed request is missing", section="RFC 8995 §5.5.5"
        )
    return Assertion.LOGGED


def _check_prior(
    octets: bytes,
    asked: RegistrarRequest,
    record: DeviceRecord,
    serialization: VoucherSerialization,
) -> None:
    try:
        prior = serialization.open(octets)
        _check_names_record(prior, record)
        prior.verify(load_spki(record.spki))
        check_prior_signed(asked.request, prior.voucher_request(), asked.chain)
    except PeerError as err:
        raise PriorRequestRefused(
            f"the device's own request: {err.reason}", section=err.section or "RFC 8995 §5.5.5"
        ) from err


def _check_names_record(prior: Signed, record: DeviceRecord) -> None:
    """The signer that the message names is the certificate on record, by whichever way."""
    signer = prior.signer
    if signer.subject_key_identifier is not None:
        same = hmac.compare_digest(signer.subject_key_identifier, key_identifier(record.spki))
    else:
        idevid = parse_certificate(record.certificate)
        same = (
            signer.issuer == idevid.issuer.public_bytes()
            and signer.certificate_serial == idevid.serial_number
        )
    if not same:
        raise SignatureInvalid("it names another key than the one on record")


def pinned_certificate(chain: Sequence[x509.Certificate], pin: Pin) -> x509.Certificate:
    """The certificate of the registrar's own chain that the voucher pins; never another.

    Args:
        chain: signer first.
    """
    match pin:
        case Pin.END_ENTITY:
            return chain[0]
        case Pin.LOWEST_CA:
            return chain[min(1, len(chain) - 1)]
        case Pin.HIGHEST_CA:
            return chain[-1]


def voucher_for(
    asked: RegistrarRequest,
    record: DeviceRecord,
    assertion: Assertion,
    *,
    pinned: x509.Certificate,
    created_on: datetime,
    ambiguous: bool,
) -> Voucher:
    """The voucher's contents (RFC 8995 §5.6): the nonce echoed as it came, no expiry with it.

    Args:
        ambiguous: whether another device of this MASA has the same serial number; only then the
            voucher names the issuer (RFC 8366bis §6.2).
    """
    return Voucher(
        serial_number=record.serial_number,
        assertion=assertion,
        created_on=created_on,
        nonce=asked.request.nonce,
        idevid_issuer=encode_idevid_issuer(record.idevid_issuer) if ambiguous else None,
        pinned_domain_cert=pinned.public_bytes(Encoding.DER),
        domain_cert_revocation_checks=False,
    )
