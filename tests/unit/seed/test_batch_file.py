"""A seed batch as a file: what is accepted, and every way in which it is refused."""

from __future__ import annotations

import hashlib
import json
import re
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import cbor2
import pytest
from cryptography.hazmat.primitives.serialization import load_der_public_key
from cwt import COSE
from hypothesis import given, settings
from hypothesis import strategies as st

from brski.errors import (
    BatchRefused,
    KeyUnusable,
    Malformed,
    OnboardingError,
    PeerError,
    SignatureInvalid,
    TooLarge,
    UnknownFormat,
)
from brski.pki import cbor, cose
from brski.seed.batch import (
    LABEL,
    MOST_MANIFEST_OCTETS,
    MOST_SEALED_OCTETS,
    encode_header,
    open_chunk,
    parse_header,
    seal_chunk,
    sign_batch,
)
from brski.seed.batch_file import mint, open_batch
from brski.seed.profiles import profile
from brski.seed.recipient_key import HybridPrivateKey
from brski.seed.record import SeedRecord
from brski.seed.secret import Seed
from tests.kit import pki
from tests.unit.seed import second_opinion
from tests.unit.seed.conftest import World, records

DATA = Path(__file__).parent / "data"
PAGE = (Path(__file__).parents[3] / "docs" / "seed-batch.md").read_text()
AAD = LABEL.encode()


def pieces(file: bytes) -> list[Any]:
    """Label, manifest, chunks."""
    stream, items = BytesIO(file), []
    while stream.tell() < len(file):
        items.append(cbor2.load(stream))
    return items


def joined(*items: str | bytes) -> bytes:
    return b"".join(map(cbor.encode, items))


def signed(world: World, header: Any, digests: Any) -> bytes:
    """A manifest over anything."""
    return cose.sign1(cbor.encode([header, digests]), world.vendor, external_aad=AAD)


def digest(octets: bytes) -> bytes:
    return hashlib.sha256(octets).digest()


def all_records(world: World, file: bytes) -> list[SeedRecord]:
    batch = world.open(file)
    return [
        record
        for index, sealed in batch.sealed_chunks()
        for record in open_chunk(batch.header_octets, index, sealed, world.oem)
    ]


@pytest.fixture(scope="module")
def file(world: World) -> bytes:
    """Five records in three chunks."""
    return world.mint()[0]


# -- accepted


def test_a_minted_batch_opens(world: World) -> None:
    file, receipt = world.mint()
    batch = world.open(file)
    assert batch.header == world.header()
    assert batch.header_octets == receipt.header_octets == encode_header(world.header())
    assert batch.digest == receipt.digest
    assert all_records(world, file) == list(records(5))


def test_chunks_are_read_in_any_order_and_a_stream_from_where_it_stands(world: World) -> None:
    file, _ = world.mint()
    stream = BytesIO(b"something else" + file)
    stream.seek(14)
    batch = open_batch(stream, world.vendors, world.oem.public_key.key_id)
    for index in (2, 0, 1, 0):
        sealed = batch.sealed_chunk(index)
        opened = open_chunk(batch.header_octets, index, sealed, world.oem)
        assert opened == records(5)[2 * index : 2 * index + 2]
    for index in (-1, 3):
        with pytest.raises(BatchRefused, match=f"no chunk {index} among 3"):
            batch.sealed_chunk(index)


RECORDS = st.builds(
    SeedRecord,
    chip_id=st.binary(min_size=1, max_size=64),
    seed=st.builds(Seed, st.binary(min_size=32, max_size=512)),
)


@settings(max_examples=30)
@given(
    minted=st.lists(
        RECORDS,
        min_size=1,
        max_size=12,
        unique_by=(lambda record: record.chip_id, lambda record: record.seed.octets),
    ),
    records_a_chunk=st.integers(1, 13),
)
def test_whatever_is_minted_comes_back(
    world: World, minted: list[SeedRecord], records_a_chunk: int
) -> None:
    file, _ = world.mint(world.header(len(minted), records_a_chunk), minted)
    assert all_records(world, file) == minted


