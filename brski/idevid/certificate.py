"""The pieces of DER that the two certificates of docs/idevid-certificate.md share.

Written by hand, not by a builder: the octets are the contract (two machines must come to the same
ones), and a batch of a million splices most of them unchanged.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from brski.errors import Malformed
from brski.pki import der, extensions, names
from brski.registry import (
    ID_AT_SERIAL_NUMBER,
    ID_CE_AUTHORITY_KEY_IDENTIFIER,
    ID_CE_SUBJECT_KEY_IDENTIFIER,
    ID_PE_MASA_URL,
    NEVER_EXPIRES,
)

VERSION_3: Final = der.encode(0xA0, der.encode_integer(2))  # RFC 5280 §4.1.2.1
NOT_AFTER: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)

_NEVER: Final = der.encode(der.GENERALIZED_TIME, NEVER_EXPIRES.encode("ascii"))
_CRITICAL: Final = der.encode(der.BOOLEAN, b"\xff")
_SERIAL_NUMBER_TYPE: Final = der.encode_oid(ID_AT_SERIAL_NUMBER)
_FIRST_GENERALIZED_YEAR: Final = 2050


def check_certifiable(serial_number: str) -> str:
    """Raise unless *serial_number* can stand in a certificate's subject.

    Args:
        serial_number: the device's.

    Returns:
        *serial_number*.

    Raises:
        Malformed: refused by :func:`brski.pki.names.check_serial_number`, or has a ``_``.

    RFC 5280 App. A (X520SerialNumber).
    """
    if "_" in names.check_serial_number(serial_number):
        raise Malformed(
            f"serial number {serial_number!r} has a '_', which PrintableString does not have",
            section="RFC 5280 App. A",
        )
    return serial_number


def encode_name(serial_number: str) -> bytes:
    """DER Name of one attribute: serialNumber, PrintableString.

    Raises:
        Malformed: see :func:`check_certifiable`.

    RFC 8995 §2.3.1.
    """
    value = der.encode(der.PRINTABLE_STRING, check_certifiable(serial_number).encode("ascii"))
    attribute = der.encode(der.SEQUENCE, _SERIAL_NUMBER_TYPE, value)
    return der.encode(der.SEQUENCE, der.encode(der.SET, attribute))


def encode_validity(not_before: datetime) -> bytes:
    """DER Validity from *not_before* (aware, whole seconds) to 99991231235959Z.

    RFC 5280 §4.1.2.5: UTCTime until 2049, GeneralizedTime from 2050 on.
    """
    moment = not_before.astimezone(UTC)
    if moment.year < _FIRST_GENERALIZED_YEAR:
        start = der.encode(der.UTC_TIME, moment.strftime("%y%m%d%H%M%SZ").encode("ascii"))
    else:
        start = der.encode(der.GENERALIZED_TIME, moment.strftime("%Y%m%d%H%M%SZ").encode("ascii"))
    return der.encode(der.SEQUENCE, start, _NEVER)


def encode_extension(oid: str, value: bytes, *, critical: bool = False) -> bytes:
    """DER Extension; *value* is the DER inside extnValue.

    RFC 5280 §4.2.
    """
    mark = _CRITICAL if critical else b""
    return der.encode(der.SEQUENCE, der.encode_oid(oid), mark, der.encode(der.OCTET_STRING, value))


def encode_subject_key_identifier(key_identifier: bytes) -> bytes:
    """DER Extension that holds *key_identifier*.

    RFC 5280 §4.2.1.2.
    """
    value = der.encode(der.OCTET_STRING, key_identifier)
    return encode_extension(ID_CE_SUBJECT_KEY_IDENTIFIER, value)


def encode_authority_key_identifier(key_identifier: bytes) -> bytes:
    """DER Extension that holds *key_identifier* and names no issuer.

    RFC 5280 §4.2.1.1.
    """
    value = der.encode(der.SEQUENCE, der.encode(0x80, key_identifier))
    return encode_extension(ID_CE_AUTHORITY_KEY_IDENTIFIER, value)


def encode_masa_url(masa_url: str) -> bytes:
    """DER Extension that holds *masa_url* as IA5String.

    Raises:
        Malformed: see :func:`brski.pki.extensions.masa_base_url`.

    RFC 8995 §2.3.2.
    """
    return encode_extension(ID_PE_MASA_URL, extensions.masa_url_extension(masa_url).value)


def encode_extensions(*present: bytes) -> bytes:
    """The [3] element of a TBSCertificate around the Extensions *present*, in this order."""
    return der.encode(0xA3, der.encode(der.SEQUENCE, *present))


def encode_certificate(tbs: bytes, algorithm: bytes, signature: bytes) -> bytes:
    """DER Certificate.

    Args:
        tbs: DER TBSCertificate.
        algorithm: DER AlgorithmIdentifier, the one inside *tbs*.
        signature: as :meth:`brski.pki.signer.Signer.sign` gives it.

    RFC 5280 §4.1.
    """
    return der.encode(der.SEQUENCE, tbs, algorithm, der.encode(der.BIT_STRING, b"\x00", signature))
