"""Registrars and join proxies that announce themselves by multicast DNS. RFC 8995 Appendix B.

The one module of the device that speaks to python-zeroconf (extra [mdns]). Everything that is heard
is a stranger's: so many instances are looked at, for so long, and then everything is thrown away.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, Final, Literal

from pydantic import Field, IPvAnyAddress
from zeroconf import DNSQuestionType, Error, IPVersion, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from brski.edge.settings import Settings
from brski.errors import Unavailable
from brski.registry import MDNS_PROXY, MDNS_REGISTRAR
from device_client.discovery.offers import Offer, origins_of
from device_client.pledge.origin import Origin

INSTANCES_LIMIT: Final = 128  # ours: names that are looked at in one look
_RESOLVE_S: Final = 1.0  # ours: for the SRV and address records of all of them together
_CLOSE_S: Final = 2.0
# An answer to this device alone goes to one of the programs that share the port, such as avahi's.
_TO_ALL: Final = DNSQuestionType.QM


class MDNSSettings(Settings):
    """``[discovery]`` of kind "mdns"."""

    kind: Literal["mdns"]
    interfaces: tuple[IPvAnyAddress, ...] = ()  # addresses of ours; all when empty
    # a responder may hold its answer back for a second (RFC 6762 §6)
    window_s: float = Field(default=3.0, ge=2, le=60)


@dataclass
class _Heard:
    """The instances that a browser has told of: a random choice, so that nobody who speaks first
    and often keeps the others out.
    """

    names: list[tuple[str, str]] = field(default_factory=list)  # service type, instance
    count: int = 0

    def note(self, *, service_type: str, name: str, **_: Any) -> None:
        """As the browser calls it, for what came and for what went."""
        self.count += 1
        if len(self.names) < INSTANCES_LIMIT:
            self.names.append((service_type, name))
        elif (place := random.randrange(self.count)) < INSTANCES_LIMIT:  # noqa: S311 - as below
            self.names[place] = (service_type, name)


class MDNSDiscovery:
    """Implements :class:`device_client.discovery.port.Discovery`.

    Each look has a socket, a cache and an end of its own, so that nothing which was heard stays.
    """

    Settings = MDNSSettings

    def __init__(self, interfaces: tuple[str, ...], window_s: float) -> None:
        self._interfaces = interfaces
        self._window_s = window_s

    @classmethod
    def open(cls, settings: MDNSSettings) -> MDNSDiscovery:
        """Nothing is opened before the first look."""
        logging.getLogger("zeroconf").setLevel(logging.ERROR)  # strangers' packets make it warn
        return cls(tuple(map(str, settings.interfaces)), settings.window_s)

    async def look(self) -> tuple[Origin, ...]:
        """Listen for ``window_s``; see the port."""
        responder = self._responder()
        try:
            offers = await self._offers(responder.zeroconf)
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_S):
                    await responder.async_close()
        return origins_of(offers, loopback=self._is_on_loopback(), choose=_any_of)

    def _responder(self) -> AsyncZeroconf:
        try:
            if self._interfaces:
                for address in self._interfaces:
                    _check_ours(address)
                return AsyncZeroconf(interfaces=list(self._interfaces))
            return AsyncZeroconf(ip_version=IPVersion.All)
        except (OSError, Error, RuntimeError) as err:
            raise Unavailable(f"there is no network for multicast DNS: {err}") from err

    async def _offers(self, zeroconf: Zeroconf) -> list[Offer]:
        heard = _Heard()
        browser = AsyncServiceBrowser(
            zeroconf,
            [MDNS_REGISTRAR, MDNS_PROXY],
            handlers=[heard.note],
            question_type=_TO_ALL,
        )
        try:
            await asyncio.sleep(self._window_s)
            resolved = await asyncio.gather(
                *(_resolve(zeroconf, kind, name) for kind, name in dict.fromkeys(heard.names))
            )
        finally:
            await browser.async_cancel()
        return [offer for offer in resolved if offer is not None]

    def _is_on_loopback(self) -> bool:
        return any(ip_address(address).is_loopback for address in self._interfaces)


async def _resolve(zeroconf: Zeroconf, service_type: str, name: str) -> Offer | None:
    try:
        info = AsyncServiceInfo(service_type, name)
        if not await info.async_request(zeroconf, _RESOLVE_S * 1000, _TO_ALL):
            return None
    except Error:  # a name that is none
        return None
    return Offer(port=info.port or 0, addresses=tuple(info.parsed_addresses()))


def _check_ours(address: str) -> None:
    """Raise :class:`OSError` where zeroconf would fail and leave its sockets open."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as trial:
        trial.bind((address, 0))


def _any_of(found: Sequence[Origin], most: int) -> Sequence[Origin]:
    return random.sample(found, most)
