"""The registrar's link to a MASA: what it makes of answers, and where it lets itself be led."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from brski.edge.http.authentication import Password
from brski.edge.signers.file import load_chain
from brski.edge.tls_client import https_client_context
from brski.errors import (
    AddressNotAllowed,
    CredentialsRefused,
    LocalError,
    NotIssuableByMASA,
    NotKnownToMASA,
    NotUnderstoodByMASA,
    OnboardingError,
    Unavailable,
    UnexpectedResponse,
    VoucherRefused,
)
from brski.registry import BODY_LIMIT, VOUCHER_CMS_JSON
from registrar_plugin.masa_link import addresses
from registrar_plugin.masa_link.authentication import Authentication, Scheme
from registrar_plugin.masa_link.http import HTTPMASALink, MASAAccess
from tests.kit import pki, tls
from tests.kit.scripted import ROOT, Server, Wire, scripted

BODY = b"signed request"
ALADDIN = Password(user="Aladdin", secret="open sesame")
VOUCHER = b"Content-Type: application/voucher-cms+json\r\nContent-Length: 7\r\n\r\nvoucher"


@asynccontextmanager
async def linked(
    *said: bytes,
    listed: bool = True,
    answers: list[bytes] | None = None,
    scheme: Scheme | None = None,
    named: bool = True,
) -> AsyncIterator[tuple[HTTPMASALink, Server, str]]:
    """A MASA that says these in turn, and the link to it; an empty one closes instead.

    Args:
        answers: what it says; for a test that fills in its port.
        scheme: how the registrar says its password, to this MASA if *named*.
    """
    left = answers if answers is not None else list(said)

    async def script(server: Server, wire: Wire) -> None:
        while head := await wire.request():
            posted = head.startswith(b"POST")
            body = await wire.reader.readexactly(len(BODY)) if posted else b""
            server.requests.append(head + body)
            answer = left.pop(0)
            if not answer:
                return
            wire.say(b"HTTP/1.1 " + answer)

    async with scripted(script) as server:
        hosts = frozenset({f"LOCALHOST:{server.port}"} if listed else ())
        place = f"localhost:{server.port}" if named else "masa.example.com:443"
        known = Authentication(ALADDIN, scheme, hosts={place}) if scheme else None
        access = MASAAccess(
            context=https_client_context([ROOT.certificate]), hosts=hosts, authentication=known
        )
        link = HTTPMASALink({"acme": access})
        try:
            yield link, server, f"https://localhost:{server.port}/.well-known/brski"
        finally:
            await link.close()


@pytest.mark.requirement("REG-7", "REG-8")
async def test_voucher_comes_as_it_is() -> None:
    """Method, path, type and Accept as RFC 8995 §5.5 has them; connections are kept."""
    async with linked(b"200 OK\r\n" + VOUCHER, b"200 OK\r\n" + VOUCHER) as (link, server, url):
        for _ in range(2):
            answer = await link.request_voucher("acme", url, BODY, VOUCHER_CMS_JSON)
            assert (answer.body, answer.media_type) == (b"voucher", VOUCHER_CMS_JSON)
        assert server.connections == 1
        lines = server.requests[0].split(b"\r\n")
        assert lines[0] == b"POST /.well-known/brski/requestvoucher HTTP/1.1"
        assert b"Accept: application/voucher-cms+json" in lines
        assert b"Content-Type: application/voucher-cms+json" in lines
        assert server.requests[0].endswith(b"\r\n\r\n" + BODY)


async def test_audit_log_is_asked_for_as_json() -> None:
    """RFC 8995 §5.8."""
    log = b"200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    async with linked(log) as (link, server, url):
        answer = await link.request_audit_log("acme", url, BODY, VOUCHER_CMS_JSON)
        assert (answer.body, answer.media_type) == (b"{}", "application/json")
        assert server.requests[0].startswith(b"POST /.well-known/brski/requestauditlog ")
        assert b"\r\nAccept: application/json\r\n" in server.requests[0]


@pytest.mark.requirement("AUD-9")
@pytest.mark.parametrize("place", ["/logs/7f3a?x=1", "https://LOCALHOST:{port}/logs/7f3a?x=1"])
async def test_a_log_that_is_elsewhere_at_the_masa_is_fetched(place: str) -> None:
    """201 with Location, then GET, at the same MASA (RFC 8995 §5.8)."""
    log = b"200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    answers: list[bytes] = []
    async with linked(answers=answers) as (link, server, url):
        location = place.format(port=server.port).encode()
        answers += [b"201 Made\r\nLocation: " + location + NONE, log]
        answer = await link.request_audit_log("acme", url, BODY, VOUCHER_CMS_JSON)
        assert (answer.body, answer.media_type) == (b"{}", "application/json")
        assert server.requests[1].startswith(b"GET /logs/7f3a?x=1 HTTP/1.1\r\n")
        assert b"Accept: application/json" in server.requests[1]


@pytest.mark.requirement("AUD-9", "SEC-7")
@pytest.mark.parametrize(
    "place",
    [
        b"https://logs.example.com/7",
        b"https://localhost/7",  # another port
        b"http://localhost:%d/7",
        b"https://127.0.0.1:%d/7",
        b"https://localhost:99999/7",
        b"",
    ],
)
async def test_a_log_that_is_said_to_be_elsewhere_is_not(place: bytes) -> None:
    """Only one GET, to nobody but the MASA; a second 201 leads nowhere."""
    answers: list[bytes] = []
    async with linked(answers=answers) as (link, server, url):
        said = place % server.port if b"%d" in place else place
        answers += [b"201 Made\r\nLocation: " + said + NONE]
        with pytest.raises(UnexpectedResponse, match="not its own address"):
            await link.request_audit_log("acme", url, BODY, VOUCHER_CMS_JSON)
        assert len(server.requests) == 1


async def test_a_second_place_is_not_gone_to() -> None:
    """One step, no chain of them."""
    made = b"201 Made\r\nLocation: /next" + NONE
    async with linked(made, made) as (link, server, url):
        with pytest.raises(UnexpectedResponse, match="201"):
            await link.request_audit_log("acme", url, BODY, VOUCHER_CMS_JSON)
        assert len(server.requests) == 2


NONE = b"\r\nContent-Length: 0\r\n\r\n"
TEXT = b"\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\n"
HTML = b"\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\n<b/>"


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (b"403 No" + TEXT + b"sold", VoucherRefused, "403: sold"),
        (b"403 No" + TEXT + b"\x1b[1m", VoucherRefused, "403: [1m"),
        (b"404 None" + HTML, NotKnownToMASA, "404: None"),
        (b"404" + NONE, NotKnownToMASA, "404: no reason given"),
        (b"406 No" + TEXT + b"JSON", NotIssuableByMASA, "406: JSON"),
        (b"415 No" + TEXT + b"CBOR", NotUnderstoodByMASA, "415: CBOR"),
        (b"401 Who\r\nWWW-Authenticate: Basic" + NONE, CredentialsRefused, "401: Who"),
        (b"501 None" + NONE, VoucherRefused, "501: None"),
        (b"202 Wait" + NONE, Unavailable, "202"),
        (b"429 Slow" + NONE, Unavailable, "429"),
        (b"500 Oh" + NONE, Unavailable, "500"),
        (b"307 There\r\nLocation: https://localhost/" + NONE, UnexpectedResponse, "307"),
        (b"204 Nothing\r\n\r\n", UnexpectedResponse, "204"),
        (b"200 OK\r\nContent-Length: %d\r\n\r\n" % (BODY_LIMIT + 1), UnexpectedResponse, "limit"),
        (b"200 OK\r\nContent-Encoding: gzip" + NONE, UnexpectedResponse, "gzip"),
    ],
)
async def test_other_answers_are_no_voucher(
    answer: bytes, error: type[OnboardingError], said: str
) -> None:
    """Whose fault it is decides what the pledge is told (RFC 8995 §5.6); redirects lead nowhere."""
    async with linked(answer) as (link, server, url):
        with pytest.raises(OnboardingError) as refusal:
            await link.request_voucher("acme", url, BODY, VOUCHER_CMS_JSON)
        assert type(refusal.value) is error
        assert said in refusal.value.reason
        assert len(server.requests) == 1


@pytest.mark.parametrize(("text", "seconds"), [(b"7", 7), (b"99999", 3600), (b"soon", 10)])
async def test_retry_after_is_passed_on_within_reason(text: bytes, seconds: int) -> None:
    """In seconds, an hour at most."""
    answer = b"503 Later\r\nRetry-After: %s\r\nContent-Length: 0\r\n\r\n" % text
    async with linked(answer) as (link, _, url):
        with pytest.raises(Unavailable) as refusal:
            await link.request_voucher("acme", url, BODY, VOUCHER_CMS_JSON)
        assert refusal.value.retry_after_s == seconds


async def test_request_that_met_a_closed_connection_is_sent_again() -> None:
    """The very same octets, so that the MASA can tell that it is the same request."""
    good = b"200 OK\r\n" + VOUCHER
    async with linked(good, b"", good) as (link, server, url):
        for _ in range(2):
            answer = await link.request_voucher("acme", url, BODY, VOUCHER_CMS_JSON)
            assert answer.body == b"voucher"
        assert (server.connections, len(server.requests)) == (2, 3)
        assert server.requests[1] == server.requests[2]


async def test_masa_that_closes_twice_is_unavailable() -> None:
    """One further try, and no more."""
    async with linked(b"200 OK\r\n" + VOUCHER, b"", b"") as (link, server, url):
        await link.request_voucher("acme", url, BODY, VOUCHER_CMS_JSON)
        with pytest.raises(Unavailable, match="does not answer"):
            await link.request_voucher("acme", url, BODY, VOUCHER_CMS_JSON)
        assert len(server.requests) == 3


# -- who we are


@pytest.mark.requirement("REG-13")
async def test_basic_is_said_at_once() -> None:
    """RFC 7617; the MASA need not ask."""
    good = b"200 OK\r\n" + VOUCHER
    async with linked(good, scheme=Scheme.BASIC) as (link, server, url):
        await link.request_voucher("acme", url, BODY, VOUCHER_CMS_JSON)
        (request,) = server.requests
        assert b"\r\nAuthorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n" in request


DIGEST = (
    b'401 Who\r\nWWW-Authenticate: Digest realm="masa", qop="auth", algorithm=SHA-256, '
    b'nonce="%s"\r\nContent-Length: 0\r\n\r\n'
)


@pytest.mark.requirement("REG-13")
async def test_digest_answers_a_challenge_and_counts() -> None:
    """Once asked, the next requests answer unasked, each with another count (RFC 7616 §3.4)."""
    good = b"200 OK\r\n" + VOUCHER
    asked, stale = DIGEST % b"one", DIGEST % b"two"
    answers = (asked, good, good, stale, good)
    async with linked(*answers, scheme=Scheme.DIGEST) as (link, server, url):
        for _ in range(3):
            answer = await link.request_voucher("acme", url, BODY, VOUCHER_CMS_JSON)
            assert answer.body == b"voucher"
        said = [
            (request.partition(b'nonce="')[2][:3], request.partition(b"nc=")[2][:8])
            for request in server.requests
        ]
        assert said == [
            (b"", b""),
            (b"one", b"00000001"),
            (b"one", b"00000002"),
            (b"one", b"00000003"),
            (b"two", b"00000001"),
        ]
        assert all(b"open sesame" not in request for request in server.requests)
        assert all(request.endswith(BODY) for request in server.requests)


@pytest.mark.requirement("REG-13")
@pytest.mark.parametrize("scheme", [Scheme.BASIC, Scheme.DIGEST])
async def test_credentials_that_are_not_taken_are_told_to_the_operator(scheme: Scheme) -> None:
    """No loop: a second 401 is the end of it; the error names what to look at."""
    async with linked(DIGEST % b"a", DIGEST % b"b", scheme=scheme) as (link, server, url):
        with pytest.raises(CredentialsRefused, match="401: Who") as refused:
            await link.request_voucher("acme", url, BODY, VOUCHER_CMS_JSON)
        assert "user" in refused.value.hint
        assert len(server.requests) == (1 if scheme is Scheme.BASIC else 2)


@pytest.mark.requirement("REG-13", "SEC-7")
@pytest.mark.parametrize("scheme", [Scheme.BASIC, Scheme.DIGEST])
async def test_a_password_is_not_said_to_whoever_an_idevid_names(scheme: Scheme) -> None:
    """A device's certificate chooses the host: only those that the owner names are told."""
    answers = (DIGEST % b"a",)
    async with linked(*answers, scheme=scheme, named=False) as (link, server, url):
        with pytest.raises(CredentialsRefused):
            await link.request_voucher("acme", url, BODY, VOUCHER_CMS_JSON)
        assert len(server.requests) == 1
        assert b"Authorization" not in server.requests[0]


