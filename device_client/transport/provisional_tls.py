"""TLS to a registrar that nobody has vouched for yet: one connection, and what it presented.

The handshake proves that the other side holds the key of the first certificate it sent, and no
more. Who that is, the voucher says; the caller judges the chain. A key in this process is handed to
OpenSSL, one elsewhere signs for tlslite-ng (docs/tls.md).
"""

from __future__ import annotations

from cryptography import x509

from brski.edge.signers.key import KeySigner
from brski.pki.signer import Signer
from device_client.pledge.origin import Origin
from device_client.pledge.states import Answer, Request
from device_client.transport.http import HTTPConnection, Limits
from device_client.transport.port import Channel
from device_client.transport.signing_channel import open_signing_channel
from device_client.transport.streams import open_stream_channel


class Link:
    """One TLS connection to a registrar.

    Args:
        channel: already open.
        origin: where it leads.
        limits: of each exchange.

    Raises:
        TooLarge, Malformed: certificates that cannot be looked at.
    """

    def __init__(self, channel: Channel, origin: Origin, limits: Limits) -> None:
        self._channel = channel
        self._origin = origin
        self._registrar_chain = channel.peer_chain()
        self._http = HTTPConnection(channel, authority=origin.authority, limits=limits)

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
        return self._channel.channel_binding()

    async def is_usable(self) -> bool:
        """Whether another request may be sent."""
        return await self._http.is_usable()

    async def exchange(self, request: Request) -> Answer:
        """Send *request* and read its answer; raises as
        :meth:`device_client.transport.http.HTTPConnection.exchange`.
        """
        return await self._http.exchange(request)

    async def close(self) -> None:
        """Close; raises nothing."""
        await self._http.close()


async def open_link(origin: Origin, signer: Signer, limits: Limits) -> Link:
    """Connect to *origin* and complete TLS with whoever is there.

    Args:
        origin: where to.
        signer: what this device shows: its chain, leaf first, and the key of the leaf. A
            :class:`~brski.edge.signers.key.KeySigner` has the key in this process; any other signs
            elsewhere, and must be P-256 or P-384.
        limits: ``progress_s`` bounds TCP and TLS each.

    Raises:
        Unavailable: nobody there, or silent; or whoever signs is.
        HandshakeFailed: TLS failed; among other things the server did not prove its key.
        TooLarge, Malformed: certificates that cannot be looked at.
        KeyUnusable: the key is of no use for TLS, or does not sign.

    RFC 8995 §5.1.
    """
    channel = await _open_channel(origin, signer, limits)
    try:
        return Link(channel, origin, limits)
    except BaseException:
        channel.abort()
        raise


async def _open_channel(origin: Origin, signer: Signer, limits: Limits) -> Channel:
    connect_s, handshake_s = 2 * limits.progress_s, limits.progress_s
    if isinstance(signer, KeySigner):
        return await open_stream_channel(
            origin.host, origin.port, signer, connect_s=connect_s, handshake_s=handshake_s
        )
    return await open_signing_channel(
        origin.host, origin.port, signer, connect_s=connect_s, handshake_s=handshake_s
    )
