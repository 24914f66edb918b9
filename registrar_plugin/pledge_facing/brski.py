"""The BRSKI endpoints of a registrar (RFC 8995 §5.2, §5.7, §5.9.4); bodies are never base64."""

from __future__ import annotations

from aiohttp import web

from brski.edge.web_errors import check_accept, read_body
from brski.errors import UnknownFormat
from brski.registry import ENROLL_STATUS, JSON, REQUEST_VOUCHER, VOUCHER_STATUS
from brski.telemetry.status import Status, decode_status
from registrar_plugin.ca_backend.port import Pending
from registrar_plugin.pledge_facing.keys import REGISTRAR, REPORTS, connection_of

routes = web.RouteTableDef()


@routes.post(REQUEST_VOUCHER)
async def request_voucher(request: web.Request) -> web.Response:
    """RFC 8995 §5.2: hand the pledge's voucher-request to the registrar."""
    connection = connection_of(request)
    check_accept(request, request.content_type)
    body = await read_body(request)
    voucher = await request.app[REGISTRAR].request_voucher(body, request.content_type, connection)
    if isinstance(voucher, Pending):
        return web.Response(status=202, headers={"Retry-After": str(voucher.retry_after_s)})
    return web.Response(body=voucher.body, content_type=voucher.media_type)


@routes.post(VOUCHER_STATUS)
async def voucher_status(request: web.Request) -> web.Response:
    """RFC 8995 §5.7: what the pledge says of its voucher."""
    connection = connection_of(request)
    status = await _status(request)
    await request.app[REGISTRAR].voucher_status(status, connection)
    return web.Response()


@routes.post(ENROLL_STATUS)
async def enroll_status(request: web.Request) -> web.Response:
    """RFC 8995 §5.9.4: what the device says of its enrollment."""
    connection = connection_of(request)
    status = await _status(request)
    await request.app[REPORTS].enroll_status(status, connection)
    return web.Response()


async def _status(request: web.Request) -> Status:
    if request.content_type != JSON:
        raise UnknownFormat(
            f"telemetry of type {request.content_type!r} is not understood", section="RFC 8995 §5.7"
        )
    return decode_status(await read_body(request))
