"""Listeners: how a server is opened, what it announces, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import ClientSession, web

from brski.edge.serve import Listener, serving
from brski.edge.tls_client import open_stream, provisional_context
from brski.edge.tls_server import server_context
from brski.edge.web_errors import TRANSPORT_FAULTS, error_middleware
from brski.errors import SettingsError, Unavailable
from tests.integration.tls_site import LOG, ask, registrar, routes
from tests.kit import pki, tls
from tests.kit.tls import both_loops

__all__ = ["registrar"]


@both_loops
def test_requests_under_way_are_finished_at_the_end(registrar: pki.Entity, loop: str) -> None:
    """Graceful: the answer arrives after the server was told to stop; new ones are not taken."""

    async def main() -> None:
        entered, leave = asyncio.Event(), asyncio.Event()

        async def slow(_request: web.Request) -> web.Response:
            entered.set()
            await leave.wait()
            return web.json_response({"done": True})

        app = web.Application()
        app.router.add_get("/slow", slow)
        context = server_context(registrar.chain, registrar.private_key)
        listener = Listener(name="a", app=app, listen="127.0.0.1:0", ssl_context=context)
        serving_ = serving([listener])
        host, port = (await serving_.__aenter__())["a"].split(":")
        stream = await open_stream(host, int(port), provisional_context())
        asking = asyncio.create_task(ask(stream, "/slow"))
        await entered.wait()
        ending = asyncio.create_task(serving_.__aexit__(None, None, None))
        await asyncio.sleep(0.05)
        with pytest.raises(Unavailable):
            await open_stream(host, int(port), provisional_context())
        leave.set()
        assert await asking == {"done": True}
        await ending
        stream.abort()

    tls.run_on(loop, main())


@both_loops
def test_one_application_behind_two_listeners(registrar: pki.Entity, loop: str) -> None:
    """Started and cleaned up once."""

    async def main() -> None:
        started: list[str] = []

        async def context(_app: web.Application) -> AsyncIterator[None]:
            started.append("up")
            yield
            started.append("down")

        app = web.Application(middlewares=[error_middleware(TRANSPORT_FAULTS, LOG)])
        app.add_routes(routes)
        app.cleanup_ctx.append(context)
        tls_context = server_context(registrar.chain, registrar.private_key)
        listeners = [
            Listener(name="tls", app=app, listen="127.0.0.1:0", ssl_context=tls_context),
            Listener(name="plain", app=app, listen="127.0.0.1:0", ssl_context=None),
        ]
        async with serving(listeners) as addresses:
            assert set(addresses) == {"tls", "plain"}
            assert addresses["tls"] != addresses["plain"]
            url = f"http://{addresses['plain']}/who"
            async with ClientSession() as session, session.get(url) as response:
                assert response.status == 503  # WrongContext
        assert started == ["up", "down"]

    tls.run_on(loop, main())


@both_loops
def test_address_that_cannot_be_taken_is_a_setting_to_mend(
    registrar: pki.Entity, loop: str
) -> None:
    """In use, or not of this host; what was started before is cleaned up."""

    async def main() -> None:
        ended: list[str] = []

        async def context(_app: web.Application) -> AsyncIterator[None]:
            yield
            ended.append("down")

        with socket.socket() as taken, socket.socket() as deaf, Path(os.devnull).open() as file:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            used = f"127.0.0.1:{taken.getsockname()[1]}"
            descriptors = (deaf.fileno(), file.fileno(), 999)
            for listen in (used, "192.0.2.1:0", *(f"fd:{number}" for number in descriptors)):
                app = web.Application()
                app.cleanup_ctx.append(context)
                listener = Listener(name="x", app=app, listen=listen, ssl_context=None)
                with pytest.raises(SettingsError, match=f"x: cannot listen on {listen}"):
                    await enter(serving([listener]))
        assert ended == ["down"] * 5

    tls.run_on(loop, main())


async def enter(manager: Any) -> None:
    async with manager:
        pass


PROGRAM: Final = """
import asyncio, sys
from aiohttp import web
from brski.edge.serve import Listener, run_loop, serve
async def hello(request):
    return web.Response(text=type(asyncio.get_running_loop()).__module__)
app = web.Application()
app.router.add_get("/", hello)
listener = Listener(name="only", app=app, listen=sys.argv[1], ssl_context=None)
run_loop(serve([listener], announce=True))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_program_announces_itself_and_ends_at_a_signal(number: signal.Signals) -> None:
    """One JSON line on stdout, exit 0, nothing on stderr; on an inherited socket, under uvloop."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        descriptor = sock.fileno()
        with subprocess.Popen(
            [sys.executable, "-c", PROGRAM, f"fd:{descriptor}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[descriptor],
            text=True,
        ) as child:
            assert child.stdout is not None
            address = f"127.0.0.1:{sock.getsockname()[1]}"
            assert json.loads(child.stdout.readline()) == {
                "event": "listening",
                "listeners": {"only": address},
            }
            asyncio.run(check_hello(address))
            os.kill(child.pid, number)
            out, err = child.communicate(timeout=20)
            assert (child.returncode, out, err) == (0, "", "")


async def check_hello(address: str) -> None:
    async with ClientSession() as session, session.get(f"http://{address}/") as response:
        assert (await response.text()).startswith("uvloop")


STUBBORN: Final = PROGRAM.replace(
    "    return web.Response(text=type(asyncio.get_running_loop()).__module__)\n",
    "    print('entered', flush=True)\n    await asyncio.sleep(60)\n",
)


def test_second_signal_does_not_wait() -> None:
    """The first one waits for the request under way; a person who insists is obeyed at once."""
    with subprocess.Popen(
        [sys.executable, "-c", STUBBORN, "127.0.0.1:0"], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        host, port = json.loads(child.stdout.readline())["listeners"]["only"].split(":")
        with socket.create_connection((host, int(port))) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert child.stdout.readline() == "entered\n"
            child.terminate()
            with pytest.raises(subprocess.TimeoutExpired):
                child.wait(0.5)
            child.terminate()
            assert child.wait(5) == -signal.SIGTERM
