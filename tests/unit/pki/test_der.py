"""The DER gate and the TLV operations."""

from __future__ import annotations

import base64
import timeit
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brski.errors import Malformed, TooLarge
from brski.pki import der
from tests.kit import pki

SAMPLE = pki.make_idevid(pki.make_pki()).der


# -- values in DER
PRIMITIVES = st.one_of(
    st.booleans().map(lambda b: der.encode(der.BOOLEAN, b"\xff" if b else b"\x00")),
    st.integers(-(2**80), 2**80).map(der.encode_integer),
    st.binary(max_size=300).map(lambda b: der.encode(der.OCTET_STRING, b)),
    st.binary(max_size=40).map(lambda b: der.encode(der.BIT_STRING, b"\0", b)),
    st.just(der.encode(der.NULL)),
    st.lists(st.integers(0, 2**20), max_size=5).map(
        lambda arcs: der.encode_oid(".".join(map(str, [1, 3, *arcs])))
    ),
    st.text(max_size=20).map(lambda t: der.encode(der.UTF8_STRING, t.encode())),
    st.binary(max_size=20).map(lambda b: der.encode(0x81, b)),
)
ELEMENTS = st.recursive(
    PRIMITIVES,
    lambda inner: st.tuples(
        st.sampled_from([der.SEQUENCE, der.SET, 0xA0, 0xA3]), st.lists(inner, max_size=4)
    ).map(lambda pair: der.encode(pair[0], *pair[1])),
    max_leaves=12,
)


@given(ELEMENTS)
def test_what_is_written_passes_the_gate(data: bytes) -> None:
    der.check_der(data)
    element = der.read_element(data)
    assert der.octets_of(data, element) == data
    if data[0] & 0x20:
        joined = b"".join(der.octets_of(data, child) for child in der.children(data, element))
        assert joined == der.content_of(data, element)


@given(ELEMENTS, st.data())
def test_truncation_anywhere_is_refused(data: bytes, choice: st.DataObject) -> None:
    cut = choice.draw(st.integers(0, len(data) - 1))
    with pytest.raises(Malformed):
        der.check_der(data[:cut])


@given(ELEMENTS, st.binary(min_size=1, max_size=5))
def test_trailing_octets_are_refused(data: bytes, more: bytes) -> None:
    with pytest.raises(Malformed):
        der.check_der(data + more)


def test_a_certificate_truncated_at_each_octet_is_refused() -> None:
    der.check_der(SAMPLE)
    for cut in range(len(SAMPLE)):
        with pytest.raises(Malformed):
            der.check_der(SAMPLE[:cut])


@given(st.binary(max_size=80))
def test_noise_is_refused_or_passes_but_never_breaks(data: bytes) -> None:
    """Only the two errors that the gate declares come out of it."""
    try:
        der.check_der(data)
    except (Malformed, TooLarge):
        return
    assert der.read_element(data).end == len(data)


@given(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255))
def test_an_altered_octet_never_breaks_the_gate(position: int, value: int) -> None:
    data = SAMPLE[:position] + bytes([value]) + SAMPLE[position + 1 :]
    try:
        der.check_der(data)
    except (Malformed, TooLarge):
        return
    assert der.read_element(data).end == len(data)


# -- BER that is not DER
BER = {
    "indefinite length": "3080 0201 00 0000",
    "indefinite length inside": "3006 a080 0500 0000",
    "end-of-contents octets": "3002 0000",
    "length in two octets where one does": "3081 03 020100",
    "length 127 in two octets": "04817f" + "00" * 127,
    "length with a leading zero": "04 8200 80" + "00" * 128,
    "reserved length FF": "04ff" + "00" * 127,
    "tag number with padding": "9f 8001 00",
    "tag number below 31 in the long form": "9f 1e 00",
    "universal tag in the long form": "1f 8101 00",
    "boolean of no octet": "0100",
    "boolean of two octets": "0102 ffff",
    "boolean of 01": "0101 01",
    "integer of no octet": "0200",
    "integer with a leading 00": "0202 007f",
    "integer with a leading FF": "0202 ff80",
    "enumerated with padding": "0a02 0001",
    "null with content": "0501 00",
    "object identifier of no octet": "0600",
    "object identifier cut inside an arc": "0602 2a86",
    "object identifier with a padded first arc": "0603 802a03",
    "object identifier with a padded later arc": "0604 2a808601",
    "bit string of no octet": "0300",
    "bit string with 8 unused bits": "0302 0800",
    "bit string with unused bits of nothing": "0301 01",
    "bit string with an unused bit set": "0302 01ff",
    "constructed octet string": "2403 040100",
    "constructed bit string": "2304 030200 00",
    "constructed integer": "2203 020100",
    "sequence that is primitive": "1000",
    "set that is primitive": "1100",
    "external type": "0800",
    "child that outgrows its parent": "3003 0202 0100",
    "child whose header outgrows its parent": "3001 02 0100",
    "empty octets": "",
    "one octet": "30",
    "tag number cut": "9f81",
    "length cut": "308201",
    "trailing octet": "0500 00",
    "second element": "0500 0500",
}


@pytest.mark.requirement("CMS-1")
@pytest.mark.parametrize("octets", BER.values(), ids=BER.keys())
def test_ber_that_is_not_der_is_refused(octets: str) -> None:
    """Abuse case 6: refused before any library reads it."""
    data = bytes.fromhex(octets)
    with pytest.raises(Malformed):
        der.check_der(data)
    wrapped = der.encode(der.SEQUENCE, data)
    if len(data) > 1 and octets not in (BER["trailing octet"], BER["second element"]):
        with pytest.raises(Malformed):
            der.check_der(wrapped)


