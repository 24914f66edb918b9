"""Headers in which a proxy would name the client: nobody is believed, and it is told.

This front ends TLS itself, so whoever sends such a header is no proxy of ours (docs/plugin.md).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Final

log = logging.getLogger(__name__)

CLAIMING: Final = frozenset(
    {
        "client-cert",  # RFC 9440
        "client-cert-chain",
        "x-client-cert",
        "x-forwarded-client-cert",
        "x-ssl-cert",
        "x-ssl-client-cert",
        "x-ssl-client-s-dn",
        "x-ssl-client-verify",
        "ssl-client-cert",
    }
)
_TOLD_EVERY_S: Final = 1.0


class IgnoredClaims:
    """Counts requests with such headers; one line in a second at most tells of them.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.count = 0
        self._clock = clock
        self._told_at = float("-inf")

    def look(self, names: Iterable[str], address: str) -> None:
        """See whether a request with header fields of these *names*, from *address*, has one."""
        if CLAIMING.isdisjoint(map(str.lower, names)):
            return
        self.count += 1
        if self._clock() - self._told_at >= _TOLD_EVERY_S:
            self._told_at = self._clock()
            facts = {"peer_address": address, "ignored": self.count}
            log.warning("a client certificate in a header is ignored", extra=facts)
