"""Device records as the JSON of ``GET /v1/devices/{serial_number}`` (docs/oem-formats.md).

Registrars read it from somebody else's service: the document has one shape, and what it says of a
certificate must be what that says itself. Whether it is true, docs/identity.md judges.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Final, TypeVar

from brski.errors import Malformed, TooLarge, UnknownFormat
from brski.idevid.record import (
    DeviceRecord,
    DeviceStatus,
    Presentation,
    certified_spki,
    check_status,
    check_token,
)
from brski.pki import extensions, keys, names, strict_json

VERSION: Final = 1
DOCUMENT_OCTETS_LIMIT: Final = 64 * 1024
RECORDS_LIMIT: Final = 16  # issuers under whom one serial number may stand
INTERMEDIATES_LIMIT: Final = 7

_LARGEST: Final = 2**53 - 1  # RFC 7493 §2.2
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_MEMBERS: Final = frozenset(
    {
        "batch_digest",
        "certificate",
        "chunk",
        "derivation_profile",
        "generation",
        "idevid_issuer",
        "intermediates",
        "presentation",
        "serial_number",
        "status",
        "status_reason",
    }
)
_Choice = TypeVar("_Choice", bound=StrEnum)


def encode_records(records: Sequence[DeviceRecord]) -> bytes:
    """Write the document of all records of one serial number.

    Args:
        records: one or more, as :func:`decode_records` would take them; their order is kept.

    Returns:
        JSON in ASCII, the same octets for the same records.

    Raises:
        Malformed: a record that no reader would take, or none at all.
        TooLarge: more records or octets than a reader takes.
    """
    document = {"version": VERSION, "devices": [_to_json(record) for record in records]}
    octets = json.dumps(document, sort_keys=True, separators=(",", ":")).encode("ascii")
    decode_records(octets)
    return octets


def _to_json(record: DeviceRecord) -> dict[str, object]:
    return {
        "batch_digest": record.batch_digest.hex(),
        "certificate": _encode_base64(record.certificate),
        "chunk": record.chunk,
        "derivation_profile": record.derivation_profile,
        "generation": record.generation,
        "idevid_issuer": encode_issuer(record.idevid_issuer),
        "intermediates": [_encode_base64(certificate) for certificate in record.intermediates],
        "presentation": record.presentation.value,
        "serial_number": record.serial_number,
        "status": record.status.value,
        "status_reason": record.status_reason,
    }


def decode_records(octets: bytes) -> tuple[DeviceRecord, ...]:
    """Read the document, strictly.

    Args:
        octets: the body of a response 200.

    Returns:
        One or more records of one serial number, each of another issuer.

    Raises:
        Malformed: not this document: another member, none, one twice, a value outside its range, a
            certificate that cannot be read, records of several serial numbers, an issuer twice.
        UnknownFormat: a version other than 1.
        TooLarge: more than 64 kB, 16 records, or 7 intermediates.
        SerialNumberMismatch, IDevIDIssuerMismatch, KeyNotAllowed: see
            :func:`brski.idevid.record.certified_spki`.

    docs/oem-formats.md.
    """
    document = _object(strict_json.loads(octets, max_octets=DOCUMENT_OCTETS_LIMIT), "document")
    version = document.get("version")
    if type(version) is not int or version != VERSION:
        raise UnknownFormat(f"device document of version {version!r:.20}, only {VERSION} is read")
    _check_members(document, frozenset({"version", "devices"}), "document")
    devices = _list(document["devices"], "devices", most=RECORDS_LIMIT)
    records = tuple(_from_json(_object(device, "device")) for device in devices)
    _check_one_device(records)
    return records


def _from_json(device: dict[str, object]) -> DeviceRecord:
    _check_members(device, _MEMBERS, "device")
    idevid_issuer = decode_issuer(_string(device, "idevid_issuer"))
    serial_number = names.check_serial_number(_string(device, "serial_number"))
    certificate = _decode_base64(device["certificate"], "certificate")
    status = _choice(DeviceStatus, device, "status")
    status_reason = _string(device, "status_reason")
    check_status(status, status_reason)
    return DeviceRecord(
        idevid_issuer=idevid_issuer,
        serial_number=serial_number,
        certificate=certificate,
        spki=certified_spki(certificate, idevid_issuer=idevid_issuer, serial_number=serial_number),
        intermediates=_intermediates(device),
        presentation=_choice(Presentation, device, "presentation"),
        derivation_profile=check_token(_string(device, "derivation_profile"), "derivation profile"),
        batch_digest=_digest(device),
        chunk=_uint(device, "chunk"),
        generation=_uint(device, "generation"),
        status=status,
        status_reason=status_reason,
    )


def encode_issuer(idevid_issuer: bytes) -> str:
    """Write an idevid-issuer as it stands in URLs and in the document.

    Args:
        idevid_issuer: keyIdentifier, 20 octets.

    Returns:
        27 characters of base64url, without padding.

    RFC 4648 §5.
    """
    return base64.urlsafe_b64encode(idevid_issuer).rstrip(b"=").decode("ascii")


def decode_issuer(text: str) -> bytes:
    """Read what :func:`encode_issuer` wrote.

    Raises:
        Malformed: not the base64url of 20 octets, or not in its one spelling.

    RFC 4648 §5.
    """
    try:
        octets = base64.b64decode(text.encode("ascii") + b"=", altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error) as err:
        raise Malformed("idevid_issuer is not base64url", section="RFC 4648 §5") from err
    if len(octets) != extensions.KEY_IDENTIFIER_OCTETS or encode_issuer(octets) != text:
        raise Malformed("idevid_issuer is not the base64url of 20 octets", section="RFC 4648 §5")
    return octets


def _encode_base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode("ascii")


def _decode_base64(value: object, what: str) -> bytes:
    try:
        if not isinstance(value, str):
            raise Malformed(f"{what} is not a string")
        octets = base64.b64decode(value.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error) as err:
        raise Malformed(f"{what} is not base64", section="RFC 4648 §4") from err
    if _encode_base64(octets) != value:
        raise Malformed(f"{what} is base64 of another spelling", section="RFC 4648 §3.5")
    return octets


def _intermediates(device: dict[str, object]) -> tuple[bytes, ...]:
    values = _list(device["intermediates"], "intermediates", least=0, most=INTERMEDIATES_LIMIT)
    certificates = tuple(_decode_base64(value, "intermediate") for value in values)
    for certificate in certificates:
        keys.parse_certificate(certificate)
    return certificates


def _check_one_device(records: tuple[DeviceRecord, ...]) -> None:
    if len({record.serial_number for record in records}) != 1:
        raise Malformed("device document with records of several serial numbers")
    if len({record.idevid_issuer for record in records}) != len(records):
        raise Malformed("device document with two records of one issuer")


def _object(value: object, what: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise Malformed(f"{what} is not a JSON object")
    return value


def _check_members(value: dict[str, object], expected: frozenset[str], what: str) -> None:
    if value.keys() != expected:
        odd = ", ".join(map(ascii, sorted(value.keys() ^ expected)))
        raise Malformed(f"{what} with members missing or unknown: {odd[:200]}")


def _list(value: object, what: str, *, most: int, least: int = 1) -> list[object]:
    if not isinstance(value, list) or len(value) < least:
        raise Malformed(f"{what} is not an array of {least} or more")
    if len(value) > most:
        raise TooLarge(f"{what} has {len(value)} items, at most {most} are read")
    return value


def _string(device: dict[str, object], name: str) -> str:
    value = device[name]
    if not isinstance(value, str):
        raise Malformed(f"{name} is not a string")
    return value


def _uint(device: dict[str, object], name: str) -> int:
    value = device[name]
    if type(value) is not int or not 0 <= value <= _LARGEST:
        raise Malformed(f"{name} is not an unsigned integer")
    return value


def _digest(device: dict[str, object]) -> bytes:
    text = _string(device, "batch_digest")
    if not _DIGEST.fullmatch(text):
        raise Malformed("batch_digest is not 64 lower-case hex digits")
    return bytes.fromhex(text)


def _choice(kind: type[_Choice], device: dict[str, object], name: str) -> _Choice:
    try:
        return kind(_string(device, name))
    except ValueError as err:
        raise Malformed(f"{name} has a value that this version does not know") from err
