"""TLS and HTTP over loopback, with curl, openssl and aiohttp at the other end."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.integration.tls_site import (
    CLIENTS,
    big_body,
    both_versions,
    no_tracebacks,
    registrar,
    run_program,
    served,
    thumbprints,
)
from tests.kit import pki, tls
from tests.kit.programs import require_program
from tests.kit.tls import both_loops

__all__ = ["registrar"]


@pytest.mark.requirement("TLS-1", "REG-1")
@both_loops
@both_versions
@pytest.mark.parametrize("name", [*CLIENTS, "none"])
def test_curl_reaches_the_application_with_any_certificate(
    registrar: pki.Entity, tmp_path: Path, loop: str, version: str, name: str
) -> None:
    """Self-signed, chain, expired, unknown critical extension, serverAuth only, none."""
    curl = require_program("curl", "curl")
    entity = CLIENTS.get(name)
    command = [curl, "-sk", f"--tlsv{version}", "--tls-max", version]
    if entity is not None:
        chain, key = tls.write_entity(tmp_path, "client", entity)
        command += ["--cert", str(chain), "--key", str(key)]

    async def main() -> None:
        async with served(registrar) as server:
            code, out = await run_program(*command, f"{server.url}/who")
            assert code == 0, out
            answer = json.loads(out)
            assert answer["chain"] == thumbprints(entity)
            assert answer["version"] == f"TLSv{version}"

    tls.run_on(loop, main())


@both_loops
@both_versions
def test_openssl_gets_no_session_that_it_could_resume(
    registrar: pki.Entity, tmp_path: Path, loop: str, version: str
) -> None:
    """Two handshakes with a saved session, two full handshakes."""
    openssl = require_program("openssl", "openssl")
    session = tmp_path / "session.pem"
    flag = "-tls1_2" if version == "1.2" else "-tls1_3"
    request = b"GET /who HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

    async def main() -> None:
        async with served(registrar) as server:
            command = [
                openssl,
                "s_client",
                flag,
                "-connect",
                f"{server.host}:{server.port}",
                "-ign_eof",
            ]
            _, first = await run_program(*command, "-sess_out", str(session), stdin=request)
            assert "New, TLSv" in first
            assert "200 OK" in first
            if session.exists():
                _, second = await run_program(*command, "-sess_in", str(session), stdin=request)
                assert "New, TLSv" in second
                assert "Reused, TLSv" not in second

    tls.run_on(loop, main())


@both_loops
def test_openssl_cannot_renegotiate(registrar: pki.Entity, loop: str) -> None:
    """The connection may end; it may not get new keys."""
    openssl = require_program("openssl", "openssl")

    async def main() -> None:
        async with served(registrar) as server:
            _, out = await run_program(
                openssl, "s_client", "-tls1_2", "-connect", f"{server.host}:{server.port}",
                stdin=b"R\n", timeout_s=10,
            )  # fmt: skip
            assert "RENEGOTIATING" in out
            assert re.search(r"no renegotiation|handshake failure", out)

    tls.run_on(loop, main())


@pytest.mark.requirement("ESTS-19")
@both_loops
def test_openssl_with_tls_1_1_is_refused(registrar: pki.Entity, loop: str) -> None:
    """By an alert, and the next client is served."""
    openssl = require_program("openssl", "openssl")

    async def main() -> None:
        async with served(registrar) as server:
            place = f"{server.host}:{server.port}"
            _, out = await run_program(
                openssl, "s_client", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0", "-connect", place
            )
            assert re.search(r"protocol version|Cipher is \(NONE\)", out)
            _, out = await run_program(openssl, "s_client", "-tls1_2", "-connect", place)
            assert "Cipher is ECDHE" in out

    tls.run_on(loop, main())


@both_loops
@both_versions
def test_openssl_that_signs_with_another_key_is_refused(
    registrar: pki.Entity, tmp_path: Path, loop: str, version: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A certificate of somebody else's device is worth nothing without its key."""
    openssl = require_program("openssl", "openssl")
    entity = CLIENTS["oem-chain"]
    chain, key = tls.write_entity(tmp_path, "client", entity)
    public_key: Any = entity.certificate.public_key()
    flag = "-tls1_2" if version == "1.2" else "-tls1_3"
    request = b"GET /who HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

    async def main() -> None:
        async with served(registrar) as server:
            command = [
                openssl, "s_client", flag, "-connect", f"{server.host}:{server.port}",
                "-cert", str(chain), "-key", str(key), "-ign_eof",
            ]  # fmt: skip
            _, out = await run_program(*command, stdin=request)
            assert "200 OK" in out
            key.write_bytes(tls.forged_key_pem(public_key))
            _, out = await run_program(*command, stdin=request)
            assert "200 OK" not in out

    tls.run_on(loop, main())
    assert no_tracebacks(caplog)


@both_loops
@both_versions
def test_curl_moves_twenty_megabytes_each_way(
    registrar: pki.Entity, tmp_path: Path, loop: str, version: str
) -> None:
    """Nothing stalls, nothing is lost: flow control of loop and engine agree."""
    curl = require_program("curl", "curl")
    body = tmp_path / "body"
    body.write_bytes(big_body())
    expected = hashlib.sha256(big_body()).hexdigest()
    received = tmp_path / "received"

    async def main() -> None:
        async with served(registrar) as server:
            command = [curl, "-sk", f"--tlsv{version}", "--tls-max", version, "--max-time", "30"]
            code, out = await run_program(
                *command, "--data-binary", f"@{body}", f"{server.url}/digest"
            )
            assert (code, out) == (0, expected)
            code, out = await run_program(*command, "-o", str(received), f"{server.url}/big")
            assert code == 0, out
            assert hashlib.sha256(received.read_bytes()).hexdigest() == expected

    tls.run_on(loop, main())
