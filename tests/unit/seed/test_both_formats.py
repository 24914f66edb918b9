"""Whatever one format of the seed batch refuses, the other refuses too; row by row of the page."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brski.errors import (
    BatchRefused,
    KeyUnusable,
    Malformed,
    OnboardingError,
    PeerError,
    Refused,
    SignatureInvalid,
    TooLarge,
    UnknownFormat,
)
from brski.seed.formats import BatchFormat, RecipientIds, format_of, open_any_batch, open_any_chunk
from brski.seed.hmac_drbg import HMAC_DRBG_P256
from brski.seed.recipient_key import HybridPrivateKey
from brski.seed.record import SeedRecord
from brski.seed.secret import Seed
from tests.kit import pki
from tests.unit.seed.benches import Bench, CMSBench, COSEBench, benches
from tests.unit.seed.conftest import records

BENCHES = benches()
NAMES = ["cose", "cms-p256", "cms-p384", "cms-rsa"]
ONE_OF_EACH = [BENCHES[0], BENCHES[2]]
SEED = bytes(range(0x40, 0x60))
every = pytest.mark.parametrize("bench", BENCHES, ids=NAMES)


def refuse(bench: Bench, file: bytes, error: type[OnboardingError], why: str = "") -> None:
    """The file is refused for this reason, and no seed is in it."""
    with pytest.raises(error, match=why or None) as caught:
        bench.read(file)
    for part in (SEED.hex(), SEED[:8].decode()):
        assert part not in str(caught.value)


# -- what is taken


@every
@pytest.mark.parametrize(("count", "a_chunk"), [(1, 1), (5, 2), (6, 3), (7, 7)])
def test_what_is_minted_comes_back(bench: Bench, count: int, a_chunk: int) -> None:
    file = bench.good(count, a_chunk)
    assert bench.read(file) == list(records(count))
    batch = bench.open(file)
    assert batch.header == bench.header(count, a_chunk)
    assert format_of(batch.header_octets) is BatchFormat(bench.form)


@every
def test_the_digest_names_what_was_signed_not_the_signature(bench: Bench) -> None:
    """So a batch that is signed again over the same chunks is the same batch."""
    header = bench.header()
    file = bench.good()
    _, chunks = bench.take(file)
    again = bench.signed_as(bench.octets(header), chunks)
    assert bench.open(again).digest == bench.open(file).digest
    assert bench.open(bench.good()).digest != bench.open(file).digest


# -- 1 to 3: the file


@every
@pytest.mark.parametrize("start", [b"", b"\x00", b"\xef\xbb\xbf", b"\r\n", b"PK\x03\x04", b"{"])
def test_another_beginning_is_no_batch(bench: Bench, start: bytes) -> None:
    refuse(bench, start + bench.good()[1:], PeerError)
    refuse(bench, start, PeerError)


@every
def test_a_file_that_ends_early_is_refused_at_every_octet(bench: Bench) -> None:
    file = bench.good(2, 1)
    for end in range(len(file)):
        with pytest.raises(Malformed):
            bench.open(file[:end])


@every
@settings(max_examples=150)
@given(data=st.data())
def test_one_altered_bit_anywhere_is_refused(bench: Bench, data: st.DataObject) -> None:
    """Before anything is decrypted; also a bit that means nothing, such as in a length."""
    file = bytearray(_kept(bench))
    position = data.draw(st.integers(0, len(file) - 1))
    file[position] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises((PeerError, Refused)):
        bench.open(bytes(file))


_FILES: dict[int, bytes] = {}


def _kept(bench: Bench) -> bytes:
    return _FILES.setdefault(id(bench), bench.good(3, 2))


@every
@pytest.mark.parametrize("more", [b"\x00", b"\n", b"\x30\x00", b"\x40"])
def test_octets_after_the_last_chunk_are_refused(bench: Bench, more: bytes) -> None:
    refuse(bench, bench.good() + more, Malformed, "after the last chunk")


@every
@settings(max_examples=60)
@given(st.binary(max_size=200))
def test_nonsense_is_refused_with_a_type(bench: Bench, octets: bytes) -> None:
    for file in (octets, b"\x30" + octets, b"\x30\x82" + octets):
        with pytest.raises((PeerError, Refused)):
            bench.open(file)


# -- 4 to 6: the header


@every
@pytest.mark.parametrize(
    ("members", "error"),
    [
        ({"chunks": 4}, Malformed),  # more chunks than the digests
        ({"records": 2}, Malformed),  # fewer records than chunks
        ({"records": 30_001}, Malformed),  # more than 10,000 in a chunk
        ({"records": 6}, BatchRefused),  # a count that lies: seen when the chunks are opened
        ({"records": 4}, BatchRefused),
        ({"sequence": 0}, Malformed),
        ({"sequence": 2}, Malformed),  # and names no predecessor
        ({"predecessor": bytes(32)}, Malformed),  # of the first
        ({"predecessor": bytes(31), "sequence": 2}, Malformed),
        ({"vendor": "example-silicon "}, Malformed),
        ({"vendor": ""}, Malformed),
        ({"product": "x" * 65}, Malformed),
        ({"created": 253402300800}, Malformed),
        ({"vendor-key": bytes(31)}, Malformed),
        ({"recipient": bytes(33)}, Malformed),
    ],
)
def test_a_header_that_cannot_be_is_refused(
    bench: Bench, members: dict[str, object], error: type[OnboardingError]
) -> None:
    header = bench.header()
    _, chunks = bench.take(bench.good())
    refuse(bench, bench.signed_as(bench.bend(header, **members), chunks), error)
    assert bench.open(bench.signed_as(bench.bend(header), chunks))  # nothing else was wrong


@every
@pytest.mark.parametrize("count", [0, 2, 4])
def test_another_number_of_digests_is_refused(bench: Bench, count: int) -> None:
    _, chunks = bench.take(bench.good())
    file = bench.signed_as(bench.octets(bench.header()), (chunks * 2)[:count])
    refuse(bench, file, Malformed, f"{count} digests for 3 chunks")


# -- 7 to 11: whose it is, and for whom


@every
def test_a_vendor_that_is_not_configured_is_refused(bench: Bench) -> None:
    stranger = replace(bench, vendor_id="stranger")
    refuse(bench, stranger.good(), BatchRefused, "vendor 'stranger' is not configured")


@every
def test_a_vendor_with_another_key_than_configured_is_refused(bench: Bench) -> None:
    other = replace(bench, vendor=pki.KeySigner(pki.make_key()))
    refuse(bench, other.good(), BatchRefused, "configured is")


@every
def test_signed_by_another_than_the_header_names_is_refused(bench: Bench) -> None:
    """Also when that other vendor is accepted here under its own name."""
    kind = "P-384" if bench.vendor.public_key.key_size == 384 else "P-256"  # type: ignore[union-attr]  # EC
    forger = replace(bench, vendor=pki.KeySigner(pki.make_key(kind)))
    _, chunks = bench.take(bench.good())
    digests = [hashlib.sha256(chunk).digest() for chunk in chunks]
    manifest = forger.manifest(bench.octets(bench.header()), digests)
    vendors = {**bench.vendors, "forger": forger.vendor.public_key}
    with pytest.raises((SignatureInvalid, Malformed)):
        open_any_batch(BytesIO(bench.join(manifest, chunks)), vendors, bench.ids)


@every
def test_a_signature_over_something_else_is_refused(bench: Bench) -> None:
    """The manifest of one batch with the chunks' digests of another, and its signature kept."""
    first, second = bench.good(), bench.good()
    manifest, _ = bench.take(first)
    _, chunks = bench.take(second)
    own, theirs = (
        [hashlib.sha256(chunk).digest() for chunk in bench.take(file)[1]]
        for file in (first, second)
    )
    for old, new in zip(own, theirs, strict=True):
        manifest = manifest.replace(old, new).replace(old.hex().encode(), new.hex().encode())
    refuse(bench, bench.join(manifest, chunks), SignatureInvalid)


