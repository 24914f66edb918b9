"""EST by itself: many devices renew at once, each over a new connection of its own."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
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
from brski.registry import EST_ROOT, PKCS10, SIMPLE_REENROLL
from brski_lab.children import Children
from brski_lab.pki import LOOPBACK
from brski_lab.stage import Stage

AT_ONCE: Final = 32
WARM_UP: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class _Renewal:
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
        await _renew_all(stage, renewals[:WARM_UP])
        registrar = children.pid("brski-registrar")
        cpu_ms, began_s = process_cpu_ms(registrar), time.monotonic()
        await _renew_all(stage, renewals[WARM_UP:])
        took_s = time.monotonic() - began_s
        cpu_ms = (process_cpu_ms(registrar) - cpu_ms) / count
    floor = renewal_floor_ms(folder / "keys", [_shown(device) for device in devices[:4]])
    return {
        "per_s": count / took_s,
        "registrar_cpu_ms": cpu_ms,
        "floor_ms": floor,
        "ratio_to_floor": cpu_ms / floor,
    }


def _shown(device: Device) -> Shown:
    signer = device.keystore.ldevid()
    assert isinstance(signer, KeySigner)
    return Shown(chain=signer.chain, private_key=signer.private_key)


def _renewal(folder: Path, stage: Stage, device: Device) -> _Renewal:
    """What a device sends, made before the clock starts: a request signed by a new key."""
    shown = _shown(device)
    chain, key = folder / "client.pem", folder / "client.key"
    write_atomically(chain, b"".join(each.public_bytes(Encoding.PEM) for each in shown.chain))
    write_atomically(
        key, shown.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    csr = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(shown.chain[0].subject)
        .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    )
    body = encode_base64(csr.public_bytes(Encoding.DER))
    head = (
        f"POST {EST_ROOT}{SIMPLE_REENROLL} HTTP/1.1\r\nHost: {LOOPBACK}\r\nConnection: close\r\n"
        f"Content-Type: {PKCS10}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return _Renewal(
        context=https_client_context(
            load_chain(stage.owner_root), client_chain=chain, client_key=key
        ),
        request=head.encode() + body,
    )


async def _renew_all(stage: Stage, renewals: Sequence[_Renewal]) -> None:
    places = asyncio.Semaphore(AT_ONCE)

    async def renew(renewal: _Renewal) -> None:
        async with places:
            answer = await _post(stage.registrar_port, renewal)
        assert answer.startswith(b"HTTP/1.1 200 "), answer[:200]

    await asyncio.gather(*map(renew, renewals))


async def _post(port: int, renewal: _Renewal) -> bytes:
    reader, writer = await asyncio.open_connection(LOOPBACK, port, ssl=renewal.context)
    writer.write(renewal.request)
    answer = await reader.read()
    writer.close()
    return answer
