"""A registrar's voucher-request, verified in itself: who signed it is not known yet.

An unknown domain's CA counts as an anchor for this one message: what is verified is that signature
and chain hold together, not whose they are (RFC 8995 §5.5.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from brski.errors import ChainInvalid, DomainNotTrusted
from brski.pki.chain import TrustAnchors, is_self_signed
from brski.pki.extensions import (
    authority_key_identifier,
    decode_idevid_issuer,
    has_extended_key_usage,
    subject_key_identifier,
)
from brski.pki.keys import public_key_of_certificate
from brski.registry import ID_KP_CMC_RA
from brski.voucher.model import VoucherRequest
from brski.voucher.serialization import Signed
from brski.voucher.signers import signer_chain


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrarRequest:
    """A registrar's voucher-request: its signature and its chain hold together."""

    request: VoucherRequest
    chain: tuple[x509.Certificate, ...]  # signer first, as far up as it came
    idevid_issuer: bytes | None  # 20-octet keyIdentifier


def open_registrar_request(signed: Signed, *, now: datetime) -> RegistrarRequest:
    """Verify a registrar's voucher-request in itself.

    Args:
        signed: as its serialization opened it.
        now: aware UTC.

    Raises:
        SignatureInvalid, ChainInvalid, Malformed, KeyNotAllowed: the message does not hold
            together.
        DomainNotTrusted: its signer is no registrar: the certificate lacks id-kp-cmcRA (§5.5.4).

    RFC 8995 §5.5.2, §5.5.4.
    """
    chain = signer_chain(signed)
    signed.verify(public_key_of_certificate(chain[0]))
    if len(chain) > 1:
        TrustAnchors(chain[-1:]).validate(chain[0], chain[1:-1], at=now)
    elif not chain[0].not_valid_before_utc <= now <= chain[0].not_valid_after_utc:
        raise ChainInvalid("the registrar's certificate has expired", section="RFC 8995 §5.5.2")
    _check_top(chain[-1])
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


def _check_top(certificate: x509.Certificate) -> None:
    """A root is signed by itself, whatever name it gives its issuer; of a CA below one, which came
    without it, nothing can be said.
    """
    authority = authority_key_identifier(certificate)
    is_root = authority is not None and authority == subject_key_identifier(certificate)
    if is_root and not is_self_signed(certificate):
        raise ChainInvalid(
            "the top of the registrar's chain is a root that has not signed itself",
            section="RFC 8995 §5.5.2",
        )