@every
def test_a_batch_for_another_oem_is_refused(bench: Bench) -> None:
    ids = RecipientIds(cose=bytes(32), cms=bytes(range(32)))
    with pytest.raises(BatchRefused, match="sealed to recipient key"):
        open_any_batch(BytesIO(bench.good()), bench.vendors, ids)


@every
def test_an_unknown_profile_is_refused_before_anything_is_opened(bench: Bench) -> None:
    _, chunks = bench.take(bench.good())
    octets = bench.bend(bench.header(), profile="rot13")
    refuse(bench, bench.signed_as(octets, chunks), UnknownFormat, "rot13")


# -- 12 and 13: chunks


@every
@pytest.mark.parametrize(
    "bent",
    [
        lambda chunks: [chunks[1], chunks[0], chunks[2]],
        lambda chunks: [chunks[0], chunks[0], chunks[2]],
        lambda chunks: chunks[:2],
        lambda chunks: [*chunks, chunks[0]],
        lambda chunks: [chunks[0][:-1] + bytes([chunks[0][-1] ^ 1]), *chunks[1:]],
    ],
    ids=["swapped", "twice", "left out", "one more", "altered"],
)
def test_chunks_that_are_not_the_ones_signed_are_refused(
    bench: Bench, bent: Callable[[list[bytes]], list[bytes]]
) -> None:
    manifest, chunks = bench.take(bench.good())
    refuse(bench, bench.join(manifest, bent(chunks)), (BatchRefused, Malformed))  # type: ignore[arg-type]  # one of two
    assert bench.open(bench.join(manifest, chunks))


