"""The registrar voucher-request, and what the MASA's answer must be (RFC 8995 §5.5, §5.6)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cryptography import x509

from brski.errors import NonceMismatch, PinMismatch, SerialNumberMismatch
from brski.voucher.key_references import pin_of
from brski.voucher.model import Voucher
from brski.voucher.rules import registrar_request, same_nonce
from brski.voucher.yang_json import encode_voucher_request
from registrar_plugin.identity.model import VerifiedIDevID

_SECTION = "RFC 8995 §5.6"


def registrar_voucher_request(verified: VerifiedIDevID, *, created_on: datetime) -> bytes:
    """The JSON document to be signed for the MASA.

    The serial number and idevid-issuer come from the verified IDevID, never from the pledge's
    request; the request itself is enclosed as received (RFC 8995 §5.5).
    """
    return encode_voucher_request(
        registrar_request(
            verified.request,
            verified.request_octets,
            serial_number=verified.device.serial_number,
            idevid_issuer=verified.device.idevid_issuer,
            created_on=created_on,
        )
    )


def check_answer(
    voucher: Voucher, verified: VerifiedIDevID, registrar_chain: Sequence[x509.Certificate]
) -> None:
    """Raise unless *voucher* is one that this pledge can accept from this registrar.

    Its signature is the pledge's to verify, under an anchor that the registrar need not know; a
    voucher for another device, of another exchange, or that pins somebody else is not passed on.

    Raises:
        SerialNumberMismatch, NonceMismatch, PinMismatch: as they say.
    """
    if voucher.serial_number != verified.device.serial_number:
        raise SerialNumberMismatch("the MASA's voucher is for another device", section=_SECTION)
    if voucher.nonce is not None and not same_nonce(voucher.nonce, verified.request.nonce):
        raise NonceMismatch("the MASA's voucher answers another request", section=_SECTION)
    pin = pin_of(voucher, verified.request)
    if pin is None:
        raise PinMismatch("the MASA's voucher pins no certificate", section=_SECTION)
    if not any(map(pin.is_of, registrar_chain)):
        raise PinMismatch("the MASA's voucher pins a key that is not ours", section=_SECTION)
