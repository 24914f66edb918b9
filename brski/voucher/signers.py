"""Whose message it is: the certificates that came with it, put into order (RFC 8995 §5.5.2)."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509

from brski.errors import ChainInvalid
from brski.pki.chain import check_presented_chain
from brski.pki.extensions import authority_key_identifier, subject_key_identifier
from brski.voucher.serialization import Signed


def signer_chain(signed: Signed) -> tuple[x509.Certificate, ...]:
    """Put the certificates that came with a message into order, from its signer upwards.

    Each one's signature is verified under the next; certificates that do not belong to the chain
    are left out. Nothing says that the last one is trusted, nor has the message's own signature
    been looked at.

    Args:
        signed: as opened, not yet verified.

    Returns:
        Signer's certificate first; as far up as the message goes.

    Raises:
        ChainInvalid: the signer's certificate did not come with it, or a signature in the chain
            does not verify.

    RFC 8995 §5.5.2.
    """
    certificate = signed.signer_certificate()
    if certificate is None:
        raise ChainInvalid(
            "the message does not hold its signer's certificate", section="RFC 8995 §5.5.2"
        )
    chain = [certificate]
    others = [other for other in signed.certificates if other != certificate]
    while (issuer := _issuer_of(chain[-1], others)) is not None:
        chain.append(issuer)
        others.remove(issuer)
    check_presented_chain(chain)
    return tuple(chain)


def _issuer_of(
    certificate: x509.Certificate, others: Sequence[x509.Certificate]
) -> x509.Certificate | None:
    if _may_issue(certificate, certificate):
        return None
    return next((other for other in others if _may_issue(other, certificate)), None)


def _may_issue(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    if issuer.subject != certificate.issuer:
        return False
    wanted, found = authority_key_identifier(certificate), subject_key_identifier(issuer)
    return wanted is None or found is None or wanted == found
