"""The revocation list where relying parties fetch it: TLS port, plain port, file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509

from brski.edge.serve import Listener, serving
from registrar_plugin.ca_backend.crl_settings import CRLSettings
from registrar_plugin.ca_backend.embedded import EmbeddedCA
from registrar_plugin.clerk import Clerk
from registrar_plugin.revocation.opening import open_keeper
from registrar_plugin.revocation.web import PublishedList
from registrar_plugin.store.sqlite import SQLiteJournal
from tests.kit import pki
from tests.kit.est_site import lay_out, served
from tests.kit.programs import require_program

CURL = ("--silent", "--show-error", "--max-time", "20")


async def test_the_list_is_fetched_by_anybody(tmp_path: Path) -> None:
    """curl gets DER of the right type, openssl reads it, a known ETag is answered 304."""
    files = lay_out(tmp_path, more='[crl]\npath = "/pki/owner.crl"\nfile = "owner.pem.crl"\n')
    async with served(files) as site:
        await site.opened.crls["crl"].keeper.refresh()
        curl = (require_program("curl", "curl"), *CURL, "--cacert", "root.pem", "-D", "head")
        url = f"{site.url}/pki/owner.crl".replace("127.0.0.1", "localhost")
        got = await files.run(*curl, url)
        assert got.code == 0, got.err
        head = (tmp_path / "head").read_text().lower()
        assert "content-type: application/pkix-crl" in head
        assert 'etag: "1"' in head
        assert x509.load_der_x509_crl(got.out).issuer == files.owner.certificate.subject
        assert (tmp_path / "owner.pem.crl").read_bytes() == got.out
        await files.run(*curl, "-H", 'If-None-Match: "1"', url)
        assert "304" in (tmp_path / "head").read_text().splitlines()[0]
        text = await files.run(
            *(require_program("openssl", "openssl"), "crl", "-inform", "DER", "-noout"),
            *("-text", "-CAfile", "root.pem", "-in", "owner.pem.crl"),
        )
        assert "verify OK" in text.err
        assert "X509v3 CRL Number" in text.out.decode()


async def test_without_the_table_there_is_no_list(tmp_path: Path) -> None:
    """By default nothing is published."""
    files = lay_out(tmp_path)
    async with served(files) as site:
        assert site.opened.crls == {}
        curl = (require_program("curl", "curl"), *CURL, "-k", "-o", "body", "-w", "%{http_code}")
        assert (await files.run(*curl, f"{site.url}/crl")).out == b"404"


async def test_before_the_first_list_the_answer_is_to_come_again(tmp_path: Path) -> None:
    """503 with Retry-After, never an empty list."""
    files = lay_out(tmp_path)
    journal = SQLiteJournal(tmp_path / "registrar.db")
    keeper = open_keeper(
        CRLSettings(),
        ca=EmbeddedCA(files.owner.signer),
        journal=journal,
        clerk=Clerk(journal, lambda: pki.NOW),
    )
    app = web.Application()
    PublishedList(path="/crl", keeper=keeper).mount(app)
    listener = Listener(name="crl", app=app, listen="127.0.0.1:0", ssl_context=None)
    async with serving([listener]) as addresses:
        curl = (require_program("curl", "curl"), *CURL, "-D", "head", "-o", "body")
        await files.run(*curl, f"http://{addresses['crl']}/crl")
        head = (tmp_path / "head").read_text().lower()
        assert "503" in head.splitlines()[0]
        assert "retry-after" in head
        await keeper.refresh()
        await files.run(*curl, f"http://{addresses['crl']}/crl")
        crl = x509.load_der_x509_crl((tmp_path / "body").read_bytes())
        assert list(crl) == []
    await journal.close()


@pytest.mark.slow
async def test_the_program_publishes_over_plain_http(tmp_path: Path) -> None:
    """brski-registrar serve with [crl] listen: the list there, and nothing else."""
    files = lay_out(tmp_path, more='[crl]\nlisten = "127.0.0.1:0"\n')
    program = subprocess.Popen(
        [
            *(Path(sys.executable).with_name("brski-registrar"), "serve", "--announce"),
            *("--listen", "127.0.0.1:0", "--settings", str(files.settings)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert program.stdout is not None
        address = json.loads(program.stdout.readline())["listeners"]["crl"]
        curl = (require_program("curl", "curl"), *CURL, "--retry", "5", "--fail")
        got = await files.run(*curl, f"http://{address}/crl")
        assert x509.load_der_x509_crl(got.out).issuer == files.owner.certificate.subject
        refused = await files.run(*curl, f"http://{address}/.well-known/est/cacerts")
        assert refused.code != 0
    finally:
        program.terminate()
        program.communicate(timeout=30)
