"""Which certificate a voucher pins: one of the registrar's own, and under its own domainID.

RFC 8995 §5.5.2, §5.8.2.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Sequence

from cryptography import x509

from brski.errors import DomainNotTrusted
from brski.pki.extensions import domain_id, key_identifier
from brski.pki.keys import key_bits, spki_of


class Pin(enum.StrEnum):
    """Which certificate of the registrar's chain a voucher pins (RFC 8995 §5.5.2)."""

    END_ENTITY = "end-entity"  # the registrar itself
    LOWEST_CA = "lowest-ca"  # the CA that issued it; the registrar itself where none came along
    HIGHEST_CA = "highest-ca"  # the farthest from it


def pinned_place(chain: Sequence[x509.Certificate], pin: Pin, highest: int | None = None) -> int:
    """Which certificate of the registrar's own chain the voucher pins; never another.

    Args:
        chain: signer first.
        highest: the place above which nothing may be pinned, as what the device was sold to, or
            the customer's anchor, stands there; None for the whole chain.

    RFC 8995 §5.5.2.
    """
    top = len(chain) - 1 if highest is None else min(highest, len(chain) - 1)
    match pin:
        case Pin.END_ENTITY:
            return 0
        case Pin.LOWEST_CA:
            return min(1, top)
        case Pin.HIGHEST_CA:
            return top


def check_domain_id(pinned: x509.Certificate, *, is_anothers: bool) -> None:
    """Raise if *pinned* would stand in audit logs under another domain's domainID.

    A CA chooses its own SubjectKeyIdentifier, and so its domainID; one that follows from its key
    is nobody else's to choose.

    Args:
        is_anothers: whether another key was pinned under its domainID before; it does not count
            where the domainID follows from the key.

    Raises:
        DomainNotTrusted: it is another's already.

    RFC 8995 §5.8.2.
    """
    spki, named = spki_of(pinned), domain_id(pinned)
    if is_anothers and named not in _ids_of_key(spki):
        raise DomainNotTrusted(
            f"domainID {named.hex()} is another domain's", section="RFC 8995 §5.8.2"
        )


def _ids_of_key(spki: bytes) -> tuple[bytes, ...]:
    """What CAs make SubjectKeyIdentifiers of."""
    bits = key_bits(spki)
    return (
        key_identifier(spki),  # RFC 5280 §4.2.1.2 (1)
        *(hashlib.new(name, bits).digest()[:20] for name in ("sha256", "sha384", "sha512")),
        hashlib.sha256(spki).digest(),  # RFC 7093 §2 (4); RFC 8995 §5.8.2 without the extension
    )
