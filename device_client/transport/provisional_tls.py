"""TLS to a registrar that nobody has vouched for yet: one connection, and what it presented.

The handshake proves that the other side holds the key of the first certificate it sent, and no more
(:mod:`brski.edge.tls_engine`). Who that is, the voucher says; the caller judges the chain.
"""

from __future__ import annotations

from cryptography import x509

from brski.edge.tls_client import Stream, open_stream
from brski.edge.tls_engine import VerifyLaterContext
from device_client.pledge.origin import Origin
from device_client.pledge.states import Answer, Request
from device_client.transport.http import HTTPConnection, Limits


class Link:
    """One TLS connection to a registrar.

    Args:
        stream: already open.
        origin: where it leads.
        limits: of each exchange.

    Raises:
        TooLarge, Malformed: certificates that cannot be looked at.
    """

    def __init__(self, stream: Stream, origin: Origin, limits: Limits) -> None:
        self._tls = stream.tls
        self._origin = origin
        self._registrar_chain = stream.tls.peer_chain()
        self._http = HTTPConnection(
            stream.reader, stream.writer, authority=origin.authority, limits=limits
        )

    @property
    def origin(self) -> Origin:
        """Where it leads."""
        return self._origin

    @property
    def registrar_chain(self) -> tuple[x509.Certificate, ...]:
        """What the registrar presented, leaf first; unjudged."""
        return self._registrar_chain

    @property
    def channel_binding(self) -> bytes:
        """Of this connection: tls-unique on TLS 1.2, the exporter on 1.3 (RFC 7030 §3.5)."""
        return self._tls.channel_binding()

    @property
    def usable(self) -> bool:
        """Whether another request may be sent."""
        return self._http.usable

    async def exchange(self, request: Request) -> Answer:
        """Send *request* and read its answer; raises as
        :meth:`device_client.transport.http.HTTPConnection.exchange`.
        """
        return await self._http.exchange(request)

    async def close(self) -> None:
        """Close; raises nothing."""
        await self._http.close()


async def open_link(origin: Origin, context: VerifyLaterContext, limits: Limits) -> Link:
    """Connect to *origin* and complete TLS with whoever is there.

    Args:
        origin: where to.
        context: from :func:`brski.edge.tls_client.provisional_context`, with the certificate that
            this device shows.
        limits: ``progress_s`` bounds TCP and TLS each.

    Raises:
        Unavailable: nobody there, or silent.
        HandshakeFailed: TLS failed; among other things the server did not prove its key.
        TooLarge, Malformed: certificates that cannot be looked at.

    RFC 8995 §5.1.
    """
    stream = await open_stream(
        origin.host,
        origin.port,
        context,
        connect_timeout_s=2 * limits.progress_s,
        handshake_timeout_s=limits.progress_s,
    )
    try:
        return Link(stream, origin, limits)
    except BaseException:
        stream.abort()
        raise
