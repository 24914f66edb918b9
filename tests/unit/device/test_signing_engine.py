"""TLS whose key only signs, in memory: against our own engine as the server, octet by octet."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from brski.edge import tls_engine
from brski.edge.tls_server import server_context
from brski.errors import HandshakeFailed, KeyUnusable, PeerError
from device_client.transport.signing_engine import HANDSHAKE_LIMIT, SigningEngine
from device_client.transport.tlslite_client import (
    TLS_1_2,
    TLS_1_3,
    X509,
    Connection,
    Pipe,
    SignatureScheme,
    same_key,
)
from tests.kit import pki
from tests.kit.elsewhere import Elsewhere

SERVER = pki.make_registrar(pki.make_ca("Owner CA", pki.make_root()))
CLIENT = pki.certify(pki.common_name("SN-1"))
NO_EXTENDED_MASTER_SECRET = 1  # SSL_OP_NO_EXTENDED_MASTER_SECRET

both_versions = pytest.mark.parametrize(
    "version", [tls_engine.TLS_1_2, tls_engine.TLS_1_3], ids=["1.2", "1.3"]
)


class Stuck(Exception):
    """Both ends wait for the other."""


class Pair:
    """A client of ours and a server of ours."""

    def __init__(self, version: int, *, options: int = 0, key: Any = None) -> None:
        self.client = SigningEngine(key or Elsewhere(CLIENT.signer))
        self.bios = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = server_context(SERVER.chain, SERVER.private_key, maximum=version)
        context._engine.set_options(options)
        self.server: Any = context.wrap_bio(*self.bios, server_side=True)

    def to_server(self) -> None:
        self.bios[0].write(self.client.outgoing())

    def shake_hands(
        self, step: int = 1 << 16, spoil: Callable[[bytes], bytes] = lambda octets: octets
    ) -> None:
        """Carry at most *step* octets at once to the client; *spoil* may change them."""
        waiting = b""
        while not self.client.handshake():
            self.to_server()
            with contextlib.suppress(ssl.SSLWantReadError):
                self.server.do_handshake()
            waiting += spoil(self.bios[1].read())
            if not waiting:
                raise Stuck
            self.client.feed(waiting[:step])
            waiting = waiting[step:]
        self.to_server()
        if waiting:
            self.client.feed(waiting)
        self.server.do_handshake()


@pytest.mark.parametrize("step", [1, 5, 1 << 16])
@both_versions
def test_octets_may_come_in_any_pieces(version: int, step: int) -> None:
    """A record in half is waited for, in the handshake and after."""
    pair = Pair(version)
    pair.shake_hands(step)
    assert pair.client.version == ("TLS 1.2" if version == tls_engine.TLS_1_2 else "TLS 1.3")
    assert pair.client.peer_chain() == SERVER.chain
    assert pair.client.channel_binding() == pair.server.channel_binding()
    assert pair.server.peer_chain() == CLIENT.chain
    pair.server.write(b"hello")
    record = pair.bios[1].read()
    for octet in record[:-1]:
        pair.client.feed(bytes([octet]))
        assert pair.client.read(100) is None
    pair.client.feed(record[-1:])
    assert pair.client.read(100) == b"hello"
    pair.client.write(b"hello yourself")
    pair.to_server()
    assert pair.server.read() == b"hello yourself"


@both_versions
def test_a_farewell_and_a_cut_are_told_apart(version: int) -> None:
    """close_notify ends it; octets that end without are an error."""
    pair = Pair(version)
    pair.shake_hands()
    with pytest.raises(ssl.SSLWantReadError):
        pair.server.unwrap()
    pair.client.feed(pair.bios[1].read())
    assert pair.client.read(100) == b""
    pair.client.end()
    pair.to_server()
    pair.server.unwrap()
    other = Pair(version)
    other.shake_hands()
    other.client.feed(b"")
    with pytest.raises(ConnectionError):
        other.client.read(100)
    with pytest.raises(ConnectionError):
        other.client.write(b"x")


def test_without_extended_master_secret_nothing_is_bound() -> None:
    """TLS 1.2 of before RFC 7627 is refused; with it the same server is taken."""
    with pytest.raises(HandshakeFailed, match="extended master secret"):
        Pair(tls_engine.TLS_1_2, options=NO_EXTENDED_MASTER_SECRET).shake_hands()
    Pair(tls_engine.TLS_1_2).shake_hands()


@pytest.mark.parametrize(
    ("version", "scheme", "offered"),
    [
        (TLS_1_3, SignatureScheme.ecdsa_secp256r1_sha256, True),
        (TLS_1_3, SignatureScheme.rsa_pss_rsae_sha256, True),
        (TLS_1_3, SignatureScheme.rsa_pkcs1_sha256, False),
        (TLS_1_2, SignatureScheme.rsa_pkcs1_sha256, True),
        (TLS_1_2, SignatureScheme.rsa_pkcs1_sha1, False),
        (TLS_1_3, SignatureScheme.ecdsa_sha1, False),
        (TLS_1_3, SignatureScheme.ecdsa_secp521r1_sha512, False),
        (TLS_1_3, SignatureScheme.dsa_sha256, False),
    ],
)
def test_a_proof_counts_only_in_an_algorithm_that_was_offered(
    version: tuple[int, int], scheme: tuple[int, int], offered: bool
) -> None:
    """tlslite-ng verifies whatever it knows, SHA-1 too."""
    connection = Connection(Pipe())
    connection.version = version
    connection.serverSigAlg = scheme
    assert connection.signed_as_offered is offered


@pytest.mark.parametrize("kind", ["P-256", "P-384", "RSA-2048", "Ed25519"])
def test_the_key_that_was_proved_is_the_certificate_s(kind: str) -> None:
    """Two parsers read one certificate; where they differ nothing was proved."""
    another = kind if kind != "RSA-2048" else "RSA-3072"  # the kit has one key of each RSA size
    one, other = (
        pki.certify(pki.common_name("x"), key=pki.make_key(each)) for each in (kind, another)
    )
    proved = X509()
    proved.parseBinary(one.der)
    assert same_key(proved.publicKey, one.certificate.public_key())
    assert not same_key(proved.publicKey, other.certificate.public_key())


def test_a_handshake_without_end_is_cut() -> None:
    """The server's word for how long a message is costs it at most so many octets."""
    client = SigningEngine(Elsewhere(CLIENT.signer))
    assert not client.handshake()
    client.feed(bytes(HANDSHAKE_LIMIT))
    with pytest.raises(HandshakeFailed, match="octets of handshake"):
        client.feed(b"x")


