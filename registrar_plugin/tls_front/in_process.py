"""TLS in this process: the context that the listener must use, and who is behind a connection."""

from __future__ import annotations

import ssl
import time
from collections.abc import Sequence

from aiohttp import web
from cryptography import x509

from brski.edge.tls_engine import VerifyLaterObject
from brski.edge.tls_server import connection_of, server_context
from brski.est.linking import BindingKind, ChannelBinding
from brski.pki.signatures import PrivateKey
from registrar_plugin.tls_front.claims import IgnoredClaims


class InProcessFront:
    """Implements :class:`~registrar_plugin.tls_front.port.TLSFront`.

    Args:
        chain: what the registrar shows, its own certificate first, and what a voucher may pin.
        private_key: of the first certificate.

    Raises:
        KeyUnusable: they do not fit.
    """

    def __init__(self, chain: Sequence[x509.Certificate], private_key: PrivateKey) -> None:
        self._certificate = chain[0]
        self._context = server_context(chain, private_key, owner=self)
        self.ignored_claims = IgnoredClaims(time.monotonic)

    def ssl_context(self) -> ssl.SSLContext:
        """The context for every listener that leads to the registrar's routes."""
        return self._context

    def peer_chain(self, request: web.Request) -> tuple[x509.Certificate, ...]:
        """See :meth:`~registrar_plugin.tls_front.port.TLSFront.peer_chain`.

        What a header says of a client is counted, and not believed.
        """
        self.ignored_claims.look(request.headers, request.remote or "")
        return self._connection(request).peer_chain()

    def registrar_certificate(self, request: web.Request) -> x509.Certificate:
        """See :meth:`~registrar_plugin.tls_front.port.TLSFront.registrar_certificate`."""
        self._connection(request)
        return self._certificate

    def channel_binding(self, request: web.Request) -> ChannelBinding | None:
        """See :meth:`~registrar_plugin.tls_front.port.TLSFront.channel_binding`."""
        connection = self._connection(request)
        unique = connection.get_channel_binding("tls-unique")  # None on TLS 1.3
        kind = BindingKind.TLS_EXPORTER if unique is None else BindingKind.TLS_UNIQUE
        return ChannelBinding(kind=kind, octets=connection.channel_binding())

    def _connection(self, request: web.Request) -> VerifyLaterObject:
        return connection_of(request.transport, owner=self)
