"""Revocation lists of other CAs, as the owner brought them: what they say of a client's path.

RFC 5280 §5, §6.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

from cryptography import x509

from brski.errors import ChainInvalid, NotAuthenticated, RevocationUnknown, Unavailable
from brski.pki.revocation import check_not_listed, check_not_revoked
from registrar_plugin.enrollment.client_ca import Path

_SECTION: Final = "RFC 7030 §3.3.2"
_WARNED: Final = timedelta(days=1)  # ours: before a list ends
_RETRY_AFTER_S: Final = 3600  # ours: a person has to bring a new list


def check_revocation(
    path: Path, lists: Sequence[x509.CertificateRevocationList], *, at: datetime
) -> None:
    """Raise unless a current list of the leaf's issuer is there, and no list has any of *path*.

    Args:
        path: as :func:`find_path` returned it.
        lists: those that the owner brought.
        at: aware UTC.

    Raises:
        NotAuthenticated: revoked.
        Unavailable: there is no list of the leaf's issuer that is current.

    RFC 5280 §6.3.
    """
    try:
        if len(path) > 1:
            check_not_revoked(path[0], path[1], lists, at=at)
        for certificate, issuer in pairwise(path[1:]):
            check_not_listed(certificate, issuer, lists)
    except RevocationUnknown as err:
        raise Unavailable(
            err.reason, retry_after_s=_RETRY_AFTER_S, section="RFC 5280 §6.3.3"
        ) from err
    except ChainInvalid as err:
        raise NotAuthenticated(err.reason, section=_SECTION) from err


def check_lists(lists: Sequence[x509.CertificateRevocationList], *, at: datetime) -> str | None:
    """Raise if the last list of an issuer has ended; say which ends within a day.

    Whether they are genuine shows where a client comes.

    Raises:
        Unavailable: an issuer's has, so that none of its clients gets in.

    RFC 5280 §5.1.2.5.
    """
    ends: dict[x509.Name, datetime] = {}
    for each in lists:
        until = each.next_update_utc or datetime.min.replace(tzinfo=at.tzinfo)
        ends[each.issuer] = max(until, ends.get(each.issuer, until))
    for issuer, until in ends.items():
        if until <= at:
            raise Unavailable(
                f"the revocation list of {issuer.rfc4514_string()} has ended at {until:%FT%TZ}",
                retry_after_s=_RETRY_AFTER_S,
                section="RFC 5280 §5.1.2.5",
            )
    soon = [issuer for issuer, until in ends.items() if until <= at + _WARNED]
    if not soon:
        return None
    return f"the revocation list of {soon[0].rfc4514_string()} ends at {ends[soon[0]]:%FT%TZ}"
