"""The faults on the management listener."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from brski.edge.web_errors import read_body
from brski.errors import Malformed
from brski.pki import strict_json
from brski.pki.names import check_serial_number
from masa_stub.faults.plan import Arm, FaultPlan, parse_fault
from masa_stub.web.desk import DESK, LIMIT

_MEMBERS: Final = frozenset({"fault", "left", "serial_number"})

routes = web.RouteTableDef()


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
    if not isinstance(document, dict) or document.keys() - _MEMBERS:
        raise Malformed("an arm is a JSON object of fault, left and serial_number")
    fault, left = document.get("fault"), document.get("left", 1)
    serial_number = document.get("serial_number")
    if not isinstance(fault, str) or type(left) is not int or not 1 <= left <= LIMIT:
        raise Malformed(f"an arm has a fault, and 1 to {LIMIT} left")
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
