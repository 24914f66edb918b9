"""An aiohttp application of somebody's, with the registrar mounted on it.

``python examples/host_with_plugin.py registrar.toml`` serves it on the address that the settings
name. The host's own routes and middlewares are as they were.
"""

from __future__ import annotations

import sys
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler

from brski.edge.serve import Listener, run_loop, serve
from brski.edge.settings import load_settings
from registrar_plugin.composition import open_registrar
from registrar_plugin.plugin import setup
from registrar_plugin.settings import RegistrarSettings


@web.middleware
async def stamp(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The host's own middleware."""
    response = await handler(request)
    response.headers["X-Host"] = "mine"
    return response


async def inventory(_: web.Request) -> web.Response:
    """A route of the host's own."""
    return web.json_response({"devices": 0})


def make_app(settings: Path) -> tuple[web.Application, Listener]:
    """The host's application, and how it must be listened for: with the registrar's TLS context."""
    loaded = load_settings(settings, RegistrarSettings)
    registrar = open_registrar(loaded, source=settings)
    app = web.Application(middlewares=[stamp])
    app.router.add_get("/inventory", inventory)
    setup(app, registrar)
    listener = Listener(
        name="host",
        app=app,
        listen=loaded.listen.pledges,
        ssl_context=registrar.ssl_context(),
    )
    return app, listener


if __name__ == "__main__":
    run_loop(serve([make_app(Path(sys.argv[1]))[1]]))
