"""The operator's listener: what was issued, refused and sold, and forgetting it; for loopback."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from aiohttp import web

from brski import errors
from brski.edge.web_errors import TRANSPORT_FAULTS, error_middleware, read_body
from brski.errors import LocalError, Malformed, OnboardingError
from brski.pki import strict_json
from brski.pki.names import check_serial_number
from masa_stub.faults.plan import Arm, FaultPlan, parse_fault
from masa_stub.ownership import BuyerKind, Sale
from masa_stub.port import DeviceRecords
from masa_stub.selling import key_of_certificate, sale_of
from masa_stub.store.log import AuditStore, Entry, Refusal
from masa_stub.store.sales import SalesBook
from masa_stub.web.faults import Misbehaviour

log = logging.getLogger(__name__)

STATUS: Final[Mapping[type[OnboardingError], int]] = {**TRANSPORT_FAULTS, errors.LocalError: 400}

_LIMIT: Final = 1000
_ARM_MEMBERS: Final = frozenset({"fault", "left", "serial_number"})
_SALE_MEMBERS: Final = frozenset(
    {"serial_number", "idevid_issuer", "certificate", *(kind.value for kind in BuyerKind)}
)

routes = web.RouteTableDef()


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What the operator sees and moves."""

    store: AuditStore
    sales: SalesBook
    records: DeviceRecords
    clock: Callable[[], datetime]
    faults: Misbehaviour
    anchors_pem: bytes  # what pledges hold to believe vouchers


DESK: Final = web.AppKey("DESK", Desk)


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
            "vouchers": [_entry(entry) for entry in await store.last(_LIMIT)],
            "refusals": [_refusal(refusal) for refusal in await store.last_refusals(_LIMIT)],
        }
    )


@routes.get("/v1/vouchers/{serial_number}")
async def inspect(request: web.Request) -> web.Response:
    """Everything about one serial number, whoever issued its IDevID."""
    serial_number = check_serial_number(request.match_info["serial_number"])
    store = request.app[DESK].store
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
    """Forget every voucher and refusal; the sales data stay."""
    await request.app[DESK].store.reset()
    return web.Response(status=204)


@routes.get("/v1/sales")
async def sales(request: web.Request) -> web.Response:
    """The last sales, oldest first."""
    found = await request.app[DESK].sales.last(_LIMIT)
    return web.json_response({"sales": [sale_document(sale) for sale in found]})


@routes.get("/v1/sales/{serial_number}")
async def sales_of(request: web.Request) -> web.Response:
    """Every sale of one serial number, oldest first; the last one counts."""
    serial_number = check_serial_number(request.match_info["serial_number"])
    found = await request.app[DESK].sales.of_serial_number(serial_number)
    return web.json_response({"sales": [sale_document(sale) for sale in found]})


@routes.post("/v1/sales")
async def sell(request: web.Request) -> web.Response:
    """Write down one sale, a transfer or a release."""
    desk = request.app[DESK]
    asked = _members(await read_body(request))
    kind, buyer = _buyer(asked)
    sale = await sale_of(
        desk.records,
        asked.get("serial_number", ""),
        asked.get("idevid_issuer"),
        kind,
        buyer,
        at=desk.clock(),
    )
    await desk.sales.add(sale)
    return web.json_response(sale_document(sale), status=201)


@routes.get("/v1/faults")
async def faults(request: web.Request) -> web.Response:
    """What is armed and rated, and the seed."""
    return web.json_response(_plan(request.app[DESK].faults.plan))


@routes.post("/v1/faults")
async def arm(request: web.Request) -> web.Response:
    """Have the next requests meet a fault."""
    desk = request.app[DESK]
    desk.faults.arm(_arm(strict_json.loads(await read_body(request))))
    return web.json_response(_plan(desk.faults.plan), status=201)


@routes.delete("/v1/faults")
async def disarm(request: web.Request) -> web.Response:
    """Forget what is armed; rates stay."""
    request.app[DESK].faults.plan.disarm()
    return web.Response(status=204)


def _arm(document: object) -> Arm:
    if not isinstance(document, dict) or document.keys() - _ARM_MEMBERS:
        raise Malformed("an arm is a JSON object of fault, left and serial_number")
    fault, left = document.get("fault"), document.get("left", 1)
    serial_number = document.get("serial_number")
    if not isinstance(fault, str) or type(left) is not int or not 1 <= left <= _LIMIT:
        raise Malformed(f"an arm has a fault, and 1 to {_LIMIT} left")
    if serial_number is not None:
        if not isinstance(serial_number, str):
            raise Malformed("serial_number is text")
        check_serial_number(serial_number)
    return Arm(fault=parse_fault(fault), left=left, serial_number=serial_number)


def _plan(plan: FaultPlan) -> dict[str, Any]:
    return {
        "seed": plan.seed,
        "rates": {rate.fault.value: rate.share for rate in plan.rates},
        "armed": [
            {"fault": arm.fault.value, "left": arm.left, "serial_number": arm.serial_number}
            for arm in plan.arms
        ],
    }


def _members(body: bytes) -> dict[str, str]:
    document = strict_json.loads(body)
    if not isinstance(document, dict) or not all(isinstance(v, str) for v in document.values()):
        raise Malformed("a sale is a JSON object of strings")
    unknown = sorted(document.keys() - _SALE_MEMBERS)
    if unknown:
        raise Malformed(f"a sale has no member {unknown[0]!a}")
    return document


def _buyer(asked: Mapping[str, str]) -> tuple[BuyerKind, str]:
    named = [kind for kind in BuyerKind if kind.value in asked]
    if "certificate" in asked and not named:
        return BuyerKind.KEY, key_of_certificate(asked["certificate"].encode())
    if len(named) != 1 or "certificate" in asked:
        raise LocalError("a sale names one buyer")
    return named[0], asked[named[0].value]


def sale_document(sale: Sale) -> dict[str, Any]:
    """*sale* as JSON has it, here and on the command line."""
    return {
        "at": sale.at.isoformat(),
        "serial_number": sale.serial_number,
        "idevid_issuer": sale.idevid_issuer.hex(),
        sale.kind.value: sale.buyer,
    }


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


def management_app(desk: Desk) -> web.Application:
    """The application for the operator's listener."""

    def reason(error: OnboardingError) -> str:
        return f"{error}: {error.hint}" if error.hint else str(error)

    app = web.Application(middlewares=[error_middleware(STATUS, log, say=reason)])
    app[DESK] = desk
    app.add_routes(routes)
    return app
