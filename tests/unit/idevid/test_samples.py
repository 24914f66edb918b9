"""The file that sample devices report in."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brski.errors import Malformed, OnboardingError, TooLarge
from brski.idevid.samples import (
    MOST_OCTETS,
    MOST_SAMPLES,
    Cause,
    Published,
    Sample,
    by_batch,
    compare,
    parse_samples,
)

ONE, TWO = b"\x01" * 32, b"\x02" * 32
LINE = b"SN-1 " + ONE.hex().encode()


def published(serial_number: str, key: bytes, batch: bytes = bytes(32)) -> Published:
    return Published(
        serial_number=serial_number,
        spki_sha256=key,
        batch_digest=batch,
        derivation_profile="ed25519",
    )


def test_samples_are_read_in_their_order() -> None:
    """Comments and empty lines are passed over; the last line may lack its line feed."""
    octets = b"# key digests\n\nSN-2 %s\n#\nSN-1 %s" % (
        TWO.hex().encode(),
        ONE.hex().upper().encode(),
    )
    assert parse_samples(octets) == (
        Sample(serial_number="SN-2", spki_sha256=TWO),
        Sample(serial_number="SN-1", spki_sha256=ONE),
    )


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (b"", "no sample"),
        (b"# nothing\n", "no sample"),
        (b"\xef\xbb\xbf" + LINE, "line 1: begins with a byte order mark"),
        (LINE + b"\r\n", "line 1: ends with, or has, a carriage return"),
        (b"# x\r\n" + LINE, "line 1: ends with, or has, a carriage return"),
        (LINE + b"\n" + LINE, "line 2: serial number SN-1 comes twice"),
        (LINE + b" ", "line 1: is not a serial number"),
        (b" " + LINE, "line 1: is not a serial number"),
        (LINE.replace(b" ", b"  "), "line 1: is not a serial number"),
        (LINE.replace(b" ", b"\t"), "line 1: is not a serial number"),
        (LINE[:-1], "line 1: is not a serial number"),
        (LINE + b"0", "line 1: is not a serial number"),
        (LINE[:-1] + b"g", "line 1: is not a serial number"),
        (b"\n" + LINE.replace(b"SN-1", b"SN\xc3\xa9"), "line 2: is not a serial number"),
        (LINE.replace(b"SN-1", b"S" * 65), "line 1: "),
    ],
)
def test_anything_else_is_refused_with_its_line(octets: bytes, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        parse_samples(octets)


def test_too_much_is_refused() -> None:
    lines = [b"SN-%d %s" % (n, ONE.hex().encode()) for n in range(MOST_SAMPLES)]
    assert len(parse_samples(b"\n".join(lines))) == MOST_SAMPLES
    with pytest.raises(TooLarge, match="10001 samples"):
        parse_samples(b"\n".join([*lines, b"SN-X " + ONE.hex().encode()]))
    with pytest.raises(TooLarge, match="octets"):
        parse_samples(bytes(MOST_OCTETS + 1))


@given(st.binary(max_size=200) | st.text().map(str.encode))
def test_any_octets_are_read_or_refused(octets: bytes) -> None:
    with suppress(OnboardingError):
        assert parse_samples(octets)


def test_keys_are_compared_and_sorted_by_batch() -> None:
    """Matching, another device's, of nobody, and of an unknown device."""
    samples = [Sample(serial_number=f"SN-{n}", spki_sha256=key) for n, key in enumerate((ONE, TWO))]
    samples += [
        Sample(serial_number="SN-2", spki_sha256=bytes(32)),
        Sample(serial_number="SN-9", spki_sha256=ONE),
    ]
    known = {
        "SN-0": [published("SN-0", ONE)],
        "SN-1": [published("SN-1", b"\x03" * 32)],
        "SN-2": [published("SN-2", b"\x04" * 32, b"\x05" * 32)],
    }
    compared, unknown = compare(samples, known, {TWO: "SN-7"})
    assert [(each.cause, each.detail) for each in compared] == [
        (Cause.MATCHING, ""),
        (Cause.SWAPPED_IDENTITY, "SN-7"),
        (Cause.UNEXPLAINED, ""),
    ]
    assert unknown == ("SN-9",)
    first, second = by_batch(compared)
    assert (first.cause, len(first.compared), len(first.differing)) == (
        Cause.SWAPPED_IDENTITY,
        2,
        1,
    )
    assert (second.cause, second.batch_digest) == (Cause.UNEXPLAINED, b"\x05" * 32)


def test_a_batch_with_several_causes_is_mixed() -> None:
    samples = [Sample(serial_number=f"SN-{n}", spki_sha256=bytes([n]) * 32) for n in range(2)]
    known = {s.serial_number: [published(s.serial_number, TWO)] for s in samples}
    compared, _ = compare(samples, known, {samples[0].spki_sha256: "SN-7"})
    assert by_batch(compared)[0].cause is Cause.MIXED


def test_the_record_of_one_issuer_is_enough() -> None:
    sample = Sample(serial_number="SN-1", spki_sha256=ONE)
    both = {"SN-1": [published("SN-1", TWO), published("SN-1", ONE)]}
    assert compare([sample], both, {ONE: "SN-1"})[0][0].cause is Cause.MATCHING