@every
def test_a_chunk_of_another_batch_is_refused(bench: Bench) -> None:
    """Of the same vendor; and also if the vendor signs it as its own."""
    manifest, chunks = bench.take(bench.good())
    _, others = bench.take(bench.good(batch_id="another"))
    refuse(bench, bench.join(manifest, [others[0], *chunks[1:]]), BatchRefused, "chunk 0")
    octets = bench.octets(bench.header())
    refuse(bench, bench.signed_as(octets, [others[0], *chunks[1:]]), BatchRefused, "chunk 0")


@every
def test_chunks_signed_in_the_wrong_order_do_not_open(bench: Bench) -> None:
    """What is sealed names its place."""
    _, chunks = bench.take(bench.good(6, 2))
    octets = bench.octets(bench.header(6, 2))
    refuse(bench, bench.signed_as(octets, [chunks[1], chunks[0], chunks[2]]), BatchRefused)


@every
def test_another_vendor_cannot_sign_the_chunks_as_its_own(bench: Bench) -> None:
    other = replace(bench, vendor=pki.KeySigner(pki.make_key()), vendor_id="other-silicon")
    _, chunks = bench.take(bench.good())
    stolen = other.signed_as(other.octets(other.header()), chunks)
    refuse(other, stolen, BatchRefused, "chunk 0")


@every
def test_a_chunk_that_was_sealed_to_another_key_does_not_open(bench: Bench) -> None:
    batch = bench.open(bench.good())
    sealed = batch.sealed_chunk(0)
    if isinstance(bench, CMSBench):
        stranger: Bench = replace(bench, key=pki.make_key("P-256"))
    else:
        assert isinstance(bench, COSEBench)
        stranger = replace(bench, key=HybridPrivateKey.parse(bytes(range(96))))
    with pytest.raises(BatchRefused, match="recipient key"):
        open_any_chunk(batch.header_octets, 0, sealed, stranger.private_octets)


# -- 14 to 17: records


def _sealed(bench: Bench, pairs: list[tuple[bytes, bytes]], count: int = 2) -> bytes:
    header = bench.header(count, count)
    octets = bench.octets(header)
    return bench.signed_as(octets, [bench.seal(octets, 0, bench.plaintext(header, 0, pairs))])


GOOD = (b"chip", SEED)


@every
@pytest.mark.parametrize(
    ("pairs", "error", "why"),
    [
        ([GOOD], BatchRefused, "chunk 0: 1 records, the header says 2"),
        ([GOOD, (b"2", SEED * 2), (b"3", SEED * 3)], BatchRefused, "chunk 0: 3 records"),
        ([], BatchRefused, "chunk 0"),
        ([GOOD, (b"b", SEED[:31])], Malformed, "chunk 0: record 1: seed has 31 octets"),
        ([GOOD, (b"b", SEED * 17)], Malformed, "chunk 0: record 1: seed has 544 octets"),
        ([(bytes(65), SEED * 2), GOOD], Malformed, "chunk 0: record 0: chip id has 65"),
        ([GOOD, (b"chip", SEED * 2)], BatchRefused, "record 1: chip id 63686970 comes twice"),
        ([GOOD, (b"b", SEED)], BatchRefused, "record 1: chips 63686970 and 62 have one seed"),
    ],
)
def test_records_that_cannot_be_are_refused(
    bench: Bench, pairs: list[tuple[bytes, bytes]], error: type[OnboardingError], why: str
) -> None:
    refuse(bench, _sealed(bench, pairs), error, why)
    assert len(bench.read(_sealed(bench, [GOOD, (b"b", SEED[::-1])]))) == 2


@every
def test_an_empty_chip_id_or_seed_is_refused(bench: Bench) -> None:
    for pair in ((b"", SEED * 2), (b"b", b"")):
        refuse(bench, _sealed(bench, [GOOD, pair]), Malformed, "chunk 0: record 1")


