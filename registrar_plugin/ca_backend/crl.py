"""Revocation lists as octets: what is to be signed, the signed list, and what a list says.

Knows neither journal nor clock nor key. RFC 5280 §5.
"""

from __future__ import annotations

import enum
import hashlib
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final

from cryptography import x509

from brski.errors import Malformed, StateError
from brski.idevid.certificate import (
    encode_authority_key_identifier,
    encode_certificate,
    encode_extension,
)
from brski.pki import der
from brski.registry import ID_CE_CRL_NUMBER, ID_CE_CRL_REASON
from registrar_plugin.ca_backend.layout import encode_time

_VERSION_2: Final = der.encode_integer(1)
_BEFORE_ENTRIES: Final = 5  # version, signature, issuer, thisUpdate, nextUpdate
_NUMBER_OCTETS: Final = 20  # RFC 5280 §5.2.3: longer ones need not be understood


class Reason(enum.StrEnum):
    """Why a certificate is no longer good, by the names of RFC 5280 §5.3.1."""

    UNSPECIFIED = "unspecified"
    KEY_COMPROMISE = "keyCompromise"
    AFFILIATION_CHANGED = "affiliationChanged"
    SUPERSEDED = "superseded"
    CESSATION_OF_OPERATION = "cessationOfOperation"
    PRIVILEGE_WITHDRAWN = "privilegeWithdrawn"


_CODES: Final = MappingProxyType(
    {
        Reason.KEY_COMPROMISE: 1,
        Reason.AFFILIATION_CHANGED: 3,
        Reason.SUPERSEDED: 4,
        Reason.CESSATION_OF_OPERATION: 5,
        Reason.PRIVILEGE_WITHDRAWN: 9,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokedCertificate:
    """One entry of a list."""

    serial: int  # the certificate's own number, not the device's
    at: datetime
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class CRLIssuer:
    """What of the CA stands in its lists."""

    name: bytes  # DER Name
    key_identifier: bytes  # 20 octets
    algorithm: bytes  # DER AlgorithmIdentifier of its signatures

    @property
    def scope(self) -> bytes:
        """SHA-256 of name and key: tells one CA's lists from another's (RFC 5280 §5)."""
        return _scope(self.name, self.key_identifier)


def encode_entry(revoked: RevokedCertificate) -> bytes:
    """One of revokedCertificates, DER; it changes no more, whoever's list it goes into.

    RFC 5280 §5.1.2.6, §5.3.1.
    """
    code = _CODES.get(revoked.reason)
    extensions = b""
    if code is not None:  # §5.3.1: unspecified is said by saying nothing
        value = der.encode(der.ENUMERATED, bytes((code,)))
        extensions = der.encode(der.SEQUENCE, encode_extension(ID_CE_CRL_REASON, value))
    return der.encode(
        der.SEQUENCE, der.encode_integer(revoked.serial), encode_time(revoked.at), extensions
    )


def encode_tbs_crl(
    issuer: CRLIssuer,
    entries: bytes,
    *,
    number: int,
    this_update: datetime,
    next_update: datetime,
) -> bytes:
    """Lay out a TBSCertList of version 2, DER.

    Args:
        entries: of every certificate of this issuer that is no longer good, one behind the other,
            each as :func:`encode_entry` has it; in any order.
        number: larger than that of every list before (§5.2.3).

    Raises:
        StateError: a number of more than 20 octets, or below 1.

    RFC 5280 §5.1, §5.2.1, §5.2.3.
    """
    if not 0 < number < 1 << (8 * _NUMBER_OCTETS - 1):
        raise StateError(f"{number} cannot be the number of a CRL", section="RFC 5280 §5.2.3")
    extensions = der.encode(
        der.SEQUENCE,
        encode_authority_key_identifier(issuer.key_identifier),
        encode_extension(ID_CE_CRL_NUMBER, der.encode_integer(number)),
    )
    return der.encode(
        der.SEQUENCE,
        _VERSION_2,
        issuer.algorithm,
        issuer.name,
        encode_time(this_update),
        encode_time(next_update),
        der.encode(der.SEQUENCE, entries) if entries else b"",  # §5.1.2.6: absent, never empty
        der.encode(0xA0, extensions),
    )


def encode_crl(tbs: bytes, algorithm: bytes, signature: bytes) -> bytes:
    """The signed list, DER CertificateList; of the same form as a certificate (RFC 5280 §5.1)."""
    return encode_certificate(tbs, algorithm, signature)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedCRL:
    """A signed list, and what has to be known of it to publish the next in time."""

    number: int
    octets: bytes  # DER CertificateList
    issuer: bytes  # DER Name
    key_identifier: bytes
    this_update: datetime
    next_update: datetime

    @property
    def scope(self) -> bytes:
        """See :attr:`CRLIssuer.scope`."""
        return _scope(self.issuer, self.key_identifier)


def scope_of_tbs(octets: bytes) -> bytes:
    """Whose list a TBSCertList of ours is to be, see :attr:`CRLIssuer.scope`.

    Raises:
        StateError: as :func:`parse_crl`.
    """
    try:
        parts = [der.octets_of(octets, p) for p in der.children(octets, der.read_element(octets))]
    except (Malformed, IndexError) as err:
        raise StateError("what the journal holds as a CRL is none of ours") from err
    head, rest = parts[:_BEFORE_ENTRIES], parts[_BEFORE_ENTRIES:]
    if rest[:1] and rest[0][0] == der.SEQUENCE:
        del rest[0]  # the entries, which may be many, say nothing of it
    without = der.encode(der.SEQUENCE, *head, *rest)
    return parse_crl(encode_crl(without, head[1] if len(head) > 1 else b"", b"")).scope


def _scope(name: bytes, key_identifier: bytes) -> bytes:
    return hashlib.sha256(name + key_identifier).digest()


def parse_crl(octets: bytes) -> PublishedCRL:
    """Read a list of ours.

    Args:
        octets: DER CertificateList.

    Raises:
        StateError: it is none, or has neither number nor end.
    """
    try:
        crl = x509.load_der_x509_crl(octets)
        number = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        authority = crl.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        next_update = crl.next_update_utc
    except (ValueError, x509.ExtensionNotFound) as err:
        raise StateError("what the journal holds as a CRL is none of ours") from err
    if next_update is None or authority.key_identifier is None:
        raise StateError("what the journal holds as a CRL has no nextUpdate, or no key")
    return PublishedCRL(
        number=number,
        octets=octets,
        issuer=crl.issuer.public_bytes(),
        key_identifier=authority.key_identifier,
        this_update=crl.last_update_utc,
        next_update=next_update,
    )
