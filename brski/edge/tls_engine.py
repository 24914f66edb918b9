"""TLS that proves possession of the peer's key and leaves judging its certificate to the caller.

An :class:`ssl.SSLContext` of the standard library must judge certificates by itself: it refuses, on
the server's side, what a registrar has to accept before it can know better (a self-signed or an
expired certificate, an unknown critical extension), and it shows the application only the first
certificate of a chain that it did not verify. So the engine here is pyOpenSSL with memory BIOs,
behind the part of the ``ssl`` interface that asyncio, uvloop and aiohttp use: a context is passed
as ``ssl=`` to ``create_server``, ``create_connection`` or ``open_connection``, and the connection
is found as ``transport.get_extra_info("ssl_object")``.

What a handshake means here, and no more: the peer holds the private key of the *first* certificate
it sent (CertificateVerify, or the key exchange's signature). Every other octet of what it sent is
its own word. :mod:`brski.edge.tls_server` and :mod:`brski.edge.tls_client` make the contexts.

Sessions are never resumed, since a resumed one has lost the peer's chain; there is no
renegotiation, so that ``tls-unique`` stays what it was; no compression; TLS 1.2 and 1.3 only.
"""

from __future__ import annotations

import ssl
import warnings
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any, Final, NoReturn

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL, crypto

from brski.errors import KeyUnusable, TooLarge
from brski.pki.keys import parse_certificate
from brski.pki.signatures import ClassicPrivateKey, PrivateKey
from brski.registry import CERTIFICATES_LIMIT

TLS_1_2: Final = SSL.TLS1_2_VERSION
TLS_1_3: Final = SSL.TLS1_3_VERSION

# ours: forward secrecy and AEAD alone; CCM because small devices have it in hardware
_CIPHERS_1_2: Final = b"ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AESCCM"
_ALPN: Final = b"http/1.1"
_RELEASE_BUFFERS: Final = 0x10  # SSL_MODE_RELEASE_BUFFERS: an idle connection keeps no record
_RECORD: Final = 16 * 1024  # RFC 8446 §5.1: SSL_read gives one record's content at most
_RECORD_HEAD: Final = 5
_FLIGHT: Final = 32 * 1024
_EXPORTER: Final = b"EXPORTER-Channel-Binding"  # RFC 9266 §2
_EXPORTER_OCTETS: Final = 32


def _accept(
    _connection: SSL.Connection, _certificate: crypto.X509, _error: int, _depth: int, _ok: int
) -> bool:
    return True


