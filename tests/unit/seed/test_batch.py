"""Header, chunk and manifest of a seed batch: docs/seed-batch.md, octet by octet."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from brski.errors import BatchRefused, KeyUnusable, Malformed, OnboardingError, UnknownFormat
from brski.pki import cbor
from brski.pki.keys import encode_spki
from brski.seed import profiles
from brski.seed.batch import (
    LEAST_SEALED_OCTETS,
    MOST_SEALED_OCTETS,
    BatchHeader,
    chunk_info,
    encode_header,
    key_digest,
    open_chunk,
    parse_header,
    seal_chunk,
    sign_batch,
)
from brski.seed.hmac_drbg import HMACDRBGProfile
from brski.seed.record import SeedRecord
from brski.seed.secret import Seed
from tests.unit.seed import second_opinion
from tests.unit.seed.conftest import World, records

NAMES = st.from_regex(r"[!-~]([ -~]{0,62}[!-~])?", fullmatch=True)
DIGESTS = st.binary(min_size=32, max_size=32)


@st.composite
def headers(draw: st.DrawFn) -> BatchHeader:
    sequence = draw(st.integers(1, 2**53 - 1) | st.just(1))
    chunks = draw(st.integers(1, 16_384))
    return BatchHeader(
        vendor_id=draw(NAMES),
        vendor_key_digest=draw(DIGESTS),
        product=draw(NAMES),
        batch_id=draw(NAMES),
        sequence=sequence,
        predecessor=None if sequence == 1 else draw(DIGESTS),
        derivation_profile=draw(NAMES),
        record_count=draw(st.integers(chunks, chunks * 10_000)),
        chunk_count=chunks,
        created_at=datetime.fromtimestamp(draw(st.integers(0, 253402300799)), UTC),
        recipient_key_id=draw(DIGESTS),
    )


@given(headers())
def test_a_header_comes_back_and_cbor2_writes_the_same(header: BatchHeader) -> None:
    octets = encode_header(header)
    assert parse_header(octets) == header
    assert cbor2.dumps(cbor2.loads(octets), canonical=True) == octets


@given(headers())
def test_records_are_spread_evenly(header: BatchHeader) -> None:
    sizes = [header.records_in(index) for index in range(header.chunk_count)]
    assert sum(sizes) == header.record_count
    assert 1 <= min(sizes) <= max(sizes) <= min(10_000, min(sizes) + 1)
    assert sizes == sorted(sizes, reverse=True)
    for index in (-1, header.chunk_count):
        with pytest.raises(BatchRefused, match="there is no chunk"):
            header.records_in(index)


@given(headers(), st.data())
def test_a_truncated_header_is_refused(header: BatchHeader, data: st.DataObject) -> None:
    octets = encode_header(header)
    with pytest.raises(Malformed):
        parse_header(octets[: data.draw(st.integers(0, len(octets) - 1))])


def members(world: World) -> dict[int | str, Any]:
    loaded: dict[int | str, Any] = cbor2.loads(encode_header(world.header()))
    return loaded


def test_the_header_is_what_the_page_says(world: World) -> None:
    header = world.header(sequence=7, predecessor=bytes(range(32)))
    assert cbor2.loads(encode_header(header)) == {
        "version": 1,
        "hpke": [0x647A, 1, 2],
        "vendor": "example-silicon",
        "vendor-key": hashlib.sha256(encode_spki(world.vendor.public_key)).digest(),
        "product": "Example 1000",
        "batch": "2025/0042",
        "sequence": 7,
        "predecessor": bytes(range(32)),
        "profile": "hmac-drbg-p256",
        "records": 5,
        "chunks": 3,
        "created": 1748779200,
        "recipient": world.oem.public_key.key_id,
    }


@pytest.mark.parametrize(
    "name",
    [
        *("version", "hpke", "vendor", "vendor-key", "product", "batch", "sequence", "predecessor"),
        *("profile", "records", "chunks", "created", "recipient"),
    ],
)
def test_a_header_without_one_member_or_with_another_type_of_it_is_refused(
    world: World, name: str
) -> None:
    altered = members(world)
    altered[name] = {}
    with pytest.raises((Malformed, UnknownFormat)):
        parse_header(cbor.encode(altered))
    del altered[name]
    with pytest.raises((Malformed, UnknownFormat)):
        parse_header(cbor.encode(altered))


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("further", 1, "members missing, or too many"),
        ("vendor", "", "vendor_id"),
        ("vendor", "x" * 65, "vendor_id"),
        ("vendor", " x", "vendor_id"),
        ("vendor", "x\n", "vendor_id"),
        ("vendor", "Größe", "vendor_id"),
        ("vendor", b"x", "vendor is no text"),
        ("product", "x ", "product"),
        ("batch", "\x7f", "batch_id"),
        ("profile", "", "derivation_profile"),
        ("vendor-key", bytes(31), "vendor_key_digest"),
        ("vendor-key", "x" * 32, "vendor-key is no byte string"),
        ("recipient", bytes(33), "recipient_key_id"),
        ("sequence", 0, "sequence is out of range"),
        ("sequence", -1, "sequence is out of range"),
        ("sequence", 2**53, "sequence is out of range"),
        ("sequence", True, "sequence is no integer"),
        ("sequence", 2, "no predecessor"),
        ("predecessor", bytes(32), "no predecessor"),
        ("predecessor", b"", "no predecessor"),
        ("chunks", 0, "0 chunks"),
        ("chunks", 6, "5 records do not fit into 6 chunks"),
        ("chunks", 16_385, "16385 chunks"),
        ("records", 2, "2 records do not fit into 3 chunks"),
        ("records", 30_001, "30001 records do not fit into 3 chunks"),
        ("created", -1, "created is out of range"),
        ("created", 253402300800, "created is out of range"),
        ("created", None, "created is no integer"),
    ],
)
def test_a_header_with_one_wrong_member_is_refused(
    world: World, name: str, value: Any, why: str
) -> None:
    parse_header(cbor.encode(members(world)))
    with pytest.raises(Malformed, match=why):
        parse_header(cbor.encode({**members(world), name: value}))


def test_a_predecessor_has_32_octets(world: World) -> None:
    later = {**members(world), "sequence": 2, "predecessor": bytes(32)}
    parse_header(cbor.encode(later))
    with pytest.raises(Malformed, match="predecessor"):
        parse_header(cbor.encode({**later, "predecessor": bytes(31)}))


@pytest.mark.parametrize("records_", [30_000, 3])
def test_the_ends_of_the_range_of_records_are_accepted(world: World, records_: int) -> None:
    assert parse_header(cbor.encode({**members(world), "records": records_})).chunk_count == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("version", 2),
        ("version", "1"),
        ("version", None),
        ("version", True),
        ("hpke", [0x647A, True, 2]),
        ("hpke", [0x647A, 1, 1]),
        ("hpke", [0x647A, 1, 3]),
        ("hpke", [0x0020, 1, 2]),
        ("hpke", [0x647A, 1]),
        ("hpke", None),
    ],
)
def test_another_version_or_other_algorithms_are_an_unknown_format(
    world: World, name: str, value: Any
) -> None:
    with pytest.raises(UnknownFormat):
        parse_header(cbor.encode({**members(world), name: value}))


def test_a_header_in_another_encoding_is_refused(world: World) -> None:
    octets = encode_header(world.header())
    members_in_another_order = dict(reversed(members(world).items()))
    for other in (
        cbor2.dumps(members_in_another_order),
        octets + b"\x00",
        b"\xd9\xd9\xf7" + octets,
    ):
        with pytest.raises(Malformed):
            parse_header(other)
    with pytest.raises(Malformed, match="no map"):
        parse_header(b"\x80")


@pytest.mark.parametrize(
    "created_at",
    [
        datetime(2025, 6, 1),  # noqa: DTZ001 - the fault
        datetime(2025, 6, 1, microsecond=1, tzinfo=UTC),
        datetime(1969, 12, 31, tzinfo=UTC),
    ],
)
def test_a_moment_that_has_no_encoding_is_refused(world: World, created_at: datetime) -> None:
    with pytest.raises(Malformed, match="whole second"):
        world.header(created_at=created_at)


def test_a_moment_in_another_zone_is_the_same_moment(world: World) -> None:
    east = datetime(2025, 6, 1, 14, tzinfo=timezone(timedelta(hours=2)))
    assert encode_header(world.header(created_at=east)) == encode_header(world.header())


def test_the_info_of_a_chunk_binds_batch_place_and_size(world: World) -> None:
    """ "brski seed chunk v1", SHA-256 of the header, index, chunks, records in this chunk."""
    octets = encode_header(world.header(record_count=5, records_a_chunk=2))
    infos = [chunk_info(octets, index) for index in range(3)]
    assert [len(info) for info in infos] == [63] * 3
    for index, size in enumerate([2, 2, 1]):
        assert infos[index] == second_opinion.chunk_info(octets, index, 3, size)
    other = encode_header(world.header(record_count=5, records_a_chunk=2, batch_id="other"))
    assert chunk_info(other, 0) != infos[0]
    with pytest.raises(BatchRefused, match="there is no chunk 3"):
        chunk_info(octets, 3)


@pytest.fixture(scope="module")
def header_octets(world: World) -> bytes:
    return encode_header(world.header(record_count=4, records_a_chunk=2))


def test_a_chunk_opens_in_its_place(world: World, header_octets: bytes) -> None:
    sealed = seal_chunk(header_octets, 1, records(2), world.oem.public_key)
    assert open_chunk(header_octets, 1, sealed, world.oem) == records(2)


def test_the_bounds_of_a_sealed_chunk_are_those_of_its_records(world: World) -> None:
    """The least chunk has one record with the least chip id and seed; the most was reckoned."""
    one = encode_header(world.header(record_count=1))
    least = seal_chunk(
        one, 0, [SeedRecord(chip_id=b"x", seed=Seed(bytes(32)))], world.oem.public_key
    )
    assert len(least) == LEAST_SEALED_OCTETS == 1174
    longest = cbor.encode([bytes(64), bytes(512)])
    assert 1136 + len(cbor.encode([0] * 10_000)) - 10_000 + 10_000 * len(longest) == 5_821_139
    assert MOST_SEALED_OCTETS == 5_821_139


@pytest.mark.parametrize(
    ("alter", "index"),
    [
        (lambda header: header, 0),
        (lambda header: replace(header, batch_id="another"), 1),
        (lambda header: replace(header, created_at=header.created_at + timedelta(seconds=1)), 1),
        (lambda header: replace(header, record_count=3), 1),
        (lambda header: replace(header, record_count=6, chunk_count=3), 1),
        (lambda header: replace(header, vendor_id="other-silicon"), 1),
    ],
    ids=["place", "batch", "moment", "records", "chunks", "vendor"],
)
def test_a_chunk_does_not_open_anywhere_else(
    world: World, alter: Callable[[BatchHeader], BatchHeader], index: int
) -> None:
    header = world.header(record_count=4, records_a_chunk=2)
    sealed = seal_chunk(encode_header(header), 1, records(2), world.oem.public_key)
    with pytest.raises(BatchRefused, match=f"chunk {index} does not open"):
        open_chunk(encode_header(alter(header)), index, sealed, world.oem)


def test_a_chunk_does_not_open_for_another_oem(
    world: World, other_world: World, header_octets: bytes
) -> None:
    """Neither with the other's key, nor re-addressed to the other."""
    sealed = seal_chunk(header_octets, 0, records(2), world.oem.public_key)
    with pytest.raises(BatchRefused, match="sealed to recipient key"):
        open_chunk(header_octets, 0, sealed, other_world.oem)
    recipient = other_world.oem.public_key.key_id
    readdressed = replace(parse_header(header_octets), recipient_key_id=recipient)
    with pytest.raises(BatchRefused, match="chunk 0 does not open"):
        open_chunk(encode_header(readdressed), 0, sealed, other_world.oem)


