"""The bundle: what the factory publishes, read whole or not at all."""

from __future__ import annotations

import hashlib
import io
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import cbor2
import cwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from brski.errors import (
    BundleRefused,
    ChainInvalid,
    IDevIDIssuerMismatch,
    KeyNotAllowed,
    Malformed,
    OnboardingError,
    PeerError,
    SerialNumberMismatch,
    SignatureInvalid,
    TooLarge,
    UnknownFormat,
)
from brski.idevid import signed_chunks
from brski.idevid.bundle import (
    LABEL,
    Bundle,
    BundleHeader,
    BundleOrigin,
    BundleWriter,
    CertifiedDevice,
    Revocation,
    open_bundle,
)
from brski.idevid.profile import IDevIDProfile
from brski.idevid.record import DeviceRecord, DeviceStatus, Presentation
from brski.idevid.record_json import decode_records, encode_records
from brski.idevid.signed_chunks import MOST_CHUNK_OCTETS, MOST_RECORDS_A_CHUNK, key_digest
from brski.pki import cose, extensions, keys
from tests.kit import pki
from tests.kit.chunks import Changing, cut, join, resign, swap

CREATED = datetime(2025, 3, 1, 8, 30, 0, tzinfo=UTC)
FACTORY = pki.KeySigner(pki.make_key("P-384"))
OTHER = pki.KeySigner(pki.make_key())
FACTORIES = {"factory-1": FACTORY.public_key, "factory-2": OTHER.public_key}
ISSUER = pki.make_pki()
ISSUER_ID = extensions.subject_key_identifier(ISSUER.certificate)
CHAIN = tuple(keys.certificate_der(certificate) for certificate in ISSUER.chain)
ORIGIN = BundleOrigin(
    factory_id="factory-1",
    batch_digest=hashlib.sha256(b"batch").digest(),
    build_list_digest=hashlib.sha256(b"build list").digest(),
    generation=3,
    created_at=CREATED,
    product="Example Pump 7",
    derivation_profile="hmac-drbg-p256",
    issuing_chain=CHAIN,
)
PROFILE = IDevIDProfile(issuer=ISSUER.certificate, masa_url=pki.MASA_URL, not_before=CREATED)
DEVICE_KEY = pki.make_key()
SPKI = keys.encode_spki(DEVICE_KEY.public_key())


def _certificate(serial_number: str) -> bytes:
    return PROFILE.certify(SPKI, serial_number, ISSUER.signer)


def _revocation(number: int, **others: Any) -> Revocation:
    facts: dict[str, Any] = {
        "idevid_issuer": hashlib.sha256(b"issuer").digest()[:20],
        "serial_number": f"SN-{number}",
        "certificate_sha256": hashlib.sha256(b"%d" % number).digest(),
    }
    return Revocation(**(facts | others))


def _device(serial_number: str, **others: Any) -> CertifiedDevice:
    facts: dict[str, Any] = {
        "serial_number": serial_number,
        "presentation": Presentation.ASSERTED,
        "certificate": _certificate(serial_number),
        "chunk": 0,
    }
    return CertifiedDevice(**(facts | others))


def _write(
    devices: Sequence[CertifiedDevice],
    *,
    origin: BundleOrigin = ORIGIN,
    signer: pki.KeySigner = FACTORY,
) -> bytes:
    writer = BundleWriter(io.BytesIO(), origin)
    for device in devices:
        writer.add(device)
    out = io.BytesIO()
    writer.finish(out, signer)
    return out.getvalue()


def _open(octets: bytes) -> Bundle:
    return open_bundle(io.BytesIO(octets), FACTORIES)


def _record(device: CertifiedDevice) -> DeviceRecord:
    assert ISSUER_ID is not None
    return DeviceRecord(
        idevid_issuer=ISSUER_ID,
        serial_number=device.serial_number,
        certificate=device.certificate,
        spki=SPKI,
        intermediates=CHAIN[:-1],
        presentation=device.presentation,
        derivation_profile="hmac-drbg-p256",
        batch_digest=ORIGIN.batch_digest,
        chunk=device.chunk,
        generation=3,
    )


