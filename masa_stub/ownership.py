"""Whose is this device: sales records, and claims that the log has seen (RFC 8995 §5.5.1, §7.4.1).

A domain is its keys. What a certificate says of itself, its SubjectKeyIdentifier above all, is
anybody's to choose: a domainID is compared with what follows from a key.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from brski.errors import DomainNotTrusted
from brski.pki.extensions import key_identifier
from brski.pki.keys import spki_of, spki_sha256


class BuyerKind(enum.StrEnum):
    """How the sales data name an owner."""

    CUSTOMER = "customer"  # by name; the settings say what it is known by
    KEY = "spki-sha256"  # of a certificate in its registrar's chain; 64 hex digits
    DOMAIN_ID = "domain-id"  # likewise: SHA-1 of the key's bits, or SHA-256 of its SPKI; hex
    NOBODY = "nobody"  # withheld: no voucher at all
    ANYBODY = "anybody"  # released: as if it had never been sold or claimed


class Unsold(enum.StrEnum):
    """Who may claim a device that the sales data do not speak of."""

    ANY = "any"  # whoever meets it, each time; the audit log tells
    FIRST = "first"  # who claims it first, until it is released
    NOBODY = "nobody"


class Title(enum.StrEnum):
    """What a domain's right to a device rests on."""

    SOLD = "sold"  # the sales data name this domain
    KEPT = "kept"  # the newest voucher is this domain's, and nothing was sold since
    CLAIMED = "claimed"  # nothing speaks for it, and nothing against it


@dataclass(frozen=True, slots=True, kw_only=True)
class Sale:
    """One line of the sales data; the newest of a device counts, the others are its past."""

    at: datetime
    idevid_issuer: bytes  # 20-octet keyIdentifier
    serial_number: str
    kind: BuyerKind
    buyer: str = ""  # what *kind* says


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinning:
    """A voucher of the device that stands in the log, as far as ownership goes."""

    at: datetime
    domain_id: bytes
    spki_sha256: bytes | None  # of the pinned certificate; None in logs of an older version


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimant:
    """A registrar that asks: what it has proven to be."""

    chain: tuple[x509.Certificate, ...]  # of its request, signer first; consistent
    customers: frozenset[str] = frozenset()  # whose it is, by authentication

    def holds(self, pinning: Pinning) -> bool:
        """Whether *pinning* is to a key of this registrar's chain."""
        if pinning.spki_sha256 is not None:
            return pinning.spki_sha256 in map(spki_sha256, self.chain)
        return any(pinning.domain_id in _ids(certificate) for certificate in self.chain)

    def bought(self, sale: Sale) -> bool:
        """Whether *sale* is to this registrar's owner."""
        if sale.kind is BuyerKind.CUSTOMER:
            return sale.buyer in self.customers
        return self.place_of(sale) is not None

    def place_of(self, sale: Sale) -> int | None:
        """Where in the chain the key stands that *sale* names; None if nowhere."""
        if sale.kind not in (BuyerKind.KEY, BuyerKind.DOMAIN_ID):
            return None
        wanted = bytes.fromhex(sale.buyer)
        for place, certificate in enumerate(self.chain):
            if wanted == spki_sha256(certificate):
                return place
            if sale.kind is BuyerKind.DOMAIN_ID and wanted in _ids(certificate):
                return place
        return None

    def highest(self, sales: Sequence[Sale], configured: int | None) -> int | None:
        """The place in the chain above which nothing may be pinned; None where all of it may.

        Args:
            sales: of the device, oldest first.
            configured: up to where the customer's own anchors reach.
        """
        place = self.place_of(sales[-1]) if sales else None
        return configured if place is None else place


def _ids(certificate: x509.Certificate) -> tuple[bytes, bytes]:
    """The domainIDs that follow from the key itself (RFC 8995 §5.8.2)."""
    spki = spki_of(certificate)
    return key_identifier(spki), hashlib.sha256(spki).digest()


def judge_title(
    claimant: Claimant, sales: Sequence[Sale], newest: Pinning | None, unsold: Unsold
) -> Title:
    """What *claimant*'s right to a device rests on.

    Args:
        sales: everything that the sales data say of the device, oldest first.
        newest: the last voucher that was issued for it, if any was.
        unsold: who may claim it where the sales data say nothing, or that it was released.

    Raises:
        DomainNotTrusted: it is somebody else's, or nobody's.

    RFC 8995 §5.5.1, §7.4.1.
    """
    sale = sales[-1] if sales else None
    if sale is not None and sale.kind is not BuyerKind.ANYBODY:
        if not claimant.bought(sale):
            raise DomainNotTrusted("the device is not sold to this domain", section=_SECTION)
        return Title.SOLD
    claimed = newest is not None and (sale is None or newest.at > sale.at)
    if newest is not None and claimed and claimant.holds(newest):
        return Title.KEPT
    if unsold is Unsold.NOBODY or (unsold is Unsold.FIRST and claimed):
        raise DomainNotTrusted(
            "another domain has claimed the device" if claimed else "the device is not sold",
            section=_SECTION,
        )
    return Title.CLAIMED


def was_owner(claimant: Claimant, sales: Sequence[Sale], pinnings: Sequence[Pinning]) -> bool:
    """Whether the device is, or at some time was, *claimant*'s (RFC 8995 §5.8)."""
    return any(map(claimant.holds, pinnings)) or any(map(claimant.bought, sales))


_SECTION = "RFC 8995 §5.5.4, §7.4.1"
