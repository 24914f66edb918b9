"""What the handlers find in their application."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from masa_stub.masa import MASA
from masa_stub.passwords import Passwords

MASA_KEY: Final = web.AppKey("MASA", MASA)
PASSWORDS: Final = web.AppKey("PASSWORDS", Passwords)
