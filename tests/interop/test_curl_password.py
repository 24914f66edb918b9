"""curl and openssl as an EST client that is no device: a user name and password inside TLS.

RFC 7030 §3.2.3. Key, request and judgement are OpenSSL's, the HTTP and its authentication curl's.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import sys
from pathlib import Path

import pytest
from aiohttp import ClientSession, web

from brski.edge.serve import Listener, serving
from brski.registry import EST_ROOT, PKCS10
from registrar_plugin import plugin
from registrar_plugin.accounts.scrypt import PasswordHash
from registrar_plugin.cli import main
from registrar_plugin.identity.clients import PASSWORD, client_key
from registrar_plugin.pledge_facing.error_responses import EST_STATUS
from registrar_plugin.store.sqlite import SQLiteJournal
from tests.kit.accounts import SECRET, account, basic, written
from tests.kit.est_site import Files, Ran, Site, lay_out, served
from tests.kit.programs import require_program

SETTINGS = """
[est]
password_file = "accounts"
[[est.profile]]
enrollees = ["brski", "password"]
server_keys = true
[[est.profile]]
label = "devices"
"""


@pytest.fixture
def files(tmp_path: Path) -> Files:
    written(tmp_path, account(dns_names=("gw.example.com",)))
    return lay_out(tmp_path, more=SETTINGS)


class Client:
    """curl, with what openssl has made."""

    def __init__(self, site: Site, *tls: str) -> None:
        self.files, self.url = site.files, f"{site.url}/.well-known/est"
        self.curl = (require_program("curl", "curl"), "-sS", "--cacert", "root.pem", *tls)
        self.openssl = require_program("openssl", "openssl")

    async def request(self, subject: str = "/CN=gateway", *more: str) -> None:
        """A key and a request for *subject*, as base64."""
        made = await self.files.run(
            *(self.openssl, "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-keyout", "client.key", "-subj", subject, "-outform", "DER", *more),
        )
        assert made.code == 0, made.err
        (self.files.folder / "request").write_bytes(base64.encodebytes(made.out))

    async def post(self, path: str, *more: str) -> tuple[int, str]:
        """Status, and head; the body is in the file "answer"."""
        ran: Ran = await self.files.run(
            *(*self.curl, "-D", "head", "-o", "answer", "-w", "%{http_code} %{num_connects}"),
            *("-H", f"Content-Type: {PKCS10}", "--data-binary", "@request", *more),
            self.url.replace("127.0.0.1", "localhost") + path,
        )
        assert ran.code == 0, ran.err
        self.connections = int(ran.out.split()[1])
        return int(ran.out.split()[0]), (self.files.folder / "head").read_text().lower()

    def credentials(self) -> tuple[str, ...]:
        """What tells curl to show the certificate at hand, whatever comes after it."""
        for name in ("client.pem", "client.key"):
            (self.files.folder / f"shown-{name}").write_bytes(
                (self.files.folder / name).read_bytes()
            )
        return "--cert", "shown-client.pem", "--key", "shown-client.key"

    async def certificate(self, name: str = "client.pem") -> str:
        """The answer's certificate, verified and printed by openssl."""
        folder = self.files.folder
        (folder / "answer.der").write_bytes(base64.b64decode((folder / "answer").read_bytes()))
        for command in (
            ("pkcs7", "-inform", "DER", "-in", "answer.der", "-print_certs", "-out", name),
            (
                "verify",
                "-purpose",
                "sslclient",
                "-CAfile",
                "root.pem",
                "-untrusted",
                "owner.pem",
                name,
            ),
            (
                "x509",
                "-in",
                name,
                "-noout",
                "-subject",
                "-ext",
                "subjectAltName",
                "-nameopt",
                "RFC2253",
            ),
        ):
            ran = await self.files.run(self.openssl, *command)
            assert ran.code == 0, ran.err
        return ran.out.decode()


MAIN = "from registrar_plugin.cli import main; raise SystemExit(main())"
USER = ("-u", f"gateway:{SECRET}")