CHIP, SEED = b"chip", bytes(range(0x40, 0x60))
GOOD = [[CHIP, SEED], [b"chip2", SEED[::-1]]]


@pytest.mark.parametrize(
    ("plaintext", "error", "why"),
    [
        (cbor.encode(GOOD[:1]), BatchRefused, "chunk 1: 1 records, the header says 2"),
        (cbor.encode([*GOOD, [b"3", SEED * 2]]), BatchRefused, "chunk 1: 3 records"),
        (cbor.encode([]), BatchRefused, "chunk 1: 0 records"),
        (
            cbor.encode([GOOD[0], [b"b", SEED[:31]]]),
            Malformed,
            "record 1: seed has 31 octets",
        ),
        (cbor.encode([GOOD[0], [b"b", b""]]), Malformed, "chunk 1: record 1: seed has 0 octets"),
        (
            cbor.encode([GOOD[0], [b"b", SEED * 17]]),
            Malformed,
            "record 1: seed has 544 octets",
        ),
        (
            cbor.encode([GOOD[0], [b"", SEED[::-1]]]),
            Malformed,
            "record 1: chip id has 0 octets",
        ),
        (
            cbor.encode([GOOD[0], [bytes(65), SEED * 2]]),
            Malformed,
            "record 1: chip id has 65",
        ),
        (cbor.encode([GOOD[0], [CHIP, SEED * 2]]), BatchRefused, "chip id 63686970 comes twice"),
        (cbor.encode([GOOD[0], [b"b", SEED]]), BatchRefused, "chips 63686970 and 62 have one seed"),
        (cbor.encode([GOOD[0], ["b", SEED * 2]]), Malformed, "chunk 1: record 1 is no chip id"),
        (cbor.encode([GOOD[0], [b"b", SEED * 2, 1]]), Malformed, "chunk 1: record 1 is no chip"),
        (cbor.encode([GOOD[0], [b"b"]]), Malformed, "chunk 1: record 1 is no chip id"),
        (cbor.encode([GOOD[0], 1]), Malformed, "chunk 1: record 1 is no chip id"),
        (cbor.encode({"records": 1}), Malformed, "chunk 1: the plaintext is no list"),
        (cbor.encode(GOOD) + b"\x00", Malformed, "chunk 1: CBOR: 1 octets after"),
        (cbor.encode(GOOD)[:-1], Malformed, "chunk 1: CBOR: it ends too early"),
        (b"\x9f" + cbor.encode(GOOD)[1:] + b"\xff", Malformed, "chunk 1: CBOR: an indefinite"),
        (b"", Malformed, "chunk 1: CBOR: it ends too early"),
    ],
)
def test_a_chunk_with_another_content_is_refused(
    world: World, header_octets: bytes, plaintext: bytes, error: type[OnboardingError], why: str
) -> None:
    """Each differs in one thing from what opens; no message holds a seed."""
    info = chunk_info(header_octets, 1)
    good = world.oem.public_key.seal(cbor.encode(GOOD), info)
    assert len(open_chunk(header_octets, 1, good, world.oem)) == 2
    with pytest.raises(error, match=why) as caught:
        open_chunk(header_octets, 1, world.oem.public_key.seal(plaintext, info), world.oem)
    for part in (SEED[:8], SEED[::-1][:8]):
        assert part.hex() not in str(caught.value)
        assert part.decode() not in str(caught.value)


