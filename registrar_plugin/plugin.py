"""The drop-in: mounts BRSKI and EST on an aiohttp application that is somebody else's.

The host's routes and middlewares stay as they are: each of the two protocols is a sub-application
whose handlers answer their own errors. The host's listener must use
:meth:`MountableRegistrar.ssl_context`; what comes over another context is answered 503, never taken
for "no certificate" (docs/plugin.md).
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from typing import Final

from aiohttp import web

from brski.edge.web_errors import ErrorAnswers, answering, reason_line
from brski.errors import OnboardingError
from brski.registry import BODY_LIMIT, BRSKI_ROOT, EST_ROOT
from registrar_plugin.composition import MountableRegistrar
from registrar_plugin.pledge_facing import brski, est
from registrar_plugin.pledge_facing.error_responses import BRSKI_STATUS, EST_STATUS, UNTOLD
from registrar_plugin.pledge_facing.keys import EST_SERVER, REGISTRAR, REPORTS, TLS_FRONT

log: Final = logging.getLogger("registrar_plugin")

_CLOSING: Final = frozenset({401})  # RFC 8995 §5.2: who has seen another registrar is left alone


def setup(
    app: web.Application, registrar: MountableRegistrar, *, brski: bool = True, est: bool = True
) -> None:
    """Mount ``/.well-known/brski`` and ``/.well-known/est`` on *app*, and the path of each
    revocation list that the settings have.

    The registrar starts and stops with the application: open intents of an earlier run are
    completed before the first request, connections and the journal are closed at the end.

    Args:
        registrar: as :func:`registrar_plugin.composition.open_registrar` gives it.
        brski: mount the BRSKI endpoints; without, a host that has its own requestvoucher calls
            :meth:`registrar_plugin.identity.verify.IdentityVerifier.verify`.
        est: mount the EST endpoints.
    """
    if brski:
        app.add_subapp(BRSKI_ROOT, _protocol(registrar, _BRSKI_ROUTES, BRSKI_STATUS, _CLOSING))
    if est:
        app.add_subapp(EST_ROOT, _protocol(registrar, _EST_ROUTES, EST_STATUS))

    for crl in registrar.crls.values():
        crl.mount(app)

    async def running(_: web.Application) -> AsyncIterator[None]:
        await registrar.start()
        yield
        await registrar.close()

    app.cleanup_ctx.append(running)


_BRSKI_ROUTES: Final = brski.routes
_EST_ROUTES: Final = est.routes


def _tell_pledge(error: OnboardingError) -> str:
    """One line of text; nothing that tells one refused identity from another (docs/identity.md)."""
    return "" if isinstance(error, UNTOLD) else reason_line(error)


def _protocol(
    registrar: MountableRegistrar,
    routes: web.RouteTableDef,
    statuses: Mapping[type[OnboardingError], int],
    closing: frozenset[int] = frozenset(),
) -> web.Application:
    answers = ErrorAnswers(table=statuses, log=log, say=_tell_pledge, closing=closing)
    protocol = web.Application(client_max_size=BODY_LIMIT)
    protocol[REGISTRAR] = registrar.flow
    protocol[EST_SERVER] = registrar.est
    protocol[REPORTS] = registrar.reports
    protocol[TLS_FRONT] = registrar.front
    protocol.add_routes(
        web.route(route.method, route.path, answering(route.handler, answers), **route.kwargs)
        for route in routes
        if isinstance(route, web.RouteDef)
    )
    return protocol