@pytest.mark.requirement("ESTS-6", "SEC-11")
@pytest.mark.parametrize("tls", [("--tls-max", "1.2"), ("--tlsv1.3",)], ids=["1.2", "1.3"])
async def test_curl_enrolls_by_password_and_renews_by_certificate(
    files: Files, tls: tuple[str, ...]
) -> None:
    """simpleenroll, then simplereenroll over mutual TLS with what was issued (RFC 7030 §4.2)."""
    async with served(files) as site:
        client = Client(site, *tls)
        await client.request()
        status, head = await client.post("/simpleenroll", *USER)
        assert status == 200
        assert "application/pkcs7-mime; smime-type=certs-only" in head
        shown = await client.certificate()
        assert "subject=CN=gateway\n" in shown
        assert "DNS:gw.example.com" in shown
        mutual = client.credentials()
        await client.request("/CN=gateway", "-addext", "subjectAltName=DNS:gw.example.com")
        assert (await client.post("/simplereenroll", *mutual))[0] == 200
        assert "subject=CN=gateway\n" in await client.certificate()
        assert (await client.post("/simplereenroll", *mutual))[0] == 200  # the lost answer
        assert (await client.post("/simplereenroll", *USER))[0] == 403


@pytest.mark.requirement("ESTS-6", "ESTS-22")
async def test_curl_is_told_what_it_lacks(files: Files) -> None:
    """401 and the challenge, where a password would do; 403 where none would; 400 for a name that
    is another's, though the password is right.
    """
    challenge = 'www-authenticate: basic realm="est", charset="utf-8"\n'
    async with served(files) as site:
        client = Client(site)
        await client.request()
        for said in ((), ("-u", "gateway:wrong"), ("-u", f"nobody:{SECRET}"), ("-u", "gateway:")):
            status, head = await client.post("/simpleenroll", *said)
            assert status == 401
            assert challenge in head
            assert "connection: close" not in head
        for said in ((), USER, ("-u", "gateway:wrong")):
            status, head = await client.post("/devices/simpleenroll", *said)
            assert status == 403
            assert "www-authenticate" not in head
        for path in ("/cacerts", "/csrattrs"):
            ran = await files.run(*client.curl, "-f", f"{client.url}{path}", "-k")
            assert ran.code == 0, ran.err
        await client.request("/CN=other")
        assert (await client.post("/simpleenroll", *USER))[0] == 400


RA = """
[est]
password_file = "accounts"
[[est.profile]]
enrollees = ["brski", "password"]
[[est.profile]]
label = "ra"
enrollees = ["password"]
extended_key_usages = ["clientAuth", "cmcRA"]
"""


@pytest.mark.requirement("ESTS-22")
async def test_a_registrars_purpose_is_for_who_is_named_for_it(tmp_path: Path) -> None:
    """id-kp-cmcRA makes a registrar of whoever has it: no account has it by the way. One that names
    labels is for these alone, at its renewals, too.
    """
    written(tmp_path, account(), account("desk", labels=("ra",)))
    desk = ("-u", f"desk:{SECRET}")
    async with served(lay_out(tmp_path, more=RA)) as site:
        client = Client(site)
        await client.request()
        status, head = await client.post("/ra/simpleenroll", *USER)
        assert status == 403
        assert "www-authenticate" not in head
        assert (await client.post("/simpleenroll", *USER))[0] == 200
        await client.request("/CN=desk")
        assert (await client.post("/simpleenroll", *desk))[0] == 403
        assert (await client.post("/ra/simpleenroll", *desk))[0] == 200
        await client.certificate()
        mutual = client.credentials()
        assert (await client.post("/ra/simplereenroll", *mutual))[0] == 200
        await client.certificate()
        written(tmp_path, account("desk"))
        mutual = client.credentials()
        assert (await client.post("/ra/simplereenroll", *mutual))[0] == 403


