"""The document of GET /v1/devices/{serial_number}: one shape, read strictly."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brski.errors import (
    IDevIDIssuerMismatch,
    Malformed,
    OnboardingError,
    SerialNumberMismatch,
    TooLarge,
    UnknownFormat,
)
from brski.idevid.record import DeviceRecord, DeviceStatus, Presentation
from brski.idevid.record_json import (
    decode_issuer,
    decode_records,
    encode_issuer,
    encode_records,
)
from brski.pki import extensions, keys
from tests.kit import pki


def _record(issuer: pki.Entity, serial_number: str = "SN-1", **others: Any) -> DeviceRecord:
    idevid = pki.make_idevid(issuer, serial_number)
    facts: dict[str, Any] = {
        "idevid_issuer": extensions.idevid_issuer_of(idevid.certificate),
        "serial_number": serial_number,
        "certificate": idevid.der,
        "spki": keys.spki_of(idevid.certificate),
        "intermediates": tuple(keys.certificate_der(c) for c in idevid.intermediates),
        "presentation": Presentation.ASSERTED,
        "derivation_profile": "hmac-drbg-p256",
        "batch_digest": bytes(range(32)),
        "chunk": 3,
        "generation": 2,
    }
    return DeviceRecord(**(facts | others))


TWO_LEVELS = pki.make_pki("Two", levels=2)
THREE_LEVELS = pki.make_pki("Three", levels=3)
RECORD = _record(THREE_LEVELS)
OTHER = _record(TWO_LEVELS, presentation=Presentation.CARRIED)
DOCUMENT = encode_records([RECORD])


def _changed(change: Callable[[dict[str, Any]], object], octets: bytes = DOCUMENT) -> bytes:
    document = json.loads(octets)
    change(document)
    return json.dumps(document).encode()


def _device(name: str, value: object) -> bytes:
    return _changed(lambda document: document["devices"][0].update({name: value}))


def test_a_record_comes_back_as_it_was() -> None:
    assert decode_records(DOCUMENT) == (RECORD,)


def test_records_of_two_issuers_come_back_in_order() -> None:
    """A serial number is unique under one issuer only."""
    assert OTHER.intermediates == ()
    assert decode_records(encode_records([OTHER, RECORD])) == (OTHER, RECORD)


@given(
    st.sampled_from(DeviceStatus),
    st.sampled_from(Presentation),
    st.integers(0, 2**53 - 1),
    st.integers(0, 2**53 - 1),
    st.binary(min_size=32, max_size=32),
    st.from_regex(r"[a-z0-9]{1,5}(-[a-z0-9]{1,5}){0,5}", fullmatch=True),
)
def test_every_field_survives(
    status: DeviceStatus,
    presentation: Presentation,
    chunk: int,
    generation: int,
    batch_digest: bytes,
    token: str,
) -> None:
    record = replace(
        RECORD,
        status=status,
        status_reason="" if status is DeviceStatus.ACTIVE else token,
        presentation=presentation,
        chunk=chunk,
        generation=generation,
        batch_digest=batch_digest,
        derivation_profile=token,
    )
    assert decode_records(encode_records([record])) == (record,)


def test_the_same_records_give_the_same_octets() -> None:
    """So that a digest of the body can serve as its ETag."""
    assert encode_records([replace(RECORD)]) == DOCUMENT
    assert DOCUMENT.isascii()
    assert b" " not in DOCUMENT


def test_it_is_laid_out_as_the_page_says() -> None:
    """docs/oem-formats.md §4."""
    assert json.loads(DOCUMENT) == {
        "version": 1,
        "devices": [
            {
                "idevid_issuer": base64.urlsafe_b64encode(RECORD.idevid_issuer)[:27].decode(),
                "serial_number": "SN-1",
                "certificate": base64.b64encode(RECORD.certificate).decode(),
                "intermediates": [base64.b64encode(RECORD.intermediates[0]).decode()],
                "presentation": "asserted",
                "derivation_profile": "hmac-drbg-p256",
                "batch_digest": bytes(range(32)).hex(),
                "chunk": 3,
                "generation": 2,
                "status": "active",
                "status_reason": "",
            }
        ],
    }


def test_the_key_is_read_from_the_certificate_and_never_from_the_document() -> None:
    """So no document can give a certificate another key."""
    assert b"spki" not in DOCUMENT
    assert decode_records(encode_records([replace(RECORD, spki=b"")])) == (RECORD,)


CERTIFICATE = base64.b64encode(RECORD.certificate).decode()
REFUSED: dict[str, tuple[type[OnboardingError], bytes]] = {
    "not JSON": (Malformed, b"<html>"),
    "an array": (Malformed, b"[]"),
    "no version": (UnknownFormat, _changed(lambda d: d.pop("version"))),
    "version 2": (UnknownFormat, _changed(lambda d: d.update(version=2))),
    "version true": (UnknownFormat, _changed(lambda d: d.update(version=True))),
    "version 1.0": (UnknownFormat, DOCUMENT.replace(b'"version":1', b'"version":1.0')),
    "version as text": (UnknownFormat, _changed(lambda d: d.update(version="1"))),
    "an unknown member": (Malformed, _changed(lambda d: d.update(next="/v1/devices"))),
    "no devices": (Malformed, _changed(lambda d: d.pop("devices"))),
    "devices empty": (Malformed, _changed(lambda d: d.update(devices=[]))),
    "devices no array": (Malformed, _changed(lambda d: d.update(devices={}))),
    "a device that is no object": (Malformed, _changed(lambda d: d.update(devices=["SN-1"]))),
    "a device with an unknown member": (Malformed, _device("spki", "")),
    "an active device with a reason": (Malformed, _device("status_reason", "superseded")),
    "a member twice": (Malformed, DOCUMENT.replace(b'"chunk":3', b'"chunk":3,"chunk":4')),
    "17 devices": (TooLarge, _changed(lambda d: d.update(devices=[1] * 17))),
    "8 intermediates": (TooLarge, _device("intermediates", [CERTIFICATE] * 8)),
    "65 kB": (TooLarge, DOCUMENT + b" " * 65536),
    "another serial number": (SerialNumberMismatch, _device("serial_number", "SN-2")),
    "another issuer": (IDevIDIssuerMismatch, _device("idevid_issuer", encode_issuer(bytes(20)))),
    "an issuer of 26 octets": (
        Malformed,
        _device(
            "idevid_issuer",
            encode_issuer(extensions.encode_idevid_issuer(RECORD.idevid_issuer)),
        ),
    ),
    "an issuer with padding": (
        Malformed,
        _device("idevid_issuer", encode_issuer(RECORD.idevid_issuer) + "="),
    ),
    "a certificate with a line break": (Malformed, _device("certificate", CERTIFICATE + "\n")),
    "a certificate in PEM": (Malformed, _device("certificate", "-----BEGIN CERTIFICATE-----")),
    "a certificate in base64url": (Malformed, _device("certificate", "-_" + CERTIFICATE)),
    "a certificate in other letters": (Malformed, _device("certificate", "\u0661" + CERTIFICATE)),
    "a certificate cut short": (Malformed, _device("certificate", CERTIFICATE[:-8])),
    "an intermediate that is none": (Malformed, _device("intermediates", ["AAAA"])),
    "a digest in upper case": (
        Malformed,
        _device("batch_digest", RECORD.batch_digest.hex().upper()),
    ),
    "a digest of 31 octets": (Malformed, _device("batch_digest", "00" * 31)),
    "an unknown state": (Malformed, _device("status", "stolen")),
    "a state in upper case": (Malformed, _device("status", "ACTIVE")),
    "an unknown presentation": (Malformed, _device("presentation", "shown")),
    "a derivation profile that is none": (Malformed, _device("derivation_profile", "HMAC DRBG")),
    "a serial number that is none": (Malformed, _device("serial_number", "../etc")),
    "a negative chunk": (Malformed, _device("chunk", -1)),
    "a chunk in fractions": (Malformed, _device("chunk", 3.0)),
    "a chunk that is true": (Malformed, _device("chunk", True)),
    "a generation beyond what JSON holds": (Malformed, _device("generation", 2**53)),
}


@pytest.mark.requirement("SEC-10")
@pytest.mark.parametrize("why", REFUSED)
def test_what_the_service_cannot_have_meant_is_refused(why: str) -> None:
    error, octets = REFUSED[why]
    with pytest.raises(error) as refusal:
        decode_records(octets)
    assert type(refusal.value) is error


@pytest.mark.parametrize("member", sorted(json.loads(DOCUMENT)["devices"][0]))
def test_each_member_is_needed_and_of_its_type(member: str) -> None:
    with pytest.raises(Malformed):
        decode_records(_changed(lambda document: document["devices"][0].pop(member)))
    values: tuple[object, ...] = (None, [], {}, 1.5, "", [1], "\x00")
    for value in values:
        if (member, value) not in (("intermediates", []), ("status_reason", "")):
            with pytest.raises(OnboardingError):
                decode_records(_device(member, value))


def test_bits_that_base64_drops_must_be_zero() -> None:
    """Two spellings of one certificate would be two documents of one record."""
    numbers = (f"SN-{'1' * length}" for length in range(1, 64))
    record = next(r for r in (_record(TWO_LEVELS, n) for n in numbers) if len(r.certificate) % 3)
    octets = encode_records([record])
    text = base64.b64encode(record.certificate).decode()
    spare = text.rstrip("=")
    changed = spare[:-1] + chr(ord(spare[-1]) + 1) + text[len(spare) :]
    assert base64.b64decode(changed) == record.certificate
    with pytest.raises(Malformed):
        decode_records(octets.replace(text.encode(), changed.encode()))


def test_two_records_of_one_issuer_are_refused() -> None:
    with pytest.raises(Malformed):
        decode_records(
            _changed(lambda document: document["devices"].append(document["devices"][0]))
        )


def test_records_of_two_serial_numbers_are_refused() -> None:
    """What was asked for is one serial number; a service must not slip in another."""
    other = _record(TWO_LEVELS, "SN-2")
    with pytest.raises(Malformed):
        encode_records([RECORD, other])


def test_no_record_is_no_document() -> None:
    """Absence is a 404, not an empty list."""
    with pytest.raises(Malformed):
        encode_records([])


def test_what_no_reader_would_take_is_not_written() -> None:
    with pytest.raises(Malformed):
        encode_records([replace(RECORD, status_reason="superseded")])
    with pytest.raises(SerialNumberMismatch):
        encode_records([replace(RECORD, serial_number="SN-2")])


def test_every_truncation_is_refused() -> None:
    for length in range(len(DOCUMENT)):
        with pytest.raises(Malformed):
            decode_records(DOCUMENT[:length])


@given(st.integers(0, len(DOCUMENT) - 1), st.integers(1, 255))
def test_an_altered_octet_is_refused_or_stays_a_record(position: int, difference: int) -> None:
    """Hostile octets end in a value or in our own error, never in another exception."""
    octets = bytearray(DOCUMENT)
    octets[position] ^= difference
    try:
        (record,) = decode_records(bytes(octets))
    except OnboardingError:
        return
    assert record.serial_number == "SN-1"
    assert record.idevid_issuer == RECORD.idevid_issuer


@given(st.binary(min_size=20, max_size=20))
def test_issuers_in_urls(idevid_issuer: bytes) -> None:
    text = encode_issuer(idevid_issuer)
    assert len(text) == 27
    assert decode_issuer(text) == idevid_issuer


@pytest.mark.parametrize(
    "text", ["", "A" * 26, "A" * 28, "A" * 26 + "B", "A" * 26 + "\u00e9", "+" * 27]
)
def test_what_is_no_issuer_is_refused(text: str) -> None:
    """27 characters have two spare bits, which must be zero: one spelling for one issuer."""
    with pytest.raises(Malformed):
        decode_issuer(text)


def test_names_that_the_service_made_up_are_escaped_in_the_reason() -> None:
    """It goes into the registrar's log: one line, whatever the names of members are."""
    document = json.loads(DOCUMENT)
    document["devices"][0]["\x1b[2J\n\u202e"] = 1
    with pytest.raises(Malformed) as refusal:
        decode_records(json.dumps(document).encode())
    assert refusal.value.reason.isprintable()
    assert r"'\x1b[2J\n\u202e'" in refusal.value.reason
