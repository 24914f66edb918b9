"""The MASA link over HTTPS: one session for each manufacturer, connections kept (RFC 8995 §5.4)."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import aiohttp
from yarl import URL

from brski.errors import (
    AddressNotAllowed,
    LocalError,
    TooLarge,
    Unavailable,
    UnexpectedResponse,
    VoucherRefused,
)
from brski.registry import BODY_LIMIT, JSON, REQUEST_AUDIT_LOG, REQUEST_VOUCHER
from registrar_plugin.masa_link.addresses import CheckedResolver, check_url
from registrar_plugin.masa_link.port import MASAAnswer

_SECTION: Final = "RFC 8995 §5.6"
_AUDIT_LOG_LIMIT: Final = 1024 * 1024
_REASON_LIMIT: Final = 200
_RETRY_AFTER_LIMIT_S: Final = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class MASAAccess:
    """How to reach one manufacturer's MASA."""

    context: ssl.SSLContext  # its anchors, and our client certificate if it wants one
    hosts: frozenset[str] = frozenset()  # exact "host:port" that may be at any address
    timeout_s: float = 10.0
    connections: int = 32


class HTTPMASALink:
    """Implements :class:`~registrar_plugin.masa_link.port.MASALink`.

    Args:
        accesses: by manufacturer's name.
    """

    def __init__(self, accesses: Mapping[str, MASAAccess]) -> None:
        self._accesses = {name: _Access(access) for name, access in accesses.items()}

    async def request_voucher(
        self, manufacturer: str, masa_url: str, body: bytes, media_type: str
    ) -> MASAAnswer:
        """See :meth:`~registrar_plugin.masa_link.port.MASALink.request_voucher`."""
        return await self._of(manufacturer).post(
            masa_url + REQUEST_VOUCHER, body, media_type, accept=media_type, limit=BODY_LIMIT
        )

    async def request_audit_log(
        self, manufacturer: str, masa_url: str, body: bytes, media_type: str
    ) -> MASAAnswer:
        """See :meth:`~registrar_plugin.masa_link.port.MASALink.request_audit_log`."""
        return await self._of(manufacturer).post(
            masa_url + REQUEST_AUDIT_LOG, body, media_type, accept=JSON, limit=_AUDIT_LOG_LIMIT
        )

    async def close(self) -> None:
        """Close the kept connections."""
        for access in self._accesses.values():
            await access.close()

    def _of(self, manufacturer: str) -> _Access:
        access = self._accesses.get(manufacturer)
        if access is None:
            raise LocalError(f"no MASA access is configured for manufacturer {manufacturer!r}")
        return access


class _Access:
    """One manufacturer's kept connections; opened at first use, since that needs a running loop."""

    def __init__(self, access: MASAAccess) -> None:
        self._hosts = frozenset(host.lower() for host in access.hosts)
        self._access = access
        self._session: aiohttp.ClientSession | None = None

    async def post(
        self, url: str, body: bytes, media_type: str, *, accept: str, limit: int
    ) -> MASAAnswer:
        target = URL(url)
        check_url(target, self._hosts)
        try:
            async with self._opened().post(
                target,
                data=body,
                headers={"Content-Type": media_type, "Accept": accept},
                allow_redirects=False,
            ) as response:
                return await _answer(response, limit)
        except AddressNotAllowed:
            raise
        except (TimeoutError, aiohttp.ClientError, OSError) as err:
            raise Unavailable(f"the MASA at {target.host} does not answer: {_why(err)}") from err

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    ssl=self._access.context,
                    limit=self._access.connections,
                    resolver=CheckedResolver(self._hosts),
                    keepalive_timeout=30,
                ),
                timeout=aiohttp.ClientTimeout(total=self._access.timeout_s),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
            )
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


async def _answer(response: aiohttp.ClientResponse, limit: int) -> MASAAnswer:
    body = await _read(response, limit)
    status = response.status
    if status == 200:
        return MASAAnswer(body=body, media_type=response.content_type)
    if status in (202, 429) or status >= 500:
        raise Unavailable(
            f"the MASA answered {status}: {_line(body, response)}",
            retry_after_s=_retry_after(response),
            section=_SECTION,
        )
    if 400 <= status < 500:
        raise VoucherRefused(
            f"the MASA answered {status}: {_line(body, response)}", section=_SECTION
        )
    raise UnexpectedResponse(
        f"the MASA answered {status}; redirects are not followed", section=_SECTION
    )


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) > limit:
            raise TooLarge(f"the MASA's answer is longer than {limit} octets")
    return bytes(body)


def _line(body: bytes, response: aiohttp.ClientResponse) -> str:
    """The MASA's reason as one printable line; nothing of another media type."""
    if not response.content_type.startswith("text/plain"):
        return response.reason or "no reason given"
    text = body[:_REASON_LIMIT].decode("utf-8", "replace")
    return " ".join("".join(c if c.isprintable() else " " for c in text).split()) or "no reason"


def _retry_after(response: aiohttp.ClientResponse) -> int:
    value = response.headers.get("Retry-After", "")
    if value.isascii() and value.isdigit() and len(value) < 8:
        return min(int(value), _RETRY_AFTER_LIMIT_S)
    return 10


def _why(error: BaseException) -> str:
    return str(error) or type(error).__name__