async def test_full_cmc_is_refused_in_words(files: Files) -> None:
    """501 to who is known, 401 to who may be, 403 where no password would do (RFC 7030 §4.3)."""
    async with served(files) as site:
        client = Client(site)
        await client.request()
        for path, said, status in (
            ("/fullcmc", USER, 501),
            ("/fullcmc", (), 401),
            ("/fullcmc", ("-u", "gateway:wrong"), 401),
            ("/devices/fullcmc", USER, 403),
        ):
            assert (await client.post(path, *said))[0] == status


async def test_a_file_that_is_broken_is_told_to_the_operator(files: Files) -> None:
    """503 to clients, and a check that fails; who shows a certificate needs no account."""
    async with served(files) as site:
        client = Client(site)
        await client.request()
        assert await failing(site) is False
        (files.folder / "accounts").chmod(0o640)
        async with asyncio.timeout(30):
            while not await failing(site):
                await asyncio.sleep(0.2)
        status, head = await client.post("/simpleenroll", *USER)
        assert status == 503
        assert "retry-after" in head
        assert (await client.post("/devices/simpleenroll"))[0] == 403


async def failing(site: Site) -> bool:
    found = {each.name: each for each in await site.opened.readiness.findings()}
    return not found["passwords"].is_ready


async def test_curl_answers_the_challenge_by_itself(files: Files) -> None:
    """--anyauth asks without, reads the 401, and says Basic over the same connection."""
    async with served(files) as site:
        client = Client(site)
        await client.request()
        status, head = await client.post("/simpleenroll", "--anyauth", *USER)
        assert status == 200
        assert client.connections == 1
        assert head.count("http/1.1") == 2


async def test_curl_has_a_key_made(files: Files) -> None:
    """serverkeygen, for who says a password (RFC 7030 §4.4); openssl finds that the two fit."""
    async with served(files) as site:
        client = Client(site)
        await client.request()
        assert (await client.post("/serverkeygen"))[0] == 401
        assert (await client.post("/serverkeygen", *USER))[0] == 200
        head = (files.folder / "head").read_text()
        boundary = head.partition("boundary=")[2].partition("\n")[0].strip('" ')
        parts = (files.folder / "answer").read_text().replace("\r", "").split(f"--{boundary}")
        key, certificate = (base64.b64decode(part.partition("\n\n")[2]) for part in parts[1:3])
        (files.folder / "made.key").write_bytes(key)
        (files.folder / "answer").write_bytes(base64.b64encode(certificate))
        assert "subject=CN=gateway\n" in await client.certificate("made.pem")
        of_key = ("pkey", "-inform", "DER", "-in", "made.key", "-pubout")
        of_certificate = ("x509", "-in", "made.pem", "-noout", "-pubkey")
        ran = [await files.run(client.openssl, *command) for command in (of_key, of_certificate)]
        assert ran[0].out == ran[1].out != b""


async def test_what_is_revoked_is_on_the_list(files: Files) -> None:
    """By the client's name; openssl finds its certificate there, and good before."""
    files.settings.write_text(files.settings.read_text() + '[crl]\nfile = "owner.crl.pem"\n')
    settings = ("-s", str(files.settings))
    async with served(files) as site:
        client = Client(site)
        await client.request()
        assert (await client.post("/simpleenroll", *USER))[0] == 200
        await client.certificate()
        judge = (
            *(client.openssl, "verify", "-crl_check", "-CAfile", "owner.pem"),
            *("-CRLfile", "owner.crl.pem", "client.pem"),
        )
        assert await asyncio.to_thread(main, ["ca", "crl", *settings]) == 0
        assert (await files.run(*judge)).code == 0
        assert await asyncio.to_thread(main, ["revoke", "gateway", *settings]) == 0
        assert await asyncio.to_thread(main, ["ca", "crl", *settings]) == 0
        ran = await files.run(*judge)
        assert ran.code != 0
        assert "certificate revoked" in ran.err
        assert (await client.post("/simplereenroll", *client.credentials()))[0] == 403