class VerifyLaterObject:
    """One connection: what asyncio and uvloop need of :class:`ssl.SSLObject`, and who the peer is.

    Made by :meth:`VerifyLaterContext.wrap_bio`.
    """

    __slots__ = (
        "_begun",
        "_chain",
        "_connection",
        "_context",
        "_ended",
        "_incoming",
        "_leaf",
        "_outgoing",
        "_records",
    )

    def __init__(
        self,
        context: VerifyLaterContext,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_hostname: str | bytes | None,
    ) -> None:
        self._context = context
        self._incoming = incoming
        self._outgoing = outgoing
        self._connection = context.new_connection(server_hostname)
        self._leaf: crypto.X509 | None = None
        self._chain: tuple[x509.Certificate, ...] | None = None
        self._records = _RecordCount()
        self._ended = False  # the peer's close_notify has come
        self._begun = not context.server_side  # a server has nothing to do before the first octets

    # -- what the application asks

    @property
    def context(self) -> VerifyLaterContext:
        """The context that this connection was made by."""
        return self._context

    @property
    def owner(self) -> object:
        """The context's ``owner``: what tells our listener from another one's."""
        return self._context.owner

    @property
    def own_chain(self) -> tuple[x509.Certificate, ...]:
        """What this side showed, leaf first; empty when it showed nothing."""
        return self._context.chain

    @property
    def server_side(self) -> bool:
        """Whether this is the server's end."""
        return self._context.server_side

    def peer_chain(self) -> tuple[x509.Certificate, ...]:
        """The peer's certificates as sent, leaf first; empty when it sent none. Unjudged.

        Raises:
            TooLarge: more than eight certificates, or one that is too long.
            Malformed: octets that OpenSSL took for a certificate and strict DER does not.
        """
        if self._chain is None:
            self._chain = tuple(parse_certificate(der) for der in self.peer_chain_der())
        return self._chain

    def peer_chain_der(self) -> tuple[bytes, ...]:
        """The same as DER, whether it can be parsed or not.

        Raises:
            TooLarge: more than eight certificates.
        """
        leaf = self._peer_leaf()
        if leaf is None:
            return ()
        chain = self._connection.get_peer_cert_chain() or []
        if self.server_side:
            chain.insert(0, leaf)  # OpenSSL's server keeps the client's leaf out of the chain
        if len(chain) > CERTIFICATES_LIMIT:
            raise TooLarge(f"{len(chain)} certificates in a handshake, limit {CERTIFICATES_LIMIT}")
        return tuple(_der(certificate) for certificate in chain)

    def channel_binding(self) -> bytes:
        """What both ends of this one connection know, and no third: for linking a CSR to it.

        tls-unique on TLS 1.2, the exporter of RFC 9266 on 1.3; 12 and 32 octets.

        RFC 7030 §3.5; RFC 5929 §3; RFC 9266.
        """
        unique = self.get_channel_binding("tls-unique")
        return unique if unique is not None else self._exported()

    # -- ssl.SSLObject, as far as asyncio, uvloop and aiohttp use it

    def do_handshake(self) -> None:
        """Go on with the handshake; raises :class:`ssl.SSLWantReadError` until it is done."""
        self._feed()
        if not self._begun:
            raise self._want_more()
        try:
            self._connection.do_handshake()
        except SSL.Error as err:
            raise self._translated(err) from None
        # Tickets that nobody needs, too: held back for the first answer they would spare a packet,
        # and a client with Nagle's algorithm would wait 40 ms for the acknowledgement they carry.
        self._drain()

    def read(self, n: int = _RECORD, buf: bytearray | memoryview | None = None) -> bytes | int:
        """Read at most *n* octets of application data; empty, or 0, at the peer's close_notify."""
        if self._ended:
            return b"" if buf is None else 0
        self._feed()
        n = min(n, _RECORD)  # else a buffer of n octets were allocated for each record
        try:
            if buf is None:
                data: bytes | int = self._connection.recv(n)
            else:
                n = min(n, len(buf))
                data = self._connection.recv_into(buf, n)
        except SSL.ZeroReturnError:
            self._ended = True
            self._drain()
            return b"" if buf is None else 0
        except SSL.Error as err:  # never in a variable: its traceback would keep the connection
            raise self._translated(err) from None
        self._records.read(n)
        return data

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Encrypt one record's worth of *data*; return how many octets were taken."""
        octets = memoryview(data)
        if not octets.nbytes:
            return 0
        self._feed()
        try:
            taken = self._connection.send(octets)
        except SSL.Error as err:
            raise self._translated(err) from None
        self._drain()
        return taken

    def pending(self) -> int:
        """More than 0 if :meth:`read` may give something without new octets from the network.

        uvloop reads on only while this says so, and its buffer is emptied into OpenSSL's.
        """
        return self._records.whole or self._connection.pending()

    def unwrap(self) -> None:
        """Send close_notify, then wait for the peer's by :class:`ssl.SSLWantReadError`."""
        # the first call sends ours, the second looks for theirs
        self._feed()
        try:
            done = self._connection.shutdown() or self._connection.shutdown()
        except SSL.Error as err:
            raise self._translated(err) from None
        finally:
            self._drain()
        if not done:
            raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "close_notify awaited")

    def getpeercert(self, binary_form: bool = False) -> dict[str, object] | bytes | None:
        """The peer's leaf as DER; or, as for any unverified one, an empty dict."""
        leaf = self._peer_leaf()
        if leaf is None:
            return None
        return _der(leaf) if binary_form else {}

    def get_channel_binding(self, cb_type: str = "tls-unique") -> bytes | None:
        """``tls-unique`` (None on TLS 1.3, which has none) or ``tls-exporter``."""
        match cb_type:
            case "tls-unique":
                if self._connection.get_protocol_version() != TLS_1_2:
                    return None
                # the client's Finished, which came first since nothing is resumed (RFC 5929 §3.1)
                finished = self._connection
                return finished.get_peer_finished() if self.server_side else finished.get_finished()
            case "tls-exporter":
                return self._exported()
        raise ValueError(f"{cb_type} is no channel binding that we know")

    def version(self) -> str:
        """``TLSv1.2`` or ``TLSv1.3``."""
        return self._connection.get_protocol_version_name()

    def cipher(self) -> tuple[str, str, int] | None:
        """Name, protocol, secret bits; None before the handshake."""
        name = self._connection.get_cipher_name()
        if name is None:
            return None
        version, bits = self._connection.get_cipher_version(), self._connection.get_cipher_bits()
        return name, version or "", bits or 0

    def compression(self) -> None:
        """There is none."""

    def shared_ciphers(self) -> None:
        """Not told by this engine."""

    def selected_alpn_protocol(self) -> str | None:
        """``http/1.1`` when the client offered it."""
        return self._connection.get_alpn_proto_negotiated().decode("ascii") or None

    @property
    def server_hostname(self) -> str | None:
        """None: nothing was compared with a name."""
        return None

    @property
    def session_reused(self) -> bool:
        """False: never."""
        return False

    # -- the engine

    def _exported(self) -> bytes:
        # a context value of no octets, which in TLS 1.2 is not the same as none (RFC 9266 §2)
        return self._connection.export_keying_material(_EXPORTER, _EXPORTER_OCTETS, b"")

    def _peer_leaf(self) -> crypto.X509 | None:
        if self._leaf is None:
            self._leaf = self._connection.get_peer_certificate()
        return self._leaf

    def _feed(self) -> None:
        if self._incoming.pending:
            octets = self._incoming.read()
            self._records.feed(octets)
            self._connection.bio_write(octets)
            self._begun = True

    def _translated(self, error: SSL.Error) -> ssl.SSLError:
        """What :mod:`ssl` would raise; what is to be said of it is on its way."""
        self._drain()
        if not isinstance(error, SSL.WantReadError):
            return _as_standard(error)
        self._records.nothing_left()
        return self._want_more()

    def _want_more(self) -> ssl.SSLError:
        if self._incoming.eof:  # TCP ended without close_notify
            return ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "connection cut")
        return ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "more octets wanted")

    def _drain(self) -> None:
        try:
            while self._outgoing.write(self._connection.bio_read(_FLIGHT)) == _FLIGHT:
                pass
        except SSL.WantReadError:
            return  # nothing more to send


