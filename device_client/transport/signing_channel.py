"""A connection whose key only signs elsewhere, on asyncio.

The engine's arithmetic is Python's and its signer may be another process or a chip, so each of its
steps runs in a thread; the loop only carries octets.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar, cast

from cryptography import x509

from brski.errors import HandshakeFailed, Unavailable
from brski.pki.signer import Signer
from device_client.transport.signing_engine import SigningEngine
from device_client.transport.tlslite_client import TLS_1_2, TLS_1_3

T = TypeVar("T")

_READ: Final = 16 * 1024  # a record
_ROOM: Final = 64 * 1024  # octets received and not yet looked at


class _Wire(asyncio.Protocol):
    """TCP: what came waits here, and no more of it than there is room for."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._news = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._gone = asyncio.Event()
        self._error: Exception | None = None
        self._transport: asyncio.Transport | None = None
        self.ended = False  # the peer will send no more

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._news.set()
        if len(self._received) >= _ROOM and self._transport is not None:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        self._end(None)
        return True  # we close, after our close_notify

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc)
        self._writable.set()
        self._gone.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _end(self, error: Exception | None) -> None:
        self.ended = True
        self._error = self._error or error
        self._news.set()

    # -- the channel

    async def receive(self) -> bytes:
        """What came; empty at the end. Raises as the connection broke."""
        await self._news.wait()
        data = bytes(self._received)
        self._received.clear()
        if not data and self._error is not None:
            raise self._error
        if not self.ended:
            self._news.clear()
            if self._transport is not None:
                self._transport.resume_reading()
        return data

    async def send(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the connection is closed")
        if data:
            self._transport.write(data)
            await self._writable.wait()

    @property
    def waiting(self) -> bool:
        return bool(self._received)

    @property
    def closing(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    async def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
            await self._gone.wait()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class SigningChannel:
    """Implements :class:`device_client.transport.port.Channel`; made by
    :func:`open_signing_channel`.
    """

    def __init__(self, wire: _Wire, engine: SigningEngine) -> None:
        self._wire = wire
        self._engine = engine
        self._spent = False  # a step was cut off, or failed
        self._early: bytes | None = None  # what came before it was asked for; empty: a farewell

    async def is_open(self) -> bool:
        """See the port. What came unasked is looked at: a ticket, or the peer's farewell."""
        if self._spent or self._wire.ended or self._wire.closing or self._early == b"":
            return False
        if self._wire.waiting and not self._early:
            try:
                self._engine.feed(await self._wire.receive())
                self._early = await self._step(lambda: self._engine.read(_READ))
            except OSError:
                return False
        return self._early != b""

    async def handshake(self) -> None:
        """Shake hands; raises as :meth:`SigningEngine.handshake`, and :class:`OSError`."""
        while not await self._try_handshake():
            self._engine.feed(await self._wire.receive())

    async def _try_handshake(self) -> bool:
        try:
            done = await self._step(self._engine.handshake)
        except Exception:
            with suppress(OSError):
                await self._wire.send(self._engine.outgoing())  # the alert
            raise
        await self._wire.send(self._engine.outgoing())
        return done

    async def send(self, data: bytes) -> None:
        """See the port."""
        await self._step(lambda: self._engine.write(data))
        await self._wire.send(self._engine.outgoing())

    async def receive(self, most: int) -> bytes:
        """See the port."""
        if self._early is not None:
            early, self._early = self._early, None
            return early
        while (data := await self._step(lambda: self._engine.read(most))) is None:
            await self._wire.send(self._engine.outgoing())  # an answer to a KeyUpdate
            self._engine.feed(await self._wire.receive())
        return data

    async def close(self) -> None:
        """See the port."""
        if not self._spent and not self._wire.closing:
            await self._step(self._engine.end)
            await self._wire.send(self._engine.outgoing())
        await self._wire.close()

    def abort(self) -> None:
        """See the port."""
        self._wire.abort()

    def peer_chain(self) -> tuple[x509.Certificate, ...]:
        """See the port."""
        return self._engine.peer_chain()

    def channel_binding(self) -> bytes:
        """See the port."""
        return self._engine.channel_binding()

    async def _step(self, step: Callable[[], T]) -> T:
        """One step of the engine in a thread. Where it fails, or is cut off in the middle and the
        thread goes on, the connection is spent.
        """
        if self._spent:
            raise ConnectionResetError(errno.ECONNRESET, "the connection is spent")
        self._spent = True
        result = await asyncio.to_thread(step)
        self._spent = False
        return result


async def open_signing_channel(
    host: str,
    port: int,
    signer: Signer,
    *,
    connect_s: float,
    handshake_s: float,
    minimum: tuple[int, int] = TLS_1_2,
    maximum: tuple[int, int] = TLS_1_3,
) -> SigningChannel:
    """Connect and shake hands with a key that only signs; nothing about the server is judged.

    Args:
        host: a name or an address; no server name is sent.
        signer: P-256 or P-384, with its chain, leaf first.
        connect_s: for name resolution, TCP and TLS together.
        handshake_s: for TLS alone.
        minimum, maximum: ``TLS_1_2`` or ``TLS_1_3``.

    Raises:
        Unavailable: no such name, nobody listens, or no answer in time; or the signer's own.
        HandshakeFailed: somebody answered, and no TLS session came of it.
        TooLarge, Malformed: certificates that cannot be looked at.
        KeyUnusable: the key is none for TLS, or does not sign.

    RFC 8995 §5.1.
    """
    place = f"{host}:{port}"
    engine = SigningEngine(signer, minimum=minimum, maximum=maximum)
    wire = _Wire()
    try:
        async with asyncio.timeout(connect_s):
            await asyncio.get_running_loop().create_connection(lambda: wire, host, port)
            channel = SigningChannel(wire, engine)
            await _shake_hands(channel, place, handshake_s)
    except TimeoutError as err:
        wire.abort()
        raise Unavailable(f"{place} does not answer within {connect_s:g} s") from err
    except OSError as err:
        wire.abort()
        raise Unavailable(f"{place} cannot be reached: {err.strerror or err}") from err
    except BaseException:
        wire.abort()
        raise
    return channel


async def _shake_hands(channel: SigningChannel, place: str, handshake_s: float) -> None:
    try:
        async with asyncio.timeout(handshake_s):
            await channel.handshake()
    except TimeoutError as err:
        raise HandshakeFailed(f"TLS with {place} was not done in {handshake_s:g} s") from err
    except OSError as err:
        raise HandshakeFailed(f"TLS with {place} failed: {err.strerror or err}") from err
    except HandshakeFailed as err:
        raise HandshakeFailed(f"TLS with {place} failed: {err.reason}") from err
