"""Whether the domain that a voucher names is revoked: what to look up, and what to make of it.

The leaf domain-cert-revocation-checks decides (RFC 8366 §5.3): true demands that the status is
known, false that nobody looks, and without it the usual rules hold, which is to honour what can be
had.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, pairwise
from typing import Final

from cryptography import x509

from brski.errors import ChainInvalid, PeerError, RevocationUnknown
from brski.pki.chain import TrustAnchors, check_presented_chain, is_self_signed
from brski.pki.effort import counted
from brski.pki.keys import spki_of
from brski.pki.revocation import (
    check_not_listed,
    check_not_revoked,
    distribution_points,
    parse_list,
)
from device_client.pledge.judging import Accepted
from device_client.pledge.paths import validate

ADDRESSES_LIMIT: Final = 8  # ours: lists that are fetched in one attempt
_SECTION: Final = "RFC 8366 §5.3"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One certificate whose status counts."""

    certificate: x509.Certificate
    issuer: x509.Certificate | None  # None: the registrar has not presented it


def questions(
    presented: Sequence[x509.Certificate], accepted: Accepted, now: datetime | None
) -> tuple[Question, ...]:
    """Whose status to ask: each certificate from the registrar's own up to the pinned one.

    A self-signed certificate is nobody's to revoke, and is left out. The issuer of the pinned
    certificate is taken from what the registrar presented, if it did issue it.

    Args:
        presented: the registrar's chain, leaf first; it leads to the pin.
        accepted: the voucher's word; nothing is asked where it says not to.
        now: aware UTC, or None.

    Returns:
        The registrar's first.
    """
    if accepted.revocation_checks is False:
        return ()
    pin = accepted.pin
    path: tuple[x509.Certificate, ...] = (presented[0],)
    if spki_of(presented[0]) != spki_of(pin):
        path = validate(TrustAnchors((pin,)), presented[0], presented[1:], now=now)
    below = [Question(certificate=c, issuer=issuer) for c, issuer in pairwise(path)]
    if is_self_signed(path[-1]):
        return tuple(below)
    return (*below, Question(certificate=path[-1], issuer=_issuer_of(path[-1], presented)))


def _issuer_of(
    certificate: x509.Certificate, presented: Sequence[x509.Certificate]
) -> x509.Certificate | None:
    for candidate in presented:
        if candidate.subject == certificate.issuer:
            try:
                check_presented_chain((certificate, candidate))
            except ChainInvalid:
                continue
            return candidate
    return None


def addresses(asked: Sequence[Question]) -> tuple[str, ...]:
    """Where the lists are published, each once."""
    places = (distribution_points(question.certificate) for question in asked)
    return tuple(dict.fromkeys(chain.from_iterable(places)))[:ADDRESSES_LIMIT]


def check_answerable(asked: Sequence[Question], now: datetime | None) -> None:
    """Raise where a status that must be known cannot be, before anything is fetched.

    Raises:
        RevocationUnknown: there is no clock, nothing that anybody could revoke, an issuer that is
            not known, or a certificate that does not say where its issuer's list is.
    """
    if now is None:
        raise _unknown("this device has no clock to tell whether a list is current")
    if not asked:
        raise _unknown("the pinned certificate is self-signed, so that nobody could revoke it")
    for question in asked:
        name = ascii(question.certificate.subject.rfc4514_string()[:120])
        if question.issuer is None:
            raise _unknown(f"the issuer of {name} is not known")
        if not distribution_points(question.certificate):
            raise _unknown(f"{name} does not say where revocation lists are")


def _unknown(reason: str) -> RevocationUnknown:
    said = f"the voucher demands a revocation check, and {reason}"
    return RevocationUnknown(said, section=_SECTION)


@counted()  # what lists that others publish may cost
def check_answers(
    asked: Sequence[Question], lists: Sequence[bytes], *, demanded: bool, now: datetime | None
) -> None:
    """Raise if a certificate is revoked or, where that is *demanded*, its status is not known.

    Args:
        asked: as :func:`questions` put them.
        lists: as fetched; what cannot be read counts as not there.
        demanded: the voucher says true.
        now: aware UTC, or None.

    Raises:
        CertificateRevoked: one is on its issuer's list.
        RevocationUnknown: a status is demanded and there is no current list.
    """
    readable = tuple(_readable(lists))
    for question in asked:
        if question.issuer is None:
            continue
        if demanded and now is not None:
            check_not_revoked(question.certificate, question.issuer, readable, at=now)
        else:
            check_not_listed(question.certificate, question.issuer, readable)


def _readable(lists: Sequence[bytes]) -> Iterator[x509.CertificateRevocationList]:
    for octets in lists:
        try:
            yield parse_list(octets)
        except PeerError:
            continue