@pytest.mark.parametrize("kind", ["P-256", "P-384", "Ed25519"])
def test_the_second_implementation_reads_what_we_mint(world: World, kind: str) -> None:
    """cbor2, cwt, and HPKE by hand."""
    world = replace(world, vendor=pki.KeySigner(pki.make_key(kind)))
    file, _ = world.mint()
    header, chunks = second_opinion.read(file, world.oem.encode(), world.vendor.public_key)
    assert header == cbor2.loads(encode_header(world.header()))
    assert [len(chunk) for chunk in chunks] == [2, 2, 1]
    assert [[r.chip_id, r.seed.octets] for r in records(5)] == [r for c in chunks for r in c]


@pytest.mark.parametrize("kind", ["P-256", "P-384", "Ed25519"])
def test_we_read_what_the_second_implementation_mints(world: World, kind: str) -> None:
    vendor = pki.KeySigner(pki.make_key(kind))
    world = replace(world, vendor=vendor)
    header = cbor2.loads(encode_header(world.header()))
    minted = [[record.chip_id, record.seed.octets] for record in records(5)]
    public = world.oem.public_key.encode()
    file = second_opinion.write(header, minted, public, vendor.private_key)
    assert all_records(world, file) == list(records(5))


def test_the_committed_batch_opens_for_ever() -> None:
    """Made by the second implementation; its seeds derive the keys that they must."""
    told = json.loads((DATA / "batch_v1.json").read_text())
    oem = HybridPrivateKey.parse(bytes.fromhex(told["recipient_private"]))
    vendor_key = load_der_public_key(bytes.fromhex(told["vendor_spki"]))
    file = (DATA / "batch_v1.cborseq").read_bytes()
    batch = open_batch(BytesIO(file), {"example-silicon": vendor_key}, oem.public_key.key_id)  # type: ignore[dict-item]  # it is P-256
    opened = [
        record
        for index, sealed in batch.sealed_chunks()
        for record in open_chunk(batch.header_octets, index, sealed, oem)
    ]
    assert [[r.chip_id.hex(), r.seed.octets.hex()] for r in opened] == told["records"]
    assert batch.header.sequence == 2
    assert batch.header.batch_id == "2025/0042"
    for record in opened:
        profile(batch.header.derivation_profile).derive(record.seed, record.chip_id)
    page = re.sub(r"\s", "", PAGE)
    for value in (batch.header_octets, digest(batch.header_octets), batch.digest):
        assert value.hex() in page
    assert told["recipient_key_id"] in page
    assert second_opinion.chunk_info(batch.header_octets, 1, 2, 2).hex() in page


# -- not this format, or not whole


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"\x73brski seed batch v",
        b"\x73brski seed batch v2",
        b"\x73brski build list v1",
        b"PK\x03\x04" + bytes(30),
    ],
)
def test_another_format_or_version_is_unknown(world: World, file: bytes, start: bytes) -> None:
    with pytest.raises((UnknownFormat, Malformed)) as caught:
        world.open(start + (file[20:] if len(start) >= 20 else b""))
    if len(start) >= 20:
        assert isinstance(caught.value, UnknownFormat)


def test_a_file_that_ends_early_is_refused_wherever_it_ends(world: World, file: bytes) -> None:
    world.open(file)
    for length in range(len(file)):
        with pytest.raises(Malformed, match="ends early"):
            world.open(file[:length])


def test_one_altered_bit_anywhere_is_refused(world: World, file: bytes) -> None:
    """Whatever the octet says, the refusal is a typed one."""
    for at in range(len(file)):
        altered = bytearray(file)
        altered[at] ^= 1 << at % 8
        with pytest.raises((PeerError, BatchRefused)):
            world.open(bytes(altered))


