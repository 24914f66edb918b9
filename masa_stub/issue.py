"""May this registrar have this voucher: the MASA's decisions, values in, value or refusal out.

RFC 8995 §5.5, §5.6. Whose a device is: :mod:`masa_stub.ownership`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from brski.errors import (
    DeviceAmbiguous,
    DeviceRevoked,
    DeviceUnknown,
    DomainNotTrusted,
    PriorRequestRefused,
)
from brski.idevid.record import DeviceRecord, DeviceStatus, Presentation
from brski.pki.extensions import encode_idevid_issuer
from brski.voucher.model import Assertion, Voucher
from masa_stub.ownership import Title, Unsold
from masa_stub.pin import Pin
from masa_stub.prior import Prior
from masa_stub.registrar_request import RegistrarRequest

Chain = Sequence[x509.Certificate]


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuePolicy:
    """What the manufacturer lets its MASA do. The defaults trust only what a device has signed,
    or what the sales data say.
    """

    pin: Pin = Pin.LOWEST_CA
    pin_nonceless: Pin = Pin.HIGHEST_CA
    life: timedelta | None = timedelta(minutes=20)  # of a voucher without nonce; None: no end
    unsold: Unsold = Unsold.ANY
    allow_logged: bool = False  # a voucher without a request of the device's own
    asserting_without_request: bool = False  # likewise, for a sold device that only asserts
    refused: frozenset[str] = frozenset()  # serial numbers that get no voucher


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


def check_not_refused(record: DeviceRecord, policy: IssuePolicy) -> None:
    """Raise if the manufacturer gives out no voucher for this device (RFC 8995 §5.6).

    Raises:
        DomainNotTrusted: its serial number is listed.
    """
    if record.serial_number in policy.refused:
        raise DomainNotTrusted("the manufacturer gives out no voucher for this device")


def check_nonceless(title: Title, *, authenticated: bool) -> None:
    """Raise unless a registrar may have a voucher without nonce.

    Args:
        title: what its right to the device rests on. ``SOLD`` is authentication too: the sales
            data name either a customer, as whom it is known, or a key of its chain.
        authenticated: whether it is some customer's, by any of the ways.

    Raises:
        DomainNotTrusted: it is not known, or nothing says that the device is its owner's.

    RFC 8995 §5.5.4, §7.4.1.
    """
    if title is Title.CLAIMED:
        raise DomainNotTrusted(
            "a voucher without a nonce is for the owner that the manufacturer knows",
            section="RFC 8995 §7.4.1",
        )
    if title is Title.KEPT and not authenticated:
        raise DomainNotTrusted(
            "a voucher without a nonce needs a registrar that is known",
            section="RFC 8995 §5.5.4",
        )


def judge_assertion(
    prior: Prior, nonce: str | None, record: DeviceRecord, title: Title, policy: IssuePolicy
) -> Assertion:
    """What a voucher for *record* may say of how the MASA knows (RFC 8995 §5.5.5).

    What the registrar's request says of it does not count.

    Args:
        prior: what the request encloses.
        nonce: of the request; without one :func:`check_nonceless` has passed.

    Raises:
        PriorRequestRefused: the device's own request is missing where it must be there.
    """
    if prior is Prior.REQUEST:
        return Assertion.PROXIMITY
    if record.presentation is Presentation.ASSERTED and not (
        policy.asserting_without_request and title is Title.SOLD
    ):
        raise PriorRequestRefused(
            "this device only asserts its serial number, so its own signed request is needed",
            section="RFC 8995 §5.5.5",
        )
    if title is Title.SOLD:
        return Assertion.VERIFIED
    if nonce is not None and not policy.allow_logged:
        raise PriorRequestRefused(
            "the device's own signed request is missing", section="RFC 8995 §5.5.5"
        )
    return Assertion.LOGGED


def expires_on(
    now: datetime, life: timedelta | None, chain: Chain, next_update: datetime | None
) -> datetime | None:
    """When a voucher without nonce ends, to the second.

    Args:
        life: by policy; None for a voucher that has no end, whatever else is known.
        chain: from the registrar's certificate to the pinned one.
        next_update: until when the registrar's revocation is known.

    RFC 8995 §5.6, §7.4.1; RFC 8366 §5.3.
    """
    if life is None:
        return None
    ends = [now + life, *(certificate.not_valid_after_utc for certificate in chain)]
    return min([*ends, next_update or ends[0]]).replace(microsecond=0)


def voucher_for(
    asked: RegistrarRequest,
    record: DeviceRecord,
    assertion: Assertion,
    *,
    pinned: x509.Certificate,
    created_on: datetime,
    expires: datetime | None,
    ambiguous: bool,
) -> Voucher:
    """The voucher's contents (RFC 8995 §5.6): the nonce echoed as it came, no expiry with it.

    Args:
        expires: from :func:`expires_on`; does not count where there is a nonce.
        ambiguous: whether another device of this MASA has the same serial number; only then the
            voucher names the issuer (RFC 8366bis §6.2).
    """
    nonce = asked.request.nonce
    return Voucher(
        serial_number=record.serial_number,
        assertion=assertion,
        created_on=created_on,
        expires_on=expires if nonce is None else None,
        nonce=nonce,
        idevid_issuer=encode_idevid_issuer(record.idevid_issuer) if ambiguous else None,
        pinned_domain_cert=pinned.public_bytes(Encoding.DER),
        domain_cert_revocation_checks=False,
    )
