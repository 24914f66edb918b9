"""The client of MASAs and OEM's services over real TLS: kept connections and their end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from brski.edge.http.client import Call, HTTPSClient, any_address
from brski.edge.http.request import encode_request
from brski.edge.tls_client import https_client_context
from brski.errors import AddressNotAllowed, TooLarge, Unavailable, UnexpectedResponse
from tests.kit import pki
from tests.kit.scripted import OK, ROOT, Server, Wire, scripted
from tests.kit.tls import both_loops, run_on

CONTEXT = https_client_context([ROOT.certificate])


async def loopback(_host: str, _port: int) -> Sequence[str]:
    return ["127.0.0.1"]


@asynccontextmanager
async def client(**options: Any) -> AsyncIterator[HTTPSClient]:
    usual: dict[str, Any] = {"timeout_s": 10.0, "connections": 4, "addresses": loopback}
    opened = HTTPSClient(CONTEXT, **(usual | options))
    try:
        yield opened
    finally:
        await opened.close()


def call(
    server: Server, *, repeatable: bool = True, limit: int = 1000, host: str = "localhost"
) -> Call:
    return Call(
        host=host,
        port=server.port,
        octets=encode_request("GET", "/", f"{host}:{server.port}", {}),
        body_octets=limit,
        repeatable=repeatable,
    )


@both_loops
def test_connection_is_kept(loop: str) -> None:
    """Three questions one after the other, one handshake."""

    async def run() -> None:
        async with scripted() as server, client() as asking:
            for _ in range(3):
                answer = await asking.send(call(server))
                assert (answer.status, answer.body) == (200, b"ok")
            assert (server.connections, len(server.requests)) == (1, 3)

    run_on(loop, run())


@both_loops
def test_no_more_connections_than_allowed(loop: str) -> None:
    """Twenty questions at once over two connections; none is lost."""

    async def run() -> None:
        async with scripted() as server, client(connections=2) as asking:
            answers = await asyncio.gather(*(asking.send(call(server)) for _ in range(20)))
            assert [answer.status for answer in answers] == [200] * 20
            assert server.most_open == 2

    run_on(loop, run())


async def test_kept_connection_makes_room_for_another_server() -> None:
    """The limit counts those to all servers together."""
    async with scripted() as one, scripted() as two, client(connections=1) as asking:
        for server in (one, two, one):
            await asking.send(call(server))
            await asyncio.sleep(0.05)
            assert one.open_now + two.open_now == 1


async def closes_after_first(server: Server, wire: Wire) -> None:
    """Answers once on its first connection and closes when the second request comes."""
    first = server.connections == 1
    while request := await wire.request():
        server.requests.append(request)
        if first and len(server.requests) == 2:
            wire.writer.transport.abort()
            return
        wire.say(OK)


@both_loops
def test_request_that_met_a_closed_connection_is_sent_again(loop: str) -> None:
    """Once, over a new one, since no octet of an answer had come (RFC 9110 §9.2.2)."""

    async def run() -> None:
        async with scripted(closes_after_first) as server, client() as asking:
            assert (await asking.send(call(server))).status == 200
            assert (await asking.send(call(server))).status == 200
            assert (server.connections, len(server.requests)) == (2, 3)

    run_on(loop, run())


async def test_request_that_must_not_be_repeated_is_not() -> None:
    """The same, and who asked says that it may have been carried out."""
    async with scripted(closes_after_first) as server, client() as asking:
        await asking.send(call(server))
        with pytest.raises(Unavailable, match="closed"):
            await asking.send(call(server, repeatable=False))
        assert len(server.requests) == 2


async def test_request_on_a_new_connection_is_not_repeated() -> None:
    """A server that closes at once is not asked for ever."""

    async def closes(server: Server, wire: Wire) -> None:
        server.requests.append(await wire.request())

    async with scripted(closes) as server, client() as asking:
        with pytest.raises(Unavailable, match="closed"):
            await asking.send(call(server))
        assert len(server.requests) == 1


async def test_answer_that_breaks_off_is_not_asked_for_again() -> None:
    """Something has been done by then."""

    async def breaks_off(server: Server, wire: Wire) -> None:
        while request := await wire.request():
            server.requests.append(request)
            if len(server.requests) == 2:
                wire.say(OK[:-1])
                return
            wire.say(OK)

    async with scripted(breaks_off) as server, client() as asking:
        await asking.send(call(server))
        with pytest.raises(Unavailable, match="closed"):
            await asking.send(call(server))
        assert len(server.requests) == 2


async def test_body_may_end_with_the_connection() -> None:
    """As of a server that speaks HTTP/1.0; the connection is not kept."""

    async def old(server: Server, wire: Wire) -> None:
        server.requests.append(await wire.request())
        wire.say(b"HTTP/1.0 200 OK\r\n\r\nok")

    async with scripted(old) as server, client() as asking:
        for connections in (1, 2):
            assert (await asking.send(call(server, repeatable=False))).body == b"ok"
            assert server.connections == connections


async def test_octets_that_nobody_asked_for_end_a_connection() -> None:
    """They are not the answer to the next question."""

    async def chatters(server: Server, wire: Wire) -> None:
        while request := await wire.request():
            server.requests.append(request)
            wire.say(OK)
            await wire.writer.drain()
            if len(server.requests) == 1:
                await asyncio.sleep(0.05)
                wire.say(OK.replace(b"ok", b"no"))

    async with scripted(chatters) as server, client() as asking:
        await asking.send(call(server))
        await asyncio.sleep(0.2)
        assert (await asking.send(call(server))).body == b"ok"
        assert server.connections == 2


async def test_connection_that_has_to_close_is_not_kept() -> None:
    """Connection: close."""

    async def once(server: Server, wire: Wire) -> None:
        server.requests.append(await wire.request())
        wire.say(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))

    async with scripted(once) as server, client() as asking:
        await asking.send(call(server, repeatable=False))
        await asking.send(call(server, repeatable=False))
        assert server.connections == 2


async def test_idle_connection_is_closed() -> None:
    """Before the server would."""
    async with scripted() as server, client(idle_s=0.1) as asking:
        await asking.send(call(server))
        assert server.open_now == 1
        async with asyncio.timeout(5):
            while server.open_now:
                await asyncio.sleep(0.02)
        await asking.send(call(server))
        assert server.connections == 2


@both_loops
def test_silence_ends_in_time_and_its_connection_with_it(loop: str) -> None:
    """An answer that comes too late is not the next question's."""

    async def run() -> None:
        late: list[Wire] = []

        async def silent(server: Server, wire: Wire) -> None:
            server.requests.append(await wire.request())
            late.append(wire)
            if len(late) == 1:
                await wire.request()  # nothing more comes
            else:
                wire.say(OK)

        async with scripted(silent) as server, client(timeout_s=0.3) as asking:
            with pytest.raises(Unavailable, match="no answer within"):
                await asking.send(call(server))
            late[0].say(OK.replace(b"ok", b"no"))
            assert (await asking.send(call(server))).body == b"ok"
            assert server.connections == 2

    run_on(loop, run())