class _RecordCount:
    """How many records have been fed whole and not been read yet; never too few.

    OpenSSL cannot be asked whether it holds another record: a try costs an exception that is
    raised and translated, for each request. Records have their length in front (RFC 8446 §5.1).
    """

    __slots__ = ("_head", "_missing", "whole")

    def __init__(self) -> None:
        self._head = b""  # the beginning of a record's five octets, when they came in two pieces
        self._missing = 0  # octets of the record under way that are still to come
        self.whole = 0

    def feed(self, octets: bytes) -> None:
        if self._head:
            octets, self._head = self._head + octets, b""
        at, end = self._missing, len(octets)
        if 0 < at <= end:
            self.whole += 1
        while at < end:
            if end - at < _RECORD_HEAD:
                self._head, at = octets[at:], end
                break
            at += _RECORD_HEAD + (octets[at + 3] << 8 | octets[at + 4])
            if at <= end:
                self.whole += 1
        self._missing = at - end

    def read(self, asked: int) -> None:
        """A read of at most *asked* octets gave some: a whole record, unless it asked for less."""
        if asked == _RECORD and self.whole:
            self.whole -= 1

    def nothing_left(self) -> None:
        """OpenSSL wants more octets."""
        self.whole = 0


def _as_standard(error: SSL.Error) -> ssl.SSLError:
    if isinstance(error, SSL.ZeroReturnError):
        return ssl.SSLZeroReturnError(ssl.SSL_ERROR_ZERO_RETURN, "closed by peer")
    if isinstance(error, SSL.SysCallError):
        return ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "connection cut")
    return _ssl_error(error)


def _der(certificate: crypto.X509) -> bytes:
    return crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)


def _ssl_error(error: SSL.Error) -> ssl.SSLError:
    queue = error.args[0] if error.args else []
    reason = queue[-1][-1] if queue else "TLS error"
    translated = ssl.SSLError(ssl.SSL_ERROR_SSL, reason)
    translated.reason = reason
    return translated