@pytest.mark.parametrize("more", [b"\x00", b"\xf6", cbor.encode(bytes(2000))])
def test_octets_after_the_last_chunk_are_refused(world: World, file: bytes, more: bytes) -> None:
    with pytest.raises(Malformed, match="after the last chunk"):
        world.open(file + more)


@pytest.mark.parametrize(
    ("head", "error", "why"),
    [
        ("40", Malformed, "no tag 18"),
        ("60", Malformed, "manifest is no byte string"),
        ("80", Malformed, "manifest is no byte string"),
        ("5f", Malformed, "manifest is no byte string"),
        ("5c", Malformed, "manifest is no byte string"),
        ("5817", Malformed, "longer head"),
        ("5900ff", Malformed, "longer head"),
        ("5a0000ffff", Malformed, "longer head"),
        ("5b00000000ffffffff", Malformed, "longer head"),
        ("5a00100001", TooLarge, "1048577 octets, 1048576 are the most"),
        ("5bffffffffffffffff", TooLarge, "1048576 are the most"),
        ("5a00100000", Malformed, "ends early, in its manifest"),
    ],
)
def test_a_manifest_has_a_bounded_length_in_the_shortest_form(
    world: World, head: str, error: type[OnboardingError], why: str
) -> None:
    assert MOST_MANIFEST_OCTETS == 1048576
    with pytest.raises(error, match=why):
        world.open(cbor.encode(LABEL) + bytes.fromhex(head) + b"\x00" * 300)


def test_a_chunk_longer_than_its_records_can_be_is_refused(world: World, file: bytes) -> None:
    label, manifest, *_ = pieces(file)
    head = b"\x5a" + (MOST_SEALED_OCTETS + 1).to_bytes(4, "big")
    with pytest.raises(TooLarge, match=f"chunk 0 of {MOST_SEALED_OCTETS + 1} octets"):
        world.open(joined(label, manifest) + head)


def test_a_chunk_shorter_than_one_record_is_refused(world: World) -> None:
    short = bytes(1173)
    manifest = sign_batch(encode_header(world.header(1)), [digest(short)], world.vendor)
    with pytest.raises(BatchRefused, match="chunk 0 of 1173 octets is none"):
        world.open(joined(LABEL, manifest, short))
    world.open(
        joined(
            LABEL, signed(world, encode_header(world.header(1)), [digest(bytes(1174))]), bytes(1174)
        )
    )


# -- whose it is


def test_a_vendor_that_is_not_configured_is_refused(world: World, file: bytes) -> None:
    others = {"other-silicon": world.vendor.public_key}
    with pytest.raises(BatchRefused, match="vendor 'example-silicon' is not configured") as caught:
        open_batch(BytesIO(file), others, world.oem.public_key.key_id)
    assert caught.value.hint == "configured: other-silicon"


def test_a_vendor_with_another_key_than_configured_is_refused(
    world: World, other_world: World, file: bytes
) -> None:
    vendors = {world.vendor_id: other_world.vendor.public_key}
    with pytest.raises(BatchRefused, match="configured is"):
        open_batch(BytesIO(file), vendors, world.oem.public_key.key_id)


def both(world: World, other_world: World) -> dict[str, Any]:
    return world.vendors | other_world.vendors


def test_signed_by_another_accepted_vendor_is_refused(
    world: World, other_world: World, file: bytes
) -> None:
    label, manifest, *chunks = pieces(file)
    payload = cose.unverified_payload(manifest)
    resigned = cose.sign1(payload, other_world.vendor, external_aad=AAD)
    with pytest.raises(SignatureInvalid):
        open_batch(
            BytesIO(joined(label, resigned, *chunks)),
            both(world, other_world),
            world.oem.public_key.key_id,
        )