@pytest.mark.requirement("SEC-11")
async def test_a_password_is_said_inside_tls_alone() -> None:
    """An http URL out of a certificate is made https (RFC 8995 §2.3.2); one that is not is refused,
    and a server whose certificate does not verify hears nothing.
    """
    async with linked(scheme=Scheme.BASIC) as (link, server, url):
        plain = url.replace("https:", "http:")
        with pytest.raises(AddressNotAllowed):
            await link.request_voucher("acme", plain, BODY, VOUCHER_CMS_JSON)
        assert server.connections == 0
    async with scripted() as server:
        place = f"localhost:{server.port}"
        known = Authentication(ALADDIN, Scheme.BASIC, hosts={place})
        stranger = https_client_context([pki.make_root("Another Root").certificate])
        access = MASAAccess(context=stranger, hosts=frozenset({place}), authentication=known)
        link = HTTPMASALink({"acme": access})
        with pytest.raises(Unavailable):
            await link.request_voucher("acme", f"https://{place}/x", BODY, VOUCHER_CMS_JSON)
        await link.close()
        assert server.requests == []


@pytest.mark.requirement("REG-13")
async def test_a_server_cannot_choose_a_weaker_scheme() -> None:
    """Asked for Basic, a registrar of Digest says nothing."""
    asked = b'401 Who\r\nWWW-Authenticate: Basic realm="x"' + NONE
    async with linked(asked, scheme=Scheme.DIGEST) as (link, server, url):
        with pytest.raises(UnexpectedResponse, match="no HTTP Digest"):
            await link.request_voucher("acme", url, BODY, VOUCHER_CMS_JSON)
        assert len(server.requests) == 1


