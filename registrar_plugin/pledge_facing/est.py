"""The EST endpoints of a registrar (RFC 7030 §4). Bodies are base64 (RFC 8951 §3)."""

from __future__ import annotations

from aiohttp import web

from brski.edge.web_errors import read_body
from brski.errors import UnknownFormat
from brski.est.transfer import decode_base64, encode_base64
from brski.registry import (
    CA_CERTS,
    CSR_ATTRIBUTES,
    CSR_ATTRS,
    PKCS7_CERTS_ONLY,
    PKCS10,
    SIMPLE_ENROLL,
)
from registrar_plugin.ca_backend.port import Pending
from registrar_plugin.pledge_facing.keys import ENROLLING, connection_of

routes = web.RouteTableDef()


@routes.get(CA_CERTS)
async def ca_certs(request: web.Request) -> web.Response:
    """RFC 7030 §4.1: the CA's certificates; needs no client authentication."""
    body = encode_base64(request.app[ENROLLING].ca_certificates())
    return web.Response(body=body, headers={"Content-Type": PKCS7_CERTS_ONLY})


@routes.get(CSR_ATTRS)
async def csr_attrs(request: web.Request) -> web.Response:
    """RFC 7030 §4.5: what a certificate request must hold; needs no client authentication."""
    body = encode_base64(request.app[ENROLLING].csr_attributes())
    return web.Response(body=body, content_type=CSR_ATTRIBUTES)


@routes.post(SIMPLE_ENROLL)
async def simple_enroll(request: web.Request) -> web.Response:
    """RFC 7030 §4.2.1: a certificate request of a device that has been admitted."""
    connection = connection_of(request, with_binding=True)
    if request.content_type != PKCS10:
        raise UnknownFormat(
            f"a certificate request of type {request.content_type!r} is not understood",
            section="RFC 7030 §4.2.1",
        )
    csr = decode_base64(await read_body(request))
    answer = await request.app[ENROLLING].enroll(csr, connection)
    if isinstance(answer, Pending):
        return web.Response(status=202, headers={"Retry-After": str(answer.retry_after_s)})
    return web.Response(body=encode_base64(answer), headers={"Content-Type": PKCS7_CERTS_ONLY})
