"""A revocation list over HTTP: one path, for anybody (RFC 5280 §4.2.1.13; RFC 2585 §4.2)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from email.utils import format_datetime
from functools import partial
from typing import Final

from aiohttp import hdrs, web

from brski.registry import PKIX_CRL
from registrar_plugin.revocation.keeper import CRLKeeper

_RETRY_AFTER_S: Final = 10
_MAX_AGE_S: Final = 60  # ours: so long a cache may keep what a revocation has changed


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedList:
    """A list that is kept, and the path under which it is found."""

    path: str
    listen: str | None = None  # also here, over plain HTTP
    keeper: CRLKeeper

    def mount(self, app: web.Application) -> None:
        """Answer GET and HEAD of the path with the list that stands, DER."""
        app.router.add_get(self.path, partial(_crl, self.keeper))

    def start(self) -> Callable[[], Awaitable[None]]:
        """Keep the list from now on; returns what ends that."""
        task = asyncio.get_running_loop().create_task(self.keeper.keep())

        async def end() -> None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

        return end


async def _crl(keeper: CRLKeeper, request: web.Request) -> web.Response:
    crl = keeper.current
    if crl is None:
        return web.Response(status=503, headers={hdrs.RETRY_AFTER: str(_RETRY_AFTER_S)})
    etag = f'"{crl.number}"'
    headers = {
        hdrs.ETAG: etag,
        hdrs.LAST_MODIFIED: format_datetime(crl.this_update, usegmt=True),
        hdrs.CACHE_CONTROL: f"max-age={_MAX_AGE_S}",
    }
    if etag in request.headers.get(hdrs.IF_NONE_MATCH, ""):
        return web.Response(status=304, headers=headers)
    return web.Response(body=crl.octets, content_type=PKIX_CRL, headers=headers)
