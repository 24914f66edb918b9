"""HTTP over TLS octet by octet, as a device, as a registrar, or as somebody rude."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from cryptography import x509

from brski.edge.tls_client import Stream, open_stream, provisional_context
from brski.pki.signatures import PrivateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer as it came."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)  # names in lower case
    body: bytes = b""

    @property
    def retry_after_s(self) -> int:
        """What ``Retry-After`` says; fails without."""
        return int(self.headers["retry-after"])


def head(
    method: str, path: str, fields: Mapping[str, str] | Sequence[tuple[str, str]] = ()
) -> bytes:
    """A request's head, whatever its fields say."""
    pairs = fields.items() if isinstance(fields, Mapping) else fields
    lines = [f"{method} {path} HTTP/1.1", "Host: registrar.example.com"]
    lines += [f"{name}: {value}" for name, value in pairs]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def request(path: str, body: bytes, media_type: str, *more: tuple[str, str]) -> bytes:
    """A POST, whole."""
    length = ("Content-Length", str(len(body)))
    return head("POST", path, [("Content-Type", media_type), length, *more]) + body


@dataclass(slots=True)
class Talk:
    """One TLS connection; what is sent and read is the test's affair."""

    stream: Stream

    def say(self, octets: bytes) -> None:
        self.stream.writer.write(octets)

    async def reply(self, *, has_body: bool = True) -> Reply | None:
        """The next answer, or None where the connection ends instead.

        Args:
            has_body: False for the answer to HEAD.
        """
        reader = self.stream.reader
        try:
            top = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        status, *lines = top.strip().split("\r\n")
        pairs = (line.partition(":") for line in lines)
        fields = {name.lower(): value.strip() for name, _, value in pairs}
        length = int(fields.get("content-length", "0")) if has_body else 0
        body = await reader.readexactly(length)
        return Reply(status=int(status.split()[1]), headers=fields, body=body)

    async def ended(self) -> bool:
        """Wait until the other side has ended the connection."""
        with suppress(ConnectionError):
            while await self.stream.reader.read(65536):
                pass
        return True

    def abort(self) -> None:
        self.stream.abort()


async def connect(
    host: str,
    port: int,
    shown: Sequence[x509.Certificate] = (),
    key: PrivateKey | None = None,
) -> Talk:
    """A TLS connection that shows *shown*."""
    return Talk(await open_stream(host, port, provisional_context(shown, key)))


async def ask(
    host: str,
    port: int,
    octets: bytes,
    shown: Sequence[x509.Certificate] = (),
    key: PrivateKey | None = None,
) -> Reply | None:
    """Send *octets* over a connection of their own; the answer to them."""
    talk = await connect(host, port, shown, key)
    try:
        talk.say(octets)
        return await talk.reply()
    finally:
        talk.abort()