def test_another_vendor_cannot_sign_the_chunks_as_its_own(
    world: World, other_world: World, file: bytes
) -> None:
    """Its header, its signature, the first vendor's sealed chunks: verifies, but does not open."""
    _, _, *chunks = pieces(file)
    header = encode_header(
        replace(other_world.header(), recipient_key_id=world.oem.public_key.key_id)
    )
    manifest = sign_batch(header, list(map(digest, chunks)), other_world.vendor)
    batch = open_batch(
        BytesIO(joined(LABEL, manifest, *chunks)),
        both(world, other_world),
        world.oem.public_key.key_id,
    )
    with pytest.raises(BatchRefused, match="chunk 0 does not open"):
        open_chunk(batch.header_octets, 0, batch.sealed_chunk(0), world.oem)


def test_a_signature_for_another_purpose_is_refused(world: World, file: bytes) -> None:
    label, manifest, *chunks = pieces(file)
    payload = cose.unverified_payload(manifest)
    for purpose in (b"brski build list v1", b""):
        other = cose.sign1(payload, world.vendor, external_aad=purpose)
        with pytest.raises(SignatureInvalid):
            world.open(joined(label, other, *chunks))


def test_kid_is_a_hint_that_nobody_follows(world: World, file: bytes) -> None:
    """The configured key verifies, whatever key the message names."""
    label, manifest, *chunks = pieces(file)
    payload = cose.unverified_payload(manifest)
    key = second_opinion.cose_key(world.vendor.private_key)
    with_kid = COSE.new(alg_auto_inclusion=True).encode_and_sign(
        payload, key, unprotected={4: b"somebody else"}, external_aad=AAD
    )
    assert world.open(joined(label, with_kid, *chunks)).header == world.header()


def test_a_critical_header_is_refused(world: World, file: bytes) -> None:
    label, manifest, *chunks = pieces(file)
    payload = cose.unverified_payload(manifest)
    protected = cbor.encode({1: -7, 2: [-70001], -70001: 1})
    to_sign = cbor.encode(["Signature1", protected, AAD, payload])
    r_s = pki_raw_signature(world, to_sign)
    critical = b"\xd2" + cbor.encode([protected, {}, payload, r_s])
    with pytest.raises((UnknownFormat, Malformed, SignatureInvalid)):
        world.open(joined(label, critical, *chunks))
    plain = cbor.encode({1: -7})
    r_s = pki_raw_signature(world, cbor.encode(["Signature1", plain, AAD, payload]))
    world.open(joined(label, b"\xd2" + cbor.encode([plain, {}, payload, r_s]), *chunks))


def pki_raw_signature(world: World, data: bytes) -> bytes:
    key = second_opinion.cose_key(world.vendor.private_key)
    return key.sign(data)


def test_a_batch_for_another_oem_is_refused(world: World, other_world: World, file: bytes) -> None:
    with pytest.raises(BatchRefused, match="sealed to recipient key"):
        open_batch(BytesIO(file), world.vendors, other_world.oem.public_key.key_id)


def test_a_batch_readdressed_to_another_oem_does_not_open(
    world: World, other_world: World, file: bytes
) -> None:
    """Even by the vendor itself: chunks are bound to the header that names the recipient."""
    _, _, *chunks = pieces(file)
    key_id = other_world.oem.public_key.key_id
    header = encode_header(world.header(recipient_key_id=key_id))
    manifest = sign_batch(header, list(map(digest, chunks)), world.vendor)
    batch = open_batch(BytesIO(joined(LABEL, manifest, *chunks)), world.vendors, key_id)
    with pytest.raises(BatchRefused, match="chunk 0 does not open"):
        open_chunk(batch.header_octets, 0, batch.sealed_chunk(0), other_world.oem)


def test_an_unknown_profile_is_refused_before_anything_is_opened(world: World) -> None:
    header = encode_header(world.header(derivation_profile="no-such"))
    with pytest.raises(UnknownFormat, match="derivation profile 'no-such' is not known"):
        world.open(joined(LABEL, signed(world, header, [bytes(32)] * 3)))


