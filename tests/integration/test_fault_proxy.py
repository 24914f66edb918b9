"""A proxy that passes TCP on badly: each fault does what it says, and nothing else."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest

from brski_lab.cli import main
from brski_lab.fault_proxy import FaultProxy
from brski_lab.faults import End, Faults, Weather, dice_of
from tests.kit.tls import both_loops, run_on

SAID = bytes(range(256)) * 1000
QUIET_S = 0.2  # long enough to see that nothing comes


@dataclass
class Server:
    """Keeps what it hears and says it back."""

    port: int = 0
    heard: bytearray = field(default_factory=bytearray)
    open_now: int = 0
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    async def echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open_now += 1
        try:
            while piece := await reader.read(65536):
                self.heard += piece
                writer.write(piece)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            self.gone.set()
            await close(writer)
            self.open_now -= 1


async def close(writer: asyncio.StreamWriter) -> None:
    """Close, whatever the other side has done already."""
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


@asynccontextmanager
async def proxied(weather: Weather, seed: int = 1) -> AsyncIterator[tuple[FaultProxy, Server]]:
    """An echo behind a proxy."""
    echo = Server()
    server = await asyncio.start_server(echo.echo, "127.0.0.1", 0)
    echo.port = server.sockets[0].getsockname()[1]
    proxy = FaultProxy("127.0.0.1", echo.port, seed=seed, weather=weather)
    async with proxy.serving():
        yield proxy, echo
    server.close()
    while echo.open_now:
        await asyncio.sleep(0)


async def connect(proxy: FaultProxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(*proxy.address)


async def said_back(proxy: FaultProxy, said: bytes = SAID) -> bytes | None:
    """What comes back for *said* until the end; None: a reset instead of an end."""
    reader, writer = await connect(proxy)
    try:
        writer.write(said)
        writer.write_eof()
        return await reader.read()
    except ConnectionError:
        return None
    finally:
        await close(writer)


@both_loops
def test_without_faults_nothing_is_changed(loop: str) -> None:
    """Every octet both ways, ends included; the counts agree."""

    async def run() -> None:
        async with proxied(Weather()) as (proxy, server):
            for _ in range(3):
                assert await said_back(proxy) == SAID
            assert bytes(server.heard) == 3 * SAID
            assert (proxy.counts.connections, proxy.counts.refused) == (3, 0)
            assert (proxy.counts.up, proxy.counts.down) == (3 * len(SAID), 3 * len(SAID))

    run_on(loop, run())


@both_loops
@pytest.mark.parametrize("end", [End.CUT, End.RESET])
def test_cut_in_the_middle(loop: str, end: End) -> None:
    """The other way is unharmed: the server heard all, the client so many octets of the answer."""

    async def run() -> None:
        async with proxied(Weather(down=Faults(after=1000, end=end))) as (proxy, server):
            heard = await said_back(proxy, SAID[:5000])
            assert heard == (SAID[:1000] if end is End.CUT else None)
            assert bytes(server.heard) == SAID[:5000]
            await server.gone.wait()

    run_on(loop, run())


async def test_cut_on_the_way_up_ends_both() -> None:
    """The server has so many octets and no more, and knows that nobody is there any longer."""
    async with proxied(Weather(up=Faults(after=1000))) as (proxy, server):
        await said_back(proxy, SAID[:5000])
        await server.gone.wait()
        assert bytes(server.heard) == SAID[:1000]


@both_loops
def test_half_open_is_silent_and_stays(loop: str) -> None:
    """Neither octets nor an end, until the proxy is told to break it."""

    async def run() -> None:
        async with proxied(Weather(down=Faults(after=3, end=End.STALL))) as (proxy, server):
            reader, writer = await connect(proxy)
            writer.write(b"hello")
            assert await reader.readexactly(3) == b"hello"[:3]
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(QUIET_S):
                    await reader.read(1)
            assert not server.gone.is_set()
            await proxy.break_all()
            assert await reader.read(1) == b""
            await server.gone.wait()
            await close(writer)

    run_on(loop, run())


async def test_half_open_fills_the_senders_buffers() -> None:
    """Nothing more is read, so that a sender of much comes to a halt."""
    async with proxied(Weather(up=Faults(after=0, end=End.STALL))) as (proxy, server):
        _, writer = await connect(proxy)

        async def pour() -> None:
            while True:
                writer.write(bytes(1 << 20))
                await writer.drain()

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pour(), 2 * QUIET_S)
        assert server.heard == b""
        writer.transport.abort()
        await close(writer)


async def test_what_is_lost_was_taken() -> None:
    """The sender goes on and believes that it arrived."""
    async with proxied(Weather(up=Faults(after=10, end=End.LOSE))) as (proxy, server):
        reader, writer = await connect(proxy)
        for _ in range(32):
            writer.write(bytes(1 << 20))
            await writer.drain()
        assert await reader.readexactly(10) == bytes(10)
        while proxy.counts.up < 32 << 20:
            await asyncio.sleep(0.01)
        assert len(server.heard) == 10
        await close(writer)


async def test_delay_and_rate_take_their_time() -> None:
    """At least as long as they say; how much longer is the machine's affair."""
    loop = asyncio.get_running_loop()
    async with proxied(Weather(up=Faults(delay_s=0.1), down=Faults(delay_s=0.1))) as (proxy, _):
        began = loop.time()
        assert await said_back(proxy, b"hello") == b"hello"
        assert loop.time() - began >= 0.2
    async with proxied(Weather(down=Faults(octets_per_s=10_000))) as (proxy, _):
        began = loop.time()
        assert await said_back(proxy, SAID[:2000]) == SAID[:2000]
        assert loop.time() - began >= 0.2


