"""The operator's listener: what was issued and refused, and forgetting it all; for loopback."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from brski.pki.names import check_serial_number
from masa_stub.store import AuditStore, Entry, Refusal
from masa_stub.web.keys import ANCHOR, STORE

_LIMIT: Final = 1000

routes = web.RouteTableDef()


@routes.get("/v1/anchor")
async def anchor(request: web.Request) -> web.Response:
    """The certificate that pledges need to believe this MASA's vouchers, PEM."""
    return web.Response(body=request.app[ANCHOR], content_type="application/x-pem-file")


@routes.get("/v1/vouchers")
async def vouchers(request: web.Request) -> web.Response:
    """The last vouchers and refusals, oldest first."""
    store = request.app[STORE]
    return web.json_response(
        {
            "vouchers": [_entry(entry) for entry in await store.last(_LIMIT)],
            "refusals": [_refusal(refusal) for refusal in await store.last_refusals(_LIMIT)],
        }
    )


@routes.get("/v1/vouchers/{serial_number}")
async def inspect(request: web.Request) -> web.Response:
    """Everything about one serial number, whoever issued its IDevID."""
    serial_number = check_serial_number(request.match_info["serial_number"])
    store = request.app[STORE]
    entries = await store.of_serial_number(serial_number)
    refusals = [r for r in await store.last_refusals(_LIMIT) if r.serial_number == serial_number]
    return web.json_response(
        {
            "vouchers": [_entry(entry) for entry in entries],
            "refusals": [_refusal(refusal) for refusal in refusals],
        }
    )


@routes.post("/v1/reset")
async def reset(request: web.Request) -> web.Response:
    """Forget every voucher and refusal."""
    await request.app[STORE].reset()
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


def management_app(store: AuditStore, anchor_pem: bytes) -> web.Application:
    """The application for the operator's listener."""
    app = web.Application()
    app[STORE] = store
    app[ANCHOR] = anchor_pem
    app.add_routes(routes)
    return app