async def test_an_account_comes_changes_and_goes_while_the_registrar_runs(files: Files) -> None:
    """By the program itself, at the cost that it gives each password; seen without a restart."""
    script = (sys.executable, "-c", MAIN, "est-password")
    there = ("--file", "accounts")

    async def run(*said: str, password: str = "") -> None:
        ran = await files.run(*script, *said, *there, stdin=f"{password}\n".encode())
        assert ran.code == 0, ran.err
        assert password == "" or password not in ran.out.decode() + ran.err

    async with served(files) as site:
        client = Client(site)
        await client.request("/CN=pump")

        async def comes_to(expected: int, password: str) -> None:
            said = ("-u", f"pump:{password}")
            async with asyncio.timeout(30):
                while (await client.post("/simpleenroll", *said))[0] != expected:
                    await asyncio.sleep(0.5)  # each wrong one counts

        await comes_to(401, "the first one")
        await run("set", "pump", password="the first one")
        await comes_to(200, "the first one")
        assert "subject=CN=pump\n" in await client.certificate()
        await run("set", "pump", password="the second one")
        await comes_to(200, "the second one")
        await comes_to(401, "the first one")
        await run("remove", "pump")
        await comes_to(401, "the second one")
        assert (await client.post("/simplereenroll", *client.credentials()))[0] == 403


async def test_guessing_ends_in_429(files: Files) -> None:
    """From one address; Retry-After says when it may go on."""
    async with served(files) as site:
        client = Client(site)
        await client.request()
        statuses = [(await client.post("/simpleenroll", "-u", f"a{n}:x"))[0] for n in range(11)]
        assert statuses == [401] * 10 + [429]
        status, head = await client.post("/simpleenroll", *USER)
        assert status == 429
        assert "retry-after: " in head


async def test_no_password_is_written_anywhere(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    """Right, wrong, or typed in the place of the name: neither log nor journal has it."""
    caplog.set_level(logging.DEBUG)
    wrong, misplaced = "hunter2-hunter2", "my-password"
    async with served(files) as site:
        client = Client(site)
        await client.request()
        for said in (USER, ("-u", f"gateway:{wrong}"), ("-u", f"{misplaced}:{misplaced}")):
            await client.post("/simpleenroll", *said)
        await client.post("/simpleenroll", "-H", f"Authorization: Basic {wrong}")
    journal = SQLiteJournal(files.folder / "registrar.db")
    assert await journal.active_certificate(client_key(PASSWORD, "gateway")) is not None
    await journal.close()
    kept = b"".join(path.read_bytes() for path in files.folder.glob("registrar.db*"))
    for secret in (SECRET, wrong, misplaced, basic(), basic("gateway", wrong)):
        assert secret.removeprefix("Basic ") not in caplog.text
        assert secret.removeprefix("Basic ").encode() not in kept
    assert b"gateway" in kept


@pytest.mark.requirement("SEC-11")
async def test_outside_our_tls_nobody_is_heard(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that serves the plugin over plain HTTP gets 503, and no password is looked at."""
    asked: list[object] = []
    monkeypatch.setattr(PasswordHash, "fits", lambda *said: asked.append(said))
    async with served(files) as site:
        app = web.Application()
        app.add_subapp(EST_ROOT, plugin._protocol(site.opened, plugin._EST_ROUTES, EST_STATUS))
        client = Client(site)
        await client.request()
        body, headers = (files.folder / "request").read_bytes(), {"Authorization": basic()}
        plain = Listener(name="plain", app=app, listen="127.0.0.1:0", ssl_context=None)
        async with serving([plain]) as addresses, ClientSession() as session:
            url = f"http://{addresses['plain']}{EST_ROOT}/simpleenroll"
            for more in ({}, {"Content-Type": PKCS10}):
                async with session.post(url, data=body, headers=headers | more) as answer:
                    assert (answer.status, await answer.read()) == (503, b"")
                    assert "WWW-Authenticate" not in answer.headers
    assert asked == []