GOOD = {
    "null": "0500",
    "boolean false": "010100",
    "boolean true": "0101ff",
    "integer 128": "02020080",
    "integer -128": "020180",
    "integer -129": "0202ff7f",
    "length 128": "048180" + "00" * 128,
    "length 256": "04820100" + "00" * 256,
    "bit string with unused bits": "030201fe",
    "empty bit string": "030100",
    "empty sequence": "3000",
    "empty set": "3100",
    "set in any order": "3106 020102 020101",
    "context tag 31": "9f1f00",
    "context tag 201": "bf8149 02 0500",
    "object identifier with 80 inside an arc": "0603 2b8180 00".replace("0603", "0604"),
}


@pytest.mark.parametrize("octets", GOOD.values(), ids=GOOD.keys())
def test_der_passes(octets: str) -> None:
    der.check_der(bytes.fromhex(octets))


# -- limits
def _nested(depth: int) -> bytes:
    data = b""
    for _ in range(depth):
        data = der.encode(der.SEQUENCE, data)
    return data


def test_depth_is_bounded() -> None:
    der.check_der(_nested(24))
    with pytest.raises(TooLarge):
        der.check_der(_nested(25))


def test_hostile_depth_is_met_by_the_limit_and_not_by_the_stack() -> None:
    with pytest.raises(TooLarge):
        der.check_der(_nested(10_000))


def test_number_of_elements_is_bounded() -> None:
    der.check_der(der.encode(der.SEQUENCE, b"\5\0" * 9), max_elements=10)
    with pytest.raises(TooLarge):
        der.check_der(der.encode(der.SEQUENCE, b"\5\0" * 10), max_elements=10)


def test_octets_are_bounded() -> None:
    data = der.encode(der.OCTET_STRING, bytes(96))
    der.check_der(data, max_octets=98)
    with pytest.raises(TooLarge):
        der.check_der(data, max_octets=97)


@pytest.mark.parametrize("octets", ["0485 0000000000", "9f 8181818181 01 00"])
def test_lengths_and_tags_beyond_32_bits_are_refused(octets: str) -> None:
    data = bytes.fromhex(octets)
    with pytest.raises(Malformed):
        der.check_der(data)
    with pytest.raises(Malformed):
        der.read_element(data)


# -- reading
def test_read_element_tells_where_it_stands() -> None:
    data = bytes.fromhex("0500 048180") + bytes(128)
    assert der.read_element(data, 2) == der.Element(tag=0x04, start=2, content=5, end=133)


def test_long_tags_are_their_identifier_octets() -> None:
    assert der.read_element(bytes.fromhex("bf81490205 00")).tag == 0xBF8149


@pytest.mark.parametrize("octets", ["", "30", "3001", "3080", "308103020100", "9f1e00", "1f810100"])
def test_read_element_refuses_what_is_no_whole_der_header(octets: str) -> None:
    with pytest.raises(Malformed):
        der.read_element(bytes.fromhex(octets))


def test_children_of_a_primitive_are_refused() -> None:
    data = der.encode(der.OCTET_STRING, b"\5\0")
    with pytest.raises(Malformed):
        der.children(data, der.read_element(data))


def test_children_that_outgrow_their_parent_are_refused() -> None:
    data = bytes.fromhex("3003 0202 0100")
    with pytest.raises(Malformed):
        der.children(data, der.read_element(data))


# -- writing
@pytest.mark.parametrize(
    ("value", "octets"),
    [
        (0, "020100"),
        (127, "02017f"),
        (128, "02020080"),
        (-1, "0201ff"),
        (-128, "020180"),
        (-129, "0202ff7f"),
        (2**64, "0209010000000000000000"),
    ],
)
def test_integers_are_written_in_as_few_octets_as_they_need(value: int, octets: str) -> None:
    assert der.encode_integer(value) == bytes.fromhex(octets)


@pytest.mark.parametrize(
    ("dotted", "octets"),
    [
        ("1.2.840.113549.1.9.16.1.40", "060b2a864886f70d0109100128"),
        ("1.3.6.1.5.5.7.1.32", "06082b06010505070120"),
        ("2.5.4.5", "0603550405"),
        ("2.999.3", "0603883703"),
    ],
)
def test_object_identifiers(dotted: str, octets: str) -> None:
    """The values are those of X.690 §8.19 and of RFC 8995 and RFC 8366."""
    assert der.encode_oid(dotted) == bytes.fromhex(octets)


@pytest.mark.parametrize(
    "dotted", ["", "1", "1.x", "3.1", "1.40", "1.-2", "1.2.", "1.2.-3", "1.²", "1.02", "1.2" * 99]
)
def test_what_is_no_object_identifier_is_refused(dotted: str) -> None:
    with pytest.raises(Malformed):
        der.encode_oid(dotted)


def test_lengths_take_the_shortest_form() -> None:
    assert der.encode(0x04, bytes(127))[:2] == bytes.fromhex("047f")
    assert der.encode(0x04, bytes(128))[:3] == bytes.fromhex("048180")
    assert der.encode(0x04, bytes(65536))[:5] == bytes.fromhex("0483010000")


# -- published messages, and the time it takes
def test_published_vouchers_and_requests_pass(vectors: Path) -> None:
    folder = vectors / "rfc8995-appC"
    for path in sorted(folder.glob("*.b64")):
        der.check_der(base64.b64decode(path.read_bytes()))


def test_the_gate_is_cheap() -> None:
    """A message of 3 kB costs well under 100 µs; ten times that fails here."""
    message = der.encode(der.SEQUENCE, *[SAMPLE] * 6)
    assert len(message) > 2500
    best = min(timeit.repeat(lambda: der.check_der(message), number=20, repeat=10)) / 20
    assert best < 1e-3