# -- the manifest's contents, each under a good signature


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (lambda header: [header, [bytes(32)] * 2], "2 digests for 3 chunks"),
        (lambda header: [header, [bytes(32)] * 4], "4 digests for 3 chunks"),
        (lambda header: [header, []], "0 digests for 3 chunks"),
        (lambda header: [header, [bytes(32), bytes(32), bytes(31)]], "digest has not 32 octets"),
        (lambda header: [header, [bytes(32), bytes(32), "x" * 32]], "digest has not 32 octets"),
        (lambda header: [header], "no header and digests"),
        (lambda header: [header, [bytes(32)] * 3, 1], "no header and digests"),
        (lambda header: [cbor.decode(header), [bytes(32)] * 3], "no header and digests"),
        (lambda header: [header, bytes(96)], "no header and digests"),
        (lambda header: {1: header}, "no header and digests"),
        (lambda header: header, "no header and digests"),
        (lambda header: [header + b"\x00", [bytes(32)] * 3], "after the item"),
    ],
)
def test_a_payload_of_another_shape_is_refused(world: World, payload: Any, why: str) -> None:
    octets = cbor.encode(payload(encode_header(world.header())))
    manifest = cose.sign1(octets, world.vendor, external_aad=AAD)
    with pytest.raises(Malformed, match=why):
        world.open(joined(LABEL, manifest))


def test_a_header_of_another_version_is_unknown_also_when_signed(world: World) -> None:
    members = cbor2.loads(encode_header(world.header()))
    header = cbor.encode(members | {"version": 2})
    with pytest.raises(UnknownFormat, match="version 2, not 1"):
        world.open(joined(LABEL, signed(world, header, [bytes(32)] * 3)))


@settings(max_examples=40)
@given(st.binary(max_size=80))
def test_a_payload_of_anything_is_refused_with_a_type(world: World, payload: bytes) -> None:
    manifest = cose.sign1(payload, world.vendor, external_aad=AAD)
    with pytest.raises(PeerError):
        world.open(joined(LABEL, manifest))


# -- chunks that are not the ones signed


def test_chunks_that_are_not_the_ones_signed_are_refused(world: World, file: bytes) -> None:
    label, manifest, first, second, third = pieces(file)
    other = pieces(world.mint(world.header(batch_id="other"))[0])
    for index, chunks in {
        0: [second, first, third],  # swapped
        1: [first, first, third],  # one twice, in the place of another
        2: [first, second, other[4]],  # of another batch
    }.items():
        with pytest.raises(BatchRefused, match=f"chunk {index} is not the one"):
            world.open(joined(label, manifest, *chunks))
    with pytest.raises(BatchRefused, match="chunk 1 is not the one"):
        world.open(joined(label, manifest, first, third))  # one left out
    with pytest.raises(Malformed, match="ends early, in its chunk 2"):
        world.open(joined(label, manifest, first, second))  # the last left out
    with pytest.raises(Malformed, match="after the last chunk"):
        world.open(joined(label, manifest, first, second, third, third))  # one more
    world.open(joined(label, manifest, first, second, third))


def test_chunks_that_the_vendor_signed_in_the_wrong_order_do_not_open(world: World) -> None:
    """The signature is good and so are all digests; the place is bound into the sealing."""
    octets = encode_header(world.header(4, 2))
    chunks = [seal_chunk(octets, i, records(2, start=2 * i), world.oem.public_key) for i in (0, 1)]
    chunks.reverse()
    manifest = sign_batch(octets, list(map(digest, chunks)), world.vendor)
    batch = world.open(joined(LABEL, manifest, *chunks))
    for index in (0, 1):
        with pytest.raises(BatchRefused, match=f"chunk {index} does not open"):
            open_chunk(octets, index, batch.sealed_chunk(index), world.oem)


