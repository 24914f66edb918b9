"""The CPU time of the cryptography that one onboarding costs a registrar whatever it is built of.

Each operation alone, over memory, with the keys and certificates that the onboardings used: no
socket, no parsing of messages, no journal. docs/benchmarks.md has the counts.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL

from benchmarks.measure import LOOPS, mean_cpu_ms
from brski.edge.signers.file import load_chain, load_private_key
from brski.edge.tls_client import https_client_context, provisional_context
from brski.edge.tls_engine import TLS_1_3, VerifyLaterContext
from brski.edge.tls_server import server_context
from brski.pki.signatures import PrivateKey
from brski_lab.pki import LOOPBACK

_FLIGHT = 64 * 1024
_SIGNED_OCTETS = 400  # a TBSCertificate's; that of CMS signed attributes is a third
_EVERY_SHA256 = ec.ECDSA(hashes.SHA256())


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a device shows in a handshake."""

    chain: tuple[x509.Certificate, ...]
    private_key: PrivateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Devices:
    """Some of those that were onboarded."""

    idevids: Sequence[Shown]  # carried and asserted
    ldevids: Sequence[Shown]
    path: Sequence[x509.Certificate]  # of a carried IDevID, the anchor last


def floor_ms(keys: Path, devices: Devices, *, calls_per_onboarding: float) -> float:
    """Milliseconds for one onboarding.

    Args:
        keys: the stage's folder of keys.
        calls_per_onboarding: TLS connections opened to MASA and OEM's service, for each.
    """
    registrar = keys / "registrar-chain.pem", keys / "registrar.key"
    server = server_context(*registrar, minimum=TLS_1_3)
    over_idevid = _server_handshake_ms(server, devices.idevids)
    over_ldevid = _server_handshake_ms(server, devices.ldevids)
    calls = calls_per_onboarding * _client_handshake_ms(keys) if calls_per_onboarding else 0.0
    return (
        over_idevid
        + over_ldevid
        + calls
        + _sign_ms(keys / "registrar.key", deterministic=False)  # the registrar voucher-request
        + _sign_ms(keys / "owner.key", deterministic=True)  # the LDevID
        + _verify_ms(devices.idevids[0].private_key)  # the pledge voucher-request
        + _verify_ms(devices.ldevids[0].private_key)  # the certificate request
        + _link_ms(*devices.path[:2])  # the IDevID; its issuer was judged with an earlier device
        + _verify_ms(devices.idevids[0].private_key) / 2  # every other one signs its own assertion
    )


def renewal_floor_ms(keys: Path, ldevids: Sequence[Shown]) -> float:
    """Milliseconds for one renewal over a new connection.

    Args:
        keys: the stage's folder of keys.
        ldevids: what some of the devices show.
    """
    registrar = keys / "registrar-chain.pem", keys / "registrar.key"
    server = server_context(*registrar, minimum=TLS_1_3)
    return (
        _server_handshake_ms(server, ldevids)
        + _verify_ms(ldevids[0].private_key)  # the certificate request
        + _sign_ms(keys / "owner.key", deterministic=True)  # the LDevID
    )


def _server_handshake_ms(server: VerifyLaterContext, clients: Sequence[Shown]) -> float:
    contexts = cycle(
        provisional_context(shown.chain, shown.private_key, minimum=TLS_1_3) for shown in clients
    )
    _shake_hands(server, next(contexts))
    return sum(_shake_hands(server, next(contexts)) for _ in range(LOOPS)) / LOOPS


def _shake_hands(server_side: VerifyLaterContext, client_side: VerifyLaterContext) -> float:
    """One handshake; the server's share, milliseconds."""
    client = client_side.new_connection(None)
    began_s = time.process_time()
    server = server_side.new_connection(None)
    spent_s = time.process_time() - began_s
    client_done = server_done = False
    while not (client_done and server_done):
        client_done = _advance(client)
        _carry(client, server)
        began_s = time.process_time()
        server_done = _advance(server)
        spent_s += time.process_time() - began_s
        _carry(server, client)
    assert server.get_protocol_version() == TLS_1_3
    assert server.get_peer_certificate() is not None
    return spent_s * 1000


def _advance(connection: SSL.Connection) -> bool:
    try:
        connection.do_handshake()
    except SSL.WantReadError:
        return False
    return True


def _carry(source: SSL.Connection, sink: SSL.Connection) -> None:
    try:
        while octets := source.bio_read(_FLIGHT):
            sink.bio_write(octets)
    except SSL.WantReadError:
        return


def _client_handshake_ms(keys: Path) -> float:
    """Towards a server that asks for the registrar's certificate; the client's share."""
    server = server_context(keys / "oem-tls-chain.pem", keys / "oem-tls.key", minimum=TLS_1_3)
    client = https_client_context(
        load_chain(keys / "service-root.pem"),
        client_chain=keys / "registrar-chain.pem",
        client_key=keys / "registrar.key",
    )
    return sum(_call_server(client, server) for _ in range(LOOPS)) / LOOPS


def _call_server(client_side: ssl.SSLContext, server_side: VerifyLaterContext) -> float:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_side.new_connection(None)
    spent_s = 0.0
    began_s = time.process_time()
    client = client_side.wrap_bio(incoming, outgoing, server_hostname=LOOPBACK)
    spent_s += time.process_time() - began_s
    client_done = server_done = False
    while not (client_done and server_done):
        began_s = time.process_time()
        client_done = _advance_standard(client)
        spent_s += time.process_time() - began_s
        if outgoing.pending:
            server.bio_write(outgoing.read())
        server_done = _advance(server)
        try:
            incoming.write(server.bio_read(_FLIGHT))
        except SSL.WantReadError:
            continue
    return spent_s * 1000


def _advance_standard(client: ssl.SSLObject) -> bool:
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def _sign_ms(path: Path, *, deterministic: bool) -> float:
    key = _elliptic(load_private_key(path))
    algorithm = ec.ECDSA(hashes.SHA256(), deterministic_signing=deterministic)
    return mean_cpu_ms(lambda: key.sign(bytes(_SIGNED_OCTETS), algorithm))


def _verify_ms(private_key: PrivateKey) -> float:
    key = _elliptic(private_key)
    data = bytes(_SIGNED_OCTETS)
    return mean_cpu_ms(_verification(key.public_key(), key.sign(data, _EVERY_SHA256), data))


def _link_ms(below: x509.Certificate, above: x509.Certificate) -> float:
    key = above.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return mean_cpu_ms(_verification(key, below.signature, below.tbs_certificate_bytes, below))


def _verification(
    key: ec.EllipticCurvePublicKey,
    signature: bytes,
    data: bytes,
    certificate: x509.Certificate | None = None,
) -> Callable[[], None]:
    algorithm = certificate.signature_algorithm_parameters if certificate else _EVERY_SHA256
    assert isinstance(algorithm, ec.ECDSA)
    return lambda: key.verify(signature, data, algorithm)


def _elliptic(key: PrivateKey) -> ec.EllipticCurvePrivateKey:
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key
