"""The build list: written in one way, read whole or not at all."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import cbor2
import cwt
import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from brski.errors import (
    BatchRefused,
    Malformed,
    OnboardingError,
    SignatureInvalid,
    UnknownFormat,
)
from brski.idevid.build_list import (
    LABEL,
    BuildEntry,
    BuildList,
    BuildListHeader,
    BuildListWriter,
    open_build_list,
)
from brski.idevid.record import Presentation
from brski.idevid.signed_chunks import MOST_RECORDS_A_CHUNK, key_digest
from tests.kit import pki
from tests.kit.chunks import cut, join, resign, swap

CREATED = datetime(2025, 3, 1, 8, 30, 0, tzinfo=UTC)
SIGNER = pki.KeySigner(pki.make_key())
OTHER = pki.KeySigner(pki.make_key())
SIGNERS = {"line-1": SIGNER.public_key, "line-2": OTHER.public_key}
FACTS: dict[str, Any] = {
    "signer_id": "line-1",
    "created_at": CREATED,
    "product": "Example Pump 7",
    "generation": 3,
}


def _entry(number: int, **others: Any) -> BuildEntry:
    facts: dict[str, Any] = {
        "chip_id": hashlib.sha256(b"%d" % number).digest()[: 1 + number % 64],
        "serial_number": f"SN-{number:06}",
        "presentation": Presentation.ASSERTED if number % 2 else Presentation.CARRIED,
    }
    return BuildEntry(**(facts | others))


def _write(
    entries: Sequence[BuildEntry], *, signer: pki.KeySigner = SIGNER, **others: Any
) -> bytes:
    writer = BuildListWriter(io.BytesIO())
    for entry in entries:
        writer.add(entry)
    out = io.BytesIO()
    writer.finish(out, signer=signer, **(FACTS | others))
    return out.getvalue()


def _open(octets: bytes) -> BuildList:
    return open_build_list(io.BytesIO(octets), SIGNERS)


ENTRIES = [_entry(1, chip_id=b"\x01"), _entry(2, replace=True), _entry(30)]
FILE = _write(ENTRIES)
ENTRY = st.builds(
    BuildEntry,
    chip_id=st.binary(min_size=1, max_size=64),
    serial_number=st.from_regex(r"[A-Za-z0-9.:-]{1,64}", fullmatch=True),
    presentation=st.sampled_from(Presentation),
    replace=st.booleans(),
)
MOMENTS = st.integers(0, 253402300799).map(lambda s: datetime.fromtimestamp(s, UTC))
ENTRY_LISTS = st.lists(
    ENTRY,
    min_size=1,
    max_size=8,
    unique_by=(lambda entry: entry.chip_id, lambda entry: entry.serial_number),
)


@given(ENTRY_LISTS, st.integers(0, 2**53 - 1), MOMENTS)
def test_what_is_written_is_read(
    entries: list[BuildEntry], generation: int, created_at: datetime
) -> None:
    entries.sort(key=lambda entry: entry.serial_number)
    found = _open(_write(entries, generation=generation, created_at=created_at))
    assert list(found.entries()) == entries
    assert list(found.entries()) == entries
    assert found.header == BuildListHeader(
        signer_id="line-1",
        signer_key_digest=key_digest(SIGNER.public_key),
        created_at=created_at,
        product="Example Pump 7",
        generation=generation,
        entry_count=len(entries),
        chunk_count=1,
    )


def test_the_same_entries_give_the_same_octets() -> None:
    assert _write(ENTRIES) == FILE


def test_a_file_begins_where_the_stream_stands() -> None:
    """And the writer leaves alone what is in its streams already."""
    spool, out = io.BytesIO(b"before"), io.BytesIO(b"before")
    spool.seek(0, io.SEEK_END)
    out.seek(0, io.SEEK_END)
    writer = BuildListWriter(spool)
    for entry in ENTRIES:
        writer.add(entry)
    digest = writer.finish(out, signer=SIGNER, **FACTS)
    assert out.getvalue() == b"before" + FILE
    out.seek(6)
    found = open_build_list(out, SIGNERS)
    assert found.digest == digest
    assert list(found.entries()) == ENTRIES


def test_it_is_laid_out_as_the_page_says() -> None:
    """docs/oem-formats.md, read with another CBOR library and another COSE library."""
    stream = io.BytesIO(FILE)
    label, manifest, chunk = (cbor2.load(stream) for _ in range(3))
    assert stream.read() == b""
    assert label == LABEL
    key = cwt.COSEKey.from_pem(_pem(SIGNER))
    payload = cwt.COSE.new().decode(manifest, key, external_aad=LABEL.encode())
    header, digests = cbor2.loads(payload)
    assert cbor2.loads(header) == {
        "version": 1,
        "signer": "line-1",
        "signer-key": key_digest(SIGNER.public_key),
        "created": 1740817800,
        "product": "Example Pump 7",
        "generation": 3,
        "entries": 3,
        "chunks": 1,
    }
    assert digests == [hashlib.sha256(chunk).digest()]
    assert cbor2.loads(chunk) == [
        [entry.chip_id, entry.serial_number, int(entry.presentation == "asserted"), entry.replace]
        for entry in ENTRIES
    ]
    assert _open(FILE).digest == hashlib.sha256(payload).digest()


def _pem(signer: pki.KeySigner) -> bytes:
    return signer.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("kind", ["P-256", "P-384", "Ed25519"])
def test_another_writer_is_read(kind: str) -> None:
    """The same file, put together by cbor2 and cwt."""
    private_key = pki.make_key(kind)
    signer = pki.KeySigner(private_key)
    chunk = cbor2.dumps([[b"\x07", "SN-7", 1, False]])
    header = {
        "version": 1,
        "signer": "elsewhere",
        "signer-key": key_digest(signer.public_key),
        "created": 0,
        "product": "p",
        "generation": 0,
        "entries": 1,
        "chunks": 1,
    }
    payload = cbor2.dumps([cbor2.dumps(header, canonical=True), [hashlib.sha256(chunk).digest()]])
    pem = private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    sender = cwt.COSE.new(alg_auto_inclusion=True)
    manifest = sender.encode_and_sign(
        payload, cwt.COSEKey.from_pem(pem), external_aad=LABEL.encode()
    )
    octets = cbor2.dumps(LABEL) + cbor2.dumps(manifest) + cbor2.dumps(chunk)
    found = open_build_list(io.BytesIO(octets), {"elsewhere": signer.public_key})
    assert list(found.entries()) == [
        BuildEntry(chip_id=b"\x07", serial_number="SN-7", presentation=Presentation.ASSERTED)
    ]


# -- refused by the writer -------------------------------------------------------------------------


def test_serial_numbers_must_ascend() -> None:
    """As ASCII octets: SN-10 comes before SN-9, and Z before a."""
    _write([_entry(1, serial_number="SN-10"), _entry(2, serial_number="SN-9")])
    _write([_entry(1, serial_number="Z"), _entry(2, serial_number="a")])
    with pytest.raises(BatchRefused, match="entry 1: serial number SN-10 comes after SN-9"):
        _write([_entry(1, serial_number="SN-9"), _entry(2, serial_number="SN-10")])


def test_a_serial_number_of_two_chips_is_not_written() -> None:
    with pytest.raises(BatchRefused, match="entry 1: serial number SN-1 comes twice"):
        _write([_entry(1, serial_number="SN-1"), _entry(2, serial_number="SN-1")])


@pytest.mark.parametrize(
    "others",
    [
        {"chip_id": b""},
        {"chip_id": bytes(65)},
        {"serial_number": ""},
        {"serial_number": "SN_1"},
        {"serial_number": "S" * 65},
    ],
)
def test_an_entry_out_of_bounds_is_not_written(others: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        _write([_entry(1, **others)])


@pytest.mark.parametrize(
    "others",
    [
        {"signer_id": ""},
        {"signer_id": "x" * 65},
        {"product": " Pump"},
        {"product": "Pump\n"},
        {"product": "P\u00fcmp"},
        {"generation": -1},
        {"generation": 2**53},
        {"created_at": datetime(2025, 1, 1)},  # noqa: DTZ001 - without a zone, that is the point
        {"created_at": datetime(2025, 1, 1, 0, 0, 0, 1, tzinfo=UTC)},
        {"created_at": datetime(1969, 12, 31, tzinfo=UTC)},
    ],
)
def test_a_header_out_of_bounds_is_not_written(others: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        _write(ENTRIES, **others)


def test_an_empty_list_is_not_written() -> None:
    with pytest.raises(Malformed):
        _write([])


# -- refused by the reader -------------------------------------------------------------------------


def test_a_chip_with_two_serial_numbers_refuses_the_list() -> None:
    """Named, since a person has to find the two boards."""
    twice = [_entry(1), _entry(2, chip_id=b"\xab\xcd"), _entry(3), _entry(4, chip_id=b"\xab\xcd")]
    octets = _write(twice)
    with pytest.raises(BatchRefused, match=r"chip abcd has two serial numbers, SN-000002 and SN-0"):
        _open(octets)
    twice[3] = replace(twice[3], chip_id=b"\xab\xce")
    assert list(_open(_write(twice)).entries()) == twice


@pytest.fixture(scope="module")
def long_list() -> list[BuildEntry]:
    """Of three chunks, the last with one entry."""
    return [
        BuildEntry(
            chip_id=number.to_bytes(4, "big"),
            serial_number=f"{number:08}",
            presentation=Presentation.CARRIED,
        )
        for number in range(2 * MOST_RECORDS_A_CHUNK + 1)
    ]


@pytest.fixture(scope="module")
def long_file(long_list: list[BuildEntry]) -> bytes:
    return _write(long_list)


def test_a_long_list_comes_in_chunks(long_list: list[BuildEntry], long_file: bytes) -> None:
    found = _open(long_file)
    assert found.header.chunk_count == 3
    assert [len(cbor2.loads(chunk)) for chunk in cut(long_file)[2:]] == [10_000, 10_000, 1]
    assert list(found.entries()) == long_list


def test_two_readers_of_one_stream_do_not_disturb_each_other(long_file: bytes) -> None:
    found = _open(long_file)
    first, second = found.entries(), found.entries()
    pairs = [(next(first), next(second)) for _ in range(MOST_RECORDS_A_CHUNK + 2)]
    assert all(a == b for a, b in pairs)


def test_a_chip_twice_in_far_chunks_is_found(long_list: list[BuildEntry]) -> None:
    entries = [*long_list[:-1], replace(long_list[-1], chip_id=long_list[5].chip_id)]
    with pytest.raises(
        BatchRefused, match="00000005 has two serial numbers, 00000005 and 00020000"
    ):
        _open(_write(entries))


@pytest.mark.parametrize(
    "change",
    [
        lambda parts: swap(parts, 2, 3),
        lambda parts: parts[:-1],
        lambda parts: [*parts[:3], *parts[4:]],
        lambda parts: [*parts[:4], parts[3]],
        lambda parts: [*parts[:4], parts[2]],
    ],
    ids=[
        "swapped",
        "last one left out",
        "middle one left out",
        "one twice",
        "another in its place",
    ],
)
def test_chunks_out_of_place_are_refused(
    long_file: bytes, change: Callable[[list[Any]], list[Any]]
) -> None:
    with pytest.raises((BatchRefused, Malformed)):
        _open(join(change(cut(long_file))))


def test_a_chunk_too_many_is_refused() -> None:
    parts = cut(FILE)
    with pytest.raises(Malformed, match="after the last chunk"):
        _open(join([*parts, parts[2]]))


def test_a_chunk_of_another_list_is_refused() -> None:
    """Signed by the same signer, but not for this place."""
    other = cut(_write(ENTRIES[:2]))
    with pytest.raises(BatchRefused, match="chunk 0 is not the one"):
        _open(join([*cut(FILE)[:2], other[2]]))


def test_another_signer_is_refused() -> None:
    """Configured, but for another name; or not configured at all."""
    with pytest.raises(BatchRefused, match="signs with key"):
        _open(_write(ENTRIES, signer=OTHER))
    with pytest.raises(BatchRefused, match="not configured") as refusal:
        _open(_write(ENTRIES, signer_id="line-3"))
    assert refusal.value.hint == "configured: line-1, line-2"
    with pytest.raises(BatchRefused, match="not configured"):
        open_build_list(io.BytesIO(FILE), {})
    assert list(_open(_write(ENTRIES, signer=OTHER, signer_id="line-2")).entries()) == ENTRIES


_resigned = partial(resign, FILE, signer=SIGNER)


def test_the_key_of_another_accepted_signer_is_refused() -> None:
    """The header names line-1 and its key, line-2 has signed."""
    with pytest.raises(SignatureInvalid):
        _open(resign(FILE, signer=OTHER))


HEADERS: dict[str, tuple[type[OnboardingError], Callable[[dict[str, Any]], object]]] = {
    "version 2": (UnknownFormat, lambda h: h.update(version=2)),
    "version true": (UnknownFormat, lambda h: h.update(version=True)),
    "a member too many": (Malformed, lambda h: h.update(note="")),
    "created beyond 9999": (Malformed, lambda h: h.update(created=253402300800)),
    "created as text": (Malformed, lambda h: h.update(created="2025-01-01T00:00:00Z")),
    "created negative": (Malformed, lambda h: h.update(created=-1)),
    "a signer of 65 characters": (Malformed, lambda h: h.update(signer="x" * 65)),
    "a product that is no text": (Malformed, lambda h: h.update(product=b"p")),
    "a generation that is true": (Malformed, lambda h: h.update(generation=True)),
    "a key digest of 31 octets": (Malformed, lambda h: h.update({"signer-key": bytes(31)})),
    "another key digest": (BatchRefused, lambda h: h.update({"signer-key": bytes(32)})),
    "one entry more": (BatchRefused, lambda h: h.update(entries=4)),
    "no entry": (Malformed, lambda h: h.update(entries=0)),
    "one chunk more": (BatchRefused, lambda h: h.update(chunks=2)),
    "a tag": (Malformed, lambda h: h.update(created=cbor2.CBORTag(1, 0))),
}


def _without(member: str) -> Callable[[dict[str, Any]], object]:
    return lambda header: header.pop(member)


for member in ("version", "signer", "signer-key", "created", "product", "generation", "entries"):
    HEADERS[f"without {member}"] = (
        UnknownFormat if member == "version" else Malformed,
        _without(member),
    )


@pytest.mark.parametrize("why", HEADERS)
def test_a_header_that_says_something_else_is_refused(why: str) -> None:
    error, change = HEADERS[why]
    with pytest.raises(error) as refusal:
        _open(_resigned(header=change))
    assert type(refusal.value) is error


def _set(index: int, value: Any) -> Callable[[list[Any]], object]:
    return lambda records: records[1].__setitem__(index, value)


RECORDS: dict[str, tuple[type[OnboardingError], Callable[[list[Any]], object]]] = {
    "an entry of 3 items": (Malformed, lambda r: r[1].pop()),
    "an entry of 5 items": (Malformed, lambda r: r[1].append(0)),
    "an entry that is no array": (Malformed, lambda r: r.__setitem__(1, "SN-2")),
    "a chip id as text": (Malformed, _set(0, "02")),
    "a chip id of no octets": (Malformed, _set(0, b"")),
    "a chip id of 65 octets": (Malformed, _set(0, bytes(65))),
    "a serial number as octets": (Malformed, _set(1, b"SN-000002")),
    "a serial number with an underscore": (Malformed, _set(1, "SN_000002")),
    "a serial number with a line end": (Malformed, _set(1, "SN-000002\n")),
    "presentation 2": (Malformed, _set(2, 2)),
    "presentation as text": (Malformed, _set(2, "carried")),
    "presentation true": (Malformed, _set(2, True)),
    "replace 1": (Malformed, _set(3, 1)),
    "replace null": (Malformed, _set(3, None)),
    "the serial number before": (BatchRefused, _set(1, "SN-000001")),
    "an earlier serial number": (BatchRefused, _set(1, "SN-000000")),
    "a later serial number": (BatchRefused, _set(1, "SN-000031")),
    "the chip before": (BatchRefused, _set(0, b"\x01")),
    "entries swapped": (BatchRefused, lambda r: r.reverse()),
    "an entry left out": (BatchRefused, lambda r: r.pop()),
    "an entry twice": (BatchRefused, lambda r: r.append(r[2])),
    "no entries": (Malformed, lambda r: r.clear()),
}


@pytest.mark.parametrize("why", RECORDS)
def test_signed_entries_that_say_something_else_are_refused(why: str) -> None:
    """Although the signer has signed them: it is the side that is trusted least."""
    error, change = RECORDS[why]
    with pytest.raises(error) as refusal:
        _open(_resigned(records=change))
    assert type(refusal.value) is error
