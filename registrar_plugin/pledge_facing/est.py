"""The EST endpoints of a registrar (RFC 7030 §4). Bodies are base64 (RFC 8951 §3).

Each operation stands at ``/operation`` for the default profile, and at ``/label/operation`` for the
profile of that label (RFC 7030 §3.2.2).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from brski.edge.web_errors import read_body
from brski.errors import NotOffered, UnknownFormat
from brski.est.transfer import MULTIPART, decode_base64, encode_base64, encode_parts
from brski.registry import (
    CA_CERTS,
    CSR_ATTRIBUTES,
    CSR_ATTRS,
    FULL_CMC,
    PKCS7_CERTS_ONLY,
    PKCS7_SERVER_KEY,
    PKCS8,
    PKCS10,
    SERVER_KEY_GEN,
    SIMPLE_ENROLL,
    SIMPLE_REENROLL,
)
from registrar_plugin.ca_backend.port import Pending
from registrar_plugin.connection import PledgeConnection
from registrar_plugin.est_server.desks import Desk
from registrar_plugin.pledge_facing.keys import EST_SERVER, connection_of

routes = web.RouteTableDef()

_LABELLED: Final = "/{label:[^/{}]+}"

Operation = Callable[[bytes, PledgeConnection], Awaitable[bytes | Pending]]


@routes.get(CA_CERTS)
@routes.get(_LABELLED + CA_CERTS)
async def ca_certs(request: web.Request) -> web.Response:
    """RFC 7030 §4.1: the CA's certificates; needs no client authentication."""
    desk = _desk(request)
    body = encode_base64(desk.enrolling.ca_certificates(), desk.profile.base64)
    return web.Response(body=body, headers={"Content-Type": PKCS7_CERTS_ONLY})


@routes.get(CSR_ATTRS)
@routes.get(_LABELLED + CSR_ATTRS)
async def csr_attrs(request: web.Request) -> web.Response:
    """RFC 7030 §4.5: what a certificate request must hold; needs no client authentication."""
    desk = _desk(request)
    attributes = desk.enrolling.csr_attributes()
    if attributes is None:
        return web.Response(status=204)
    body = encode_base64(attributes, desk.profile.base64)
    return web.Response(body=body, content_type=CSR_ATTRIBUTES)


@routes.post(SIMPLE_ENROLL)
@routes.post(_LABELLED + SIMPLE_ENROLL)
async def simple_enroll(request: web.Request) -> web.Response:
    """RFC 7030 §4.2.1: a certificate request of a client that may have one."""
    desk = _desk(request)
    return await _issue(request, desk, desk.enrolling.enroll)


@routes.post(SIMPLE_REENROLL)
@routes.post(_LABELLED + SIMPLE_REENROLL)
async def simple_reenroll(request: web.Request) -> web.Response:
    """RFC 7030 §4.2.2: the next certificate of a device that shows its current one."""
    desk = _desk(request)
    return await _issue(request, desk, desk.renewing.reenroll)


@routes.post(SERVER_KEY_GEN)
@routes.post(_LABELLED + SERVER_KEY_GEN)
async def server_key_gen(request: web.Request) -> web.Response:
    """RFC 7030 §4.4: a private key made here, and its certificate, in two parts."""
    desk = _desk(request)
    connection, csr = await _certificate_request(request)
    answer = await desk.generating.generate(csr, connection)
    key_type = PKCS7_SERVER_KEY if answer.encrypted else PKCS8
    parts = ((key_type, answer.key), (PKCS7_CERTS_ONLY, answer.certificate))
    body = encode_parts((kind, encode_base64(der, desk.profile.base64)) for kind, der in parts)
    headers = {"Content-Type": MULTIPART, "Cache-Control": "no-store"}
    return web.Response(body=body, headers=headers)


@routes.post(FULL_CMC)
@routes.post(_LABELLED + FULL_CMC)
async def full_cmc(request: web.Request) -> web.Response:
    """RFC 7030 §4.3: not offered; who shows and says nothing is not even told that."""
    connection = connection_of(request)
    request.app[EST_SERVER].count(connection)
    await _desk(request).enrolling.check_no_stranger(connection)
    raise NotOffered(
        "Full CMC is not offered; simpleenroll and simplereenroll are", section="RFC 7030 §4.3"
    )


async def _issue(request: web.Request, desk: Desk, operation: Operation) -> web.Response:
    connection, csr = await _certificate_request(request)
    answer = await operation(csr, connection)
    if isinstance(answer, Pending):
        return web.Response(status=202, headers={"Retry-After": str(answer.retry_after_s)})
    body = encode_base64(answer, desk.profile.base64)
    return web.Response(body=body, headers={"Content-Type": PKCS7_CERTS_ONLY})


async def _certificate_request(request: web.Request) -> tuple[PledgeConnection, bytes]:
    """Who posts it, and the DER of what is posted."""
    connection = connection_of(request, with_binding=True)
    request.app[EST_SERVER].count(connection)
    if request.content_type != PKCS10:
        raise UnknownFormat(
            f"a certificate request of type {request.content_type!r} is not understood",
            section="RFC 7030 §4.2.1",
        )
    return connection, decode_base64(await read_body(request))


def _desk(request: web.Request) -> Desk:
    desk = request.app[EST_SERVER].desk(request.match_info.get("label", ""))
    if desk is None:
        raise web.HTTPNotFound(text="no such EST label (RFC 7030 §3.2.2)\n")
    return desk
