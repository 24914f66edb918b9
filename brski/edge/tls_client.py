"""The client's end of TLS: towards a registrar that cannot be verified yet, and towards servers
that can.

A pledge takes every server, keeps its whole chain, and judges it when the voucher has come
(RFC 8995 §5.1, §5.6.2). A registrar that calls a MASA or the OEM's service verifies chain and name
before it says a word (§5.4).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from brski.edge.signers.file import check_private_mode
from brski.edge.tls_engine import TLS_1_2, TLS_1_3, VerifyLaterContext, VerifyLaterObject
from brski.errors import HandshakeFailed, KeyUnusable, Unavailable
from brski.pki.signatures import PrivateKey


def provisional_context(
    client_chain: Sequence[x509.Certificate] = (),
    client_private_key: PrivateKey | None = None,
    *,
    send_sni: bool = False,
    minimum: int = TLS_1_2,
    maximum: int = TLS_1_3,
) -> VerifyLaterContext:
    """A client's context that takes any server certificate and keeps the chain for judging.

    TLS itself still makes the server prove that it holds its certificate's key. The same context,
    with an LDevID, serves after the pinning: the caller compares each new connection's
    ``peer_chain()`` with its pin before it sends anything.

    Args:
        client_chain: what the client shows, leaf first: IDevID, assertion certificate or LDevID.
        client_private_key: of the first certificate; held in memory only.
        send_sni: name the host in the ClientHello; a pledge knows only an address (EID 6648).
        minimum, maximum: ``TLS_1_2`` or ``TLS_1_3``.

    Raises:
        KeyUnusable: the key does not fit the certificate.

    RFC 8995 §5.1.
    """
    return VerifyLaterContext(
        server_side=False,
        chain=client_chain,
        private_key=client_private_key,
        send_sni=send_sni,
        minimum=minimum,
        maximum=maximum,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One TLS connection, its two ends of octets and who is at the other side."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    tls: VerifyLaterObject

    def abort(self) -> None:
        """Drop the connection at once, without close_notify."""
        self.writer.transport.abort()


async def open_stream(
    host: str,
    port: int,
    context: VerifyLaterContext,
    *,
    connect_timeout_s: float = 10.0,
    handshake_timeout_s: float = 10.0,
    limit: int = 64 * 1024,
) -> Stream:
    """Connect and shake hands; nothing about the server has been judged then.

    Args:
        host: a name or an address.
        context: of :func:`provisional_context`.
        connect_timeout_s: for name resolution, TCP and TLS together.
        handshake_timeout_s: for TLS alone.
        limit: of the reader's buffer, octets.

    Raises:
        Unavailable: no such name, nobody listens, or no answer in time.
        HandshakeFailed: somebody answered, and no TLS session came of it.
    """
    place = f"{host}:{port}"
    try:
        async with asyncio.timeout(connect_timeout_s):
            reader, writer = await asyncio.open_connection(
                host,
                port,
                ssl=context,
                server_hostname=host if context.sends_sni else "",
                ssl_handshake_timeout=handshake_timeout_s,
                limit=limit,
            )
    except TimeoutError as err:
        raise Unavailable(f"{place} does not answer within {connect_timeout_s:g} s") from err
    except (ssl.SSLError, ConnectionResetError, ConnectionAbortedError, BrokenPipeError) as err:
        raise HandshakeFailed(f"TLS with {place} failed: {_told(err)}") from err
    except OSError as err:
        raise Unavailable(f"{place} cannot be reached: {_told(err)}") from err
    tls = writer.get_extra_info("ssl_object")
    if not isinstance(tls, VerifyLaterObject):
        writer.transport.abort()
        raise HandshakeFailed(f"TLS with {place} did not go through our engine")
    return Stream(reader=reader, writer=writer, tls=tls)


def https_client_context(
    anchors: Sequence[x509.Certificate] | None,
    *,
    client_chain: Path | None = None,
    client_key: Path | None = None,
) -> ssl.SSLContext:
    """A context of the standard library that verifies the server's chain and name.

    The name that the connection was asked for must be a DNS-ID of the certificate, with a wildcard
    only as the whole leftmost label, or an IP-ID when it is an address; the subject's common name
    does not count (RFC 9525 §6.3, RFC 8995 §5.4). SNI is sent. TLS 1.2 or later.

    Args:
        anchors: whom to believe; each ends a chain, whether self-signed or not; no one if empty.
            None takes the system's store.
        client_chain: PEM file shown when the server asks, leaf first.
        client_key: PEM file of its key, mode 0600.

    Raises:
        KeyUnusable: one of the two files without the other, not fitting, or open to others.
        FileUnusable: a file is missing.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies chain and name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False
    # the same on every Python: from 3.13 on, STRICT were part of the default and refuses old CAs
    context.verify_flags = ssl.VERIFY_X509_TRUSTED_FIRST | ssl.VERIFY_X509_PARTIAL_CHAIN
    if anchors is None:
        context.load_default_certs()
    elif anchors:
        context.load_verify_locations(
            cadata=b"".join(anchor.public_bytes(Encoding.DER) for anchor in anchors)
        )
    if client_chain is not None and client_key is not None:
        _load_client(context, client_chain, client_key)
    elif client_chain is not None or client_key is not None:
        raise KeyUnusable("a client certificate needs its private key, and the key its certificate")
    return context


def _load_client(context: ssl.SSLContext, client_chain: Path, client_key: Path) -> None:
    check_private_mode(client_key)
    try:
        context.load_cert_chain(client_chain, client_key, password=_no_password)
    except (OSError, ValueError) as err:
        raise KeyUnusable(f"{client_key} with {client_chain}: {_told(err)}") from err


def _no_password() -> str:
    raise ValueError("the key is encrypted")  # else OpenSSL would ask at the terminal


def _told(error: Exception) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    return str(reason) or type(error).__name__
