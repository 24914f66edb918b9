"""The endpoints that registrars call (RFC 8995 §5.5, §5.8), and their table of statuses (§5.6)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from aiohttp import hdrs, web

from brski import errors
from brski.edge.web_errors import check_accept, error_middleware, read_body
from brski.registry import BODY_LIMIT, BRSKI_ROOT, JSON, REQUEST_AUDIT_LOG, REQUEST_VOUCHER
from brski.telemetry.audit_log import encode_audit_log
from masa_stub.customers import Caller
from masa_stub.masa import MASA
from masa_stub.passwords import Passwords
from masa_stub.web.access import budgeted, caller_of, challenge
from masa_stub.web.faults import Misbehaviour
from masa_stub.web.keys import FAULTS, LOCATIONS, MASA_KEY, PASSWORDS
from masa_stub.web.locations import Locations

log = logging.getLogger(__name__)

STATUS: Final[Mapping[type[errors.OnboardingError], int]] = {
    errors.DeviceUnknown: 404,  # RFC 8995 §5.6: unknown device; §5.8: never an owner
    errors.DeviceAmbiguous: 404,
    errors.UnknownFormat: 415,  # request type not understood
    errors.NotAcceptable: 406,  # nothing issuable that the Accept header allows
    errors.Malformed: 400,
    errors.TooLarge: 413,
    errors.SlowPeer: 408,
    errors.TooManyRequests: 429,
    errors.Unavailable: 503,
    errors.WrongContext: 503,
    errors.NotAuthenticated: 401,  # RFC 9110 §15.5.2: credentials are wrong, or needed
    errors.PeerError: 403,  # bad signature, stale or inconsistent request
    errors.Refused: 403,
}

routes = web.RouteTableDef()


@routes.post(BRSKI_ROOT + REQUEST_VOUCHER)
async def request_voucher(request: web.Request) -> web.StreamResponse:
    """RFC 8995 §5.5: a registrar asks for a voucher."""
    masa = request.config_dict[MASA_KEY]
    masa.reception.understood(request.content_type)
    check_accept(request, request.content_type)
    body = await read_body(request)

    async def answer() -> web.Response:
        given = await masa.request_voucher(body, request.content_type, caller_of(request))
        return web.Response(body=given.body, content_type=given.media_type)

    return await request.config_dict[FAULTS].around(request, body, answer, of_audit_log=False)


@routes.post(BRSKI_ROOT + REQUEST_AUDIT_LOG)
async def request_audit_log(request: web.Request) -> web.StreamResponse:
    """RFC 8995 §5.8: a registrar that has got a voucher asks who else has."""
    masa = request.config_dict[MASA_KEY]
    masa.reception.understood(request.content_type)
    check_accept(request, JSON)
    body = await read_body(request)
    caller = caller_of(request)

    async def answer() -> web.Response:
        found = await masa.audit_log(body, request.content_type, caller)
        return web.Response(body=encode_audit_log(found), content_type=JSON)

    response = await request.config_dict[FAULTS].around(request, body, answer, of_audit_log=True)
    locations = request.config_dict[LOCATIONS]
    if locations is None or response.status != 200 or not isinstance(response, web.Response):
        return response
    return _elsewhere(locations, response, caller)


def _elsewhere(locations: Locations, response: web.Response, caller: Caller) -> web.Response:
    """201, and where the log is (RFC 8995 §5.8)."""
    body = response.body if isinstance(response.body, bytes) else b""
    slug = locations.put(body, caller.key_sha256)
    return web.Response(
        status=201, headers={hdrs.LOCATION: f"{BRSKI_ROOT}{REQUEST_AUDIT_LOG}/{slug}"}
    )


@routes.get(BRSKI_ROOT + REQUEST_AUDIT_LOG + "/{slug}", allow_head=False)
async def get_audit_log(request: web.Request) -> web.Response:
    """RFC 8995 §5.8: the log that a 201 has told the place of."""
    check_accept(request, JSON)
    caller = caller_of(request)
    locations = request.config_dict[LOCATIONS]
    if locations is None:
        raise errors.DeviceUnknown("no audit log is here", section="RFC 8995 §5.8")
    body = locations.get(request.match_info["slug"], caller.key_sha256)
    return web.Response(body=body, content_type=JSON)


def registrar_facing_app(
    masa: MASA,
    passwords: Passwords,
    faults: Misbehaviour,
    locations: Locations | None = None,
) -> web.Application:
    """The application for the registrars' listener.

    Args:
        locations: where audit logs wait for who has asked; None: they are the answer.
    """
    middlewares = [error_middleware(STATUS, log), budgeted]
    app = web.Application(middlewares=middlewares, client_max_size=BODY_LIMIT)
    app[MASA_KEY] = masa
    app[PASSWORDS] = passwords
    app[FAULTS] = faults
    app[LOCATIONS] = locations
    app.on_response_prepare.append(challenge)
    app.add_routes(routes)
    return app
