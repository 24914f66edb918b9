"""The client of an OEM's service against sound and unsound services, over real TLS."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from brski.edge.settings import read_settings
from brski.edge.tls_client import https_client_context
from brski.errors import KeyUnusable, SettingsError, Unavailable
from brski.idevid.record_json import DOCUMENT_OCTETS_LIMIT, encode_records
from registrar_plugin.oem_source.http import HTTPSource
from tests.kit import identity as kit
from tests.kit import pki

ISSUER = pki.make_pki("A")
RECORD = kit.record_of(pki.make_idevid(ISSUER, "SN-0001"))
SPKI = bytes(range(32))
ROOT = pki.make_root("Service Root")
SERVICE = pki.make_server(ROOT, name="localhost")
REGISTRAR = pki.make_registrar(ROOT)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Service:
    """One TLS server that answers by *handler* and keeps what it was asked."""

    handler: Handler
    folder: Path
    certificate: pki.Entity = SERVICE
    requests: list[web.Request] = field(default_factory=list)
    peer_names: list[Any] = field(default_factory=list)
    port: int = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        assert request.transport is not None
        self.peer_names.append(request.transport.get_extra_info("peercert"))
        return await self.handler(request)

    @property
    def base_url(self) -> str:
        return f"https://localhost:{self.port}"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Service]:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=ROOT.der)
        context.load_cert_chain(*files(self.folder, "service", self.certificate))
        context.verify_mode = ssl.CERT_REQUIRED
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        self.port = runner.addresses[0][1]
        try:
            yield self
        finally:
            await runner.cleanup()


def files(folder: Path, name: str, entity: pki.Entity) -> tuple[Path, Path]:
    chain, key = folder / f"{name}.pem", folder / f"{name}.key"
    chain.write_bytes(entity.chain_pem)
    key.write_bytes(entity.key_pem)
    key.chmod(0o600)
    return chain, key


def client_context(folder: Path, *, anchor: pki.Entity = ROOT) -> ssl.SSLContext:
    chain, key = files(folder, "registrar", REGISTRAR)
    return https_client_context([anchor.certificate], client_chain=chain, client_key=key)


@asynccontextmanager
async def asking(
    handler: Handler, folder: Path, **options: Any
) -> AsyncIterator[tuple[HTTPSource, Service]]:
    async with Service(handler, folder).running() as service:
        source = HTTPSource(service.base_url, client_context(folder), **options)
        try:
            yield source, service
        finally:
            await source.close()


def found(*, etag: str | None = None, **options: Any) -> Handler:
    async def answer(_: web.Request) -> web.StreamResponse:
        headers = {} if etag is None else {"ETag": etag}
        return web.Response(
            body=encode_records([RECORD]),
            content_type="application/json",
            headers=headers,
            **options,
        )

    return answer


def status(code: int, **headers: str) -> Handler:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(
            status=code, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )

    return answer


async def find(source: HTTPSource, serial_number: str = "SN-0001", **options: Any) -> Any:
    return await source.find(options.get("issuer"), serial_number, spki_sha256=SPKI)


# -- questions -------------------------------------------------------------------------------------


async def test_question_goes_out_under_this_registrars_certificate(tmp_path: Path) -> None:
    """Method, path and query as the service has them; nothing that it was not asked to send."""
    async with asking(found(), tmp_path) as (source, service):
        assert await find(source, issuer=bytes(range(20))) == (RECORD,)
    (request,) = service.requests
    assert request.method == "GET"
    assert request.path == "/v1/devices/SN-0001"
    assert dict(request.query) == {
        "idevid_issuer": base64.urlsafe_b64encode(bytes(range(20))).decode().rstrip("=")
    }
    assert "Cookie" not in request.headers
    assert "registrar.example.com" in str(service.peer_names[0])


async def test_digest_of_the_key_is_sent_where_the_oem_demands_it(tmp_path: Path) -> None:
    """And the source says that its answers depend on it."""
    async with asking(found(), tmp_path, send_spki=True) as (source, service):
        await find(source)
        assert source.answers_by_key
    text = service.requests[0].query["spki_sha256"]
    assert base64.urlsafe_b64decode(text + "=") == SPKI


@pytest.mark.parametrize("said", [{"send_spki": True}, {"on_demand": True}, {}])
async def test_a_device_that_was_not_met_has_no_key_to_tell(
    tmp_path: Path, said: dict[str, bool]
) -> None:
    """No digest goes out, so that nothing is certified for nobody; who answers by key alone is not
    asked.
    """
    async with asking(status(404), tmp_path, **said) as (source, service):
        assert await source.find(None, "SN-0001", spki_sha256=None) == ()
    asked = [dict(request.query) for request in service.requests]
    assert asked == ([] if "send_spki" in said else [{}])


async def test_an_oem_that_certifies_on_demand_is_told_whom_it_lacks(tmp_path: Path) -> None:
    """The digest goes where nothing was found, and only there; the absence is this key's alone."""
    async with asking(status(404), tmp_path, on_demand=True) as (source, service):
        assert await find(source) == ()
        assert source.answers_by_key
    asked = [dict(request.query) for request in service.requests]
    assert [set(query) for query in asked] == [set(), {"spki_sha256"}]
    assert base64.urlsafe_b64decode(asked[1]["spki_sha256"] + "=") == SPKI
    async with asking(found(), tmp_path, on_demand=True) as (source, service):
        assert await find(source) == (RECORD,)
    assert [dict(request.query) for request in service.requests] == [{}]


