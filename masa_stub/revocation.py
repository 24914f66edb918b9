"""Revocation of a registrar's certificate, by lists that the manufacturer has been given.

Nothing is fetched: the address in a stranger's certificate does not lead this MASA anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

from cryptography import x509

from brski.errors import RevocationUnknown, Unavailable
from brski.pki.revocation import check_not_revoked

_SECTION = "RFC 8995 §5.5.3"


def check_revocation(
    path: Sequence[x509.Certificate],
    crls: Sequence[x509.CertificateRevocationList],
    *,
    at: datetime,
) -> datetime | None:
    """Raise if a certificate of *path* stands on a list of its issuer's.

    Where no list names an issuer, nothing is known of what it has revoked, and that is accepted.

    Args:
        path: validated, leaf first, anchor last.
        crls: of any issuers.
        at: aware UTC.

    Returns:
        The earliest nextUpdate of the lists that counted, aware UTC; None if none did.

    Raises:
        CertificateRevoked: one is revoked.
        Unavailable: lists that would tell are out of date, or not the issuer's, so that nobody
            knows.

    RFC 5280 §6.3; RFC 8995 §5.5.3.
    """
    updates = []
    for certificate, issuer in pairwise(path):
        lists = [crl for crl in crls if crl.issuer == issuer.subject]
        if not lists:
            continue
        try:
            check_not_revoked(certificate, issuer, lists, at=at)
        except RevocationUnknown as err:
            raise Unavailable(err.reason, retry_after_s=3600, section=_SECTION) from err
        updates += [crl.next_update_utc for crl in lists if crl.next_update_utc is not None]
    return min(updates, default=None)
