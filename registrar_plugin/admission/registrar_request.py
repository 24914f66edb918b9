"""The registrar voucher-request, and what the MASA's answer must be (RFC 8995 §5.5, §5.6)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cryptography import x509

from brski.errors import (
    IDevIDIssuerMismatch,
    NonceMismatch,
    PinMismatch,
    SerialNumberMismatch,
    VoucherExpired,
)
from brski.pki.extensions import decode_idevid_issuer, encode_idevid_issuer
from brski.pki.keys import spki_sha256
from brski.voucher.comparisons import same_nonce
from brski.voucher.key_references import pin_of
from brski.voucher.model import Voucher, VoucherRequest
from brski.voucher.rules import registrar_request
from brski.voucher.yang_json import encode_voucher_request
from registrar_plugin.identity.model import DeviceKey, VerifiedIDevID

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


def nonceless_request(
    device: DeviceKey, *, created_on: datetime, former: bytes | None = None
) -> VoucherRequest:
    """What the MASA is asked for a device that is not there: no nonce, no request of its own.

    Args:
        device: from the manufacturer's record or the operator, since no pledge says it.
        former: the voucher to be renewed, as received (RFC 8366bis §10.1).

    RFC 8995 §3.1, §5.5.
    """
    return VoucherRequest(
        serial_number=device.serial_number,
        created_on=created_on,
        idevid_issuer=encode_idevid_issuer(device.idevid_issuer),
        prior_signed_voucher_request=former,
    )


def check_answer(
    voucher: Voucher,
    verified: VerifiedIDevID,
    registrar_chain: Sequence[x509.Certificate],
    *,
    now: datetime,
) -> None:
    """Raise unless *voucher* is one that this pledge can accept from this registrar.

    Its signature is the pledge's to verify, under an anchor that the registrar need not know; a
    voucher for another device, of another exchange, or that pins somebody else is not passed on.

    Raises:
        NonceMismatch, SerialNumberMismatch, IDevIDIssuerMismatch, VoucherExpired, PinMismatch: as
            they say.
    """
    if voucher.nonce is not None and not same_nonce(voucher.nonce, verified.request.nonce):
        raise NonceMismatch(
            "the voucher answers another request",
            section=_SECTION,
            found=voucher.nonce,
            wanted=verified.request.nonce or "none",
        )
    check_voucher_for(voucher, verified.device, verified.request, registrar_chain, now=now)


def check_voucher_for(
    voucher: Voucher,
    device: DeviceKey,
    request: VoucherRequest,
    registrar_chain: Sequence[x509.Certificate],
    *,
    now: datetime,
) -> None:
    """Raise unless *voucher* is for *device*, good at *now*, and pins one of ours; its nonce is not
    looked at.

    Args:
        request: that it answers; says which of several pins counts.

    Raises: as :func:`check_answer`, but for NonceMismatch.
    """
    if voucher.serial_number != device.serial_number:
        raise SerialNumberMismatch(
            f"the voucher is for {voucher.serial_number}, not for {device.serial_number}",
            section=_SECTION,
            found=voucher.serial_number,
            wanted=device.serial_number,
        )
    _check_issuer(voucher, device)
    if voucher.expires_on is not None and voucher.expires_on <= now:
        raise VoucherExpired(
            f"the voucher expired at {voucher.expires_on:%FT%TZ}",
            section="RFC 8366 §5.3",
            found=f"{voucher.expires_on:%FT%TZ}",
            wanted=f"after {now:%FT%TZ}",
        )
    pin = pin_of(voucher, request)
    if pin is None:
        raise PinMismatch("the voucher pins no certificate", section=_SECTION)
    if not any(map(pin.is_of, registrar_chain)):
        raise PinMismatch(
            "the voucher pins a key that is not ours",
            section=_SECTION,
            found=f"key {pin.key_sha256().hex()}",
            wanted="key " + " or ".join(spki_sha256(c).hex() for c in registrar_chain),
        )


def _check_issuer(voucher: Voucher, device: DeviceKey) -> None:
    if voucher.idevid_issuer is None:
        return
    issuer = decode_idevid_issuer(voucher.idevid_issuer)
    if issuer != device.idevid_issuer:
        raise IDevIDIssuerMismatch(
            f"the voucher is for a device of issuer {issuer.hex()}, "
            f"not {device.idevid_issuer.hex()}",
            section="RFC 8366 §5.3",
            found=issuer.hex(),
            wanted=device.idevid_issuer.hex(),
        )
