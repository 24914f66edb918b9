"""What the settings say of a manufacturer: its anchors, where it writes things, whom to ask.

Values only; nothing here reads a file or asks a source.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from brski.errors import Malformed, SettingsError
from brski.pki import der
from brski.pki.chain import TrustAnchors
from brski.pki.extensions import KEY_IDENTIFIER_OCTETS, key_identifier, masa_base_url, masa_url
from brski.pki.keys import spki_of
from brski.pki.names import check_serial_number, device_serial_number
from brski.registry import ID_ON_HARDWARE_MODULE_NAME
from registrar_plugin.identity.clients import RESERVED

_RAW_CHARACTERS: Final = 256  # of an attribute that a pattern of the operator's is run over


class SerialNumberSource(enum.StrEnum):
    """Where a manufacturer's IDevIDs have the device's serial number (RFC 8995 §2.3.1)."""

    SUBJECT = "subject"  # the subject's serialNumber, 2.5.4.5
    HARDWARE_MODULE_NAME = "hardware-module-name"  # hwSerialNum in the SAN (RFC 4108 §5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manufacturer:
    """One manufacturer whose devices may come.

    Raises:
        SettingsError: a value that cannot be meant.

    docs/identity.md.
    """

    name: str  # as in the settings and the journal
    anchors: TrustAnchors  # its IDevIDs lead to one of these
    source: str | None = None  # name of the source of its device records; without, only carried
    serial_pattern: re.Pattern[str] | None = None  # matches the whole of each of its serial numbers
    issuers: frozenset[bytes] = frozenset()  # idevid-issuers, 20 octets, beyond what keys prove
    ignore_idevid_expiry: bool = False  # of the leaf alone (RFC 8995 §2.6.2)
    require_record: bool = True  # where there is a source, a carried IDevID must be on record
    masa_url: str | None = None  # instead of what the IDevID says (RFC 8995 §2.8)
    serial_number_source: SerialNumberSource = SerialNumberSource.SUBJECT
    serial_number_part: re.Pattern[str] | None = None  # its one group is the serial number

    def __post_init__(self) -> None:
        if not self.name:
            raise SettingsError("a manufacturer needs a name")
        if self.serial_number_part is not None and self.serial_number_part.groups != 1:
            raise SettingsError(
                f"{self.name}: serial_number_part has {self.serial_number_part.groups} groups, "
                "not one"
            )
        if any(len(issuer) != KEY_IDENTIFIER_OCTETS for issuer in self.issuers):
            raise SettingsError(f"{self.name}: an issuer is a keyIdentifier of 20 octets")
        if self.issuers & RESERVED:
            raise SettingsError(f"{self.name}: an issuer that stands for clients without one")
        if self.masa_url is not None:
            try:
                masa_base_url(self.masa_url)
            except Malformed as err:
                raise SettingsError(f"{self.name}: masa_url: {err.reason}") from err

    def known_issuers(self) -> frozenset[bytes]:
        """keyIdentifiers that are surely this one's: the listed, and those of its anchors' keys."""
        return self.issuers | {key_identifier(spki_of(anchor)) for anchor in self.anchors.anchors}

    def may_have_numbered(self, serial_number: str, *, issuer_named: bool) -> bool:
        """Whether to ask this manufacturer about a serial number that a device asserts.

        A bare serial number, no issuer named with it, is asked only of those that have said what
        theirs look like.
        """
        if self.serial_pattern is None:
            return issuer_named
        return self.serial_pattern.fullmatch(serial_number) is not None

    def serial_number_of(self, idevid: x509.Certificate) -> str:
        """Read the device's serial number where this manufacturer writes it.

        Args:
            idevid: as :func:`brski.pki.keys.parse_certificate` gives it.

        Raises:
            Malformed: it is not there, there twice, or no serial number as this project takes it.

        RFC 8995 §2.3.1.
        """
        in_subject = self.serial_number_source is SerialNumberSource.SUBJECT
        part = self.serial_number_part
        if in_subject and part is None:
            return device_serial_number(idevid)
        text = _subject_text(idevid) if in_subject else _hardware_serial_number(idevid)
        if part is None:
            return check_serial_number(text)
        found = part.fullmatch(text)
        if found is None or found[1] is None:
            raise Malformed(
                f"{text[:80]!r} does not hold a serial number of {self.name}'s",
                section="RFC 8995 §2.3.1",
            )
        return check_serial_number(found[1])

    def masa_url_of(self, idevid: x509.Certificate) -> str | None:
        """The MASA's base URL: the settings' if they have one, else the certificate's.

        Raises:
            Malformed: the certificate's is no URL of a MASA.

        RFC 8995 §2.3.2, §2.8.
        """
        text = self.masa_url if self.masa_url is not None else masa_url(idevid)
        return None if text is None else masa_base_url(text)


def _subject_text(idevid: x509.Certificate) -> str:
    found = idevid.subject.get_attributes_for_oid(NameOID.SERIAL_NUMBER)
    if len(found) != 1 or not isinstance(found[0].value, str):
        raise Malformed(
            "the IDevID's subject has not one serialNumber attribute of text",
            section="RFC 8995 §2.3.1",
        )
    return _bounded(found[0].value)


def _hardware_serial_number(idevid: x509.Certificate) -> str:
    try:
        names = idevid.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound as err:
        raise Malformed("the IDevID has no subjectAltName", section="RFC 4108 §5") from err
    found = [
        name.value
        for name in names.get_values_for_type(x509.OtherName)
        if name.type_id.dotted_string == ID_ON_HARDWARE_MODULE_NAME
    ]
    if len(found) != 1:
        raise Malformed(
            f"the IDevID has {len(found)} hardwareModuleNames, not one", section="RFC 4108 §5"
        )
    return _hw_serial_num(found[0])


def _hw_serial_num(value: bytes) -> str:
    # HardwareModuleName ::= SEQUENCE { hwType OBJECT IDENTIFIER, hwSerialNum OCTET STRING }
    der.check_der(value)
    fields = der.children(value, der.read_element(value))
    if [field.tag for field in fields] != [der.OBJECT_IDENTIFIER, der.OCTET_STRING]:
        raise Malformed("hardwareModuleName is not an OID and octets", section="RFC 4108 §5")
    try:
        return _bounded(der.content_of(value, fields[1]).decode("ascii"))
    except UnicodeDecodeError as err:
        raise Malformed("hwSerialNum is not ASCII text", section="RFC 4108 §5") from err


def _bounded(text: str) -> str:
    if len(text) > _RAW_CHARACTERS:
        raise Malformed(f"serial number of {len(text)} characters", section="RFC 8995 §2.3.1")
    return text
