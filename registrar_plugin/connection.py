"""The TLS connection that a pledge's request came over, as a value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography import x509

from brski.errors import NotAuthenticated
from brski.est.linking import ChannelBinding


@dataclass(frozen=True, slots=True, kw_only=True)
class PledgeConnection:
    """What the TLS front tells; of it, only that the peer holds the leaf's key is believed.

    ``authorization`` is what the request says inside that TLS (RFC 7030 §3.2.3), a password maybe:
    it is never printed.
    """

    peer_chain: tuple[x509.Certificate, ...]  # as sent, leaf first, unjudged; empty when none
    registrar_certificate: x509.Certificate  # the end-entity certificate that the peer was shown
    address: str = ""
    channel_binding: ChannelBinding | None = None  # None where the front cannot tell
    is_open: Callable[[], bool] | None = None  # asked later; None where the front cannot tell
    authorization: tuple[str, ...] = field(default=(), repr=False)  # each such header, unread

    def leaf(self) -> x509.Certificate:
        """The client's own certificate.

        Raises:
            NotAuthenticated: it sent none.
        """
        if not self.peer_chain:
            raise NotAuthenticated(
                "the TLS client sent no certificate", section="RFC 8995 §5.1; RFC 7030 §3.3.2"
            )
        return self.peer_chain[0]