async def test_base_path_is_kept(tmp_path: Path) -> None:
    """A service may stand below a path."""
    async with Service(found(), tmp_path).running() as service:
        source = HTTPSource(service.base_url + "/oem/a/", client_context(tmp_path))
        await find(source)
        await source.close()
    assert service.requests[0].path == "/oem/a/v1/devices/SN-0001"


@pytest.mark.parametrize("serial_number", [".", ".."])
async def test_dots_never_become_another_path(tmp_path: Path, serial_number: str) -> None:
    """They are in the allow-list of serial numbers, and mean something else in a URL."""
    async with asking(found(), tmp_path) as (source, service):
        assert await find(source, serial_number) == ()
        assert service.requests == []


@pytest.mark.parametrize("serial_number", ["...", "a:b", "-", "SN_1", "A.B-c_d:e", "S" * 64])
async def test_every_other_serial_number_arrives_as_it_is(
    tmp_path: Path, serial_number: str
) -> None:
    """No case folding and no second decoding on the way."""
    async with asking(status(404), tmp_path) as (source, service):
        assert await find(source, serial_number) == ()
    assert service.requests[0].path == f"/v1/devices/{serial_number}"
    assert service.requests[0].raw_path == f"/v1/devices/{serial_number}"


# -- answers ---------------------------------------------------------------------------------------


async def test_404_is_no_record(tmp_path: Path) -> None:
    """The one status that means so."""
    async with asking(status(404), tmp_path) as (source, _):
        assert await find(source) == ()


@pytest.mark.parametrize("code", [204, 206, 301, 302, 307, 400, 401, 403, 410, 429, 500, 503, 304])
async def test_any_other_status_is_no_answer(tmp_path: Path, code: int) -> None:
    """A refusal to answer must not make a device unknown; a redirect is not followed."""
    async with asking(status(code, Location="/elsewhere"), tmp_path) as (source, service):
        with pytest.raises(Unavailable, match=str(code)):
            await find(source)
        assert len(service.requests) == 1


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7),
        ("0", 1),
        ("86400", 60),
        ("-1", 10),
        ("Fri, 31 Dec 2027 23:59:59 GMT", 10),
        ("٣", 10),
    ],
)
async def test_retry_after_is_passed_on_within_reason(
    tmp_path: Path, text: str, seconds: int
) -> None:
    """At most what a pledge waits (RFC 8995 §5.6)."""
    async with asking(status(503, Retry_After=text), tmp_path) as (source, _):
        with pytest.raises(Unavailable) as refusal:
            await find(source)
    assert refusal.value.retry_after_s == seconds


