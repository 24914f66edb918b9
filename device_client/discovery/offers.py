"""What is made of an announcement: addresses and ports that anybody may have made up.

Pure: the choice between too many is an argument. RFC 8995 §4.1, Appendix B.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from device_client.discovery.port import FOUND_LIMIT
from device_client.pledge.origin import Origin

ADDRESSES_LIMIT: Final = 2  # ours: of one instance

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One announced instance, as heard."""

    port: int  # of its SRV record
    addresses: tuple[str, ...]  # of its A and AAAA records


def origins_of(
    offers: Iterable[Offer],
    *,
    loopback: bool,
    choose: Callable[[Sequence[Origin], int], Sequence[Origin]],
) -> tuple[Origin, ...]:
    """Where to knock.

    Nothing is taken that no other machine can have: the unspecified address, multicast, loopback
    unless the device listens there. Of an instance two addresses count, IPv4 before IPv6. A
    link-local IPv6 address is of no use without its interface, and is left out.

    Args:
        offers: in any order, with doubles.
        loopback: whether loopback is a place to look for registrars.
        choose: picks that many of too many.
    """
    found = tuple(dict.fromkeys(o for offer in offers for o in _origins(offer, loopback=loopback)))
    return tuple(choose(found, FOUND_LIMIT)) if len(found) > FOUND_LIMIT else found


def _origins(offer: Offer, *, loopback: bool) -> list[Origin]:
    if not 0 < offer.port < 65536:
        return []
    parsed = [address for text in offer.addresses if (address := _parsed(text)) is not None]
    usable = sorted(
        (address for address in parsed if _is_usable(address, loopback=loopback)),
        key=lambda address: address.version,
    )
    return [Origin(str(address), offer.port) for address in usable[:ADDRESSES_LIMIT]]


def _parsed(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _is_usable(address: Address, *, loopback: bool) -> bool:
    mapped = getattr(address, "ipv4_mapped", None)
    if address.is_unspecified or address.is_multicast or mapped is not None:
        return False
    if address.is_loopback:
        return loopback
    return not (isinstance(address, IPv6Address) and address.is_link_local)