@pytest.mark.requirement("REG-13", "REG-11")
async def test_each_manufacturer_has_its_own_anchors_and_client_certificate(
    tmp_path: Path,
) -> None:
    """The MASA of one, under its anchor and met with our certificate, is nobody to the other."""
    ours = pki.make_registrar(pki.make_pki("Example Client"))
    chain, key = tls.write_entity(tmp_path, "ours", ours)
    shown: list[int] = []

    async def script(_: Server, wire: Wire) -> None:
        shown.append(len(wire.writer.get_extra_info("ssl_object").peer_chain()))
        while await wire.request():
            await wire.reader.readexactly(len(BODY))
            wire.say(b"HTTP/1.1 200 OK\r\n" + VOUCHER)

    async with scripted(script, ask_client=True) as server:
        hosts = frozenset({f"localhost:{server.port}"})
        known = https_client_context([ROOT.certificate], client_chain=chain, client_key=key)
        nameless = https_client_context([ROOT.certificate])
        other = https_client_context([ours.root])
        link = HTTPMASALink(
            {
                name: MASAAccess(context=context, hosts=hosts)
                for name, context in (("acme", known), ("bolt", nameless), ("corp", other))
            }
        )
        url = f"https://localhost:{server.port}/.well-known/brski"
        for name in ("acme", "bolt"):
            await link.request_voucher(name, url, BODY, VOUCHER_CMS_JSON)
        with pytest.raises(Unavailable, match="certificate"):
            await link.request_voucher("corp", url, BODY, VOUCHER_CMS_JSON)
        await link.close()
        assert shown == [len(load_chain(chain)), 0]