@pytest.fixture
def demanding(monkeypatch: pytest.MonkeyPatch) -> HMACDRBGProfile:
    """A profile that wants 48 octets of seed."""
    longer = HMACDRBGProfile(
        name="longer", least_seed_octets=48, hash_name="sha384", curve=ec.SECP384R1()
    )
    monkeypatch.setattr(profiles, "PROFILES", {"longer": longer})
    return longer


def test_a_seed_shorter_than_the_profile_asks_is_refused(
    world: World, demanding: HMACDRBGProfile
) -> None:
    octets = encode_header(world.header(record_count=1, derivation_profile=demanding.name))
    public, info = world.oem.public_key, chunk_info(octets, 0)
    good = public.seal(cbor.encode([[CHIP, SEED + SEED[:16]]]), info)
    assert len(open_chunk(octets, 0, good, world.oem)[0].seed) == 48
    short = public.seal(cbor.encode([[CHIP, SEED + SEED[:15]]]), info)
    with pytest.raises(BatchRefused, match="seed of chip 63686970 has 47 octets, longer needs 48"):
        open_chunk(octets, 0, short, world.oem)
    with pytest.raises(BatchRefused, match="47 octets"):
        seal_chunk(octets, 0, [SeedRecord(chip_id=CHIP, seed=Seed(SEED + SEED[:15]))], public)


