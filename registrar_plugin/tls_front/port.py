"""The port to whatever terminates TLS towards pledges."""

from __future__ import annotations

from typing import Protocol

from aiohttp import web
from cryptography import x509

from brski.est.linking import ChannelBinding


class TLSFront(Protocol):
    """Says who is at the other end of a request's connection."""

    def peer_chain(self, request: web.Request) -> tuple[x509.Certificate, ...]:
        """The client's certificates as sent, leaf first; empty when it sent none. Unjudged.

        Raises:
            WrongContext: the request came over a listener that is not ours to judge.
        """

    def registrar_certificate(self, request: web.Request) -> x509.Certificate:
        """The end-entity certificate that this connection's server showed (RFC 8995 §5.2).

        Raises:
            WrongContext: as above.
        """

    def channel_binding(self, request: web.Request) -> ChannelBinding | None:
        """tls-unique on TLS 1.2, tls-exporter on 1.3; None where it cannot be told.

        RFC 7030 §3.5; RFC 9266.
        """