class VerifyLaterContext(ssl.SSLContext):
    """Settings of connections whose peer is judged later; pass it as ``ssl=``.

    It is a standard context by type only: what would load certificates, set ciphers or wrap a
    socket there raises :class:`TypeError` here.

    Args:
        server_side: which end.
        chain: what this side shows, leaf first; empty only for a client.
        private_key: of the first certificate; None only with an empty chain.
        ask: as a server, ask for a client certificate (a client may still send none).
        send_sni: as a client, name the host; never an address.
        owner: any object, found again at each connection.
        minimum, maximum: ``TLS_1_2`` or ``TLS_1_3``.

    Raises:
        KeyUnusable: key and certificate do not fit, or OpenSSL refuses them.
    """

    def __new__(cls, *, server_side: bool, **_: object) -> VerifyLaterContext:
        protocol = ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT
        return super().__new__(cls, protocol)

    def __init__(
        self,
        *,
        server_side: bool,
        chain: Sequence[x509.Certificate] = (),
        private_key: PrivateKey | None = None,
        ask: bool = True,
        send_sni: bool = False,
        owner: object = None,
        minimum: int = TLS_1_2,
        maximum: int = TLS_1_3,
    ) -> None:
        self.check_hostname = False
        self.verify_mode = ssl.CERT_NONE  # to whom looks at it: nothing is verified here
        self._server_side = server_side
        self._chain = tuple(chain)
        self._send_sni = send_sni
        self._owner = owner
        self._engine = _engine(server_side=server_side, minimum=minimum, maximum=maximum)
        if private_key is not None:
            _load(self._engine, self._chain, private_key)
        elif server_side or chain:
            raise KeyUnusable("a TLS server, or a client with a certificate, needs its private key")
        if server_side and ask:
            self._engine.set_verify(SSL.VERIFY_PEER, _accept)

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """What this side shows, leaf first."""
        return self._chain

    @property
    def server_side(self) -> bool:
        """Which end it is for."""
        return self._server_side

    @property
    def sends_sni(self) -> bool:
        """Whether a client's connection names its host."""
        return self._send_sni

    @property
    def owner(self) -> object:
        """As given."""
        return self._owner

    def wrap_bio(  # type: ignore[override]  # our object looks like an SSLObject and is none
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> VerifyLaterObject:
        """Begin a connection; called by the event loop.

        Raises:
            ValueError: a server's context for a client's connection or the other way round, or a
                session to resume.
        """
        if server_side != self._server_side:
            raise ValueError("a TLS context is for one side, this one for the other")
        if session is not None:
            raise ValueError("sessions are never resumed")
        return VerifyLaterObject(self, incoming, outgoing, server_hostname)

    def new_connection(self, server_hostname: str | bytes | None) -> SSL.Connection:
        """A fresh pyOpenSSL connection over memory BIOs, its state set; for :meth:`wrap_bio`."""
        connection = SSL.Connection(self._engine, None)
        if self._server_side:
            connection.set_accept_state()
        else:
            connection.set_connect_state()
            if self._send_sni and server_hostname and not _is_address(server_hostname):
                connection.set_tlsext_host_name(_as_sni(server_hostname))
        return connection

    def _not_here(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("this TLS context takes its settings when it is made, and no socket")

    wrap_socket = _not_here
    load_cert_chain = _not_here
    load_verify_locations = _not_here
    load_default_certs = _not_here
    set_ciphers = _not_here
    set_alpn_protocols = _not_here


def _engine(*, server_side: bool, minimum: int, maximum: int) -> SSL.Context:
    method = SSL.TLS_SERVER_METHOD if server_side else SSL.TLS_CLIENT_METHOD
    engine = SSL.Context(method)
    engine.set_min_proto_version(minimum)
    engine.set_max_proto_version(maximum)
    engine.set_options(SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION | SSL.OP_NO_TICKET)
    engine.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    engine.set_mode(_RELEASE_BUFFERS)
    engine.set_cipher_list(_CIPHERS_1_2)
    if server_side:
        engine.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE)
        engine.set_alpn_select_callback(_select_protocol)
    return engine


def _select_protocol(_connection: SSL.Connection, offered: list[bytes]) -> Any:
    return _ALPN if _ALPN in offered else SSL.NO_OVERLAPPING_PROTOCOLS


def _load(
    engine: SSL.Context, chain: tuple[x509.Certificate, ...], private_key: PrivateKey
) -> None:
    if not chain:
        raise KeyUnusable("a private key for TLS needs its certificate")
    try:
        engine.use_certificate(chain[0])
        for issuer in chain[1:]:
            engine.add_extra_chain_cert(issuer)
        _use_private_key(engine, private_key)
        engine.check_privatekey()
    except SSL.Error as err:
        reason = _ssl_error(err).reason
        raise KeyUnusable(f"key and certificate are of no use for TLS: {reason}") from err


def _use_private_key(engine: SSL.Context, private_key: PrivateKey) -> None:
    if isinstance(private_key, ClassicPrivateKey):
        engine.use_privatekey(private_key)
        return
    # pyOpenSSL knows no ML-DSA objects, the OpenSSL below it reads and uses them. The way through
    # PKey is deprecated; it goes when PKey.from_cryptography_key takes ML-DSA.
    octets = private_key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        engine.use_privatekey(crypto.load_privatekey(crypto.FILETYPE_ASN1, octets))


def _as_sni(server_hostname: str | bytes) -> bytes:
    return server_hostname if isinstance(server_hostname, bytes) else server_hostname.encode("idna")


def _is_address(server_hostname: str | bytes) -> bool:
    text = server_hostname if isinstance(server_hostname, str) else server_hostname.decode("ascii")
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
