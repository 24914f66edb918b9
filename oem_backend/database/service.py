"""The HTTPS service that registrars ask for device records (docs/oem-database.md, section 6).

In the hot path of every onboarding: an answer is encoded once and kept until the database changes,
and a registrar's chain is judged once, not with each request.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from brski import errors
from brski.edge.accept import AddressCap
from brski.edge.serve import Listener, serve
from brski.edge.signers.file import load_chain
from brski.edge.signers.public_key import load_public_key
from brski.edge.tls_server import peer_chain, server_context
from brski.edge.web_errors import TRANSPORT_FAULTS, error_middleware
from brski.idevid.record_json import encode_records
from brski.rates import subnet_of
from brski.registry import JSON
from oem_backend.database.demand_desk import DemandDesk, taking_answers
from oem_backend.database.demands import DemandBook, DemandLimits
from oem_backend.database.port import Records
from oem_backend.database.query import Question, parse_question
from oem_backend.database.quota import Quota
from oem_backend.database.registrars import RegistrarGate, RegistrarName
from oem_backend.database.settings import DatabaseSettings

log = logging.getLogger(__name__)
audit = logging.getLogger("oem_backend.database.audit")

STATUS: Final[Mapping[type[errors.OnboardingError], int]] = {
    **TRANSPORT_FAULTS,
    errors.NotAuthenticated: 403,
    errors.DomainNotTrusted: 403,
}

_ANSWERS: Final = 4096  # ours: kept encoded, about 2 kB each
_CACHE_CONTROL: Final = "private, no-cache"  # RFC 9111 §5.2.2: to be asked for again each time


@dataclass(frozen=True, slots=True)
class Answer:
    """A document, ready to be sent."""

    body: bytes
    etag: str  # strong, with its quotes


class Directory:
    """Answers questions out of the database; remembers nothing that has changed there.

    Args:
        records: closed by whoever opened them.
        require_spki: answer only who tells the digest of the device's key.
    """

    def __init__(self, records: Records, *, require_spki: bool) -> None:
        self._records = records
        self._require_spki = require_spki
        self._version = -1
        self._answers: OrderedDict[Question, Answer] = OrderedDict()

    async def ask(self, question: Question) -> Answer | str:
        """The answer, or why there is none: ``unknown``, ``other-key`` or ``key-not-told``.

        Raises:
            Unavailable: the database cannot be read now.
            StateError: it is damaged, or holds more under this serial number than one document.
        """
        if self._require_spki and question.spki_sha256 is None:
            return "key-not-told"
        version = (
            await self._records.version()
        )  # before the look-up, so that no answer is older than it
        if version != self._version:
            self._answers.clear()
            self._version = version
        answer = self._answers.get(question)
        if answer is not None:
            self._answers.move_to_end(question)
            return answer
        return await self._look_up(question, version)

    async def _look_up(self, question: Question, version: int) -> Answer | str:
        found = await self._records.find(question.idevid_issuer, question.serial_number)
        wanted = question.spki_sha256
        records = [
            record
            for record in found
            if wanted is None or hashlib.sha256(record.spki).digest() == wanted
        ]
        if not records:
            return "other-key" if found else "unknown"
        try:
            body = encode_records(records)
        except errors.PeerError as err:  # what was loaded was checked: no fault of the asker's
            raise errors.StateError(f"records of {question.serial_number}: {err.reason}") from err
        answer = Answer(body, f'"{hashlib.sha256(body).hexdigest()}"')
        if version == self._version:  # nothing has changed while it was looked up
            self._answers[question] = answer
        if len(self._answers) > _ANSWERS:
            self._answers.popitem(last=False)
        return answer


_DIRECTORY: Final = web.AppKey("directory", Directory)
_GATE: Final = web.AppKey("gate", RegistrarGate)
_QUOTA: Final = web.AppKey("quota", Quota)
_DEMANDS: Final = web.AppKey[DemandDesk | None]("demands")
_OWNER: Final = web.AppKey("owner", object)
_REGISTRAR: Final = web.RequestKey("registrar", RegistrarName)

routes = web.RouteTableDef()


@routes.get("/v1/devices/{serial_number:[^/]+}", allow_head=False)
async def get_device(request: web.Request) -> web.Response:
    """All records of one serial number, narrowed by issuer and key where the query says so."""
    asked = request.match_info["serial_number"]
    registrar = request[_REGISTRAR]
    try:
        request.config_dict[_QUOTA].take(registrar.spki_sha256)
        question = parse_question(asked, request.rel_url.raw_query_string)
        answer = await request.config_dict[_DIRECTORY].ask(question)
    except errors.OnboardingError as err:
        _record(logging.WARNING, asked, registrar, err.code)
        raise
    if isinstance(answer, str):
        _record(logging.INFO, asked, registrar, answer)
        desk = request.config_dict[_DEMANDS]
        if answer == "unknown" and desk is not None:
            desk.note(question, registrar)
        return _nothing(404)
    if _has_it(request, answer.etag):
        _record(logging.INFO, asked, registrar, "not-modified")
        return web.Response(status=304, headers=_headers(answer))
    _record(logging.INFO, asked, registrar, "found")
    return web.Response(body=answer.body, content_type=JSON, headers=_headers(answer))


def _headers(answer: Answer) -> dict[str, str]:
    return {hdrs.ETAG: answer.etag, hdrs.CACHE_CONTROL: _CACHE_CONTROL}


def _has_it(request: web.Request, etag: str) -> bool:
    """RFC 9110 §13.1.2: If-None-Match, by weak comparison."""
    sent = request.headers.get(hdrs.IF_NONE_MATCH)
    if sent is None or sent == etag:
        return sent is not None
    return any(each.value in {"*", etag.strip('"')} for each in request.if_none_match or ())


def _record(level: int, serial_number: str, registrar: RegistrarName, outcome: str) -> None:
    audit.log(
        level,
        "device asked for",
        extra={
            "serial_number": serial_number[:80],
            "registrar": registrar.subject,
            "registrar_sha256": registrar.certificate_sha256.hex(),
            "outcome": outcome,
        },
    )


def _nothing(status: int, allow: str | None = None) -> web.Response:
    response = web.Response(status=status, headers={hdrs.CACHE_CONTROL: _CACHE_CONTROL})
    if allow is not None:
        response.headers[hdrs.ALLOW] = allow
    return response


@web.middleware
async def _say_nothing_of_routes(request: web.Request, handler: Handler) -> web.StreamResponse:
    """An unknown path is answered as an unknown device is."""
    try:
        return await handler(request)
    except web.HTTPException as err:
        return _nothing(err.status, err.headers.get(hdrs.ALLOW))


@web.middleware
async def _admit_registrars(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Nobody else gets as far as a handler, nor learns which paths there are."""
    app = request.config_dict
    try:
        chain = peer_chain(request.transport, app[_OWNER])
    except (errors.Malformed, errors.TooLarge) as err:
        raise errors.DomainNotTrusted(f"TLS client's chain: {err.reason}") from err
    request[_REGISTRAR] = app[_GATE].admit(chain)
    return await handler(request)


