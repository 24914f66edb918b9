"""Who lives in a :class:`~tests.kit.town.Town`: parties, registrars, their CAs, and a witness."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509

from brski.edge.cli import FactsFormatter
from brski.errors import Unavailable
from brski.voucher.model import VoucherRequest
from masa_stub.masa import MASA
from registrar_plugin.ca_backend.embedded import EmbeddedCA
from registrar_plugin.ca_backend.port import Pending
from registrar_plugin.telemetry.events import Event
from tests.kit import pki
from tests.kit.world import Device, World


@dataclass(slots=True, kw_only=True)
class Party:
    """Somebody with a key, and what he holds; a clone has another party's key."""

    name: str
    device: Device
    is_genuine: bool  # its key is the one that its manufacturer has on record
    requests: dict[int, tuple[VoucherRequest, bytes]] = field(default_factory=dict)  # by gate
    vouchers: dict[int, bytes] = field(default_factory=dict)  # as received, by gate
    pinned: dict[int, tuple[bytes, VoucherRequest, x509.Certificate]] = field(default_factory=dict)
    csrs: dict[int, bytes] = field(default_factory=dict)
    ldevids: list[tuple[int, x509.Certificate]] = field(default_factory=list)

    @property
    def pledge_key(self) -> pki.KeySigner:
        chain = self.device.shown if self.device.carried else ()
        return pki.KeySigner(self.device.entity.private_key, chain)


class FailingCA(EmbeddedCA):
    """The owner's CA; it can be taken away."""

    is_away = False

    async def complete(self, intent: bytes) -> x509.Certificate | Pending:
        if self.is_away:
            raise Unavailable("the CA is away")
        return await super().complete(intent)


class Witness:
    """The MASA, with every voucher that it really signed kept."""

    def __init__(self, masa: MASA) -> None:
        self.masa = masa
        self.vouchers: list[bytes] = []

    async def request_voucher(self, *asked: Any, **more: Any) -> Any:
        answer = await self.masa.request_voucher(*asked, **more)
        self.vouchers.append(answer.body)
        return answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self.masa, name)


@dataclass(slots=True, kw_only=True)
class Gate:
    """One owner's registrar, which can be stopped and started."""

    folder: Path
    domain: tuple[pki.Entity, pki.Entity]
    ca: FailingCA
    world: World | None = None
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    seen: list[Event] = field(default_factory=list)  # of its journal, as far as it was read

    @property
    def open(self) -> World:
        assert self.world is not None
        return self.world

    @property
    def certificate(self) -> x509.Certificate:
        return self.domain[1].certificate


class Lines(logging.Handler):
    """Every line of every log, as it would be written."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(FactsFormatter("town"))
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(self.format(record))