def extensions_of(record: bytes) -> set[int]:
    """The types of the extensions of the ClientHello in *record*; RFC 8446 §4.1.2."""
    at = 5 + 4 + 2 + 32
    at += 1 + record[at]  # session id
    at += 2 + int.from_bytes(record[at : at + 2], "big")  # cipher suites
    at += 1 + record[at] + 2  # compression methods, length of extensions
    found = set()
    while at < len(record):
        found.add(int.from_bytes(record[at : at + 2], "big"))
        at += 4 + int.from_bytes(record[at + 2 : at + 4], "big")
    return found


@both_versions
def test_nothing_is_offered_that_would_not_be_done(version: int) -> None:
    """No resumption and no authentication after the handshake, so the server sends no ticket."""
    pair = Pair(version)
    assert not pair.client.handshake()
    offered = extensions_of(pair.client.outgoing())
    assert offered.isdisjoint({35, 45, 49})
    assert {10, 13, 23, 43, 51} <= offered  # groups, algorithms, EMS, versions, key share


def _is_record_version(flight: bytes, at: int) -> bool:
    """Of a record's header, what every side ignores: legacy_record_version (RFC 8446 §5.1)."""
    record = 0
    while record + 5 <= at:
        record += 5 + int.from_bytes(flight[record + 3 : record + 5], "big")
        if record > at:
            return False
    return at - record in (1, 2)


@settings(max_examples=60)
@given(
    version=st.sampled_from([tls_engine.TLS_1_2, tls_engine.TLS_1_3]),
    at=st.integers(min_value=0, max_value=2500),
    by=st.integers(min_value=1, max_value=255),
)
@example(version=tls_engine.TLS_1_2, at=59, by=1)  # an alert that cannot be told as text
def test_a_changed_octet_from_the_server_never_passes(version: int, at: int, by: int) -> None:
    """Wherever it is: no handshake comes of it, and the error is one of ours."""
    passed = 0

    def spoil(octets: bytes) -> bytes:
        nonlocal passed
        start, passed = passed, passed + len(octets)
        if not start <= at < passed:
            return octets
        changed = bytearray(octets)
        if _is_record_version(octets, at - start):
            assume(False)
        changed[at - start] ^= by
        return bytes(changed)

    pair = Pair(version)
    try:
        pair.shake_hands(spoil=spoil)
    except (PeerError, Stuck, ssl.SSLError):
        return
    assert at >= passed  # behind the last octet of the handshake


def test_a_key_without_its_certificate_is_refused() -> None:
    """Or with another's."""
    with pytest.raises(KeyUnusable, match="needs its certificate"):
        SigningEngine(Elsewhere(pki.KeySigner(pki.make_key())))
    stranger = Elsewhere(CLIENT.signer)
    stranger.real = _Chained(CLIENT.signer, pki.certify(pki.common_name("other")))
    with pytest.raises(KeyUnusable, match="another key"):
        SigningEngine(stranger)


class _Chained:
    def __init__(self, signer: pki.KeySigner, shown: pki.Entity) -> None:
        self.public_key, self.sign, self.chain = signer.public_key, signer.sign, shown.chain


@both_versions
def test_the_key_is_never_asked_twice(version: int) -> None:
    """One handshake, one signature; and none when the server asks again after it."""
    key = Elsewhere(CLIENT.signer)
    pair = Pair(version, key=key)
    pair.shake_hands()
    assert len(key.signed) == 1
    assert pair.client._tls._client_keypair is None
