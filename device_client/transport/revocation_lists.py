"""Fetches revocation lists over plain HTTP: they are signed, and nobody else must be trusted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from brski.errors import PeerError, Unavailable, UnexpectedResponse
from brski.pki.revocation import LIST_LIMIT
from device_client.pledge.origin import parse_list_address
from device_client.pledge.states import Request
from device_client.transport.http import HTTPConnection, Limits
from device_client.transport.streams import StreamOctets

log = logging.getLogger(__name__)


async def fetch_lists(addresses: Sequence[str], limits: Limits) -> tuple[bytes, ...]:
    """Fetch all of them at once; what cannot be had is left out, and logged.

    Args:
        addresses: ``http``, out of certificates.
        limits: ``progress_s`` for TCP and each pause, ``answer_s`` for each list; a list may have
            :data:`~brski.pki.revocation.LIST_LIMIT` octets.
    """
    bounded = Limits(
        progress_s=limits.progress_s,
        answer_s=limits.answer_s,
        head_octets=limits.head_octets,
        body_octets=LIST_LIMIT,
    )
    fetched = await asyncio.gather(*(_fetch(address, bounded) for address in addresses))
    return tuple(octets for octets in fetched if octets)


async def _fetch(address: str, limits: Limits) -> bytes:
    try:
        return await _fetch_one(address, limits)
    except (PeerError, Unavailable) as error:
        log.warning(
            "revocation list not fetched", extra={"address": address, "reason": error.reason}
        )
        return b""


async def _fetch_one(address: str, limits: Limits) -> bytes:
    host, port, path = parse_list_address(address)
    try:
        async with asyncio.timeout(limits.progress_s):
            reader, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError) as err:
        raise Unavailable(f"{host}:{port} cannot be reached") from err
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    http = HTTPConnection(StreamOctets(reader, writer), authority=authority, limits=limits)
    try:
        answer = await http.exchange(Request(method="GET", path=path))
    finally:
        await http.close()
    if answer.status != 200:
        raise UnexpectedResponse(f"{address} was answered with {answer.status}")
    return answer.body