def test_an_unknown_profile_is_refused_when_sealing_and_opening(world: World) -> None:
    octets = encode_header(world.header(record_count=1, derivation_profile="no-such"))
    with pytest.raises(UnknownFormat, match="derivation profile 'no-such'"):
        seal_chunk(octets, 0, records(1), world.oem.public_key)
    sealed = world.oem.public_key.seal(cbor.encode([[CHIP, SEED]]), chunk_info(octets, 0))
    with pytest.raises(UnknownFormat, match="derivation profile 'no-such'"):
        open_chunk(octets, 0, sealed, world.oem)


def test_what_the_oem_would_refuse_is_not_sealed(
    world: World, other_world: World, header_octets: bytes
) -> None:
    with pytest.raises(BatchRefused, match="3 records, the header says 2"):
        seal_chunk(header_octets, 0, records(3), world.oem.public_key)
    with pytest.raises(BatchRefused, match="comes twice"):
        seal_chunk(header_octets, 0, records(1) * 2, world.oem.public_key)
    with pytest.raises(BatchRefused, match="sealed to recipient key"):
        seal_chunk(header_octets, 0, records(2), other_world.oem.public_key)


def test_only_the_key_that_the_header_names_signs(
    world: World, other_world: World, header_octets: bytes
) -> None:
    assert parse_header(header_octets).vendor_key_digest == key_digest(world.vendor.public_key)
    sign_batch(header_octets, [bytes(32)] * 2, world.vendor)
    with pytest.raises(KeyUnusable, match="another vendor key"):
        sign_batch(header_octets, [bytes(32)] * 2, other_world.vendor)
