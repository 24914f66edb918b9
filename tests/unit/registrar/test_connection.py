"""What the front tells of a connection once the request is over."""

from __future__ import annotations

from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from cryptography import x509

from brski.est.linking import ChannelBinding
from registrar_plugin.connection import PledgeConnection
from registrar_plugin.pledge_facing.keys import TLS_FRONT, connection_of
from tests.kit import pki

REGISTRAR = pki.make_registrar(pki.make_root()).certificate


class PlainFront:
    """A front for a listener without TLS."""

    def peer_chain(self, request: web.Request) -> tuple[x509.Certificate, ...]:
        return ()

    def registrar_certificate(self, request: web.Request) -> x509.Certificate:
        return REGISTRAR

    def channel_binding(self, request: web.Request) -> ChannelBinding | None:
        return None


async def test_a_connection_knows_whether_it_still_stands() -> None:
    """It is asked later, when the request is long over."""
    met: list[PledgeConnection] = []

    async def meet(request: web.Request) -> web.Response:
        met.append(connection_of(request))
        return web.Response()

    app = web.Application()
    app[TLS_FRONT] = PlainFront()
    app.router.add_get("/", meet)
    async with TestServer(app) as server, ClientSession() as client:
        async with client.get(server.make_url("/")):
            pass
        (connection,) = met
        assert connection.is_open is not None
        assert connection.is_open()
        async with client.get(server.make_url("/"), headers={"Connection": "close"}):
            pass
        await client.close()
    assert not connection.is_open()


async def test_what_the_client_says_of_itself_is_kept_and_not_shown() -> None:
    """Every Authorization header as it came; a password is in no repr."""
    met: list[PledgeConnection] = []

    async def meet(request: web.Request) -> web.Response:
        met.append(connection_of(request))
        return web.Response()

    app = web.Application()
    app[TLS_FRONT] = PlainFront()
    app.router.add_get("/", meet)
    said = [("Authorization", "Basic Z2F0ZXdheTpzZWNyZXQ="), ("Authorization", "Bearer x")]
    async with TestServer(app) as server, ClientSession() as client:
        async with client.get(server.make_url("/"), headers=said):
            pass
        async with client.get(server.make_url("/")):
            pass
    assert met[0].authorization == ("Basic Z2F0ZXdheTpzZWNyZXQ=", "Bearer x")
    assert met[1].authorization == ()
    assert "Z2F0" not in repr(met[0])
    assert "authorization" not in repr(met[0])