DEVICES = [
    _device("SN-1", presentation=Presentation.CARRIED),
    _device("SN-2", chunk=7, replaces=(_revocation(2), _revocation(5))),
    _device("SN-3"),
]
FILE = _write(DEVICES)

REVOCATIONS = st.builds(
    Revocation,
    idevid_issuer=st.binary(min_size=20, max_size=20),
    serial_number=st.from_regex(r"[A-Za-z0-9.:-]{1,64}", fullmatch=True),
    certificate_sha256=st.binary(min_size=32, max_size=32),
)
DEVICE_LISTS = st.lists(
    st.builds(
        _device,
        st.from_regex(r"[A-Za-z0-9.:-]{1,64}", fullmatch=True),
        presentation=st.sampled_from(Presentation),
        chunk=st.integers(0, 16383),
        replaces=st.lists(REVOCATIONS, max_size=8, unique=True).map(tuple),
    ),
    min_size=1,
    max_size=5,
    unique_by=lambda device: device.serial_number,
)


@given(DEVICE_LISTS)
def test_what_is_written_is_read(devices: list[CertifiedDevice]) -> None:
    devices.sort(key=lambda device: device.serial_number)
    found = _open(_write(devices))
    assert list(found.records()) == [_record(device) for device in devices]
    assert list(found.records()) == [_record(device) for device in devices]
    assert list(found.revocations()) == [
        entry for device in devices for entry in sorted(device.replaces)
    ]
    assert found.idevid_issuer == ISSUER_ID
    assert found.header == BundleHeader(
        origin=ORIGIN,
        factory_key_digest=key_digest(FACTORY.public_key),
        record_count=len(devices),
        revocation_count=sum(len(device.replaces) for device in devices),
        chunk_count=1,
    )


def test_records_are_active_and_fit_the_document_for_registrars() -> None:
    for record in _open(FILE).records():
        assert record.status is DeviceStatus.ACTIVE
        assert decode_records(encode_records([record])) == (record,)


def test_the_same_devices_give_the_same_octets() -> None:
    """Invariant I6 of the abuse cases, for the file as a whole."""
    turned = replace(DEVICES[1], replaces=DEVICES[1].replaces[::-1])
    assert _write([DEVICES[0], turned, DEVICES[2]]) == FILE


def test_the_digest_does_not_move_with_the_signature() -> None:
    """It names what was signed, so a signer that draws nonces gives the same bundle."""
    drawing = replace(FACTORY, deterministic=False)
    other = _write(DEVICES, signer=drawing)
    assert other != FILE
    assert _open(other).digest == _open(FILE).digest


def test_two_levels_leave_no_intermediates() -> None:
    """The root issues; what a registrar has as anchor is not sent along."""
    root = pki.make_pki(levels=2)
    profile = IDevIDProfile(issuer=root.certificate, masa_url="m.example", not_before=CREATED)
    origin = replace(ORIGIN, issuing_chain=(root.der,))
    device = _device("SN-1", certificate=profile.certify(SPKI, "SN-1", root.signer))
    (record,) = _open(_write([device], origin=origin)).records()
    assert record.intermediates == ()


def test_it_is_laid_out_as_the_page_says() -> None:
    """docs/oem-formats.md, read with another CBOR library and another COSE library."""
    label, manifest, chunk = cut(FILE)
    assert label == LABEL
    pem = FACTORY.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    payload = cwt.COSE.new().decode(
        manifest, cwt.COSEKey.from_pem(pem), external_aad=LABEL.encode()
    )
    header, digests = cbor2.loads(payload)
    assert cbor2.loads(header) == {
        "version": 1,
        "factory": "factory-1",
        "factory-key": key_digest(FACTORY.public_key),
        "batch": ORIGIN.batch_digest,
        "build-list": ORIGIN.build_list_digest,
        "generation": 3,
        "created": 1740817800,
        "product": "Example Pump 7",
        "profile": "hmac-drbg-p256",
        "chain": list(CHAIN),
        "records": 3,
        "revocations": 2,
        "chunks": 1,
    }
    assert digests == [hashlib.sha256(chunk).digest()]
    first, second = sorted(DEVICES[1].replaces)
    assert cbor2.loads(chunk) == [
        ["SN-1", 0, DEVICES[0].certificate, 0, []],
        [
            "SN-2",
            1,
            DEVICES[1].certificate,
            7,
            [
                [first.idevid_issuer, first.serial_number, first.certificate_sha256],
                [second.idevid_issuer, second.serial_number, second.certificate_sha256],
            ],
        ],
        ["SN-3", 1, DEVICES[2].certificate, 0, []],
    ]
    assert _open(FILE).digest == hashlib.sha256(payload).digest()