def body(content: bytes, content_type: str = "application/json", **headers: str) -> Handler:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(
            body=content,
            content_type=content_type,
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )

    return answer


@pytest.mark.parametrize(
    "handler",
    [
        pytest.param(body(b"<html>", "text/html"), id="html"),
        pytest.param(body(b""), id="empty"),
        pytest.param(body(b"{}"), id="another-document"),
        pytest.param(body(encode_records([RECORD])[:-1]), id="cut"),
        pytest.param(body(encode_records([RECORD]), "text/plain"), id="another-type"),
        pytest.param(body(encode_records([RECORD]), Content_Encoding="gzip"), id="compressed"),
        pytest.param(body(b" " * (DOCUMENT_OCTETS_LIMIT + 1)), id="too-large"),
    ],
)
async def test_answer_that_is_none_is_no_answer(tmp_path: Path, handler: Handler) -> None:
    """It is neither "unknown" nor an error of the pledge's."""
    async with asking(handler, tmp_path) as (source, _):
        with pytest.raises(Unavailable, match="no device records"):
            await find(source)


async def test_endless_body_is_cut_off(tmp_path: Path) -> None:
    """No more of it is read than could be an answer."""

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        try:
            while True:
                await response.write(b" " * 65536)
        except ConnectionError:
            return response

    async with asking(endless, tmp_path) as (source, _):
        with pytest.raises(Unavailable, match="more than"):
            await find(source)


async def test_service_that_hangs_is_given_up(tmp_path: Path) -> None:
    """In the time that the settings give."""

    async def hangs(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        await response.write(b"{")
        await asyncio.sleep(5)
        return response

    async with asking(hangs, tmp_path, timeout_s=0.3) as (source, _):
        with pytest.raises(Unavailable, match="does not answer"):
            await find(source)


async def test_service_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    """A port at which nobody listens."""
    async with Service(found(), tmp_path).running() as service:
        pass
    source = HTTPSource(service.base_url, client_context(tmp_path))
    with pytest.raises(Unavailable, match="does not answer"):
        await find(source)
    await source.close()


# -- whom it talks to ------------------------------------------------------------------------------


async def test_service_under_another_anchor_is_not_believed(tmp_path: Path) -> None:
    """Nor asked."""
    async with Service(found(), tmp_path).running() as service:
        context = client_context(tmp_path, anchor=pki.make_root("Another"))
        source = HTTPSource(service.base_url, context)
        with pytest.raises(Unavailable):
            await find(source)
        await source.close()
        assert service.requests == []


async def test_service_of_another_name_is_not_believed(tmp_path: Path) -> None:
    """A sound certificate, for another name than the one that was asked for."""
    other = pki.make_server(ROOT, name="other.example.com", addresses=())
    async with Service(found(), tmp_path, other).running() as service:
        source = HTTPSource(service.base_url, client_context(tmp_path))
        with pytest.raises(Unavailable, match="certificate"):
            await find(source)
        await source.close()
        assert service.requests == []


async def test_service_that_wants_a_certificate_gets_no_question_without(tmp_path: Path) -> None:
    """Mutual TLS means so on the service's side too."""
    async with Service(found(), tmp_path).running() as service:
        source = HTTPSource(service.base_url, https_client_context([ROOT.certificate]))
        with pytest.raises(Unavailable):
            await find(source)
        await source.close()
        assert service.requests == []


@pytest.mark.parametrize("weakness", ["verify_mode", "check_hostname"])
def test_context_that_does_not_verify_is_refused(tmp_path: Path, weakness: str) -> None:
    """A setting of somebody's who only wanted it to work."""
    context = client_context(tmp_path)
    context.check_hostname = False
    if weakness == "verify_mode":
        context.verify_mode = ssl.CERT_NONE
    with pytest.raises(SettingsError):
        HTTPSource("https://localhost", context)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost",
        "https://",
        "localhost",
        "",
        "https://user@localhost",
        "https://user:secret@localhost",
        "https://localhost?x=1",
        "https://localhost#x",
        "https://localhost:port",
    ],
)
def test_base_url_that_is_none_is_refused(tmp_path: Path, url: str) -> None:
    """https, a host, perhaps a port and a path."""
    HTTPSource("https://localhost:8443/oem", client_context(tmp_path))
    with pytest.raises(SettingsError):
        HTTPSource(url, client_context(tmp_path))


