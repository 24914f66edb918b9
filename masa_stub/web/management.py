"""The operator's listener: what was issued, refused and sold, and forgetting it; for loopback."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any, Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from brski import errors
from brski.edge.web_errors import TRANSPORT_FAULTS, error_middleware
from brski.errors import DomainNotTrusted, OnboardingError
from brski.pki.names import check_serial_number
from masa_stub.store.values import Entry, Refusal
from masa_stub.web import arming, sales
from masa_stub.web.desk import DESK, LIMIT, Desk

log = logging.getLogger(__name__)

STATUS: Final[Mapping[type[OnboardingError], int]] = {
    **TRANSPORT_FAULTS,
    errors.LocalError: 400,
    errors.DomainNotTrusted: 403,
}

routes = web.RouteTableDef()


@routes.get("/v1/anchor")
async def anchor(request: web.Request) -> web.Response:
    """The certificates that pledges need to believe this MASA's vouchers, PEM."""
    return web.Response(body=request.app[DESK].anchors_pem, content_type="application/x-pem-file")


@routes.get("/v1/vouchers")
async def vouchers(request: web.Request) -> web.Response:
    """The last vouchers and refusals, oldest first."""
    store = request.app[DESK].store
    return web.json_response(
        {
            "vouchers": [_entry(entry) for entry in await store.last(LIMIT)],
            "refusals": [_refusal(refusal) for refusal in await store.last_refusals(LIMIT)],
        }
    )


@routes.get("/v1/vouchers/{serial_number}")
async def inspect(request: web.Request) -> web.Response:
    """Everything about one serial number, whoever issued its IDevID."""
    serial_number = check_serial_number(request.match_info["serial_number"])
    store = request.app[DESK].store
    entries = await store.of_serial_number(serial_number)
    refusals = [r for r in await store.last_refusals(LIMIT) if r.serial_number == serial_number]
    return web.json_response(
        {
            "vouchers": [_entry(entry) for entry in entries],
            "refusals": [_refusal(refusal) for refusal in refusals],
        }
    )


@routes.post("/v1/reset")
async def reset(request: web.Request) -> web.Response:
    """Forget every voucher and refusal; the sales data stay."""
    await request.app[DESK].store.reset()
    return web.Response(status=204)


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "at": entry.at.isoformat(),
        "serial_number": entry.serial_number,
        "idevid_issuer": entry.idevid_issuer.hex(),
        "domain_id": entry.domain_id.hex(),
        "nonce": entry.nonce,
        "assertion": entry.assertion.value,
        "issued": entry.voucher is not None,
    }


def _refusal(refusal: Refusal) -> dict[str, Any]:
    return {
        "at": refusal.at.isoformat(),
        "serial_number": refusal.serial_number,
        "code": refusal.code,
        "reason": refusal.reason,
    }


@web.middleware
async def no_browser(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse what a page of somebody else's makes a browser send here."""
    if hdrs.ORIGIN in request.headers or not _is_local(request.url.host or ""):
        raise DomainNotTrusted("this listener is for programs of this machine")
    return await handler(request)


def _is_local(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return host == "localhost"
    return True


def management_app(desk: Desk) -> web.Application:
    """The application for the operator's listener."""

    def reason(error: OnboardingError) -> str:
        return f"{error}: {error.hint}" if error.hint else str(error)

    app = web.Application(middlewares=[error_middleware(STATUS, log, say=reason), no_browser])
    app[DESK] = desk
    for table in (routes, sales.routes, arming.routes):
        app.add_routes(table)
    return app