# -- many ------------------------------------------------------------------------------------------


def _many(count: int) -> Iterator[CertifiedDevice]:
    filler = DEVICES[0].certificate
    for number in range(count):
        yield CertifiedDevice(
            serial_number=f"{number:08}",
            presentation=Presentation.ASSERTED,
            certificate=filler,
            chunk=0,
        )


def test_chunks_are_closed_after_ten_thousand_records() -> None:
    octets = _write(list(_many(2 * MOST_RECORDS_A_CHUNK + 1)))
    assert [len(cbor2.loads(chunk)) for chunk in cut(octets)[2:]] == [10_000, 10_000, 1]
    assert _open(octets).header.chunk_count == 3


def test_chunks_are_closed_before_they_pass_16_mib() -> None:
    """So that a reader's memory is bounded, whatever the size of certificates."""
    large = bytes(16 * 1024)
    octets = _write(
        [
            CertifiedDevice(
                serial_number=f"{number:08}",
                presentation=Presentation.CARRIED,
                certificate=large,
                chunk=0,
            )
            for number in range(1100)
        ]
    )
    chunks = cut(octets)[2:]
    assert [len(cbor2.loads(chunk)) for chunk in chunks] == [1023, 77]
    assert MOST_CHUNK_OCTETS - len(large) - 64 < len(chunks[0]) <= MOST_CHUNK_OCTETS


def test_more_chunks_than_a_manifest_can_name_are_not_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(signed_chunks, "MOST_RECORDS_A_CHUNK", 1)
    monkeypatch.setattr(signed_chunks, "MOST_CHUNKS", 2)
    assert _open(_write(list(_many(2)))).header.chunk_count == 2
    with pytest.raises(TooLarge):
        _write(list(_many(3)))


