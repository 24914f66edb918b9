"""The sales data on the management listener."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aiohttp import web

from brski.edge.web_errors import read_body
from brski.errors import LocalError, Malformed
from brski.pki import strict_json
from brski.pki.names import check_serial_number
from masa_stub.ownership import BuyerKind
from masa_stub.selling import key_of_certificate, sale_document, sale_of
from masa_stub.web.desk import DESK, LIMIT

_MEMBERS: Final = frozenset(
    {"serial_number", "idevid_issuer", "certificate", *(kind.value for kind in BuyerKind)}
)

routes = web.RouteTableDef()


@routes.get("/v1/sales")
async def sales(request: web.Request) -> web.Response:
    """The last sales, oldest first."""
    found = await request.app[DESK].sales.last(LIMIT)
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


def _members(body: bytes) -> dict[str, str]:
    document = strict_json.loads(body)
    if not isinstance(document, dict) or not all(isinstance(v, str) for v in document.values()):
        raise Malformed("a sale is a JSON object of strings")
    unknown = sorted(document.keys() - _MEMBERS)
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
