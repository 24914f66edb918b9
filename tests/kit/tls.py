"""TLS in tests: two ends in memory, loops of both kinds, client certificates that are wrong."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from brski import registry
from tests.kit import pki

LOOPS: Final[dict[str, Callable[[], asyncio.AbstractEventLoop]]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


@dataclass(slots=True)
class Ends:
    """A client's and a server's TLS object, and the octets on their way."""

    client: Any
    server: Any
    client_in: ssl.MemoryBIO
    client_out: ssl.MemoryBIO
    server_in: ssl.MemoryBIO
    server_out: ssl.MemoryBIO

    def move(
        self, *, step: int = -1, to_server: Callable[[bytes], bytes] = lambda octets: octets
    ) -> bool:
        """Carry what waits (at most *step* octets each way); say whether there was anything."""
        moved = False
        if self.client_out.pending:
            self.server_in.write(to_server(self.client_out.read(step)))
            moved = True
        if self.server_out.pending:
            self.client_in.write(self.server_out.read(step))
            moved = True
        return moved

    def send(self, sender: Any, receiver: Any, data: bytes) -> bytes:
        """Write *data* at one end, read it at the other."""
        view = memoryview(data)
        received = bytearray()
        while len(received) < len(data):
            if view:
                view = view[sender.write(view) :]
            self.move()
            while True:
                try:
                    received += receiver.read(65536)
                except ssl.SSLWantReadError:
                    break
        return bytes(received)


def connect_in_memory(
    client_context: Any,
    server_context: Any,
    *,
    server_hostname: str | None = None,
    step: int = -1,
    to_server: Callable[[bytes], bytes] = lambda octets: octets,
) -> Ends:
    """Shake hands in memory.

    Args:
        client_context: ours or the standard library's.
        server_context: likewise.
        server_hostname: as the client's loop would give it.
        step: the most octets to carry at once.
        to_server: may change what the client sends.

    Raises:
        ssl.SSLError: as the end that found the fault raises it.
    """
    bios = [ssl.MemoryBIO() for _ in range(4)]
    client = client_context.wrap_bio(bios[0], bios[1], server_hostname=server_hostname)
    server = server_context.wrap_bio(bios[2], bios[3], server_side=True)
    ends = Ends(client, server, bios[0], bios[1], bios[2], bios[3])
    waiting = [client, server]
    while waiting:
        for end in list(waiting):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(end)
        if not ends.move(step=step, to_server=to_server) and waiting:
            raise AssertionError("both ends wait for the other")
    while ends.move():  # what came after the handshake: session tickets
        pass
    return ends


def run_on(loop: str, main: Coroutine[Any, Any, None], *, timeout_s: float = 60.0) -> None:
    """Run *main* on the loop of that name; whatever the loop complains of fails the test."""
    complaints: list[dict[str, Any]] = []

    async def guarded() -> None:
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: complaints.append(context)
        )
        async with asyncio.timeout(timeout_s):
            await main

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(guarded())
    assert complaints == []


def client_entities() -> dict[str, pki.Entity]:
    """Client certificates that a server of the standard library would refuse, each its own way."""
    oem = pki.make_pki()
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.32473.1"), b"\x05\x00")
    return {
        "self-signed": pki.certify(pki.common_name("SN-1")),
        "oem-chain": pki.make_idevid(oem),
        "expired": pki.make_idevid(oem, not_after=pki.BEFORE, not_before=pki.BEFORE),
        "unknown-critical": pki.make_idevid(oem, extra=[(unknown, True)]),
        "server-auth-only": pki.make_idevid(oem, ekus=[registry.ID_KP_SERVER_AUTH]),
    }


def write_entity(folder: Path, name: str, entity: pki.Entity) -> tuple[Path, Path]:
    """Write chain (root included) and key as PEM; return both paths."""
    chain, key = folder / f"{name}.pem", folder / f"{name}.key"
    pem = [certificate.public_bytes(serialization.Encoding.PEM) for certificate in entity.chain]
    chain.write_bytes(b"".join(pem))
    key.touch(0o600)
    key.write_bytes(entity.key_pem)
    return chain, key


def forged_key_pem(shown: ec.EllipticCurvePublicKey) -> bytes:
    """A P-256 key file whose public half is *shown* and whose private half is another key's.

    OpenSSL compares certificate and key by their public halves, so it signs with the wrong key.
    """
    other = ec.generate_private_key(ec.SECP256R1())
    der = other.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    form = (serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    forged = der.replace(other.public_key().public_bytes(*form), shown.public_bytes(*form))
    assert forged != der
    return ssl.DER_cert_to_PEM_cert(forged).replace("CERTIFICATE", "EC PRIVATE KEY").encode()


both_loops = pytest.mark.parametrize("loop", list(LOOPS))
