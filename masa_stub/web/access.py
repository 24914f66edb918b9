"""Who is at the other end of a registrar's connection: TLS and HTTP Basic (RFC 8995 §5.4)."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Network, ip_address

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from brski.edge.tls_server import peer_chain
from masa_stub.customers import Caller
from masa_stub.web.keys import MASA_KEY, PASSWORDS

_NETWORK = 64  # bits
_CHALLENGE = 'Basic realm="MASA", charset="UTF-8"'


def caller_of(request: web.Request) -> Caller:
    """What the connection tells of who sent *request*; nothing of it is a must.

    Raises:
        NotAuthenticated: there are credentials, and they are wrong.
        Malformed, TooLarge: the TLS client's chain cannot be read.
        WrongContext: the request did not come over a TLS context of ours.
    """
    given = request.headers.get(hdrs.AUTHORIZATION)
    return Caller(
        chain=peer_chain(request.transport),
        customer=None if given is None else request.config_dict[PASSWORDS].customer_of(given),
    )


@web.middleware
async def budgeted(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Count every request of an address, wrong credentials among them."""
    with request.config_dict[MASA_KEY].reception.knock(place_of(request.remote or "")):
        return await handler(request)


def place_of(address: str) -> str:
    """Whom *address* stands for: in IPv6 everybody has a network of 64 bits (RFC 6177)."""
    try:
        ip = ip_address(address)
    except ValueError:
        return address
    if isinstance(ip, IPv4Address):
        return address
    return str(ip.ipv4_mapped or IPv6Network((ip, _NETWORK), strict=False))


async def challenge(_request: web.Request, response: web.StreamResponse) -> None:
    """Put to a 401 how to do better (RFC 9110 §11.6.1); a signal's receiver."""
    if response.status == 401:
        response.headers[hdrs.WWW_AUTHENTICATE] = _CHALLENGE
