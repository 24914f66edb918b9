"""What the operator sees and moves, for the handlers of the management listener."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from aiohttp import web

from masa_stub.port import DeviceRecords
from masa_stub.store.log import AuditStore
from masa_stub.store.sales import SalesBook
from masa_stub.web.faults import Misbehaviour

LIMIT: Final = 1000  # of what one answer lists


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What the operator sees and moves."""

    store: AuditStore
    sales: SalesBook
    records: DeviceRecords
    clock: Callable[[], datetime]
    faults: Misbehaviour
    anchors_pem: bytes  # what pledges hold to believe vouchers


DESK: Final = web.AppKey("DESK", Desk)