# -- ETag ------------------------------------------------------------------------------------------


def revalidating(etags: list[str]) -> Handler:
    """Answers with the last of *etags*; 304 to who has it."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.headers.get("If-None-Match") == etags[-1]:
            return web.Response(status=304, headers={"ETag": etags[-1]})
        return await found(etag=etags[-1])(request)

    return answer


async def test_unchanged_record_is_not_sent_again(tmp_path: Path) -> None:
    """But asked for each time: the service sees every question."""
    etags = ['"1"']
    async with asking(revalidating(etags), tmp_path) as (source, service):
        assert await find(source) == (RECORD,)
        assert await find(source) == (RECORD,)
        etags.append('"2"')
        assert await find(source) == (RECORD,)
        assert await find(source) == (RECORD,)
    asked = [request.headers.get("If-None-Match") for request in service.requests]
    assert asked == [None, '"1"', '"1"', '"2"']


async def test_etag_belongs_to_its_question(tmp_path: Path) -> None:
    """Another issuer's, or another serial number's, is not used."""
    async with asking(revalidating(['"1"']), tmp_path) as (source, service):
        await find(source)
        await find(source, "SN-0002")
        await find(source, issuer=bytes(20))
    assert all("If-None-Match" not in request.headers for request in service.requests)


async def test_record_that_vanished_is_forgotten(tmp_path: Path) -> None:
    """After a 404 the old ETag is not used any more."""
    answers = [found(etag='"1"'), status(404), status(304)]

    async def answer(request: web.Request) -> web.StreamResponse:
        return await answers.pop(0)(request)

    async with asking(answer, tmp_path) as (source, service):
        assert await find(source) == (RECORD,)
        assert await find(source) == ()
        with pytest.raises(Unavailable):
            await find(source)
    assert "If-None-Match" not in service.requests[2].headers


async def test_answers_remembered_are_bounded(tmp_path: Path) -> None:
    """The oldest is asked for anew, and an ETag too long is not kept."""
    async with asking(revalidating(['"1"']), tmp_path, remembered=2) as (source, service):
        for serial_number in ("a", "b", "c", "a"):
            await find(source, serial_number)
    assert "If-None-Match" not in service.requests[-1].headers
    async with asking(found(etag='"' + "1" * 300 + '"'), tmp_path) as (source, service):
        await find(source)
        await find(source)
    assert "If-None-Match" not in service.requests[-1].headers


# -- settings --------------------------------------------------------------------------------------


async def test_source_is_opened_from_its_table(tmp_path: Path) -> None:
    """Relative paths, own anchors, own client certificate."""
    files(tmp_path, "registrar", REGISTRAR)
    (tmp_path / "root.pem").write_bytes(ROOT.chain_pem)
    async with Service(found(), tmp_path).running() as service:
        table = {
            "kind": "http",
            "url": service.base_url,
            "anchors": "root.pem",
            "client_chain": "registrar.pem",
            "client_key": "registrar.key",
        }
        settings = read_settings(table, HTTPSource.Settings, source=tmp_path / "registrar.toml")
        source = HTTPSource.open(settings)
        assert await find(source) == (RECORD,)
        await source.close()
    (tmp_path / "registrar.key").chmod(0o644)
    with pytest.raises(KeyUnusable):
        HTTPSource.open(settings)