@every
def test_a_seed_that_is_too_short_for_the_profile_is_refused(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    asks_more = replace(HMAC_DRBG_P256, least_seed_octets=48)
    for module in ("batch", "cms_batch"):
        monkeypatch.setattr(f"brski.seed.{module}.profile", lambda _: asks_more)
    header = bench.header(1, 1)
    octets = bench.octets(header)
    for count, allowed in ((47, False), (48, True)):
        pairs = [(b"chip", bytes(range(count)))]
        file = bench.signed_as(octets, [bench.seal(octets, 0, bench.plaintext(header, 0, pairs))])
        if allowed:
            assert len(bench.read(file)) == 1
        else:
            refuse(bench, file, BatchRefused, "record 0: the seed of chip 63686970 has 47 octets")


@every
@pytest.mark.parametrize("more", [b"\x00", b"\n", b" "])
def test_a_plaintext_with_something_behind_it_is_refused(bench: Bench, more: bytes) -> None:
    header = bench.header(2, 2)
    octets = bench.octets(header)
    plaintext = bench.plaintext(header, 0, [GOOD, (b"b", SEED[::-1])])
    for bent in (plaintext + more, plaintext[:-1], b"", b"\xef\xbb\xbf" + plaintext):
        file = bench.signed_as(octets, [bench.seal(octets, 0, bent)])
        refuse(bench, file, (Malformed, UnknownFormat, BatchRefused))  # type: ignore[arg-type]  # one of them


# -- the writer refuses what the reader would


@every
def test_a_wrong_number_of_records_is_not_minted(bench: Bench) -> None:
    for count, why in ((4, "records, the header says"), (6, "more records than the 5")):
        with pytest.raises(BatchRefused, match=why):
            bench.mint(bench.header(5, 2), records(count))


@every
def test_another_signer_or_recipient_than_the_headers_does_not_mint(bench: Bench) -> None:
    other = replace(bench, vendor=pki.KeySigner(pki.make_key()))
    with pytest.raises(KeyUnusable):
        bench.mint(other.header(), records(5))
    with pytest.raises(BatchRefused, match="sealed to recipient key"):
        bench.mint(bench.header(recipient_key_id=bytes(32)), records(5))


@pytest.mark.parametrize("bench", BENCHES[1:], ids=NAMES[1:])
def test_a_batch_in_cms_is_refused_where_none_is_taken(bench: Bench) -> None:
    """Quantum computers are the reason: an OEM has to say that it takes them."""
    with pytest.raises(BatchRefused, match="no recipient key for that is configured"):
        open_any_batch(BytesIO(bench.good()), bench.vendors, RecipientIds(cose=bytes(32)))


@pytest.mark.parametrize("bench", ONE_OF_EACH, ids=["cose", "cms"])
def test_a_manifest_has_a_bound(bench: Bench) -> None:
    """Nothing is read that could not be a manifest."""
    start = b"\x30\x84\x7f\xff\xff\xff"
    if bench.form == "cose":
        start = bench.good()[:20] + b"\x5a\x7f\xff\xff\xff"
    refuse(bench, start + bytes(1000), TooLarge, "2147483647 octets")


def test_no_message_tells_a_seed() -> None:
    """In the second format too, a line that is no record stays in the chunk."""
    bench: Any = BENCHES[2]
    header = bench.header(2, 2)
    octets = bench.octets(header)
    plaintext = bench.plaintext(header, 0, [GOOD, (b"b", SEED[::-1])])
    for old, new in (
        (b" ", b"  "),
        (b"\n", b"\r\n"),
        (b"4142", b"4G42"),
        (b"4a4b", b"4A4B"),
        (b"63686970 ", b"63686970\t"),
        (b"63686970 ", b"636869700 "),
    ):
        bent = plaintext.replace(old, new)
        assert bent != plaintext
        with pytest.raises((PeerError, Refused)) as caught:
            bench.read(bench.signed_as(octets, [bench.seal(octets, 0, bent)]))
        assert not re.search(r"4[0-9a-fA-F]{6,}", str(caught.value))


# -- any records at all, and the largest chunk


RECORDS = st.lists(
    st.tuples(st.binary(min_size=1, max_size=64), st.binary(min_size=32, max_size=512)),
    min_size=1,
    max_size=9,
    unique_by=(lambda pair: pair[0], lambda pair: pair[1]),
)


@pytest.mark.parametrize("bench", ONE_OF_EACH, ids=["cose", "cms"])
@settings(max_examples=40)
@given(pairs=RECORDS, a_chunk=st.integers(1, 4))
def test_whatever_chips_there_are_they_come_back(
    bench: Bench, pairs: list[tuple[bytes, bytes]], a_chunk: int
) -> None:
    """Any octets for a chip's id, LF and zero among them, and seeds of every length."""
    minted = [SeedRecord(chip_id=chip_id, seed=Seed(seed)) for chip_id, seed in pairs]
    file = bench.mint(bench.header(len(minted), a_chunk), minted)
    assert bench.read(file) == minted


@pytest.mark.parametrize("bench", ONE_OF_EACH, ids=["cose", "cms"])
def test_the_largest_chunk_is_taken(bench: Bench) -> None:
    """10,000 chips with the longest ids and seeds."""
    minted = [
        SeedRecord(
            chip_id=number.to_bytes(64, "big"),
            seed=Seed(hashlib.shake_256(b"%d" % number).digest(512)),
        )
        for number in range(10_000)
    ]
    file = bench.mint(bench.header(10_000, 10_000), minted)
    assert bench.read(file) == minted
