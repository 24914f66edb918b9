"""What the handlers find in their application."""

from __future__ import annotations

from typing import Final

from aiohttp import hdrs, web

from registrar_plugin.connection import PledgeConnection
from registrar_plugin.est_server.desks import ESTServer
from registrar_plugin.registrar import Registrar
from registrar_plugin.reports import EnrollmentReports
from registrar_plugin.tls_front.port import TLSFront

EST_SERVER: Final = web.AppKey("EST_SERVER", ESTServer)
REGISTRAR: Final = web.AppKey("REGISTRAR", Registrar)
REPORTS: Final = web.AppKey("REPORTS", EnrollmentReports)
TLS_FRONT: Final = web.AppKey("TLS_FRONT", TLSFront)


def connection_of(request: web.Request, *, with_binding: bool = False) -> PledgeConnection:
    """The connection that *request* came over, as the front tells it.

    Args:
        with_binding: have TLS export the channel binding, too; a certificate request may need it.

    Raises:
        WrongContext: it came over a listener whose TLS is not ours.
        Malformed: the peer sent a certificate that is none.
    """
    front = request.app[TLS_FRONT]
    protocol = request.protocol  # small once it has lost its transport, which it holds alone
    return PledgeConnection(
        peer_chain=front.peer_chain(request),
        registrar_certificate=front.registrar_certificate(request),
        address=request.remote or "",
        channel_binding=front.channel_binding(request) if with_binding else None,
        is_open=lambda: protocol.connected,
        authorization=tuple(request.headers.getall(hdrs.AUTHORIZATION, ())),
    )
