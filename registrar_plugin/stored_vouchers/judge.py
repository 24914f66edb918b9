"""Whether a voucher without nonce is one that this registrar keeps, and hands out later."""

from __future__ import annotations

from datetime import datetime

from brski.errors import NonceMismatch
from brski.pki.signer import Signer
from brski.voucher.model import Voucher
from brski.voucher.serialization import VoucherSerialization
from registrar_plugin.admission.registrar_request import check_voucher_for, nonceless_request
from registrar_plugin.identity.model import DeviceKey


def judge_stored(
    octets: bytes,
    device: DeviceKey,
    *,
    signer: Signer,
    serialization: VoucherSerialization,
    now: datetime,
) -> Voucher:
    """Read a voucher and raise unless it is for *device*, without nonce, good and pins us.

    Args:
        octets: as received.
        signer: the registrar's; a certificate of its chain is to be pinned.
        now: aware UTC.

    Raises:
        NonceMismatch: it has a nonce.
        PeerError: as :func:`registrar_plugin.admission.registrar_request.check_voucher_for`.
    """
    voucher = serialization.open(octets).voucher()
    if voucher.nonce is not None:
        raise NonceMismatch("it has a nonce, and none was asked for", section="RFC 8995 §5.5")
    asked = nonceless_request(device, created_on=now)
    check_voucher_for(voucher, device, asked, signer.chain, now=now)
    return voucher
