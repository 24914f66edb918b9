"""Audit logs that wait at an address of their own, which nobody can guess (RFC 8995 §5.8)."""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from brski.errors import DeviceUnknown

KEPT_S: Final = 600.0
_KEPT: Final = 1024
_SLUG_OCTETS: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    body: bytes
    client: bytes  # whose TLS client's key may have it; empty: anybody who knows the address
    until: float


class Locations:
    """Keeps logs for ten minutes, and the last 1024 of them at most.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def put(self, body: bytes, client: bytes) -> str:
        """Keep *body*; the last part of its address, 256 bits of chance in base64url.

        Args:
            client: SHA-256 of the key of the TLS client certificate; empty when there was none.
        """
        slug = secrets.token_urlsafe(_SLUG_OCTETS)
        self._kept[slug] = _Kept(body=body, client=client, until=self._clock() + KEPT_S)
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return slug

    def get(self, slug: str, client: bytes) -> bytes:
        """What is kept there, for who put it.

        Raises:
            DeviceUnknown: nothing, or not any more, or for another client; the answer is the same.
        """
        kept = self._kept.get(slug)
        if (
            kept is None
            or kept.until < self._clock()
            or not hmac.compare_digest(kept.client, client)
        ):
            raise DeviceUnknown("no audit log is here", section="RFC 8995 §5.8")
        return kept.body
