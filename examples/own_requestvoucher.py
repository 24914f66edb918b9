"""A registrar that has its own requestvoucher and takes only the identity step from here.

``python examples/own_requestvoucher.py registrar.toml`` answers a pledge's voucher-request with who
the pledge is; what a real host does next is its own.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import web

from brski.edge.serve import Listener, run_loop, serve
from brski.edge.settings import load_settings
from brski.edge.web_errors import read_body
from brski.errors import OnboardingError, WrongContext
from registrar_plugin.composition import MountableRegistrar, open_registrar
from registrar_plugin.settings import RegistrarSettings

REGISTRAR = web.AppKey("REGISTRAR", MountableRegistrar)


async def request_voucher(request: web.Request) -> web.Response:
    """The host's own endpoint: it asks who this is, and goes on by itself."""
    registrar = request.app[REGISTRAR]
    try:
        pledge = await registrar.identity.verify(
            registrar.front.peer_chain(request),
            await read_body(request),
            registrar_certificate=registrar.front.registrar_certificate(request),
            peer_address=request.remote or "",
        )
    except WrongContext:
        return web.Response(status=503)
    except OnboardingError:
        return web.Response(
            status=404
        )  # the host's journal may say more; the pledge learns nothing
    return web.json_response(
        {
            "serial_number": pledge.device.serial_number,
            "idevid_issuer": pledge.device.idevid_issuer.hex(),
            "presentation": pledge.presentation.value,
            "masa_url": pledge.masa_url,
        }
    )


def make_app(settings: Path) -> tuple[web.Application, Listener]:
    """The host's application, and how it must be listened for: with the registrar's TLS context."""
    loaded = load_settings(settings, RegistrarSettings)
    registrar = open_registrar(loaded, source=settings)
    app = web.Application()
    app[REGISTRAR] = registrar
    app.router.add_post("/my/requestvoucher", request_voucher)

    async def closing(_: web.Application) -> AsyncIterator[None]:
        yield
        await registrar.close()

    app.cleanup_ctx.append(closing)
    listener = Listener(
        name="host",
        app=app,
        listen=loaded.listen.pledges,
        ssl_context=registrar.ssl_context(),
    )
    return app, listener


if __name__ == "__main__":
    run_loop(serve([make_app(Path(sys.argv[1]))[1]]))