async def test_question_that_was_given_up_leaves_nothing_behind() -> None:
    """Cancelled by who asked: its connection carries no further request."""
    asked = asyncio.Event()

    async def slow(server: Server, wire: Wire) -> None:
        while request := await wire.request():
            server.requests.append(request)
            if len(server.requests) == 1:
                asked.set()
                await asyncio.sleep(0.2)
            wire.say(OK)

    async with scripted(slow) as server, client(connections=1) as asking:
        given_up = asyncio.create_task(asking.send(call(server)))
        await asked.wait()
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        assert (await asking.send(call(server))).status == 200
        assert server.connections == 2


async def test_close_ends_what_is_under_way() -> None:
    """And nothing is begun afterwards."""
    asked = asyncio.Event()

    async def silent(_: Server, wire: Wire) -> None:
        await wire.request()
        asked.set()
        await wire.request()

    async with scripted(silent) as server, client() as asking:
        under_way = asyncio.create_task(asking.send(call(server)))
        await asked.wait()
        await asking.close()
        with pytest.raises(Unavailable):
            await under_way
        with pytest.raises(Unavailable, match="closed"):
            await asking.send(call(server))


@pytest.mark.parametrize(
    ("octets", "error"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd", TooLarge),
        (b"SSH-2.0-x\r\n\r\n", UnexpectedResponse),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n", UnexpectedResponse),
    ],
)
async def test_answers_are_held_to_their_limits(
    octets: bytes, error: type[Exception] | None
) -> None:
    """And after a bad one the connection is gone."""

    async def says(server: Server, wire: Wire) -> None:
        while request := await wire.request():
            server.requests.append(request)
            wire.say(octets)

    async with scripted(says) as server, client() as asking:
        for connections in (1, 1 if error is None else 2):
            if error is None:
                await asking.send(call(server, limit=3))
            else:
                with pytest.raises(error):
                    await asking.send(call(server, limit=3))
            assert server.connections == connections


# -- where it connects


async def test_connection_goes_to_the_address_that_was_given() -> None:
    """The name is for the certificate; nobody resolves it a second time."""
    asked: list[tuple[str, int]] = []

    async def addresses(host: str, port: int) -> Sequence[str]:
        asked.append((host, port))
        return ["127.0.0.1"]

    wanted = pki.make_server(ROOT, name="masa.example.com", addresses=())
    async with scripted(certificate=wanted) as server, client(addresses=addresses) as asking:
        for _ in range(2):
            assert (await asking.send(call(server, host="masa.example.com"))).status == 200
        with pytest.raises(Unavailable, match=r"masa\.example\.org.*certificate"):
            await asking.send(call(server, host="masa.example.org"))
        assert asked == [("masa.example.com", server.port), ("masa.example.org", server.port)]
        assert len(server.requests) == 2


async def test_no_address_no_connection() -> None:
    """What refuses an address stops the request, in its own words."""

    async def refuses(host: str, _port: int) -> Sequence[str]:
        raise AddressNotAllowed(f"{host} is not allowed")

    async with scripted() as server, client(addresses=refuses) as asking:
        with pytest.raises(AddressNotAllowed):
            await asking.send(call(server))
        assert server.connections == 0


async def test_next_address_is_tried() -> None:
    """A host with an address at which nobody listens, and one at which somebody does."""

    async def two(_host: str, _port: int) -> Sequence[str]:
        return ["127.0.0.2", "127.0.0.1"]

    async with scripted() as server, client(addresses=two) as asking:
        assert (await asking.send(call(server))).status == 200


async def test_name_that_is_none_is_unavailable() -> None:
    """The resolver's own word for it."""
    async with scripted() as server, client(addresses=any_address) as asking:
        assert (await asking.send(call(server))).status == 200
        with pytest.raises(Unavailable, match="no address"):
            await asking.send(call(server, host="name.invalid"))
