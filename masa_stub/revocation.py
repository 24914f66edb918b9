"""Revocation of a registrar's certificate, by lists that the manufacturer has been given.

Nothing is fetched: the address in a stranger's certificate does not lead this MASA anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from brski.errors import DomainNotTrusted, Unavailable

_SECTION = "RFC 8995 §5.5.3"


def check_revocation(
    path: Sequence[x509.Certificate],
    crls: Sequence[x509.CertificateRevocationList],
    *,
    at: datetime,
) -> datetime | None:
    """Raise if a certificate of *path* stands on a list of its issuer's.

    Args:
        path: validated, leaf first, anchor last.
        crls: of any issuers; those of nobody on the path do not count, nor do those whose
            signature is not the issuer's.
        at: aware UTC.

    Returns:
        The earliest nextUpdate of the lists that counted, aware UTC; None if none did.

    Raises:
        DomainNotTrusted: one is revoked.
        Unavailable: a list that counts is out of date, so that nobody knows.

    RFC 5280 §6.3; RFC 8995 §5.5.3.
    """
    updates = []
    for certificate, issuer in pairwise(path):
        for crl in crls:
            if crl.issuer != issuer.subject or not _is_signed_by(crl, issuer):
                continue
            if crl.get_revoked_certificate_by_serial_number(certificate.serial_number):
                raise DomainNotTrusted("the registrar's certificate is revoked", section=_SECTION)
            if crl.next_update_utc is None or crl.next_update_utc <= at:
                raise Unavailable(
                    f"the revocation list of {crl.issuer.rfc4514_string()!a} is out of date",
                    retry_after_s=3600,
                    section=_SECTION,
                )
            updates.append(crl.next_update_utc)
    return min(updates, default=None)


def _is_signed_by(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    try:
        return crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]  # others raise TypeError
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return False
