"""TLS clients that are not ours, on a leash: the connection stands, and a test speaks HTTP over it.

OpenSSL's ``s_client`` and GnuTLS's ``gnutls-cli`` tell the channel bindings of a connection as they
compute them, and carry what is written into them. So a request can be made for the very connection
that it then goes over, and no octet of TLS at this end is our doing.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from brski.registry import PKCS10
from tests.kit.programs import require_program
from tests.kit.world_site import Reply, Site

WITHIN_S = 30.0
_ANSWER = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r]*\r\n(.*?)\r\n\r\n", re.DOTALL)
_FINISHED = re.compile(r">>> TLS 1\.[23], Handshake \[length [0-9a-f]+\], Finished\n((?: .*\n)+)")
_EXPORTED = re.compile(rb"Keying material: ([0-9A-F]{64})\n---\n")
_NUMBERS = itertools.count()
_GNUTLS_DONE = b"- Simple Client Mode:\n"


@dataclass(slots=True, kw_only=True)
class Talker:
    """One connection, held by another program."""

    process: asyncio.subprocess.Process
    host: str
    tls_unique: bytes | None = None  # None: the program says that there is none
    exporter: bytes = b""  # EXPORTER-Channel-Binding, 32 octets; empty: there is none
    finished: bytes = b""  # the client's first Finished, as OpenSSL sent it on either version
    handshake: bytes = b""  # what GnuTLS told of it
    messages: Path | None = None  # where OpenSSL writes every message of both sides
    said: bytes = field(default=b"", repr=False)

    async def until(self, pattern: re.Pattern[bytes]) -> re.Match[bytes]:
        """Read on until *pattern* has been said; what comes before it is forgotten."""
        assert self.process.stdout is not None
        async with asyncio.timeout(WITHIN_S):
            while (match := pattern.search(self.said)) is None:
                octets = await self.process.stdout.read(65536)
                assert octets, self.said.decode(errors="replace")
                self.said += octets
        self.said = self.said[match.end() :]
        return match

    async def write(self, octets: bytes) -> None:
        """Into the program, at once: it may take a line's first letter for a command."""
        assert self.process.stdin is not None
        assert len(octets) < 4096
        self.process.stdin.write(octets)
        await self.process.stdin.drain()

    async def post(self, path: str, body: bytes) -> Reply:
        """A certificate request below the root of EST, over this connection."""
        head = (
            f"POST /.well-known/est{path} HTTP/1.1\r\nHost: {self.host}\r\n"
            f"Content-Type: {PKCS10}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        await self.write(head.encode() + body)
        answer = await self.until(_ANSWER)
        fields = (line.partition(": ") for line in answer[2].decode().split("\r\n"))
        headers = {name.lower(): value for name, _, value in fields}
        length = int(headers["content-length"])
        text = await self.until(re.compile(rb"(?s)\A.{%d}" % length))
        return Reply(status=int(answer[1]), headers=headers, body=text[0])

    def shown(self) -> str:
        """The messages of both sides so far, as OpenSSL shows them."""
        assert self.messages is not None
        return self.messages.read_text()

    async def ends(self) -> bytes:
        """Wait for the program to end; what it said last."""
        async with asyncio.timeout(WITHIN_S):
            out, _ = await self.process.communicate()
        return self.said + out


@asynccontextmanager
async def openssl(
    site: Site, version: str, *credentials: str, more: Sequence[str] = ()
) -> AsyncIterator[Talker]:
    """``openssl s_client`` over TLS *version*; *credentials* as :meth:`Site.credentials` has them.

    It has no word for tls-unique; the messages of the handshake, which it shows, have.
    """
    messages = site.folder / f"messages-{next(_NUMBERS)}"
    command = [
        *(require_program("openssl", "openssl"), "s_client", "-connect", site.address),
        *(f"-tls{version.replace('.', '_')}", "-msg", "-msgfile", str(messages)),
        *("-keymatexport", "EXPORTER-Channel-Binding", "-keymatexportlen", "32"),
        *(word.replace("--", "-") for word in credentials),
        *_chain(site.folder / credentials[credentials.index("--cert") + 1]),
        *more,
    ]
    async with _running(site, command) as talker:
        exported = await talker.until(_EXPORTED)
        talker.exporter = bytes.fromhex(exported[1].decode())
        talker.messages = messages
        talker.finished = first_finished(messages)
        talker.tls_unique = talker.finished if version == "1.2" else None
        yield talker


@asynccontextmanager
async def gnutls(site: Site, version: str, *credentials: str) -> AsyncIterator[Talker]:
    """``gnutls-cli`` over TLS *version*, which names the bindings itself.

    Args:
        version: and what else its priority string shall say, after a colon.
    """
    host, _, port = site.address.rpartition(":")
    named = {"--cert": "--x509certfile", "--key": "--x509keyfile"}
    command = [
        *(require_program("gnutls-cli", "gnutls-bin"), "--verbose", "--insecure"),
        *("--no-ca-verification", "--priority", f"NORMAL:-VERS-ALL:+VERS-TLS{version}"),
        *(named.get(word, word) for word in credentials),
        *("--port", port, host),
    ]
    async with _running(site, command) as talker:
        said = await talker.until(re.compile(rb"(?s).*" + _GNUTLS_DONE))
        unique, exporter = (
            re.search(rb"'%s': ([0-9a-f]+)\n" % name, said[0])
            for name in (b"tls-unique", b"tls-exporter")
        )
        talker.handshake = said[0]
        assert (unique is None) == (b"'tls-unique': not available" in said[0])
        talker.exporter = b"" if exporter is None else bytes.fromhex(exporter[1].decode())
        talker.tls_unique = None if unique is None else bytes.fromhex(unique[1].decode())
        yield talker


def _chain(shown: Path) -> tuple[str, ...]:
    """OpenSSL sends the first certificate of *shown*, and others if they are in another file."""
    *_, issuers = shown.read_text().partition("-----END CERTIFICATE-----\n")
    if "BEGIN CERTIFICATE" not in issuers:
        return ()
    above = shown.with_suffix(".above")
    above.write_text(issuers)
    return "-cert_chain", str(above)


def first_finished(messages: Path) -> bytes:
    """verify_data of the first Finished that the client sent, from what OpenSSL's -msg wrote."""
    shown = _FINISHED.search(messages.read_text())
    assert shown is not None
    return bytes.fromhex(shown[1])[4:]  # behind type and length of the message


@asynccontextmanager
async def _running(site: Site, command: Sequence[str]) -> AsyncIterator[Talker]:
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=site.folder,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield Talker(process=process, host=site.address)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
