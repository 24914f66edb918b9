"""Announces the registrar by multicast DNS. RFC 8995 §8.6, Appendix B; RFC 6763.

The one module of the registrar that speaks to python-zeroconf (extra [mdns]).
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_address
from typing import Annotated, Final, Literal

import ifaddr
from pydantic import Field, IPvAnyAddress
from zeroconf import Error, IPVersion
from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

from brski.edge.settings import Settings
from brski.errors import SettingsError
from brski.registry import MDNS_REGISTRAR

log = logging.getLogger(__name__)

_END_S: Final = 3.0  # for the farewell
_LABEL: Final = re.compile(r"[^a-z0-9-]+")


class MDNSAnnouncerSettings(Settings):
    """What ``[discovery]`` says of it."""

    kind: Literal["mdns"]
    name: Annotated[str, Field(min_length=1, max_length=63)] | None = None
    interfaces: tuple[IPvAnyAddress, ...] = ()


class MDNSAnnouncer:
    """Implements :class:`registrar_plugin.discovery.port.Announcer`.

    Args:
        name: of the instance, what a person browsing sees; the host's name and the port when None.
            Where another host has it already, a number is added.
        interfaces: addresses of ours that it is announced at and on; all when empty.
    """

    Settings = MDNSAnnouncerSettings

    def __init__(self, name: str | None, interfaces: tuple[str, ...]) -> None:
        self._name = name
        self._interfaces = interfaces

    @classmethod
    def open(cls, settings: MDNSAnnouncerSettings) -> MDNSAnnouncer:
        """Nothing is sent before :meth:`announcing`."""
        logging.getLogger("zeroconf").setLevel(logging.ERROR)  # strangers' packets make it warn
        return cls(settings.name, tuple(map(str, settings.interfaces)))

    @asynccontextmanager
    async def announcing(self, host: str, port: int) -> AsyncIterator[None]:
        """Announce; see the port."""
        service = self._service(host, port)
        responder = self._responder()
        try:
            await self._register(responder, service)
            log.info("announced", extra={"instance": service.name, "port": port})
            yield
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(_END_S):
                    await responder.async_unregister_all_services()
                    await responder.async_close()

    @staticmethod
    async def _register(responder: AsyncZeroconf, service: AsyncServiceInfo) -> None:
        try:
            await (await responder.async_register_service(service, allow_name_change=True))
        except (OSError, Error) as err:
            raise SettingsError(f"[discovery] mdns: {err or type(err).__name__}") from err

    def _responder(self) -> AsyncZeroconf:
        try:
            if self._interfaces:
                for address in self._interfaces:
                    _check_ours(address)
                return AsyncZeroconf(interfaces=list(self._interfaces))
            return AsyncZeroconf(ip_version=IPVersion.All)
        except (OSError, Error, RuntimeError) as err:
            raise SettingsError(f"[discovery] mdns: {err or type(err).__name__}") from err

    def _service(self, host: str, port: int) -> AsyncServiceInfo:
        own = socket.gethostname().partition(".")[0] or "registrar"
        label = _LABEL.sub("-", own.lower()).strip("-")[:63] or "registrar"
        instance = (self._name or f"{own[:50]} {port}")[:63].replace(".", " ")
        try:
            return AsyncServiceInfo(
                MDNS_REGISTRAR,
                f"{instance}.{MDNS_REGISTRAR}",
                port=port,
                parsed_addresses=self._addresses(host),
                server=f"{label}.local.",
            )
        except Error as err:
            raise SettingsError(f"[discovery] name: {err}") from err

    def _addresses(self, host: str) -> list[str]:
        """Those that a pledge could connect to."""
        if self._interfaces:
            return list(self._interfaces)
        try:
            listening = ip_address(host)
        except ValueError:
            listening = None
        if listening is not None and not listening.is_unspecified:
            return [host]
        found = [
            address.ip if isinstance(address.ip, str) else address.ip[0]
            for adapter in ifaddr.get_adapters()
            for address in adapter.ips
        ]
        addresses = [text for text in found if not ip_address(text).is_loopback]
        if not addresses:
            raise SettingsError("[discovery] mdns: this machine has no address to announce")
        return addresses


def _check_ours(address: str) -> None:
    """Raise :class:`OSError` where zeroconf would fail and leave its sockets open."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as trial:
        trial.bind((address, 0))
