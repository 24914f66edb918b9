"""A seed does not leak by accident."""

from __future__ import annotations

import copy
import multiprocessing.reduction
import pickle
import traceback

import pytest

from brski.errors import BatchRefused, KeyUnusable, Malformed
from brski.seed.drbg import HMACDRBG
from brski.seed.record import SeedRecord, check_distinct, seed_fingerprint
from brski.seed.secret import Seed

SECRET = bytes(range(0x40, 0x60))  # as text: @ABCDEFG...


def shown(octets: bytes) -> list[str]:
    return [octets.hex(), octets.hex().upper(), octets.decode("latin-1"), repr(octets)]


@pytest.mark.parametrize(
    "value",
    [Seed(SECRET), SeedRecord(chip_id=b"\x01", seed=Seed(SECRET)), HMACDRBG("sha256", SECRET)],
    ids=["seed", "record", "generator"],
)
def test_a_secret_shows_nothing(value: object) -> None:
    for text in (repr(value), str(value), f"{value}", f"{[value]}"):
        assert "hidden" in text
        assert not any(form in text for form in shown(SECRET))


@pytest.mark.parametrize(
    "value",
    [Seed(SECRET), SeedRecord(chip_id=b"\x01", seed=Seed(SECRET)), HMACDRBG("sha256", SECRET)],
    ids=["seed", "record", "generator"],
)
def test_a_secret_crosses_no_process_boundary(value: object) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(value, protocol)
    with pytest.raises(TypeError, match="not pickled"):
        multiprocessing.reduction.ForkingPickler.dumps(value)
    with pytest.raises(TypeError, match="not pickled"):
        copy.deepcopy(value)


def test_seeds_are_equal_by_their_octets_only() -> None:
    seed = Seed(SECRET)
    assert seed == Seed(bytes(SECRET))
    assert seed != Seed(SECRET[:-1] + b"\x00")
    assert seed != Seed(SECRET + b"\x00")
    assert seed != SECRET
    assert seed.octets == SECRET
    assert len(seed) == 32
    with pytest.raises(TypeError):
        hash(seed)


@pytest.mark.requirement("OEM-8")
def test_a_seed_has_256_bits_or_more() -> None:
    """32 octets pass, 31 do not, and the refusal tells their number and nothing else."""
    Seed(SECRET)
    with pytest.raises(Malformed, match="31 octets") as caught:
        Seed(SECRET[:31])
    told = "".join(traceback.format_exception(caught.value))
    assert not any(form in told for form in shown(SECRET[:8]))


@pytest.mark.parametrize("octets", [1, 64])
def test_a_chip_id_has_1_to_64_octets(octets: int) -> None:
    SeedRecord(chip_id=bytes(octets), seed=Seed(SECRET))


@pytest.mark.parametrize("octets", [0, 65])
def test_a_chip_id_of_another_length_is_refused(octets: int) -> None:
    with pytest.raises(Malformed, match=f"chip id has {octets} octets"):
        SeedRecord(chip_id=bytes(octets), seed=Seed(SECRET))


def test_a_seed_in_a_batch_has_512_octets_at_most() -> None:
    SeedRecord(chip_id=b"\x01", seed=Seed(bytes(512)))
    with pytest.raises(Malformed, match="513 octets"):
        SeedRecord(chip_id=b"\x01", seed=Seed(bytes(513)))


def record(chip_id: bytes, first: int) -> SeedRecord:
    return SeedRecord(chip_id=chip_id, seed=Seed(bytes([first]) + SECRET))


def test_distinct_records_pass_and_letters_are_not_folded() -> None:
    check_distinct([record(b"chip", 1), record(b"CHIP", 2), record(b"chip\x00", 3)])


def test_a_chip_id_twice_is_told() -> None:
    with pytest.raises(BatchRefused, match="chip id 63686970 comes twice"):
        check_distinct([record(b"chip", 1), record(b"b", 2), record(b"chip", 3)])


def test_a_seed_twice_is_told_by_its_chips() -> None:
    with pytest.raises(BatchRefused, match="chips 61 and 63 have one seed") as caught:
        check_distinct([record(b"a", 1), record(b"b", 2), record(b"c", 1)])
    assert not any(form in str(caught.value) for form in shown(SECRET))


def test_a_fingerprint_is_keyed_and_labelled() -> None:
    """The value was made with `openssl mac`: HMAC-SHA-256 over the label and the seed."""
    key = bytes(range(32))
    expected = "7d388f35ab3559a8c4b34100afd23b6cea093dd70c589d7331a7cf29bb456bb9"
    assert seed_fingerprint(key, Seed(SECRET)).hex() == expected
    assert seed_fingerprint(key[::-1], Seed(SECRET)).hex() != expected
    assert seed_fingerprint(key, Seed(SECRET + b"\x00")).hex() != expected


@pytest.mark.parametrize("octets", [0, 31, 33])
def test_an_intake_key_of_another_length_is_refused(octets: int) -> None:
    with pytest.raises(KeyUnusable, match=f"{octets} octets"):
        seed_fingerprint(bytes(octets), Seed(SECRET))
