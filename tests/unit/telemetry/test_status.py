"""voucher_status and enrollstatus: one strict JSON object (RFC 8995 §5.7, §5.9.4)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brski.errors import LocalError, Malformed, TooLarge
from brski.telemetry.status import STATUS_OCTETS, Status, decode_status, encode_status

GOOD = Status(status=True)
BAD = Status(status=False, reason="voucher signature", reason_context={"attempt": 2})

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
STATUSES = st.builds(
    Status,
    status=st.booleans(),
    reason=TEXT.filter(bool),
    reason_context=st.none()
    | st.dictionaries(TEXT, JSON.filter(lambda v: depth(v) < 6), max_size=3),
    version=st.integers(1, 2**32 - 1),
)


def depth(value: object) -> int:
    if isinstance(value, list | dict):
        members = value.values() if isinstance(value, dict) else value
        return 1 + max(map(depth, members), default=0)
    return 0


@given(STATUSES)
def test_what_is_written_reads_back(status: Status) -> None:
    """A status of any text and context survives the wire."""
    assert decode_status(encode_status(status)) == status


@pytest.mark.requirement("TEL-1")
def test_member_names_are_lower_case() -> None:
    """The exact octets of the least status and of a full one."""
    assert encode_status(GOOD) == b'{"version":1,"status":true}'
    assert encode_status(BAD) == (
        b'{"version":1,"status":false,"reason":"voucher signature","reason-context":{"attempt":2}}'
    )


@pytest.mark.requirement("TEL-1")
@pytest.mark.parametrize(("name", "accepted"), [("telemetry", False), ("enrollstatus", True)])
def test_published_examples_parse(vectors: Path, name: str, accepted: bool) -> None:
    """The working group's own examples."""
    status = decode_status((vectors / "telemetry-json" / f"example-{name}.json").read_bytes())
    assert status == Status(
        status=accepted,
        reason="Informative human readable message",
        reason_context={"additional": "JSON"},
    )


@pytest.mark.requirement("TEL-1", "REG-20")
def test_a_capital_status_is_an_unknown_member() -> None:
    """Beside the real one it is told; in its place the document has no status."""
    both = decode_status(b'{"Status":false,"version":1,"status":true,"Reason":"x"}')
    assert both == replace(GOOD, unknown_members=("Status", "Reason"))
    with pytest.raises(Malformed, match="no status"):
        decode_status(b'{"version":1,"Status":true}')


@pytest.mark.requirement("REG-20")
def test_a_greater_version_parses() -> None:
    """Versions add members; the registrar is told the number and the names, and logs them."""
    status = decode_status(b'{"version":2,"status":true,"severity":3}')
    assert (status.version, status.unknown_members) == (2, ("severity",))


@pytest.mark.requirement("TEL-1")
@pytest.mark.parametrize(
    "version", ["0", "-1", "1.0", '"1"', "true", "null", "[1]", "4294967296", "1e0"]
)
def test_a_version_that_is_no_positive_integer_is_refused(version: str) -> None:
    """Version 1 is taken; its look-alikes are not."""
    with pytest.raises(Malformed, match="version"):
        decode_status(f'{{"version":{version},"status":true}}'.encode())


@pytest.mark.requirement("TEL-3")
@pytest.mark.parametrize("status", ['"true"', "1", "0", "null", "{}", '"ok"'])
def test_a_status_that_is_no_boolean_is_refused(status: str) -> None:
    """Only true and false are taken."""
    with pytest.raises(Malformed, match="status"):
        decode_status(f'{{"version":1,"status":{status}}}'.encode())


@pytest.mark.parametrize("missing", ["version", "status"])
def test_a_missing_member_is_refused(missing: str) -> None:
    """version and status are the two that must be there."""
    document = json.loads(encode_status(BAD))
    del document[missing]
    with pytest.raises(Malformed, match=missing):
        decode_status(json.dumps(document).encode())


@pytest.mark.parametrize("absent", ["reason", "reason-context"])
def test_an_optional_member_may_be_absent_but_not_of_another_type(absent: str) -> None:
    """Absent is None; null, a number or a list is refused."""
    document = json.loads(encode_status(BAD))
    del document[absent]
    assert getattr(decode_status(json.dumps(document).encode()), absent.replace("-", "_")) is None
    values: list[object] = [None, 1, [], True]
    for value in values:
        with pytest.raises(Malformed, match=absent):
            decode_status(json.dumps({**document, absent: value}).encode())


@pytest.mark.requirement("TEL-2")
def test_a_failure_is_never_sent_without_its_reason() -> None:
    """Success needs no reason; a failure does, and an empty one is none."""
    assert encode_status(GOOD)
    for reason in (None, ""):
        with pytest.raises(LocalError, match="reason"):
            encode_status(Status(status=False, reason=reason))


@pytest.mark.requirement("TEL-2")
def test_a_failure_received_without_a_reason_is_still_a_failure() -> None:
    """The reason is a SHOULD of the sender; the failure itself is what counts."""
    assert decode_status(b'{"version":1,"status":false}') == Status(status=False)


@pytest.mark.parametrize("context", [{"x": float("nan")}, {"x": b"raw"}, {"x": "\ud800"}])
def test_a_context_that_json_cannot_carry_is_ours_to_mend(context: dict[str, object]) -> None:
    """NaN, octets and lone surrogates are refused before they are sent."""
    with pytest.raises(LocalError):
        encode_status(replace(BAD, reason_context=context))


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"[]",
        b"true",
        b'"status"',
        b'{"version":1,"status":true,"status":true}',
        b'{"version":1,"version":1,"status":true}',
        b'{"version":1,"status":true,"reason":"\xff"}',
        b'{"version":1,"status":true,"reason":"\\ud800"}',
        b'{"version":1,"status":true,"reason-context":{"x":NaN}}',
        b'{"version":1,"status":true}{}',
        b"\xa2gversion\x01fstatus\xf5",
    ],
)
def test_what_is_not_one_strict_json_object_is_refused(octets: bytes) -> None:
    """Another type, a member twice, no UTF-8, a lone surrogate, NaN, a second value, CBOR."""
    with pytest.raises(Malformed):
        decode_status(octets)


def test_every_truncation_is_refused() -> None:
    """Cut at any octet, the text is no status."""
    octets = encode_status(BAD)
    for end in range(len(octets)):
        with pytest.raises(Malformed):
            decode_status(octets[:end])


def test_size_and_depth_are_bounded() -> None:
    """At the limit it is read, beyond it not."""
    filler = STATUS_OCTETS - len(encode_status(replace(BAD, reason="x"))) + 1
    assert decode_status(encode_status(replace(BAD, reason="x" * filler)))
    with pytest.raises(TooLarge):
        decode_status(encode_status(replace(BAD, reason="x" * (filler + 1))))
    with pytest.raises(TooLarge):
        decode_status(
            b'{"version":1,"status":true,"reason-context":{"x":' + b"[" * 9 + b"]" * 9 + b"}}"
        )
