"""Serial numbers and the subjects that carry them. Knows no manufacturer and no configuration."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from brski.errors import Malformed
from brski.pki.keys import UNREADABLE

# What a device may call itself: compared as these characters, never case-folded, safe in a URL, a
# log and a file name. X520SerialNumber allows 64 characters (RFC 5280 App. A, ub-serial-number).
SERIAL_NUMBER: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}\Z")

_DN_QUALIFIER_DIGITS: Final = 16
_REMEMBERED: Final = 256  # ours: subjects, which are asked for twice in an enrollment


def check_serial_number(text: str) -> str:
    """Return *text* if it is a device's serial number as this project takes it.

    Args:
        text: from a certificate, a message, a URL or a settings file.

    Raises:
        Malformed: empty, longer than 64 characters, or a character outside ``A-Z a-z 0-9 . _ : -``.

    RFC 8995 §2.3.1; RFC 5280 App. A.
    """
    if not SERIAL_NUMBER.match(text):
        raise Malformed(
            f"serial number {text[:80]!r} is not 1 to 64 of A-Z a-z 0-9 . _ : -",
            section="RFC 8995 §2.3.1",
        )
    return text


def device_serial_number(certificate: x509.Certificate) -> str:
    """Read the device's serial number: the subject's serialNumber attribute (2.5.4.5).

    Never the X.509 serial number of the certificate.

    Args:
        certificate: an IDevID, an LDevID or an assertion certificate.

    Raises:
        Malformed: the attribute is absent, there twice, or no serial number as this project takes
            it.

    RFC 8995 §2.3.1.
    """
    try:
        found = certificate.subject.get_attributes_for_oid(NameOID.SERIAL_NUMBER)
    except UNREADABLE as err:
        raise Malformed("the certificate's subject cannot be read") from err
    if len(found) != 1:
        raise Malformed(
            f"the certificate's subject has {len(found)} serialNumber attributes, not one",
            section="RFC 8995 §2.3.1",
        )
    return check_serial_number(str(found[0].value))


def idevid_subject(serial_number: str) -> x509.Name:
    """The subject of an IDevID or an assertion certificate: serialNumber alone, as PrintableString.

    Args:
        serial_number: the device's.

    Raises:
        Malformed: no serial number, or one with ``_``, which PrintableString does not have.

    RFC 8995 §2.3.1; RFC 5280 App. A.
    """
    return x509.Name([_serial_number_attribute(serial_number)])


@lru_cache(maxsize=_REMEMBERED)
def ldevid_subject(serial_number: str, idevid_issuer: bytes) -> x509.Name:
    """The subject of an LDevID: the device's serial number and a qualifier of who numbered it.

    Two manufacturers may give the same serial number; the dnQualifier (the first 16 hex digits of
    SHA-256 over the keyIdentifier) keeps their devices apart.

    Args:
        serial_number: the device's.
        idevid_issuer: the keyIdentifier of the IDevID's issuer, 20 octets.

    Raises:
        Malformed: as :func:`idevid_subject`.

    docs/identity.md.
    """
    qualifier = hashlib.sha256(idevid_issuer).hexdigest()[:_DN_QUALIFIER_DIGITS]
    return x509.Name(
        [
            _serial_number_attribute(serial_number),
            x509.NameAttribute(NameOID.DN_QUALIFIER, qualifier),
        ]
    )


def _serial_number_attribute(serial_number: str) -> x509.NameAttribute[str]:
    if "_" in check_serial_number(serial_number):
        raise Malformed(
            f"serial number {serial_number!r} has a '_', which PrintableString does not have",
            section="RFC 5280 App. A",
        )
    return x509.NameAttribute(NameOID.SERIAL_NUMBER, serial_number)
