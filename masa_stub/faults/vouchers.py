"""Vouchers that are wrong in one thing, and right in all others.

The true voucher stands in the log and is what this starts from; the wrong one is nowhere.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from brski.pki.extensions import encode_idevid_issuer
from brski.pki.signer import Signer
from brski.voucher.model import Voucher
from brski.voucher.serialization import VoucherSerialization
from brski.voucher.yang_json import encode_voucher
from brski.voucher.yang_types import encode_nonce
from masa_stub.faults.kinds import Fault
from masa_stub.faults.plan import Struck

_DAY: Final = timedelta(days=1)


def bend_voucher(
    octets: bytes,
    struck: Struck,
    serialization: VoucherSerialization,
    *,
    signer: Signer,
    stranger: Signer,
    now: datetime,
) -> bytes:
    """A signed voucher like *octets* but for what *struck* names.

    Args:
        octets: the true voucher, signed.
        signer: whose voucher it is.
        stranger: a key that nobody knows, with a certificate of a CA's form; it signs, is pinned,
            or comes along.
        now: aware UTC.
    """
    fault = struck.fault
    voucher = _bent(serialization.open(octets).voucher(), struck, stranger.chain[-1], now)
    hand = stranger if fault is Fault.WRONG_SIGNER else signer
    return serialization.sign(
        encode_voucher(voucher),
        hand,
        certificates=hand.chain + (stranger.chain if fault is Fault.EXTRA_CERTIFICATES else ()),
        signing_time=now,
    )


def _bent(voucher: Voucher, struck: Struck, stranger: x509.Certificate, now: datetime) -> Voucher:
    match struck.fault:
        case Fault.WRONG_NONCE:
            return replace(voucher, nonce=encode_nonce(struck.chance[:16]), expires_on=None)
        case Fault.NO_NONCE:
            return replace(voucher, nonce=None)
        case Fault.WRONG_SERIAL:
            return replace(voucher, serial_number=_other(voucher.serial_number))
        case Fault.WRONG_ISSUER:
            issuer = hashlib.sha1(struck.chance, usedforsecurity=False).digest()
            return replace(voucher, idevid_issuer=encode_idevid_issuer(issuer))
        case Fault.EXPIRED:
            return replace(voucher, nonce=None, created_on=now - 2 * _DAY, expires_on=now - _DAY)
        case Fault.OTHER_PIN:
            return replace(voucher, pinned_domain_cert=stranger.public_bytes(Encoding.DER))
    return voucher


def _other(serial_number: str) -> str:
    return serial_number[:-1] + ("1" if serial_number[-1] != "1" else "2")