def _told(error: errors.OnboardingError) -> str:
    return str(error) if isinstance(error, errors.Malformed) else ""


def device_app(
    directory: Directory,
    *,
    gate: RegistrarGate,
    quota: Quota,
    owner: object,
    demands: DemandDesk | None = None,
) -> web.Application:
    """The application for the registrars' listener.

    Args:
        owner: the object that the listener's TLS context was made with.
        demands: where questions for unknown devices are taken down; None takes down nothing.
    """
    app = web.Application(
        middlewares=[
            error_middleware(STATUS, log, say=_told),
            _admit_registrars,
            _say_nothing_of_routes,
        ]
    )
    app[_DIRECTORY] = directory
    app[_GATE] = gate
    app[_QUOTA] = quota
    app[_OWNER] = owner
    app[_DEMANDS] = demands
    app.add_routes(routes)
    return app


def _make_database(settings: DatabaseSettings) -> None:
    """Opened and closed by one thread, as SQLite wants it."""
    settings.place.open_to_write().close()


async def serve_devices(
    settings: DatabaseSettings,
    *,
    announce: bool = False,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),  # noqa: TID251 - the edge
) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        announce: print the address as one line of JSON once it is open.
        clock: aware UTC.

    Raises:
        LocalError: a setting, key, file or address that cannot be used.
        Unavailable: a disk that fails.
    """
    service = settings.service
    if service is None:
        raise errors.SettingsError("database.service: missing", hint="conf/oem.toml explains it")
    owner = object()
    async with AsyncExitStack() as stack:
        if settings.on_demand is not None:
            # nothing may have been certified yet
            await asyncio.to_thread(_make_database, settings)
        records = await settings.place.open_records()
        stack.push_async_callback(records.close)
        demands = await stack.enter_async_context(_on_demand(settings, records, clock))
        app = device_app(
            Directory(records, require_spki=service.require_spki),
            gate=RegistrarGate(
                load_chain(service.registrar_anchors),
                usage=service.usage,
                refused=frozenset(bytes.fromhex(digest) for digest in service.refused),
                clock=clock,
            ),
            quota=Quota(clock=time.monotonic, per_s=service.queries_per_s, burst=service.burst),
            owner=owner,
            demands=demands,
        )
        await serve(
            [
                Listener(
                    name="registrars",
                    app=app,
                    listen=service.listen,
                    ssl_context=server_context(service.chain, service.key, owner=owner),
                    cap=AddressCap(connections=service.connections_per_address, group=subnet_of),
                )
            ],
            announce=announce,
        )


@asynccontextmanager
async def _on_demand(
    settings: DatabaseSettings, records: Records, clock: Callable[[], datetime]
) -> AsyncIterator[DemandDesk | None]:
    """Both directions of docs/on-demand.md, section 4, where the settings want it."""
    wanted = settings.on_demand
    if wanted is None:
        yield None
        return
    limits = DemandLimits(
        per_registrar_and_day=wanted.per_registrar_and_day,
        per_day=wanted.per_day,
        again_s=wanted.again_s,
    )
    factories = {factory.name: load_public_key(factory.key) for factory in settings.factory}
    with closing(DemandBook(wanted.spool, limits)) as book:
        desk = DemandDesk(book, records, clock)
        async with taking_answers(
            settings.place, wanted.answers, factories, poll_s=wanted.poll_s, clock=clock
        ):
            yield desk
        await desk.close()
