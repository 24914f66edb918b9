"""What a registrar encloses as prior-signed-voucher-request: the device's request, or a voucher.

A device's verifying key comes from the MASA's own record alone; what a pledge encloses in its
request is a source of nothing (docs/masa.md; RFC 8995 §5.5.5).
"""

from __future__ import annotations

import enum
import hmac
from collections.abc import Callable

from brski.errors import Malformed, PeerError, PriorRequestRefused, SignatureInvalid
from brski.idevid.record import DeviceRecord
from brski.pki.extensions import key_identifier
from brski.pki.keys import load_spki, parse_certificate
from brski.voucher.rules import check_prior_signed
from brski.voucher.serialization import Signed, VoucherSerialization
from masa_stub.registrar_request import RegistrarRequest

_SECTION = "RFC 8995 §5.5.5"


class Prior(enum.Enum):
    """What was enclosed, after every check of it has passed."""

    NOTHING = enum.auto()
    REQUEST = enum.auto()  # the device's own, of now, and this registrar is the one that it saw
    VOUCHER = enum.auto()  # one of ours for this device and domain: a renewal is asked for


def read_prior(
    asked: RegistrarRequest,
    record: DeviceRecord,
    serialization: VoucherSerialization,
    *,
    is_ours: Callable[[bytes], bool],
) -> Prior:
    """Say what *asked* encloses.

    Args:
        record: of the device that *asked* speaks of.
        is_ours: whether this MASA has issued a voucher, as signed, to this domain for this device.

    Raises:
        PriorRequestRefused: something is enclosed, and a check of it fails.

    RFC 8995 §5.5.5, §5.5.6; rfc8366bis §10.1.
    """
    octets = asked.request.prior_signed_voucher_request
    if octets is None:
        return Prior.NOTHING
    try:
        prior = serialization.open(octets)
        if _is_voucher(prior):
            return _voucher(octets, is_ours)
        _check_names_record(prior, record)
        prior.verify(load_spki(record.spki))
        check_prior_signed(asked.request, prior.voucher_request(), asked.chain)
    except PeerError as err:
        raise PriorRequestRefused(
            f"the device's own request: {err.reason}", section=err.section or _SECTION
        ) from err
    return Prior.REQUEST


def _is_voucher(prior: Signed) -> bool:
    """The top member tells (rfc8366bis §10.1)."""
    try:
        prior.voucher()
    except Malformed:
        return False
    return True


def _voucher(octets: bytes, is_ours: Callable[[bytes], bool]) -> Prior:
    """An old voucher says nothing that the log does not: it must be in there."""
    if not is_ours(octets):
        raise PriorRequestRefused(
            "the enclosed voucher is not one of this MASA for this device and domain",
            section="RFC 8995 §5.5.1",
        )
    return Prior.VOUCHER


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
