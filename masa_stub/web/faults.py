"""Misbehaving on purpose, where registrars see it; off unless the operator asks for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Final

from aiohttp import hdrs, web

from brski.errors import PeerError, SettingsError
from brski.pki.signer import Signer
from brski.registry import JSON
from brski.voucher.serialization import VoucherSerialization
from masa_stub.faults.audit_logs import bend_audit_log
from masa_stub.faults.kinds import INSTEAD, OF_AUDIT_LOGS, OF_VOUCHERS, Fault
from masa_stub.faults.plan import Arm, FaultPlan, Struck
from masa_stub.faults.vouchers import bend_voucher
from masa_stub.port import Signers

log = logging.getLogger(__name__)

HALF_OPEN_S: Final = 300.0
RETRY_AFTER_S: Final = 7
_LOOK_S: Final = 0.5  # how often to see whether the other side has gone
_SLOW_OCTETS: Final = 8
_SLOW_S: Final = 0.5
_HTML: Final = "<!DOCTYPE html><title>Welcome</title><p>Please log in."
_ELSEWHERE: Final = "https://masa.invalid/.well-known/brski/requestvoucher"


class Misbehaviour:
    """Stands between the MASA and its registrars.

    Args:
        plan: what is armed and rated; None where faults are not allowed, and nothing can be armed.
        serializations: by media type.
        signers: the MASA's own keys: a wrong voucher is signed by the right one.
        stranger: a key that nobody knows.
        clock: aware UTC.
    """

    def __init__(
        self,
        plan: FaultPlan | None = None,
        *,
        serializations: Mapping[str, VoucherSerialization],
        signers: Signers,
        stranger: Signer,
        clock: Callable[[], datetime],
    ) -> None:
        self._plan = plan
        self._serializations = serializations
        self._signers = signers
        self._stranger = stranger
        self._clock = clock

    @property
    def plan(self) -> FaultPlan:
        """What is armed and rated.

        Raises:
            SettingsError: faults are not allowed.
        """
        if self._plan is None:
            raise SettingsError(
                "this MASA does not misbehave", hint="start it with --faults or --chaos"
            )
        return self._plan

    def arm(self, arm: Arm) -> None:
        """Have the next requests meet a fault; raises as :attr:`plan`, :meth:`FaultPlan.arm`."""
        self.plan.arm(arm)
        log.warning("a fault is armed", extra={"fault": arm.fault.value, "left": arm.left})

    async def around(
        self,
        request: web.Request,
        body: bytes,
        answer: Callable[[], Awaitable[web.Response]],
        *,
        of_audit_log: bool,
    ) -> web.StreamResponse:
        """The answer to *request*, as *answer* gives it or not."""
        if self._plan is None:
            return await answer()
        serial_number = self._serial_number(request.content_type, body)
        struck = self._plan.strike(serial_number, of_audit_log=of_audit_log)
        if struck is None:
            return await answer()
        log.warning(
            "misbehaving on purpose",
            extra={"fault": struck.fault.value, "serial_number": serial_number},
        )
        if struck.fault in INSTEAD:
            return _instead(struck.fault)
        return await self._bend(request, await answer(), struck)

    def _serial_number(self, media_type: str, body: bytes) -> str:
        serialization = self._serializations.get(media_type)
        try:
            opened = None if serialization is None else serialization.open(body)
            return "" if opened is None else opened.voucher_request().serial_number
        except PeerError:
            return ""

    async def _bend(
        self, request: web.Request, response: web.Response, struck: Struck
    ) -> web.StreamResponse:
        true = bytes(response.body) if isinstance(response.body, bytes) else b""
        match struck.fault:
            case Fault.HALF_OPEN:
                return await _half_open(request)
            case Fault.SLOW:
                return await _slowly(request, response, true)
            case Fault.TRUNCATED:
                return await _truncated(request, response, true)
            case Fault.GARBLED:
                return _like(response, _garbled(true, struck.chance))
            case Fault.AUDIT_NONE:
                return web.Response(status=404, text="no such device")
        if struck.fault in OF_VOUCHERS:
            return _like(response, self._voucher(true, response.content_type, struck))
        assert struck.fault in OF_AUDIT_LOGS  # noqa: S101 - what else there is
        return web.Response(body=bend_audit_log(true, struck), content_type=JSON)

    def _voucher(self, octets: bytes, media_type: str, struck: Struck) -> bytes:
        serialization = self._serializations[media_type]
        return bend_voucher(
            octets,
            struck,
            serialization,
            signer=self._signers.of(serialization.open(octets).voucher().nonce),
            stranger=self._stranger,
            now=self._clock(),
        )


def _like(response: web.Response, body: bytes) -> web.Response:
    return web.Response(body=body, content_type=response.content_type)


def _instead(fault: Fault) -> web.Response:
    later = {hdrs.RETRY_AFTER: str(RETRY_AFTER_S)}
    match fault:
        case Fault.INTERNAL_ERROR:
            return web.Response(status=500)
        case Fault.UNAVAILABLE:
            return web.Response(status=503)
        case Fault.TOO_MANY:
            return web.Response(status=429, text="too many requests", headers=later)
        case Fault.REDIRECT:
            return web.Response(status=307, headers={hdrs.LOCATION: _ELSEWHERE})
        case Fault.HTML:
            return web.Response(text=_HTML, content_type="text/html")
    return web.Response(status=503, text="try again later", headers=later)


async def _half_open(request: web.Request) -> web.StreamResponse:
    """Say nothing until the other side gives up."""
    loop = asyncio.get_running_loop()
    end = loop.time() + HALF_OPEN_S
    while not _has_gone(request) and loop.time() < end:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(_LOOK_S)
    return _cut_off(request)


async def _slowly(request: web.Request, response: web.Response, body: bytes) -> web.StreamResponse:
    stream = await _begun(request, response, body)
    for at in range(0, len(body), _SLOW_OCTETS):
        if _has_gone(request):
            break
        await stream.write(body[at : at + _SLOW_OCTETS])
        await asyncio.sleep(_SLOW_S)
    return stream


async def _truncated(
    request: web.Request, response: web.Response, body: bytes
) -> web.StreamResponse:
    stream = await _begun(request, response, body)
    await stream.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()  # after what was written, unlike abort
    return stream


async def _begun(request: web.Request, response: web.Response, body: bytes) -> web.StreamResponse:
    stream = web.StreamResponse()
    stream.content_type = response.content_type
    stream.content_length = len(body)
    await stream.prepare(request)
    return stream


def _cut_off(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


def _has_gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


def _garbled(body: bytes, chance: bytes) -> bytes:
    """One bit of *body* is another, in its first third: of a voucher, where everything counts."""
    if len(body) < 3:
        return body
    at = int.from_bytes(chance[8:16], "big") % (len(body) // 3)
    return body[:at] + bytes([body[at] ^ 1 << chance[16] % 8]) + body[at + 1 :]
