"""Which addresses a MASA's name may lead to: no IDevID steers the registrar into its own network.

A MASA's URL comes out of a device's certificate. A host that the settings list (exact
``host:port``) may be anywhere; any other must resolve to global addresses only (docs/identity.md).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from yarl import URL

from brski.edge.http.client import any_address
from brski.errors import AddressNotAllowed


def check_address(address: str, *, host: str) -> None:
    """Raise unless *address* is a global unicast one.

    Raises:
        AddressNotAllowed: loopback, link-local, private, multicast, reserved or mapped ranges.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(ip, "ipv4_mapped", None)
    judged = mapped or ip
    if not judged.is_global or judged.is_multicast or judged.is_reserved:
        raise AddressNotAllowed(
            f"{host} leads to {address}, which is not a global address",
            hint=f"list {host}:PORT in the manufacturer's masa.hosts if it is meant",
        )


def is_literal(host: str) -> bool:
    """Whether *host* is an IP address, so that no resolver will be asked."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class CheckedAddresses:
    """Resolves names; those that are not on the list only to global addresses.

    The connection goes to the very addresses that were checked: an instance is what
    :class:`brski.edge.http.client.HTTPSClient` asks for them.

    Args:
        allowed: exact ``host:port``, lower case.
    """

    def __init__(self, allowed: frozenset[str]) -> None:
        self._allowed = allowed

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """The addresses of *host*, all of them good.

        Raises:
            AddressNotAllowed: one of them is not.
            OSError: there is no such name.
        """
        found = await any_address(host, port)
        if f"{host}:{port}".lower() not in self._allowed:
            for address in found:
                check_address(address, host=host)
        return found


def check_url(url: URL, allowed: frozenset[str]) -> None:
    """Raise unless *url* is https, without credentials, and no literal address that is refused.

    Raises:
        AddressNotAllowed: as it says.
    """
    if url.scheme != "https" or url.user or url.password or not url.host:
        raise AddressNotAllowed(f"{url.human_repr()!r} is not a plain https URL")
    if f"{url.host}:{url.port}".lower() not in allowed and is_literal(url.host):
        check_address(url.host, host=url.host)
