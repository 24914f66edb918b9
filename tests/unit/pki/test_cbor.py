"""CBOR in its one deterministic form; cbor2 is the second opinion."""

from __future__ import annotations

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brski.errors import Malformed, TooLarge
from brski.pki import cbor

KEYS = st.integers(-(1 << 64), (1 << 64) - 1) | st.text(max_size=30)
ITEMS = st.recursive(
    st.integers(-(1 << 64), (1 << 64) - 1)
    | st.binary(max_size=300)
    | st.text(max_size=30)
    | st.booleans()
    | st.none(),
    lambda inner: st.lists(inner, max_size=30) | st.dictionaries(KEYS, inner, max_size=30),
    max_leaves=20,
)


def depth(item: object) -> int:
    if isinstance(item, dict):
        return 1 + max(map(depth, item.values()), default=0)
    return 1 + max(map(depth, item), default=0) if isinstance(item, list) else 0


@given(ITEMS)
def test_what_is_encoded_decodes_and_cbor2_reads_the_same(item: cbor.Item) -> None:
    octets = cbor.encode(item)
    assert cbor.decode(octets, max_depth=depth(item)) == item
    assert cbor2.loads(octets) == item


@given(st.binary(max_size=40))
def test_whatever_decodes_has_one_encoding(octets: bytes) -> None:
    """Nothing but Malformed comes out of arbitrary octets, and nothing has two encodings."""
    try:
        item = cbor.decode(octets)
    except Malformed:
        return
    assert cbor.encode(item) == octets


@given(ITEMS)
def test_truncated_at_each_octet(item: cbor.Item) -> None:
    octets = cbor.encode(item)
    for end in range(min(len(octets), 400)):
        with pytest.raises(Malformed):
            cbor.decode(octets[:end], max_depth=20)


@pytest.mark.parametrize(
    ("encoded", "item"),
    [
        ("00", 0),
        ("17", 23),
        ("1818", 24),
        ("1903e8", 1000),
        ("1bffffffffffffffff", 18446744073709551615),
        ("3bffffffffffffffff", -18446744073709551616),
        ("20", -1),
        ("f4", False),
        ("f5", True),
        ("f6", None),
        ("62c3bc", None),
        ("4401020304", b"\x01\x02\x03\x04"),
        ("8301820203820405", [1, [2, 3], [4, 5]]),
        ("a26161016162820203", {"a": 1, "b": [2, 3]}),
        ("a3186401200261610a", {100: 1, -1: 2, "a": 10}),  # by octets, not by length first
    ],
)
def test_examples_of_rfc_8949(encoded: str, item: cbor.Item) -> None:
    """Appendix A, and the key order of §4.2.1."""
    item = "ü" if encoded == "62c3bc" else item
    assert cbor.decode(bytes.fromhex(encoded)) == item
    assert cbor.encode(item) == bytes.fromhex(encoded)


@pytest.mark.parametrize(
    ("encoded", "why"),
    [
        ("", "ends too early"),
        ("0000", "1 octets after"),
        ("1817", "longer head"),
        ("190001", "longer head"),
        ("1a0000ffff", "longer head"),
        ("1b00000000ffffffff", "longer head"),
        ("5801ff", "longer head"),
        ("5f41004100ff", "indefinite"),
        ("9f00ff", "indefinite"),
        ("bfff", "indefinite"),
        ("1c", "reserved"),
        ("c000", "a tag"),
        ("d81c00", "a tag"),
        ("f90000", "a float"),
        ("fb0000000000000000", "a float"),
        ("f7", "not used"),
        ("f818", "not used"),
        ("ff", "not used"),
        ("62ff00", "UTF-8"),
        ("9bffffffffffffffff", "ends too early"),
        ("5bffffffffffffffff", "ends too early"),
        ("bbffffffffffffffff", "ends too early"),
        ("a2616200616100", "out of order"),
        ("a2616100616100", "one twice"),
        ("a2200100 02".replace(" ", ""), "out of order"),
        ("a1410000", "neither"),
        ("a1f500", "neither"),
        ("a18000", "nested too deep"),
        ("81" * 9 + "00", "nested too deep"),
        ("a100" * 9 + "00", "nested too deep"),
    ],
)
def test_other_encodings_are_refused(encoded: str, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        cbor.decode(bytes.fromhex(encoded))


def test_eight_levels_pass() -> None:
    assert cbor.decode(bytes.fromhex("81" * 8 + "00")) == [[[[[[[[0]]]]]]]]


def test_more_octets_than_allowed_are_refused() -> None:
    assert cbor.decode(cbor.encode(bytes(10)), max_octets=11) == bytes(10)
    with pytest.raises(TooLarge, match="11 octets, 10 are the most"):
        cbor.decode(cbor.encode(bytes(10)), max_octets=10)


def test_what_has_no_encoding_is_our_own_fault() -> None:
    with pytest.raises(TypeError, match="float"):
        cbor.encode(0.5)  # type: ignore[arg-type]
    with pytest.raises(OverflowError):
        cbor.encode(1 << 64)
