"""TLS for a client whose private key only signs, and elsewhere: octets in, octets out.

OpenSSL wants the key itself, or a provider that is loaded into the very OpenSSL that speaks TLS;
the one inside ``cryptography`` takes none. tlslite-ng asks an object to sign, so the key may be in
another process or in a chip (docs/tls.md). No socket, clock or thread is here.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Final

from cryptography import x509

from brski.errors import HandshakeFailed, OnboardingError, TooLarge
from brski.pki.keys import parse_certificate
from brski.pki.signer import Signer
from brski.registry import CERTIFICATES_LIMIT
from device_client.transport.tlslite_client import (
    TLS_1_2,
    TLS_1_3,
    WANTS_READ,
    Connection,
    Pipe,
    SigningKey,
    certificates,
    same_key,
    settings_of,
)

HANDSHAKE_LIMIT: Final = 128 * 1024  # octets from the server before it is done
_EXPORTER: Final = b"EXPORTER-Channel-Binding"  # RFC 9266 §2
_EXPORTER_OCTETS: Final = 32


class SigningEngine:
    """One client connection, from ClientHello to close_notify.

    Not for two threads at once; each call may take a while (the signer's, and that of arithmetic in
    Python), so an event loop makes it in a thread.

    Args:
        signer: P-256 or P-384; its chain is shown, leaf first.
        minimum, maximum: ``TLS_1_2`` or ``TLS_1_3``.

    Raises:
        KeyUnusable: a key of another kind, or without a certificate.
    """

    def __init__(
        self,
        signer: Signer,
        *,
        minimum: tuple[int, int] = TLS_1_2,
        maximum: tuple[int, int] = TLS_1_3,
    ) -> None:
        self._pipe = Pipe()
        self._tls = Connection(self._pipe)
        key = SigningKey(signer, self._tls)
        self._steps = _guarded(
            self._tls.handshakeClientCert(
                certificates(signer, key),
                key,
                settings=settings_of(key.hash_name, minimum, maximum),
                async_=True,
            )
        )
        self._reading: Iterator[object] | None = None  # a record may have come in half
        self._heard = 0
        self._done = False
        self._peer_chain: tuple[x509.Certificate, ...] = ()
        self._binding = b""

    # -- octets

    def feed(self, data: bytes) -> None:
        """Take what came from the network; empty for its end.

        Raises:
            HandshakeFailed: more than ``HANDSHAKE_LIMIT`` octets before the handshake is done.
        """
        self._heard += len(data)
        if not self._done and self._heard > HANDSHAKE_LIMIT:
            raise HandshakeFailed(f"more than {HANDSHAKE_LIMIT} octets of handshake")
        self._pipe.feed(data)

    def outgoing(self) -> bytes:
        """Take what is to be sent."""
        return self._pipe.take()

    # -- the connection

    def handshake(self) -> bool:
        """Go on as far as the octets reach.

        Returns:
            Whether the handshake is done. Then the server has proved that it holds the key of
            the first certificate that it sent.

        Raises:
            HandshakeFailed: it cannot be.
            TooLarge, Malformed: certificates that cannot be looked at.
            OnboardingError: as the signer's ``sign`` raises it.
        """
        for state in self._steps:
            if state == WANTS_READ and not self._pipe.waiting:
                return False
        self._check_server()
        self._binding = self._bind()
        self._tls.forget_handshake()
        self._done = True
        return True

    def read(self, most: int) -> bytes | None:
        """Application data, *most* octets at most; empty at the peer's close_notify.

        Returns:
            None while more octets are needed from the network.

        Raises:
            ConnectionError: an alert, a broken record, or an end without close_notify.
        """
        if self._reading is None:
            self._reading = self._tls.readAsync(max=most, min=1)
        try:
            for state in self._reading:
                self._tls.tickets.clear()  # nothing is ever resumed
                if isinstance(state, bytes):
                    self._reading = None
                    return state
                if not self._pipe.waiting:
                    return None
        except Exception as err:  # whatever tlslite-ng trips over in a peer's octets
            raise ConnectionResetError(errno.ECONNRESET, f"TLS: {_told(err)}") from err
        return b""

    def write(self, data: bytes) -> None:
        """Encrypt *data*.

        Raises:
            ConnectionError: the connection is closed.
        """
        try:
            for _ in self._tls.writeAsync(data):
                pass
        except Exception as err:
            raise ConnectionResetError(errno.ECONNRESET, f"TLS: {_told(err)}") from err

    def end(self) -> None:
        """Add close_notify to what is to be sent; raises nothing."""
        if not self._tls.closed:
            for _ in self._tls.closeAsync():
                pass

    # -- who is there

    def peer_chain(self) -> tuple[x509.Certificate, ...]:
        """The server's certificates as sent, leaf first; empty before the handshake is done."""
        return self._peer_chain

    def channel_binding(self) -> bytes:
        """tls-unique on TLS 1.2, the exporter of RFC 9266 on 1.3; 12 and 32 octets."""
        return self._binding

    @property
    def version(self) -> str:
        """``TLS 1.2`` or ``TLS 1.3``."""
        return str(self._tls.getVersionName())

    def _check_server(self) -> None:
        """What tlslite-ng has verified is what we asked for, under the key that we will judge."""
        # no setting: told to demand it, tlslite-ng looks for it in TLS 1.3, too
        if not self._tls.extendedMasterSecret:
            raise HandshakeFailed("no extended master secret, so tls-unique would bind nothing")
        if not self._tls.signed_as_offered:
            raise HandshakeFailed("the server signed with an algorithm that was not offered")
        sent = self._tls.session.serverCertChain.x509List
        if len(sent) > CERTIFICATES_LIMIT:
            raise TooLarge(f"{len(sent)} certificates in a handshake, limit {CERTIFICATES_LIMIT}")
        self._peer_chain = tuple(parse_certificate(bytes(each.bytes)) for each in sent)
        if not same_key(sent[0].publicKey, self._peer_chain[0].public_key()):
            raise HandshakeFailed("the key that was proved is not the certificate's")

    def _bind(self) -> bytes:
        if self._tls.version == TLS_1_2:
            return self._tls.client_finished
        return self._tls.exported(_EXPORTER, _EXPORTER_OCTETS)


def _guarded(steps: Iterator[object]) -> Iterator[object]:
    """The handshake's steps; whatever tlslite-ng raises over a server's octets is one error."""
    try:
        yield from steps
    except OnboardingError:
        raise
    except Exception as err:
        raise HandshakeFailed(f"TLS: {_told(err)}") from err


def _told(error: Exception) -> str:
    # An alert of tlslite-ng 0.8.2 whose message is an exception cannot be told as text.
    message = getattr(error, "message", None)
    if isinstance(message, Exception):
        return str(message)
    return str(error) or type(error).__name__
