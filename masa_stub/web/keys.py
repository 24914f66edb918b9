"""What the handlers find in their application."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from masa_stub.masa import MASA
from masa_stub.passwords import Passwords
from masa_stub.web.faults import Misbehaviour
from masa_stub.web.locations import Locations

MASA_KEY: Final = web.AppKey("MASA", MASA)
FAULTS: Final = web.AppKey("FAULTS", Misbehaviour)
LOCATIONS: Final = web.AppKey[Locations | None]("LOCATIONS")
PASSWORDS: Final = web.AppKey("PASSWORDS", Passwords)
