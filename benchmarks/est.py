"""EST by itself: many clients ask at once, each over a new mutual-TLS connection of its own."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from benchmarks.floor import Shown, renewal_floor_ms
from benchmarks.measure import Options, process_cpu_ms
from benchmarks.onboarding import Device, onboard_all, some_devices
from brski.edge.atomic_file import write_atomically
from brski.edge.serve import run_loop
from brski.edge.signers.file import load_chain
from brski.edge.signers.key import KeySigner
from brski.edge.tls_client import https_client_context
from brski.est.transfer import encode_base64
from brski.pki.signatures import PrivateKey
from brski.registry import EST_ROOT, PKCS10, SIMPLE_ENROLL, SIMPLE_REENROLL
from brski_lab.children import Children, open_socket, port_of
from brski_lab.pki import LOOPBACK, make_authority, make_end_entity
from brski_lab.stage import Stage

AT_ONCE: Final = 32
WARM_UP: Final = 8
_LABEL: Final = "newcomers"
_NEWCOMERS: Final = f"""
[[est.profile]]
label = "{_LABEL}"
enrollees = ["certificate"]
[[est.client_ca]]
name = "other"
anchors = "{{anchors}}"
labels = ["{_LABEL}"]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    context: ssl.SSLContext
    request: bytes  # HTTP, head and body


def measure(options: Options) -> dict[str, float]:
    """Renew; see docs/benchmarks.md for what each number is."""
    with tempfile.TemporaryDirectory(prefix="brski-bench-") as name:
        return run_loop(_measure(Path(name), options.devices))


async def _measure(folder: Path, count: int) -> dict[str, float]:
    async with Children(folder / "logs") as children:
        stage, devices = await some_devices(folder, children, WARM_UP + count)
        await onboard_all(stage, devices)
        renewals = [_renewal(folder, stage, device) for device in devices]
        per_s, cpu_ms = await _ask_all(children, stage.registrar_port, renewals)
        newcomers = _make_newcomers(folder, stage, WARM_UP + count)
        port = await _restart(children, stage)
        enrolled_per_s, enrolling_cpu_ms = await _ask_all(children, port, newcomers)
    floor = renewal_floor_ms(folder / "keys", [_shown(device) for device in devices[:4]])
    return {
        "per_s": per_s,
        "registrar_cpu_ms": cpu_ms,
        "floor_ms": floor,
        "ratio_to_floor": cpu_ms / floor,
        "enrolled_per_s": enrolled_per_s,
        "enrolling_cpu_ms": enrolling_cpu_ms,
    }


def _shown(device: Device) -> Shown:
    signer = device.keystore.ldevid()
    assert isinstance(signer, KeySigner)
    return Shown(chain=signer.chain, private_key=signer.private_key)


def _renewal(folder: Path, stage: Stage, device: Device) -> _Question:
    """simplereenroll over the LDevID, for another key."""
    shown = _shown(device)
    return _question(folder, stage, SIMPLE_REENROLL, shown.chain, shown.private_key)


def _make_newcomers(folder: Path, stage: Stage, count: int) -> list[_Question]:
    """Clients with certificates of another CA, which the registrar's settings trust from now on;
    each asks for its first certificate of ours.
    """
    now = datetime.now(UTC)
    other = make_authority(folder, "other", "Other CA", now=now)
    with stage.registrar_settings.open("a") as settings:
        settings.write(_NEWCOMERS.format(anchors=other.root_path))
    clients = (
        make_end_entity(folder, f"gw-{number}", f"gw-{number}", now=now, above=other)
        for number in range(count)
    )
    path = f"/{_LABEL}{SIMPLE_ENROLL}"
    return [_question(folder, stage, path, client.chain[:1], client.key) for client in clients]


def _question(
    folder: Path,
    stage: Stage,
    path: str,
    chain: Sequence[x509.Certificate],
    private_key: PrivateKey,
) -> _Question:
    """What a client sends, made before the clock starts: a request signed by a new key."""
    shown, key = folder / "client.pem", folder / "client.key"
    write_atomically(shown, b"".join(each.public_bytes(Encoding.PEM) for each in chain))
    write_atomically(
        key, private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    csr = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(chain[0].subject)
        .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    )
    body = encode_base64(csr.public_bytes(Encoding.DER))
    head = (
        f"POST {EST_ROOT}{path} HTTP/1.1\r\nHost: {LOOPBACK}\r\nConnection: close\r\n"
        f"Content-Type: {PKCS10}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return _Question(
        context=https_client_context(
            load_chain(stage.owner_root), client_chain=shown, client_key=key
        ),
        request=head.encode() + body,
    )


async def _restart(children: Children, stage: Stage) -> int:
    """The registrar with the settings as they are now, on another port."""
    await children.end("brski-registrar")
    listening = open_socket()
    port, place = port_of(listening), f"fd:{listening.fileno()}"
    serve = ("serve", "-s", stage.registrar_settings, "--listen", place)
    await children.serve("brski-registrar", *serve, sockets=[listening])
    return port


async def _ask_all(
    children: Children, port: int, questions: Sequence[_Question]
) -> tuple[float, float]:
    """How many were answered in a second, and the registrar's CPU time for each, milliseconds."""
    await _ask(port, questions[:WARM_UP])
    registrar, count = children.pid("brski-registrar"), len(questions) - WARM_UP
    cpu_ms, began_s = process_cpu_ms(registrar), time.monotonic()
    await _ask(port, questions[WARM_UP:])
    took_s = time.monotonic() - began_s
    return count / took_s, (process_cpu_ms(registrar) - cpu_ms) / count


async def _ask(port: int, questions: Sequence[_Question]) -> None:
    places = asyncio.Semaphore(AT_ONCE)

    async def ask(question: _Question) -> None:
        async with places:
            answer = await _post(port, question)
        assert answer.startswith(b"HTTP/1.1 200 "), answer[:200]

    await asyncio.gather(*map(ask, questions))


async def _post(port: int, question: _Question) -> bytes:
    reader, writer = await asyncio.open_connection(LOOPBACK, port, ssl=question.context)
    writer.write(question.request)
    answer = await reader.read()
    writer.close()
    return answer
