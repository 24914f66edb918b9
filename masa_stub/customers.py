"""Which of the manufacturer's customers a registrar belongs to (RFC 8995 §5.4, §5.5.4).

Three ways to be known, each enough: the TLS client certificate, HTTP Basic, and the certificate
that signed the voucher-request, under the customer's anchors.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from brski.errors import ChainInvalid
from brski.pki.chain import TrustAnchors
from brski.pki.extensions import has_extended_key_usage
from brski.pki.keys import spki_sha256
from brski.registry import ID_KP_CMC_RA
from masa_stub.revocation import check_revocation

Chain = Sequence[x509.Certificate]


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """An owner of devices that the manufacturer knows by name."""

    name: str
    anchors: TrustAnchors | None = None  # CAs whose registrars are this customer's
    crls: tuple[x509.CertificateRevocationList, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who is at the other end of the connection, as far as TLS and HTTP can tell."""

    chain: tuple[x509.Certificate, ...] = ()  # the TLS client's, whose first key is proven
    customer: str | None = None  # by HTTP Basic; the password was right

    @property
    def key_sha256(self) -> bytes:
        """SHA-256 of the TLS client's SPKI; empty where it showed none."""
        return spki_sha256(self.chain[0]) if self.chain else b""


ANONYMOUS = Caller()


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of a registrar beforehand."""

    customers: frozenset[str] = frozenset()
    connected: bool = False  # the connection itself is a customer's
    highest: int | None = None  # in its request's chain: nothing above was configured
    next_update: datetime | None = None  # until when its revocation is known, if it is


def recognise(
    customers: Iterable[Customer], caller: Caller, chain: Chain, *, at: datetime
) -> Known:
    """Say whose registrar this is.

    Args:
        caller: of the connection.
        chain: of the voucher-request, signer first; its signature and its usage were verified.
        at: aware UTC.

    Raises:
        CertificateRevoked: one of its chain is.
        Unavailable: a revocation list that would tell is out of date, or not its issuer's.

    RFC 8995 §5.4, §5.5.3, §5.5.4.
    """
    names: set[str] = set()
    connected = {caller.customer} if caller.customer is not None else set()
    highest: int | None = None
    updates = []
    for customer in customers:
        path = _path(customer, chain, at)
        if path:
            updates.append(check_revocation(path, customer.crls, at=at))
            names.add(customer.name)
            highest = max(highest or 0, _place_below(path, chain))
        client = _path(customer, caller.chain, at)
        if client and has_extended_key_usage(client[0], ID_KP_CMC_RA):
            check_revocation(client, customer.crls, at=at)
            connected.add(customer.name)
    return Known(
        customers=frozenset(names | connected),
        connected=bool(connected),
        highest=highest,
        next_update=min((update for update in updates if update), default=None),
    )


def _path(customer: Customer, chain: Chain, at: datetime) -> tuple[x509.Certificate, ...]:
    if customer.anchors is None or not chain:
        return ()
    try:
        return customer.anchors.validate(chain[0], chain[1:], at=at)
    except ChainInvalid:
        return ()


def _place_below(path: Chain, chain: Chain) -> int:
    """The highest place in *chain* whose certificate is of *path*, octet for octet.

    The message's signature does not cover the certificates beside it: one with the anchor's key
    and other dates would be somebody's own word.
    """
    return max(place for place, each in enumerate(chain) if each in path)