async def test_shares_are_the_seeds_affair() -> None:
    """One seed, one run: the same connections are refused and cut, whatever else goes on."""

    async def run(seed: int) -> list[bytes | None]:
        weather = Weather(down=Faults(after=1), refuse=0.3, share=0.5)
        async with proxied(weather, seed) as (proxy, _):
            return [await said_back(proxy, b"hello") for _ in range(40)]

    first = await run(7)
    assert set(first) == {None, b"h", b"hello"}
    assert await run(7) == first
    assert await run(8) != first


async def test_server_that_is_not_there_is_a_reset() -> None:
    """As a client would see it without the proxy."""
    async with proxied(Weather()) as (proxy, _):
        proxy.port = 1
        assert await said_back(proxy) is None
        assert proxy.counts.refused == 1


async def test_weather_changes_for_those_who_come() -> None:
    """A connection keeps what it met; the next one meets the new weather."""
    async with proxied(Weather()) as (proxy, _):
        reader, writer = await connect(proxy)
        writer.write(b"a")
        assert await reader.readexactly(1) == b"a"
        proxy.weather = Weather(refuse=1.0)
        assert await said_back(proxy) is None
        writer.write(b"b")
        assert await reader.readexactly(1) == b"b"
        await close(writer)


def test_faults_that_make_no_sense() -> None:
    """Negative times and shares above one."""
    for bad in ({"delay_s": -1.0}, {"jitter_s": -1.0}, {"after": -1}, {"octets_per_s": 0.0}):
        with pytest.raises(ValueError, match="not negative"):
            Faults(**bad)
    for share in (-0.1, 1.1):
        with pytest.raises(ValueError, match="from 0 to 1"):
            Weather(share=share)
        with pytest.raises(ValueError, match="from 0 to 1"):
            Weather(refuse=share)
    assert dice_of(1, 2).random() == dice_of(1, 2).random() != dice_of(1, 3).random()


async def test_as_a_program() -> None:
    """It says where it listens, cuts as told, and ends well when it is told to stop."""
    echo = Server()
    server = await asyncio.start_server(echo.echo, "127.0.0.1", 0)
    to = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    entry = "import sys; from brski_lab.cli import main; sys.exit(main())"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", entry, "proxy", "--to", to, "--seed", "5"),
        *("--cut-after", "4", "--direction", "down"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    told = json.loads(await process.stdout.readline())
    assert (told["event"], told["to"], told["seed"]) == ("listening", to, 5)
    host, _, port = told["listen"].rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"hello")
    assert await reader.read() == b"hello"[:4]
    await close(writer)
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0
    server.close()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--to", "nowhere"], "--to"),
        (["--to", "fd:3"], "--to"),
        (["--to", "127.0.0.1:1", "--listen", "x"], "--listen"),
        (["--to", "127.0.0.1:1", "--cut-after", "1", "--stall-after", "1"], "one way"),
        (["--to", "127.0.0.1:1", "--refuse", "2"], "refuse"),
    ],
)
def test_misuse_is_told(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2, one line, no traceback."""
    assert main(["proxy", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
