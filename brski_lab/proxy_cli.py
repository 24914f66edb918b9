"""``brski-lab proxy``: a bad network between two programs."""

from __future__ import annotations

import asyncio
import signal
from enum import Enum
from secrets import randbelow
from typing import Annotated, Final

import typer

from brski.edge.cli import print_json_line
from brski.edge.listen import ListenAddress, parse_listen
from brski.edge.serve import run_loop
from brski.errors import SettingsError
from brski_lab.fault_proxy import FaultProxy
from brski_lab.faults import NO_FAULTS, End, Faults, Weather

_SEEDS: Final = 1 << 32


class Direction(Enum):
    """Which way the faults lie."""

    UP = "up"
    DOWN = "down"
    BOTH = "both"


def proxy(
    to: Annotated[str, typer.Option("--to", help="The server, host:port.")],
    listen: Annotated[str, typer.Option(help="host:port; port 0 takes a free one.")] = (
        "127.0.0.1:0"
    ),
    delay: Annotated[float, typer.Option(min=0, help="Each piece waits, seconds.")] = 0.0,
    jitter: Annotated[float, typer.Option(min=0, help="And up to so much more, seconds.")] = 0.0,
    rate: Annotated[float | None, typer.Option(min=0.1, help="Octets a second.")] = None,
    cut_after: Annotated[int | None, typer.Option(min=0, help="Octets, then closed.")] = None,
    reset_after: Annotated[int | None, typer.Option(min=0, help="Octets, then RST.")] = None,
    stall_after: Annotated[int | None, typer.Option(min=0, help="Octets, then half-open.")] = None,
    lose_after: Annotated[int | None, typer.Option(min=0, help="Octets, the rest is lost.")] = None,
    refuse: Annotated[float, typer.Option(min=0, max=1, help="Share of connections reset.")] = 0.0,
    share: Annotated[float, typer.Option(min=0, max=1, help="Share that meets faults.")] = 1.0,
    direction: Annotated[Direction, typer.Option(help="up: client to server.")] = Direction.BOTH,
    seed: Annotated[int | None, typer.Option(min=0, help="To repeat a run.")] = None,
) -> None:
    """Pass TCP on badly: slow, cut, silent or half-open. Runs until it is interrupted."""
    after, end = _end(
        {
            End.CUT: cut_after,
            End.RESET: reset_after,
            End.STALL: stall_after,
            End.LOSE: lose_after,
        }
    )
    faults = Faults(delay_s=delay, jitter_s=jitter, octets_per_s=rate, after=after, end=end)
    weather = Weather(
        up=NO_FAULTS if direction is Direction.DOWN else faults,
        down=NO_FAULTS if direction is Direction.UP else faults,
        refuse=refuse,
        share=share,
    )
    server = _address(to, "--to")
    stands = FaultProxy(
        server.host,
        server.port,
        seed=randbelow(_SEEDS) if seed is None else seed,
        weather=weather,
    )
    run_loop(_serve(stands, _address(listen, "--listen")))


async def _serve(stands: FaultProxy, place: ListenAddress) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with stands.serving(place.host, place.port):
        print_json_line(
            {
                "event": "listening",
                "listen": _text(*stands.address),
                "to": _text(stands.host, stands.port),
                "seed": stands.seed,
            }
        )
        await stop.wait()


def _end(ends: dict[End, int | None]) -> tuple[int | None, End]:
    wanted = [(after, end) for end, after in ends.items() if after is not None]
    if len(wanted) > 1:
        names = ", ".join(f"--{end.value}-after" for _, end in wanted)
        raise SettingsError(f"a connection ends in one way: {names}")
    return wanted[0] if wanted else (None, End.CUT)


def _address(text: str, option: str) -> ListenAddress:
    try:
        place = parse_listen(text)
    except ValueError as err:
        raise SettingsError(f"{option}: {err}") from err
    if place.descriptor is not None:
        raise SettingsError(f"{option}: a host and a port are needed, not {text!r}")
    return place


def _text(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