def test_a_file_that_changes_after_it_was_opened_is_refused(world: World, file: bytes) -> None:
    """Nothing comes out of the file that the signature does not cover, then or later."""
    stream = BytesIO(file)
    batch = open_batch(stream, world.vendors, world.oem.public_key.key_id)
    batch.sealed_chunk(2)
    stream.seek(len(file) - 1)
    stream.write(bytes([file[-1] ^ 1]))
    batch.sealed_chunk(1)
    with pytest.raises(BatchRefused, match="chunk 2 has changed"):
        batch.sealed_chunk(2)
    stream.truncate(100)
    with pytest.raises(BatchRefused, match="chunk 0 has changed"):
        next(batch.sealed_chunks())


# -- minting


def test_a_wrong_number_of_records_is_not_minted(world: World) -> None:
    with pytest.raises(BatchRefused, match="0 records, the header says 1"):
        world.mint(world.header(5), records(4))
    with pytest.raises(BatchRefused, match="more records than the 5"):
        world.mint(world.header(5), records(6))


def test_a_chip_or_seed_twice_in_a_chunk_is_not_minted(world: World) -> None:
    one, two = records(2)
    for pair in ([one, replace(two, chip_id=one.chip_id)], [one, replace(two, seed=one.seed)]):
        with pytest.raises(BatchRefused):
            world.mint(world.header(2), pair)


def test_another_signer_or_recipient_than_the_headers_does_not_mint(
    world: World, other_world: World
) -> None:
    with pytest.raises(KeyUnusable, match="another vendor key"):
        replace(world, vendor=other_world.vendor).mint(world.header())
    with pytest.raises(BatchRefused, match="sealed to recipient key"):
        replace(world, oem=other_world.oem).mint(world.header())


def test_minting_twice_gives_two_sealings_under_one_header(world: World) -> None:
    (first, receipt), (second, again) = world.mint(), world.mint()
    assert receipt.header_octets == again.header_octets
    assert receipt.digest != again.digest
    assert not set(pieces(first)[2:]) & set(pieces(second)[2:])


def test_nothing_of_a_seed_is_in_the_file(world: World, file: bytes) -> None:
    for record in records(5):
        assert record.seed.octets[:8] not in file
        assert record.chip_id not in file


# -- size


@pytest.mark.slow
def test_memory_is_that_of_one_chunk_however_many_there_are(world: World, tmp_path: Path) -> None:
    """Minting, verifying and reading six chunks takes no more than two do."""
    peaks = [peak_of(world, tmp_path, chunks) for chunks in (2, 6)]
    assert peaks[1] < 1.15 * peaks[0]


def peak_of(world: World, folder: Path, chunks: int) -> int:
    def drawn() -> Iterator[SeedRecord]:
        for number in range(chunks * 2_000):
            yield records(1, start=number)[0]

    path = folder / f"batch-{chunks}"
    tracemalloc.start()
    with path.open("wb") as out, (folder / "spool").open("w+b") as spool:
        mint(
            world.header(chunks * 2_000, 2_000),
            drawn(),
            recipient=world.oem.public_key,
            signer=world.vendor,
            out=out,
            spool=spool,
        )
    with path.open("rb") as stream:
        read_all(world, stream, chunks)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def read_all(world: World, stream: BinaryIO, chunks: int) -> None:
    batch = open_batch(stream, world.vendors, world.oem.public_key.key_id)
    for index, sealed in batch.sealed_chunks():
        assert len(open_chunk(batch.header_octets, index, sealed, world.oem)) == 2_000
    assert index == chunks - 1


def test_a_chunk_of_ten_thousand_records_opens(world: World) -> None:
    """The most that a chunk holds; one more makes two chunks of it."""
    many = records(10_000)
    octets = encode_header(world.header(10_000, 10_000))
    sealed = seal_chunk(octets, 0, many, world.oem.public_key)
    assert open_chunk(octets, 0, sealed, world.oem) == many
    assert parse_header(encode_header(world.header(10_001, 10_000))).chunk_count == 2
    with pytest.raises(Malformed, match="10001 records do not fit into 1 chunks"):
        world.header(10_001, 20_000)
