"""A connection over asyncio's streams; the TLS under it, if any, has its key in this process."""

from __future__ import annotations

import asyncio

from cryptography import x509

from brski.edge.signers.key import KeySigner
from brski.edge.tls_client import Stream, open_stream, provisional_context


class StreamOctets:
    """Implements :class:`device_client.transport.port.Octets`.

    Args:
        reader, writer: both ends of a connection that is open.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def is_open(self) -> bool:
        """See the port."""
        return not self._writer.transport.is_closing() and not self._reader.at_eof()

    async def send(self, data: bytes) -> None:
        """See the port."""
        self._writer.write(data)
        await self._writer.drain()

    async def receive(self, most: int) -> bytes:
        """See the port."""
        return await self._reader.read(most)

    async def close(self) -> None:
        """See the port."""
        self._writer.close()
        await self._writer.wait_closed()

    def abort(self) -> None:
        """See the port."""
        self._writer.transport.abort()


class StreamChannel(StreamOctets):
    """Implements :class:`device_client.transport.port.Channel` with pyOpenSSL.

    Args:
        stream: from :func:`brski.edge.tls_client.open_stream`.
    """

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream.reader, stream.writer)
        self._tls = stream.tls

    def peer_chain(self) -> tuple[x509.Certificate, ...]:
        """See the port."""
        return self._tls.peer_chain()

    def channel_binding(self) -> bytes:
        """See the port."""
        return self._tls.channel_binding()


async def open_stream_channel(
    host: str, port: int, signer: KeySigner, *, connect_s: float, handshake_s: float
) -> StreamChannel:
    """Connect and shake hands with a key that is in this process; raises as
    :func:`brski.edge.tls_client.open_stream`.
    """
    context = provisional_context(signer.chain, signer.private_key)
    return StreamChannel(
        await open_stream(
            host, port, context, connect_timeout_s=connect_s, handshake_timeout_s=handshake_s
        )
    )
