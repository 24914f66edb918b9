"""What the handlers find in their application."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from masa_stub.masa import MASA
from masa_stub.store import AuditStore

MASA_KEY: Final = web.AppKey("MASA", MASA)
STORE: Final = web.AppKey("STORE", AuditStore)
ANCHOR: Final = web.AppKey("ANCHOR", bytes)  # PEM, what pledges hold to believe vouchers
