"""The server's end of TLS: ask for a client certificate, take any, say who came.

The registrar's identity step, the MASA and the OEM's service judge the chain themselves; see
:mod:`brski.edge.tls_engine` for what a handshake proves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509

from brski.edge.signers.file import load_chain, load_private_key
from brski.edge.tls_engine import TLS_1_2, TLS_1_3, VerifyLaterContext, VerifyLaterObject
from brski.errors import WrongContext
from brski.pki.signatures import PrivateKey


def server_context(
    chain: Path | Sequence[x509.Certificate],
    private_key: Path | PrivateKey,
    *,
    ask_client: bool = True,
    owner: object = None,
    minimum: int = TLS_1_2,
    maximum: int = TLS_1_3,
) -> VerifyLaterContext:
    """A context for ``create_server(ssl=…)`` that lets every client in and remembers its chain.

    Args:
        chain: what the server shows, its own certificate first: certificates, or a PEM file.
        private_key: of the first certificate: the key, or a PEM file of mode 0600.
        ask_client: ask for a client certificate; sending none is always allowed.
        owner: any object by which :func:`connection_of` knows this listener again.
        minimum: ``TLS_1_2``, or ``TLS_1_3`` to refuse 1.2.
        maximum: likewise; for tests of either version.

    Raises:
        KeyUnusable: key and certificate do not fit, or others can read the key file.
        FileUnusable: a file is missing or not readable.

    RFC 8995 §5.1; RFC 7030 §3.3.2. Any SNI is ignored: a pledge has no name to send (EID 6648).
    """
    return VerifyLaterContext(
        server_side=True,
        chain=load_chain(chain) if isinstance(chain, Path) else chain,
        private_key=load_private_key(private_key) if isinstance(private_key, Path) else private_key,
        ask=ask_client,
        owner=owner,
        minimum=minimum,
        maximum=maximum,
    )


def connection_of(
    transport: asyncio.BaseTransport | None, owner: object = None
) -> VerifyLaterObject:
    """The TLS connection under a transport, such as ``request.transport``.

    Args:
        transport: None when the peer has gone.
        owner: if given, the connection must come from a context made with this very object.

    Raises:
        WrongContext: plain TCP, a context of the standard library, or another owner's. That is
            never the same as "the client sent no certificate".
    """
    tls = transport.get_extra_info("ssl_object") if transport is not None else None
    if not isinstance(tls, VerifyLaterObject):
        raise WrongContext("the request did not come over a TLS context of ours")
    if owner is not None and tls.owner is not owner:
        raise WrongContext("the request came over the TLS context of another listener")
    return tls


def peer_chain(
    transport: asyncio.BaseTransport | None, owner: object = None
) -> tuple[x509.Certificate, ...]:
    """The client's certificates as sent, leaf first; empty when it sent none. Unjudged.

    Raises:
        WrongContext: as :func:`connection_of`.
        Malformed, TooLarge: as :meth:`~brski.edge.tls_engine.VerifyLaterObject.peer_chain`.
    """
    return connection_of(transport, owner).peer_chain()
