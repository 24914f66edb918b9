"""The sales data on the management listener."""

from __future__ import annotations

from aiohttp import web

from brski.edge.web_errors import read_body
from brski.pki.names import check_serial_number
from masa_stub.selling import parse_sale, sale_document
from masa_stub.web.desk import DESK, LIMIT

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
    sale = await parse_sale(desk.records, await read_body(request), at=desk.clock())
    await desk.sales.add(sale)
    return web.json_response(sale_document(sale), status=201)
