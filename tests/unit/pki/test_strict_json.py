"""JSON that two readers could read differently is not read at all."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brski.errors import Malformed, TooLarge
from brski.pki import strict_json

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(DOCUMENTS, st.booleans())
def test_what_is_written_is_read_back(document: object, ascii_only: bool) -> None:
    """Any I-JSON document survives, escaped or as plain UTF-8."""
    octets = json.dumps(document, ensure_ascii=ascii_only).encode()
    assert strict_json.loads(octets, max_depth=100) == document


@given(DOCUMENTS.filter(lambda document: isinstance(document, dict | list)), st.data())
def test_every_truncation_is_refused(document: object, data: st.DataObject) -> None:
    """A document cut anywhere is no document."""
    octets = json.dumps(document).encode()
    cut = data.draw(st.integers(0, len(octets) - 1))
    with pytest.raises(Malformed):
        strict_json.loads(octets[:cut], max_depth=100)


@given(st.binary(max_size=200))
def test_any_octets_are_read_or_refused(octets: bytes) -> None:
    """No input gets past the two refusals as some other exception."""
    try:
        strict_json.loads(octets)
    except (Malformed, TooLarge) as err:
        assert err.reason  # noqa: PT017 - either outcome is right; only another exception is not


@pytest.mark.requirement("SEC-10")
@pytest.mark.parametrize(
    ("accepted", "refused"),
    [
        (b'{"a":1,"b":2}', b'{"a":1,"a":2}'),
        (b'{"a":1,"b":2}', b'{"a":1,"\\u0061":1}'),
        (b'[{"a":1},{"a":2}]', b'[{"a":1},{"a":2,"a":2}]'),
        (b"[0]", b"[NaN]"),
        (b"[0]", b"[Infinity]"),
        (b"[0]", b"[-Infinity]"),
        (b"[1]", b"[01]"),
        (b"[1]", b"[+1]"),
        (b"[1]", b"[1,]"),
        (b"[1]", b"[1] x"),
        (b" [1]\r\n", b"\xef\xbb\xbf[1]"),
        ('"ä"'.encode(), '"ä"'.encode("latin-1")),
        (b'"a"', '"a"'.encode("utf-16")),
        (b'"a"', '"a"'.encode("utf-16-le")),
        (b'"\\ud83d\\ude00"', b'"\\ud83d"'),
        (b'{"\\ud83d\\ude00":1}', b'{"\\ud83d":1}'),
        (b'["\\ud83d\\ude00"]', b'["\\ude00\\ud83d"]'),
        (b'"a"', b'"\xed\xa0\x80"'),
        (b'"\\n"', b'"\n"'),
        (b'"\\u0000"', b'"\x00"'),
        (b'"a"', b"'a'"),
        (b"null", b"None"),
        (b"{}", b""),
        (b"{}", b"{} {}"),
    ],
)
def test_malformed_beside_its_well_formed_neighbour(accepted: bytes, refused: bytes) -> None:
    """Each pair differs in one thing."""
    strict_json.loads(accepted)
    with pytest.raises(Malformed):
        strict_json.loads(refused)


@pytest.mark.requirement("SEC-10")
@pytest.mark.parametrize(
    ("accepted", "refused"),
    [
        (b"[" * 16 + b"]" * 16, b"[" * 17 + b"]" * 17),
        (b'{"a":' * 15 + b"{}" + b"}" * 15, b'{"a":' * 16 + b"{}" + b"}" * 16),
        (b"9" * 24, b"9" * 25),
        (b"0." + b"1" * 22, b"0." + b"1" * 23),
        (b"1e308", b"1e309"),
        (b" " * (65536 - 2) + b"{}", b" " * (65536 - 1) + b"{}"),
    ],
)
def test_too_large_beside_the_largest_allowed(accepted: bytes, refused: bytes) -> None:
    """A limit allows its own value and nothing above."""
    strict_json.loads(accepted)
    with pytest.raises(TooLarge):
        strict_json.loads(refused)


@pytest.mark.requirement("SEC-10")
@pytest.mark.parametrize(
    "hostile",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b"1" * 4_000_000,
        b'"' + b'\\"' * 400_000,
    ],
)
def test_hostile_documents_are_refused_fast(hostile: bytes) -> None:
    """Depth, digits and quotes cost no more than their length, even with a generous size limit."""
    start = time.perf_counter()
    with pytest.raises((Malformed, TooLarge)):
        strict_json.loads(hostile, max_octets=8_000_000)
    assert time.perf_counter() - start < 0.5


def test_limits_are_the_caller_s() -> None:
    """Both limits can be set lower, and the refusal names them."""
    with pytest.raises(TooLarge, match="at most 1 are read"):
        strict_json.loads(b"{}", max_octets=1)
    with pytest.raises(TooLarge, match="deep"):
        strict_json.loads(b"[[]]", max_depth=1)
    assert strict_json.loads(b"[]", max_depth=1) == []