@pytest.mark.requirement("TLS-6")
async def test_the_masas_name_is_in_the_client_hello() -> None:
    """So that one address can serve several MASAs (RFC 8995 EID 6642); read off the wire."""
    hellos: list[bytes] = []

    async def record(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        header = await reader.readexactly(5)
        hellos.append(await reader.readexactly(int.from_bytes(header[3:])))
        writer.close()

    server = await asyncio.start_server(record, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    hosts = frozenset({f"localhost:{port}"})
    access = MASAAccess(context=https_client_context([ROOT.certificate]), hosts=hosts)
    link = HTTPMASALink({"acme": access})
    with pytest.raises(Unavailable):
        await link.request_voucher("acme", f"https://localhost:{port}/x", BODY, VOUCHER_CMS_JSON)
    await link.close()
    server.close()
    name = b"localhost"
    entry = b"\x00" + len(name).to_bytes(2) + name  # RFC 6066 §3: host_name
    listed = len(entry).to_bytes(2) + entry
    assert b"\x00\x00" + len(listed).to_bytes(2) + listed in hellos[0]


# -- addresses


async def test_host_that_is_not_listed_must_be_at_a_global_address() -> None:
    """The same MASA on loopback, listed and not."""
    good = b"200 OK\r\n" + VOUCHER
    async with linked(good) as (link, server, url):
        await link.request_voucher("acme", url, BODY, VOUCHER_CMS_JSON)
        assert server.connections == 1
    async with linked(good, listed=False) as (link, server, url):
        with pytest.raises(AddressNotAllowed, match="localhost leads to"):
            await link.request_voucher("acme", url, BODY, VOUCHER_CMS_JSON)
        assert server.connections == 0


@pytest.mark.parametrize(
    "url",
    [
        "http://masa.example.com",
        "https://user@masa.example.com",
        "https://user:secret@masa.example.com",
        "https://127.0.0.1",
        "https://127.0.0.1:443",
        "https://[::1]",
        "https://[::ffff:127.0.0.1]",
        "https://10.0.0.1",
        "https://169.254.169.254",
        "https://224.0.0.1",
    ],
)
async def test_url_that_leads_astray_is_refused(url: str) -> None:
    """Before anything is resolved or connected."""
    async with linked(listed=False) as (link, _, _):
        with pytest.raises(AddressNotAllowed):
            await link.request_voucher("acme", url, BODY, VOUCHER_CMS_JSON)


async def test_one_address_among_several_is_enough_to_refuse(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else the order of a resolver's answer would decide."""

    async def found(_host: str, _port: int) -> Sequence[str]:
        return ["192.88.98.1", "10.0.0.1"]

    monkeypatch.setattr(addresses, "any_address", found)
    checked = addresses.CheckedAddresses(frozenset({"masa.example.com:8443"}))
    assert await checked("masa.example.com", 8443) == await found("", 0)
    with pytest.raises(AddressNotAllowed, match=r"10\.0\.0\.1"):
        await checked("masa.example.com", 443)


async def test_manufacturer_without_access_is_a_fault_of_ours() -> None:
    """Never another one's context instead."""
    async with linked() as (link, _, url):
        with pytest.raises(LocalError):
            await link.request_voucher("other", url, BODY, VOUCHER_CMS_JSON)