def test_memory_does_not_grow_with_the_number_of_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writing and reading 40 chunks (small ones here) takes the memory of a few."""
    monkeypatch.setattr(signed_chunks, "MOST_RECORDS_A_CHUNK", 500)
    path = tmp_path / "bundle"
    with path.open("wb") as out, (tmp_path / "spool").open("wb+") as spool:
        tracemalloc.start()
        writer = BundleWriter(spool, ORIGIN)
        for device in _many(40 * 500):
            writer.add(device)
        writer.finish(out, FACTORY)
        _, written = tracemalloc.get_traced_memory()
    chunk_octets = path.stat().st_size / 40
    tracemalloc.reset_peak()
    with path.open("rb") as file:
        found = open_bundle(file, FACTORIES)
        assert next(found.revocations(), None) is None
        _, read = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert written < 8 * chunk_octets
    assert read < 8 * chunk_octets


# -- refused by the writer -------------------------------------------------------------------------


def test_serial_numbers_must_ascend() -> None:
    with pytest.raises(BundleRefused, match="comes after"):
        _write([DEVICES[1], DEVICES[0]])
    with pytest.raises(BundleRefused, match="comes twice"):
        _write([DEVICES[0], DEVICES[0]])


@pytest.mark.parametrize(
    "others",
    [
        {"serial_number": "SN_1"},
        {"certificate": b""},
        {"certificate": bytes(16 * 1024 + 1)},
        {"chunk": -1},
        {"chunk": 16384},
        {"replaces": (_revocation(1), _revocation(1))},
        {"replaces": tuple(map(_revocation, range(9)))},
        {"replaces": (_revocation(1, idevid_issuer=bytes(26)),)},
        {"replaces": (_revocation(1, serial_number=""),)},
        {"replaces": (_revocation(1, certificate_sha256=b""),)},
    ],
)
def test_a_record_out_of_bounds_is_not_written(others: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        _write([replace(DEVICES[0], **others)])


def test_a_record_that_revokes_itself_is_not_written() -> None:
    """Same serial number, other certificate: yes. The very same certificate: no."""
    own = _revocation(1, certificate_sha256=hashlib.sha256(DEVICES[0].certificate).digest())
    with pytest.raises(Malformed, match="revokes its own"):
        _write([replace(DEVICES[0], replaces=(own,))])
    earlier = _revocation(1, serial_number="SN-1", idevid_issuer=ISSUER_ID)
    assert list(_open(_write([replace(DEVICES[0], replaces=(earlier,))])).revocations())


ORIGINS: dict[str, tuple[type[PeerError], dict[str, Any]]] = {
    "no factory": (Malformed, {"factory_id": ""}),
    "a short batch digest": (Malformed, {"batch_digest": bytes(31)}),
    "a short build list digest": (Malformed, {"build_list_digest": bytes(31)}),
    "a generation below 0": (Malformed, {"generation": -1}),
    "a date without zone": (Malformed, {"created_at": CREATED.replace(tzinfo=None)}),
    "a product with a line end": (Malformed, {"product": "Pump\n"}),
    "a profile that is none": (Malformed, {"derivation_profile": "HMAC"}),
    "no chain": (Malformed, {"issuing_chain": ()}),
    "nine certificates": (Malformed, {"issuing_chain": CHAIN[:1] * 9}),
    "a chain that is none": (Malformed, {"issuing_chain": (b"\x30\x00",)}),
    "a chain without its root": (ChainInvalid, {"issuing_chain": CHAIN[:-1]}),
    "a chain upside down": (ChainInvalid, {"issuing_chain": CHAIN[::-1]}),
    "a root of another OEM": (
        ChainInvalid,
        {"issuing_chain": (CHAIN[0], pki.make_pki(levels=2).der)},
    ),
    "an issuer without key identifier": (
        Malformed,
        {"issuing_chain": (pki.make_root(ski=False, not_after=pki.NEVER).der,)},
    ),
    "an issuer with a long key identifier": (
        Malformed,
        {
            "issuing_chain": (
                pki.make_root(ski=False, extra=[(x509.SubjectKeyIdentifier(bytes(32)), False)]).der,
            )
        },
    ),
}


@pytest.mark.parametrize("why", ORIGINS)
def test_an_origin_out_of_bounds_is_refused_before_anything_is_written(why: str) -> None:
    error, others = ORIGINS[why]
    with pytest.raises(error):
        BundleWriter(io.BytesIO(), replace(ORIGIN, **others))


def test_an_empty_bundle_is_not_written() -> None:
    with pytest.raises(Malformed):
        _write([])


# -- refused by the reader -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def long_file() -> bytes:
    """Of three chunks."""
    return _write(list(_many(2 * MOST_RECORDS_A_CHUNK + 1)))


@pytest.mark.parametrize(
    "change",
    [
        lambda parts: swap(parts, 2, 3),
        lambda parts: parts[:-1],
        lambda parts: [*parts[:3], *parts[4:]],
        lambda parts: [*parts[:4], parts[3]],
        lambda parts: [*parts, parts[4]],
    ],
    ids=["swapped", "last one left out", "middle one left out", "one twice", "one too many"],
)
def test_chunks_out_of_place_are_refused(
    long_file: bytes, change: Callable[[list[Any]], list[Any]]
) -> None:
    assert _open(long_file).header.record_count == 20_001
    with pytest.raises((BundleRefused, Malformed)):
        _open(join(change(cut(long_file))))


def test_a_chunk_of_another_bundle_is_refused() -> None:
    other = cut(_write(DEVICES[:2]))
    with pytest.raises(BundleRefused, match="chunk 0 is not the one"):
        _open(join([*cut(FILE)[:2], other[2]]))


def test_another_factory_is_refused() -> None:
    with pytest.raises(BundleRefused, match="signs with key"):
        _open(_write(DEVICES, signer=OTHER))
    with pytest.raises(BundleRefused, match="not configured"):
        _open(_write(DEVICES, origin=replace(ORIGIN, factory_id="factory-3")))
    found = _open(_write(DEVICES, signer=OTHER, origin=replace(ORIGIN, factory_id="factory-2")))
    assert found.header.origin.factory_id == "factory-2"


_resigned = partial(resign, FILE, signer=FACTORY)


def test_the_key_of_another_accepted_factory_is_refused() -> None:
    """The header names factory-1 and its key, factory-2 has signed: another algorithm, too."""
    with pytest.raises((SignatureInvalid, UnknownFormat)):
        _open(resign(FILE, signer=OTHER))
    with pytest.raises(SignatureInvalid):
        _open(resign(FILE, signer=pki.KeySigner(pki.make_key("P-384"))))


HEADERS: dict[str, tuple[type[OnboardingError], Callable[[dict[str, Any]], object]]] = {
    "version 2": (UnknownFormat, lambda h: h.update(version=2)),
    "version true": (UnknownFormat, lambda h: h.update(version=True)),
    "a member too many": (Malformed, lambda h: h.update(note="")),
    "a factory that is no text": (Malformed, lambda h: h.update(factory=b"factory-1")),
    "another key digest": (BundleRefused, lambda h: h.update({"factory-key": bytes(32)})),
    "a batch digest of 33 octets": (Malformed, lambda h: h.update(batch=bytes(33))),
    "a build list digest as text": (Malformed, lambda h: h.update({"build-list": "0" * 32})),
    "a generation of 2**53": (Malformed, lambda h: h.update(generation=2**53)),
    "created beyond 9999": (Malformed, lambda h: h.update(created=253402300800)),
    "a product of 65 characters": (Malformed, lambda h: h.update(product="p" * 65)),
    "a profile in upper case": (Malformed, lambda h: h.update(profile="HMAC-DRBG")),
    "a chain of PEM": (Malformed, lambda h: h.update(chain=["-----BEGIN"])),
    "a chain cut short": (ChainInvalid, lambda h: h["chain"].pop()),
    "a chain without its issuing CA": (IDevIDIssuerMismatch, lambda h: h["chain"].pop(0)),
    "one record more": (BundleRefused, lambda h: h.update(records=4)),
    "one record less": (BundleRefused, lambda h: h.update(records=2)),
    "no record": (Malformed, lambda h: h.update(records=0)),
    "one revocation less": (BundleRefused, lambda h: h.update(revocations=1)),
    "one chunk more": (BundleRefused, lambda h: h.update(chunks=2)),
}


def _without(member: str) -> Callable[[dict[str, Any]], object]:
    return lambda header: header.pop(member)


for member in ("version", "factory", "batch", "chain", "created", "records", "revocations"):
    HEADERS[f"without {member}"] = (
        UnknownFormat if member == "version" else Malformed,
        _without(member),
    )


def test_a_header_that_is_no_map_is_refused() -> None:
    payload = cbor2.dumps([cbor2.dumps(["version", 1]), [bytes(32)]])
    manifest = cose.sign1(payload, FACTORY, external_aad=LABEL.encode())
    with pytest.raises(Malformed, match="no map"):
        _open(join([LABEL, manifest]))


@pytest.mark.parametrize("why", HEADERS)
def test_a_header_that_says_something_else_is_refused(why: str) -> None:
    error, change = HEADERS[why]
    with pytest.raises(error) as refusal:
        list(_open(_resigned(header=change)).records())
    assert type(refusal.value) is error


def _set(index: int, value: Any) -> Callable[[list[Any]], object]:
    return lambda records: records[1].__setitem__(index, value)


def _replaced(value: Any) -> Callable[[list[Any]], object]:
    return _set(4, value)


GOOD = [bytes(20), "SN-9", bytes(32)]
RECORDS: dict[str, tuple[type[OnboardingError], Callable[[list[Any]], object]]] = {
    "a record of 4 items": (Malformed, lambda r: r[1].pop()),
    "a record of 6 items": (Malformed, lambda r: r[1].append(0)),
    "a record that is a map": (Malformed, lambda r: r.__setitem__(1, {})),
    "a serial number as octets": (Malformed, _set(0, b"SN-2")),
    "a serial number with an underscore": (Malformed, _set(0, "SN_2")),
    "presentation 2": (Malformed, _set(1, 2)),
    "presentation false": (Malformed, _set(1, False)),
    "a certificate as text": (Malformed, _set(2, "MIIB")),
    "a certificate of no octets": (Malformed, _set(2, b"")),
    "a chunk below 0": (Malformed, _set(3, -1)),
    "chunk 16384": (Malformed, _set(3, 16384)),
    "revocations as null": (Malformed, _replaced(None)),
    "a revocation of 2 items": (Malformed, _replaced([GOOD[:2]])),
    "a revocation twice": (Malformed, _replaced([GOOD, GOOD])),
    "revocations out of order": (Malformed, _replaced([[*GOOD[:2], b"\x01" * 32], GOOD])),
    "nine revocations": (Malformed, _replaced([[bytes(20), f"{n}", bytes(32)] for n in range(9)])),
    "a revocation under 26 octets": (Malformed, _replaced([[bytes(26), *GOOD[1:]]])),
    "a revocation of itself": (
        Malformed,
        _replaced([[*GOOD[:2], hashlib.sha256(DEVICES[1].certificate).digest()], GOOD][:1]),
    ),
    "the serial number before": (BundleRefused, _set(0, "SN-1")),
    "an earlier serial number": (BundleRefused, _set(0, "SN-0")),
    "records swapped": (BundleRefused, lambda r: r.reverse()),
    "a record left out": (BundleRefused, lambda r: r.pop()),
    "no records": (Malformed, lambda r: r.clear()),
}


@pytest.mark.parametrize("why", RECORDS)
def test_signed_records_that_say_something_else_are_refused_at_opening(why: str) -> None:
    error, change = RECORDS[why]
    with pytest.raises(error) as refusal:
        _open(_resigned(records=change))
    assert type(refusal.value) is error


def _compressed() -> bytes:
    point = SPKI[-64:]
    hybrid = bytes((0x06 | point[-1] & 1,)) + point
    return DEVICES[1].certificate.replace(b"\x04" + point, hybrid)


CERTIFICATES: dict[str, tuple[type[OnboardingError], bytes]] = {
    "no certificate": (Malformed, b"\x30\x03\x02\x01\x00"),
    "octets after it": (Malformed, DEVICES[1].certificate + b"\x00"),
    "another device's": (SerialNumberMismatch, DEVICES[2].certificate),
    "another issuer's": (IDevIDIssuerMismatch, pki.make_idevid(pki.make_pki(), "SN-2").der),
    "a key in another form": (KeyNotAllowed, _compressed()),
}


@pytest.mark.parametrize("why", CERTIFICATES)
def test_a_certificate_of_something_else_is_refused_when_its_record_is_read(why: str) -> None:
    """The record before it is sound; so a database reads all within one transaction."""
    error, certificate = CERTIFICATES[why]
    found = _open(_resigned(records=_set(2, certificate)))
    records = found.records()
    assert next(records).serial_number == "SN-1"
    with pytest.raises(error, match="record 1, SN-2") as refusal:
        next(records)
    assert type(refusal.value) is error


def test_a_file_that_changes_after_it_was_verified_is_refused_by_revocations_too() -> None:
    """Its records are in the suite of all files of signed chunks."""
    file = Changing(FILE, b"SN-3", b"SN-4")
    found = open_bundle(file, FACTORIES)
    file.changed = True
    with pytest.raises(BundleRefused, match="chunk 0 is not the one"):
        list(found.revocations())
