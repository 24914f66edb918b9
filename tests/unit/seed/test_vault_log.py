"""Header, heads and log entries of a vault: one encoding each, and nothing else is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cbor2
import pytest

from brski.errors import Malformed, StateError
from brski.seed.vault import Stretching
from brski.seed.vault_log import (
    NO_DIGEST,
    Action,
    Head,
    Header,
    Kind,
    Use,
    check_successor,
    index_digest,
    log_digest,
)

ID = bytes(range(16))
HEADERS = [
    Header(vault_id=ID, kind=Kind.FILE),
    Header(vault_id=ID, kind=Kind.PKCS11),
    Header(vault_id=ID, kind=Kind.PASSPHRASE, stretching=Stretching(salt=bytes(16))),
]
HEAD = Head(
    vault_id=ID,
    counter=1,
    previous=b"m" * 32,
    records=5,
    chunks=2,
    index_digest=bytes(32),
    entries=1,
    log_digest=bytes(32),
)
WRONG: list[Any] = [{}, -1, True, [[]], 1.5]
USE = Use(
    at=1_770_000_000,
    operator="ada",
    action=Action.SECRET,
    subject="chip c0ffee01",
    reason="release 7",
    records=1,
)


@pytest.mark.parametrize("header", HEADERS)
def test_a_header_is_read_back(header: Header) -> None:
    assert Header.parse(header.encode()) == header


def test_the_octets_are_those_of_the_page() -> None:
    """By another CBOR."""
    s = HEADERS[2].stretching
    assert s is not None
    assert cbor2.loads(HEADERS[2].encode()) == [
        *("brski vault v1", ID, "passphrase"),
        [s.salt, 17, 8, 1],
    ]
    assert cbor2.loads(HEAD.encode()) == [
        *("brski vault head v1", ID, 1, b"m" * 32, 5, 2, bytes(32), 1, bytes(32)),
    ]
    assert cbor2.loads(USE.encode(7)) == [
        *("brski vault use v1", 7, 1_770_000_000, "ada", "secret", "chip c0ffee01", "release 7", 1),
    ]


def test_head_and_entry_are_read_back() -> None:
    assert Head.parse(HEAD.encode()) == HEAD
    assert Use.parse(USE.encode(7)) == (7, USE)


PARSERS: list[tuple[Callable[[bytes], object], bytes]] = [
    *((Header.parse, header.encode()) for header in HEADERS),
    (Head.parse, HEAD.encode()),
    (Use.parse, USE.encode(7)),
]


@pytest.mark.parametrize(("parse", "octets"), PARSERS)
def test_cut_at_any_octet_it_is_none(parse: Callable[[bytes], object], octets: bytes) -> None:
    for length in range(len(octets)):
        with pytest.raises(StateError, match="was altered"):
            parse(octets[:length])
    with pytest.raises(StateError, match="was altered"):
        parse(octets + b"\x00")


@pytest.mark.parametrize(("parse", "octets"), PARSERS)
def test_of_another_type_it_is_none(parse: Callable[[bytes], object], octets: bytes) -> None:
    """Each item in turn as something else."""
    items: list[Any] = cbor2.loads(octets)
    for position in range(len(items)):
        others: tuple[Any, ...] = ({}, -1, True, [[]], 1.5)
        for other in others:
            altered = [*items]
            altered[position] = other
            with pytest.raises(StateError, match=r"was altered|scrypt"):
                parse(cbor2.dumps(altered, canonical=True))


@pytest.mark.parametrize("name", ["operator", "subject", "reason"])
@pytest.mark.parametrize("text", ["", "two\nlines", "\x1b[31m", "x" * 201])
def test_a_text_that_would_forge_a_line_is_refused(name: str, text: str) -> None:
    with pytest.raises(Malformed, match=name):
        replace(USE, **{name: text})  # type: ignore[arg-type]  # one of the texts
    replace(USE, **{name: "x" * 200})  # type: ignore[arg-type]  # the nearest acceptance


def test_a_head_follows_one_head() -> None:
    after = replace(HEAD, counter=2, previous=b"n" * 32, entries=2)
    check_successor(after, HEAD, b"n" * 32)
    for wrong in (
        {"counter": 3},
        {"counter": 1},
        {"previous": b"m" * 32},
        {"entries": 1},
        {"entries": 3},
        {"vault_id": bytes(16)},
    ):
        with pytest.raises(StateError, match="does not follow"):
            check_successor(replace(after, **wrong), HEAD, b"n" * 32)


def test_the_log_is_a_chain() -> None:
    first, second = USE.encode(1), USE.encode(2)
    whole = log_digest(log_digest(NO_DIGEST, first), second)
    assert whole != log_digest(log_digest(NO_DIGEST, second), first)
    assert whole != log_digest(NO_DIGEST, second)
    assert index_digest([b"a", b"b"]) != index_digest([b"b", b"a"])
