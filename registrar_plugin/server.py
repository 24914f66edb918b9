"""The plugin as a server of its own."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

from brski.edge.accept import AddressCap
from brski.edge.serve import Listener, serve
from registrar_plugin.composition import open_registrar
from registrar_plugin.identity.budget import subnet_of
from registrar_plugin.plugin import setup
from registrar_plugin.settings import RegistrarSettings


async def serve_registrar(
    settings: RegistrarSettings, *, source: Path, announce: bool = False
) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        source: the settings file.
        announce: print the address as one line of JSON once the listener is open.

    Raises:
        LocalError: a key, file or address that cannot be used.
        Unavailable: a disk that fails.
    """
    registrar = open_registrar(settings, source=source)
    app = web.Application()
    app.router.add_get("/healthz", _healthy)
    setup(app, registrar)
    await serve(
        [
            Listener(
                name="pledges",
                app=app,
                listen=settings.listen.pledges,
                ssl_context=registrar.ssl_context(),
                cap=AddressCap(
                    connections=settings.listen.connections_per_address, group=subnet_of
                ),
            )
        ],
        announce=announce,
    )


async def _healthy(_: web.Request) -> web.Response:
    return web.Response(text="ok\n")
