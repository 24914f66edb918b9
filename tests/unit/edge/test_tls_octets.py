"""The TLS engine: octets in any pieces, and how many of them."""

from __future__ import annotations

import ssl
from contextlib import suppress
from itertools import cycle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kit import pki, tls
from tests.kit.examples import SHARED_FIXTURE
from tests.unit.edge.tls_ends import both_versions, client, domain, registrar, server

__all__ = ["domain", "registrar"]


@both_versions
@pytest.mark.parametrize("size", [0, 1, 16384, 16385, 1_000_000])
def test_octets_arrive_as_they_were_sent(registrar: pki.Entity, version: str, size: int) -> None:
    """Both ways, records and their borders."""
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    ends = tls.connect_in_memory(client(), server(registrar, version))
    assert ends.send(ends.client, ends.server, data) == data
    assert ends.send(ends.server, ends.client, data) == data


def test_pending_tells_of_whole_records(registrar: pki.Entity) -> None:
    """uvloop reads on only as long as there may be something: two records in one segment."""
    ends = tls.connect_in_memory(client(), server(registrar))
    with pytest.raises(ssl.SSLWantReadError):
        ends.server.read()
    for data in (b"one", b"two"):
        ends.client.write(data)
    ends.move()
    assert ends.server.read() == b"one"
    assert ends.server.pending()
    assert ends.server.read() == b"two"
    assert not ends.server.pending()
    with pytest.raises(ssl.SSLWantReadError):
        ends.server.read()


@both_versions
@settings(
    max_examples=30,
    suppress_health_check=SHARED_FIXTURE,
)
@given(
    messages=st.lists(st.sampled_from([1, 2, 100, 16384, 16385, 40000]), max_size=6),
    steps=st.lists(st.sampled_from([1, 4, 5, 6, 21, 1000, 16384, 16406, 70000]), min_size=1),
    asked=st.lists(st.sampled_from([1, 100, 16383, 16384, 65536]), min_size=1),
)
def test_who_reads_only_while_something_is_pending_misses_nothing(
    registrar: pki.Entity,
    version: str,
    messages: list[int],
    steps: list[int],
    asked: list[int],
) -> None:
    """However records and segments are cut, and however little is asked for; the end as well."""
    ends = tls.connect_in_memory(client(), server(registrar, version))
    sent = b"".join(bytes([number]) * size for number, size in enumerate(messages))
    view = memoryview(sent)
    while view:
        view = view[ends.client.write(view) :]
    with pytest.raises(ssl.SSLWantReadError):
        ends.client.unwrap()
    wire, received, closed = ends.client_out.read(), b"", False
    sizes, asks = cycle(steps), cycle(asked)
    if len(wire) > 5000:
        sizes = cycle([max(1000, step) for step in steps])
        asks = cycle([max(1000, size) for size in asked])
    while wire:
        step = next(sizes)
        ends.server_in.write(wire[:step])
        wire = wire[step:]
        with suppress(ssl.SSLWantReadError):
            while not closed and (ends.server_in.pending or ends.server.pending()):
                octets = ends.server.read(next(asks))
                received, closed = received + octets, not octets
    assert received == sent
    assert closed


def test_read_fills_a_buffer_that_is_given(registrar: pki.Entity) -> None:
    """What buffered protocols use; end of stream is 0 there and empty octets here."""
    ends = tls.connect_in_memory(client(), server(registrar))
    buffer = bytearray(8)
    ends.client.write(b"octets")
    ends.move()
    assert ends.server.read(8, buffer) == 6
    assert buffer[:6] == b"octets"
    with pytest.raises(ssl.SSLWantReadError):
        ends.client.unwrap()
    ends.move()
    assert ends.server.read(8, buffer) == 0
    assert ends.server.read(8) == b""


def test_close_notify_goes_both_ways(registrar: pki.Entity) -> None:
    """unwrap waits for the peer's and ends when it has come."""
    ends = tls.connect_in_memory(client(), server(registrar))
    for end in (ends.client, ends.server):
        try:
            end.unwrap()
        except ssl.SSLWantReadError:
            ends.move()
    ends.move()
    ends.client.unwrap()
    ends.server.unwrap()


def test_cut_connection_is_no_clean_end(registrar: pki.Entity) -> None:
    """TCP's end without close_notify could be an attacker's truncation."""
    ends = tls.connect_in_memory(client(), server(registrar))
    ends.server_in.write_eof()
    with pytest.raises(ssl.SSLEOFError):
        ends.server.read()


@pytest.mark.parametrize("octets", [b"GET / HTTP/1.1\r\n\r\n", bytes(100), b"\x16\x03\x01\xff\xff"])
def test_octets_that_are_no_tls_end_the_handshake(registrar: pki.Entity, octets: bytes) -> None:
    """As an SSLError, which loops take for the peer's fault and do not shout about."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    end = server(registrar).wrap_bio(incoming, outgoing, server_side=True)
    incoming.write(octets)
    with pytest.raises(ssl.SSLError) as caught:
        end.do_handshake()
    assert caught.value.reason or isinstance(caught.value, ssl.SSLWantReadError)
