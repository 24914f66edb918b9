"""The TLS engine in memory: what a handshake proves, what it lets through, what it never does."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brski.edge.tls_client import https_client_context, provisional_context
from brski.edge.tls_engine import TLS_1_2, TLS_1_3, VerifyLaterContext
from brski.edge.tls_server import connection_of, peer_chain, server_context
from brski.errors import FileUnusable, KeyUnusable, Malformed, TooLarge, WrongContext
from tests.kit import pki, tls

VERSIONS = {"TLSv1.2": TLS_1_2, "TLSv1.3": TLS_1_3}
both_versions = pytest.mark.parametrize("version", list(VERSIONS))
CLIENTS = tls.client_entities()


@pytest.fixture(scope="module")
def domain() -> pki.Entity:
    return pki.make_pki("Example Owner")


@pytest.fixture(scope="module")
def registrar(domain: pki.Entity) -> pki.Entity:
    return pki.make_registrar(domain)


def server(registrar: pki.Entity, version: str | None = None, **more: Any) -> VerifyLaterContext:
    if version is not None:
        more |= {"minimum": VERSIONS[version], "maximum": VERSIONS[version]}
    return server_context(registrar.chain, registrar.private_key, **more)


def client(entity: pki.Entity | None = None, **more: Any) -> VerifyLaterContext:
    if entity is None:
        return provisional_context(**more)
    return provisional_context(entity.chain, entity.private_key, **more)


def stdlib_client(chain: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if chain is not None:
        context.load_cert_chain(chain, key)
    return context


def flipped(certificate: x509.Certificate) -> x509.Certificate:
    """The same with one bit of its signature changed."""
    der = bytearray(certificate.public_bytes(Encoding.DER))
    der[-3] ^= 1
    return x509.load_der_x509_certificate(bytes(der))


# -- who gets in, and as whom


@pytest.mark.requirement("TLS-1", "REG-1", "PL-2")
@both_versions
@pytest.mark.parametrize("step", [-1, 1])
@pytest.mark.parametrize("name", [*CLIENTS, "none"])
def test_every_client_reaches_the_application_with_its_whole_chain(
    registrar: pki.Entity, version: str, step: int, name: str
) -> None:
    """Whatever is wrong with its certificate, and however the network cuts the handshake."""
    entity = CLIENTS.get(name)
    ends = tls.connect_in_memory(client(entity), server(registrar, version), step=step)
    assert ends.server.version() == ends.client.version() == version
    assert ends.server.peer_chain() == (entity.chain if entity else ())
    assert ends.client.peer_chain() == registrar.chain
    assert ends.server.own_chain == registrar.chain
    assert ends.client.own_chain == (entity.chain if entity else ())


@both_versions
@pytest.mark.parametrize("kind", ["P-256", "P-384", "Ed25519"])
def test_clients_of_classic_algorithms_are_authenticated(
    registrar: pki.Entity, version: str, kind: str
) -> None:
    """RFC 8446 §4.2.3, RFC 8422 §5.4: device key and its CA of one kind, both versions of TLS."""
    entity = pki.make_idevid(pki.make_pki(kind=kind), kind=kind)
    ends = tls.connect_in_memory(client(entity), server(registrar, version))
    assert ends.server.version() == version
    assert ends.server.peer_chain() == entity.chain


ML_DSA = ("ML-DSA-44", "ML-DSA-65", "ML-DSA-87")


@pytest.mark.parametrize("kind", ML_DSA)
def test_ml_dsa_client_is_authenticated_over_tls_1_3(registrar: pki.Entity, kind: str) -> None:
    """draft-ietf-tls-mldsa, by the OpenSSL that ``cryptography`` brings; chain of the same kind."""
    entity = pki.make_idevid(pki.make_pki(kind=kind), kind=kind)
    ends = tls.connect_in_memory(client(entity), server(registrar))
    assert ends.server.version() == "TLSv1.3"
    assert ends.server.peer_chain() == entity.chain


@pytest.mark.parametrize("kind", ML_DSA)
def test_ml_dsa_client_cannot_be_named_over_tls_1_2(registrar: pki.Entity, kind: str) -> None:
    """There is no such signature in TLS 1.2: the client stays nameless, and the registrar refuses
    it as one without a certificate.
    """
    entity = pki.make_idevid(pki.make_pki(), kind=kind)
    ends = tls.connect_in_memory(client(entity), server(registrar, "TLSv1.2"))
    assert ends.server.peer_chain() == ()


def test_ml_dsa_key_of_another_certificate_is_refused() -> None:
    entity, other = (pki.make_idevid(pki.make_pki(), kind="ML-DSA-44") for _ in range(2))
    with pytest.raises(KeyUnusable, match="of no use for TLS"):
        provisional_context(entity.chain, other.private_key)


@both_versions
@pytest.mark.parametrize("step", [-1, 1])
def test_altered_certificate_reaches_the_application_as_it_is(
    registrar: pki.Entity, version: str, step: int
) -> None:
    """The engine judges no signature of a certificate: the application must."""
    good = CLIENTS["oem-chain"]
    chain = (flipped(good.certificate), *good.issuers)
    context = provisional_context(chain, good.private_key)
    ends = tls.connect_in_memory(context, server(registrar, version), step=step)
    assert ends.server.peer_chain() == chain


@both_versions
def test_altered_certificate_of_one_client_disturbs_no_other(
    registrar: pki.Entity, version: str
) -> None:
    """What OpenSSL notes about one chain does not end in the next call of another connection."""
    good = CLIENTS["oem-chain"]
    honest = tls.connect_in_memory(client(good), server(registrar, version))
    broken = provisional_context((flipped(good.certificate), *good.issuers), good.private_key)
    for _ in range(3):
        tls.connect_in_memory(broken, server(registrar, version))
        with pytest.raises(ssl.SSLWantReadError):
            honest.server.read()
        assert honest.send(honest.client, honest.server, b"still here") == b"still here"
        with pytest.raises(ssl.SSLWantReadError):
            honest.server.read()


@both_versions
def test_client_that_does_not_hold_its_key_is_refused(
    registrar: pki.Entity, version: str, tmp_path: Path
) -> None:
    """The one thing TLS does prove: CertificateVerify made with another key ends the handshake."""
    good = CLIENTS["oem-chain"]
    chain, key = tls.write_entity(tmp_path, "good", good)
    tls.connect_in_memory(stdlib_client(chain, key), server(registrar, version))
    public_key = good.certificate.public_key()
    assert isinstance(public_key, ec.EllipticCurvePublicKey)
    key.write_bytes(tls.forged_key_pem(public_key))
    with pytest.raises(ssl.SSLError, match=r"(?i)bad.signature|decrypt"):
        tls.connect_in_memory(stdlib_client(chain, key), server(registrar, version))


def test_certificate_verify_with_one_bit_flipped_is_refused(registrar: pki.Entity) -> None:
    """On the wire of TLS 1.2, where CertificateVerify is not yet encrypted."""
    seen: list[int] = []

    def flip(octets: bytes) -> bytes:
        changed, at = bytearray(octets), 0
        while at + 9 < len(changed):
            if changed[at] == 22 and changed[at + 5] == 15:  # handshake record, CertificateVerify
                changed[at + 5 + 4 + 4 + 20] ^= 1  # inside the signature
                seen.append(at)
            at += 5 + int.from_bytes(changed[at + 3 : at + 5], "big")
        return bytes(changed)

    with pytest.raises(ssl.SSLError):
        tls.connect_in_memory(
            client(CLIENTS["oem-chain"]), server(registrar, "TLSv1.2"), to_server=flip
        )
    assert len(seen) == 1


@both_versions
def test_server_that_does_not_hold_its_key_is_refused(
    registrar: pki.Entity, version: str, tmp_path: Path
) -> None:
    """A provisional client believes no certificate, and still demands possession of its key."""
    chain, key = tls.write_entity(tmp_path, "registrar", registrar)
    public_key = registrar.certificate.public_key()
    assert isinstance(public_key, ec.EllipticCurvePublicKey)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version.replace(".", "_")]
    context.load_cert_chain(chain, key)
    tls.connect_in_memory(client(), context)
    key.write_bytes(tls.forged_key_pem(public_key))
    context.load_cert_chain(chain, key)
    with pytest.raises(ssl.SSLError, match=r"(?i)bad.signature|decrypt"):
        tls.connect_in_memory(client(), context)


def test_eight_certificates_are_shown_and_nine_are_too_many(registrar: pki.Entity) -> None:
    """The limit is the application's to see, as an error of the peer."""
    entity = CLIENTS["self-signed"]
    for count in (8, 9):
        context = provisional_context((entity.certificate,) * count, entity.private_key)
        ends = tls.connect_in_memory(context, server(registrar))
        if count == 8:
            assert len(ends.server.peer_chain()) == 8
        else:
            with pytest.raises(TooLarge, match="9 certificates in a handshake, limit 8"):
                ends.server.peer_chain()


@pytest.mark.parametrize("where", ["leaf", "issuer"])
def test_certificate_that_is_not_der_is_malformed_and_no_crash(
    registrar: pki.Entity, where: str, tmp_path: Path
) -> None:
    """OpenSSL takes a boolean of 01 for true; strict DER does not, and says so when asked."""
    entity = pki.make_idevid(pki.make_pki())
    true, other_true = bytes.fromhex("0101ff"), bytes.fromhex("010101")
    chain = [certificate.public_bytes(Encoding.DER) for certificate in entity.chain]
    index = 0 if where == "leaf" else 1
    assert true in chain[index]
    chain[index] = chain[index].replace(true, other_true)
    path, key = tls.write_entity(tmp_path, "odd", entity)
    path.write_text("".join(ssl.DER_cert_to_PEM_cert(der) for der in chain))
    ends = tls.connect_in_memory(stdlib_client(path, key), server(registrar))
    assert list(ends.server.peer_chain_der()) == chain
    assert ends.server.getpeercert() == {}
    for _ in range(2):
        with pytest.raises(Malformed):
            ends.server.peer_chain()


# -- what it never does


@both_versions
def test_session_is_never_resumed(registrar: pki.Entity, version: str) -> None:
    """A resumed session has lost the chain: a second connection shows all of it again."""
    theirs, ours = stdlib_client(), server(registrar, version)
    first = tls.connect_in_memory(theirs, ours)
    first.send(first.server, first.client, b"x")
    session = first.client.session
    bios = [ssl.MemoryBIO() for _ in range(4)]
    second = theirs.wrap_bio(bios[0], bios[1], session=session)
    server_end = ours.wrap_bio(bios[2], bios[3], server_side=True)
    ends = tls.Ends(second, server_end, *bios)
    done = 0
    while done < 2:
        done = 0
        for end in (second, server_end):
            try:
                end.do_handshake()
                done += 1
            except ssl.SSLWantReadError:
                pass
        ends.move()
    assert second.session_reused is False
    assert server_end.session_reused is False
    assert not (session is not None and session.has_ticket and version == "TLSv1.2")


def test_session_is_not_taken_from_the_loop(registrar: pki.Entity) -> None:
    """Our own client resumes nothing either."""
    session = tls.connect_in_memory(stdlib_client(), server(registrar)).client.session
    bios = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ValueError, match="never resumed"):
        client().wrap_bio(*bios, session=session)


@pytest.mark.requirement("ESTS-19")
@pytest.mark.parametrize("side", ["client", "server"])
def test_tls_1_1_is_refused(registrar: pki.Entity, side: str, tmp_path: Path) -> None:
    """RFC 8996, whichever end is the old one; the same with 1.2 succeeds."""
    chain, key = tls.write_entity(tmp_path, "registrar", registrar)

    def old(context: ssl.SSLContext, version: ssl.TLSVersion) -> ssl.SSLContext:
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = version
        return context

    def attempt(version: ssl.TLSVersion) -> None:
        if side == "client":
            tls.connect_in_memory(old(stdlib_client(), version), server(registrar))
        else:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(chain, key)
            tls.connect_in_memory(client(), old(context, version))

    with (
        pytest.warns(DeprecationWarning, match=r"TLSv1"),
        pytest.raises(ssl.SSLError, match=r"(?i)protocol"),
    ):
        attempt(ssl.TLSVersion.TLSv1_1)
    with pytest.warns(DeprecationWarning, match=r"TLSv1"):
        attempt(ssl.TLSVersion.TLSv1_2)


def test_cipher_without_forward_secrecy_is_refused(registrar: pki.Entity) -> None:
    """AES-CBC is not offered, AES-GCM over ECDHE is."""
    for ciphers, accepted in (("ECDHE-ECDSA-AES128-SHA", False), ("ECDHE+AESGCM", True)):
        context = stdlib_client()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(ciphers)
        if accepted:
            ends = tls.connect_in_memory(context, server(registrar))
            assert "GCM" in ends.server.cipher()[0]
            assert ends.server.compression() is None
        else:
            with pytest.raises(ssl.SSLError):
                tls.connect_in_memory(context, server(registrar))


def test_client_certificate_is_asked_for_without_names_of_cas(registrar: pki.Entity) -> None:
    """A pledge whose client filters by CA names would send nothing otherwise."""
    context = stdlib_client()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    requests: list[bytes] = []
    bios = [ssl.MemoryBIO() for _ in range(4)]
    ends = tls.Ends(
        context.wrap_bio(bios[0], bios[1]),
        server(registrar).wrap_bio(bios[2], bios[3], server_side=True),
        *bios,
    )
    with pytest.raises(ssl.SSLWantReadError):
        ends.client.do_handshake()
    ends.move()
    with pytest.raises(ssl.SSLWantReadError):
        ends.server.do_handshake()
    flight, at = ends.server_out.read(), 0
    while at < len(flight):
        length = int.from_bytes(flight[at + 3 : at + 5], "big")
        if flight[at + 5] == 13:  # CertificateRequest
            requests.append(flight[at + 5 : at + 5 + length])
        at += 5 + length
    (request,) = requests
    assert request.endswith(b"\x00\x00")  # an empty list of names


def test_client_is_not_asked_where_that_is_switched_off(registrar: pki.Entity) -> None:
    """A server that wants no certificate gets none."""
    ends = tls.connect_in_memory(client(CLIENTS["oem-chain"]), server(registrar, ask_client=False))
    assert ends.server.peer_chain() == ()
    assert ends.server.getpeercert() is None


# -- channel bindings


@pytest.mark.requirement("ESTS-20")
@both_versions
def test_channel_binding_is_the_same_at_both_ends_and_new_each_time(
    registrar: pki.Entity, version: str
) -> None:
    """tls-unique on 1.2, the exporter on 1.3."""
    first, second = (
        tls.connect_in_memory(client(CLIENTS["oem-chain"]), server(registrar, version))
        for _ in range(2)
    )
    binding = first.client.channel_binding()
    assert binding == first.server.channel_binding() != second.server.channel_binding()
    assert len(binding) == (12 if version == "TLSv1.2" else 32)
    exported = first.client.get_channel_binding("tls-exporter")
    assert exported == first.server.get_channel_binding("tls-exporter")
    assert len(exported) == 32
    if version == "TLSv1.3":
        assert first.client.get_channel_binding("tls-unique") is None
        assert first.server.get_channel_binding() is None


@pytest.mark.requirement("ESTS-20")
def test_tls_unique_is_what_the_standard_library_says(registrar: pki.Entity) -> None:
    """An independent reading of "the first Finished message"."""
    context = stdlib_client()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    ends = tls.connect_in_memory(context, server(registrar))
    assert ends.client.get_channel_binding("tls-unique") == ends.server.channel_binding()


def test_other_channel_binding_is_a_fault_of_the_caller(registrar: pki.Entity) -> None:
    """As the standard library has it."""
    ends = tls.connect_in_memory(client(), server(registrar))
    with pytest.raises(ValueError, match="tls-server-end-point"):
        ends.server.get_channel_binding("tls-server-end-point")


# -- octets


@both_versions
@pytest.mark.parametrize("size", [0, 1, 16384, 16385, 1_000_000])
def test_octets_arrive_as_they_were_sent(registrar: pki.Entity, version: str, size: int) -> None:
    """Both ways, records and their borders."""
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    ends = tls.connect_in_memory(client(), server(registrar, version))
    assert ends.send(ends.client, ends.server, data) == data
    assert ends.send(ends.server, ends.client, data) == data


def test_pending_tells_of_whole_records(registrar: pki.Entity) -> None:
    """uvloop reads on only as long as there may be something: two records in one segment."""
    ends = tls.connect_in_memory(client(), server(registrar))
    with pytest.raises(ssl.SSLWantReadError):
        ends.server.read()
    for data in (b"one", b"two"):
        ends.client.write(data)
    ends.move()
    assert ends.server.read() == b"one"
    assert ends.server.pending()
    assert ends.server.read() == b"two"
    assert not ends.server.pending()
    with pytest.raises(ssl.SSLWantReadError):
        ends.server.read()


@both_versions
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    messages=st.lists(st.sampled_from([1, 2, 100, 16384, 16385, 40000]), max_size=6),
    steps=st.lists(st.sampled_from([1, 4, 5, 6, 21, 1000, 16384, 16406, 70000]), min_size=1),
    asked=st.lists(st.sampled_from([1, 100, 16383, 16384, 65536]), min_size=1),
)
def test_who_reads_only_while_something_is_pending_misses_nothing(
    registrar: pki.Entity,
    version: str,
    messages: list[int],
    steps: list[int],
    asked: list[int],
) -> None:
    """However records and segments are cut, and however little is asked for; the end as well."""
    ends = tls.connect_in_memory(client(), server(registrar, version))
    sent = b"".join(bytes([number]) * size for number, size in enumerate(messages))
    view = memoryview(sent)
    while view:
        view = view[ends.client.write(view) :]
    with pytest.raises(ssl.SSLWantReadError):
        ends.client.unwrap()
    wire, received, closed = ends.client_out.read(), b"", False
    sizes, asks = cycle(steps), cycle(asked)
    if len(wire) > 5000:
        sizes = cycle([max(1000, step) for step in steps])
        asks = cycle([max(1000, size) for size in asked])
    while wire:
        step = next(sizes)
        ends.server_in.write(wire[:step])
        wire = wire[step:]
        with suppress(ssl.SSLWantReadError):
            while not closed and (ends.server_in.pending or ends.server.pending()):
                octets = ends.server.read(next(asks))
                received, closed = received + octets, not octets
    assert received == sent
    assert closed


def test_read_fills_a_buffer_that_is_given(registrar: pki.Entity) -> None:
    """What buffered protocols use; end of stream is 0 there and empty octets here."""
    ends = tls.connect_in_memory(client(), server(registrar))
    buffer = bytearray(8)
    ends.client.write(b"octets")
    ends.move()
    assert ends.server.read(8, buffer) == 6
    assert buffer[:6] == b"octets"
    with pytest.raises(ssl.SSLWantReadError):
        ends.client.unwrap()
    ends.move()
    assert ends.server.read(8, buffer) == 0
    assert ends.server.read(8) == b""


def test_close_notify_goes_both_ways(registrar: pki.Entity) -> None:
    """unwrap waits for the peer's and ends when it has come."""
    ends = tls.connect_in_memory(client(), server(registrar))
    for end in (ends.client, ends.server):
        try:
            end.unwrap()
        except ssl.SSLWantReadError:
            ends.move()
    ends.move()
    ends.client.unwrap()
    ends.server.unwrap()


def test_cut_connection_is_no_clean_end(registrar: pki.Entity) -> None:
    """TCP's end without close_notify could be an attacker's truncation."""
    ends = tls.connect_in_memory(client(), server(registrar))
    ends.server_in.write_eof()
    with pytest.raises(ssl.SSLEOFError):
        ends.server.read()


@pytest.mark.parametrize("octets", [b"GET / HTTP/1.1\r\n\r\n", bytes(100), b"\x16\x03\x01\xff\xff"])
def test_octets_that_are_no_tls_end_the_handshake(registrar: pki.Entity, octets: bytes) -> None:
    """As an SSLError, which loops take for the peer's fault and do not shout about."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    end = server(registrar).wrap_bio(incoming, outgoing, server_side=True)
    incoming.write(octets)
    with pytest.raises(ssl.SSLError) as caught:
        end.do_handshake()
    assert caught.value.reason or isinstance(caught.value, ssl.SSLWantReadError)


# -- names and contexts


@pytest.mark.requirement("TLS-4", "TLS-5")
@pytest.mark.parametrize(
    ("send_sni", "host", "expected"),
    [
        (False, "registrar.example.com", None),
        (True, "registrar.example.com", "registrar.example.com"),
        (True, "192.0.2.1", None),
        (True, "2001:db8::1", None),
        (True, "", None),
    ],
)
def test_client_names_its_host_only_when_told_and_never_an_address(
    registrar: pki.Entity, send_sni: bool, host: str, expected: str | None, tmp_path: Path
) -> None:
    """A pledge knows only an address; RFC 6066 §3 allows names alone."""
    chain, key = tls.write_entity(tmp_path, "registrar", registrar)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    seen: list[str | None] = []
    context.sni_callback = lambda _object, name, _context: seen.append(name)
    tls.connect_in_memory(client(send_sni=send_sni), context, server_hostname=host)
    assert seen == [expected]


@pytest.mark.requirement("TLS-5")
def test_server_ignores_any_name(registrar: pki.Entity) -> None:
    """A random SNI gets the same certificate."""
    ends = tls.connect_in_memory(
        client(send_sni=True), server(registrar), server_hostname="stranger.example.net"
    )
    assert ends.client.peer_chain() == registrar.chain


def test_http_1_1_is_selected_where_it_is_offered(registrar: pki.Entity) -> None:
    """And a client that offers none, or only others, is served all the same."""
    for offered, selected in ((["h2", "http/1.1"], "http/1.1"), (["h2"], None), ([], None)):
        context = stdlib_client()
        if offered:
            context.set_alpn_protocols(offered)
        ends = tls.connect_in_memory(context, server(registrar))
        assert ends.server.selected_alpn_protocol() == selected


@pytest.mark.parametrize(
    "misuse",
    [
        lambda c: c.wrap_socket(None),
        lambda c: c.load_cert_chain("cert.pem"),
        lambda c: c.set_ciphers("ALL"),
        lambda c: c.load_verify_locations(cadata=b""),
        lambda c: c.load_default_certs(),
        lambda c: c.set_alpn_protocols(["h2"]),
    ],
)
def test_settings_that_would_be_ignored_are_refused(
    registrar: pki.Entity, misuse: Callable[[Any], object]
) -> None:
    """The standard context underneath takes no part in TLS: setting it must not look effective."""
    with pytest.raises(TypeError, match="when it is made"):
        misuse(server(registrar))


def test_context_is_for_one_side(registrar: pki.Entity) -> None:
    """A server's context for a client's connection is a fault of ours, found at once."""
    bios = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ValueError, match="one side"):
        server(registrar).wrap_bio(*bios)
    with pytest.raises(ValueError, match="one side"):
        client().wrap_bio(*bios, server_side=True)


def test_key_of_another_certificate_is_refused(registrar: pki.Entity) -> None:
    """When the context is made, not at the first handshake."""
    with pytest.raises(KeyUnusable, match="no use for TLS"):
        server_context(registrar.chain, pki.make_key())
    with pytest.raises(KeyUnusable, match="needs its certificate"):
        server_context((), registrar.private_key)
    with pytest.raises(KeyUnusable, match="needs its private key"):
        provisional_context(registrar.chain)


def test_server_takes_files(registrar: pki.Entity, tmp_path: Path) -> None:
    """PEM chain, and a key that only its owner can read."""
    chain, key = tls.write_entity(tmp_path, "registrar", registrar)
    ends = tls.connect_in_memory(client(), server_context(chain, key))
    assert ends.client.peer_chain() == registrar.chain
    key.chmod(0o644)
    with pytest.raises(KeyUnusable, match="mode 0644"):
        server_context(chain, key)
    with pytest.raises(FileUnusable):
        server_context(tmp_path / "none.pem", key)


class Transport:
    """What of a transport the server's helpers look at."""

    def __init__(self, ssl_object: object) -> None:
        self.ssl_object = ssl_object

    def get_extra_info(self, name: str) -> object:
        return self.ssl_object if name == "ssl_object" else None


def test_connection_over_another_context_is_not_a_client_without_certificate(
    registrar: pki.Entity,
) -> None:
    """Plain TCP, a standard context, another owner's: WrongContext, never an empty chain."""
    owner, other = object(), object()
    ends = tls.connect_in_memory(client(), server(registrar, owner=owner))
    transport: Any = Transport(ends.server)
    assert connection_of(transport, owner) is connection_of(transport) is ends.server
    assert peer_chain(transport, owner) == ()
    with pytest.raises(WrongContext, match="another listener"):
        peer_chain(transport, other)
    for wrong in (None, Transport(None), Transport(object())):
        unknown: Any = wrong
        with pytest.raises(WrongContext, match="not come over"):
            peer_chain(unknown)


# -- clients that verify


def _server_of(entity: pki.Entity) -> VerifyLaterContext:
    return server_context(entity.chain, entity.private_key)


@pytest.mark.requirement("REG-12", "TLS-6", "TLS-8")
@pytest.mark.parametrize(
    ("host", "names", "addresses", "accepted"),
    [
        ("masa.example.com", ["masa.example.com"], [], True),
        ("other.example.com", ["masa.example.com"], [], False),
        ("a.example.com", ["*.example.com"], [], True),
        ("a.b.example.com", ["*.example.com"], [], False),
        ("masa1.example.com", ["masa*.example.com"], [], False),
        ("127.0.0.1", [], ["127.0.0.1"], True),
        ("127.0.0.2", [], ["127.0.0.1"], False),
        ("127.0.0.1", ["127.0.0.1"], [], False),
        ("common.example.com", ["masa.example.com"], [], False),
        ("common.example.com", [], [], False),
    ],
)
def test_server_is_known_by_dns_id_or_ip_id_alone(
    domain: pki.Entity, host: str, names: list[str], addresses: list[str], accepted: bool
) -> None:
    """RFC 9525: no common name, a wildcard only as the whole leftmost label."""
    san = [x509.DNSName(name) for name in names]
    ips = [x509.IPAddress(ip_address(address)) for address in addresses]
    extra = [(x509.SubjectAlternativeName([*san, *ips]), False)] if san or ips else []
    entity = pki.certify(pki.common_name("common.example.com"), issuer=domain, extra=extra)
    context = https_client_context([entity.root])
    if accepted:
        tls.connect_in_memory(context, _server_of(entity), server_hostname=host)
    else:
        with pytest.raises(ssl.SSLCertVerificationError, match=r"(?i)mismatch"):
            tls.connect_in_memory(context, _server_of(entity), server_hostname=host)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_any_certificate_of_the_chain_may_be_the_anchor(domain: pki.Entity, index: int) -> None:
    """Root, sub-CA or the server's own; a stranger's root is none."""
    entity = pki.make_server(domain)
    context = https_client_context([entity.chain[index]])
    tls.connect_in_memory(context, _server_of(entity), server_hostname="masa.example.com")
    for anchors in ([pki.make_root().certificate], []):
        with pytest.raises(ssl.SSLCertVerificationError):
            tls.connect_in_memory(
                https_client_context(anchors),
                _server_of(entity),
                server_hostname="masa.example.com",
            )


def test_verifying_client_shows_its_certificate(domain: pki.Entity, tmp_path: Path) -> None:
    """The registrar's, from its files; to a server of ours it is an ordinary peer."""
    entity, registrar = pki.make_server(domain), pki.make_registrar(domain)
    chain, key = tls.write_entity(tmp_path, "registrar", registrar)
    context = https_client_context([entity.root], client_chain=chain, client_key=key)
    ends = tls.connect_in_memory(context, _server_of(entity), server_hostname="masa.example.com")
    assert ends.server.peer_chain() == registrar.chain


def test_half_a_client_identity_is_refused(domain: pki.Entity, tmp_path: Path) -> None:
    """Key without certificate, certificate without key, or two that do not fit."""
    chain, key = tls.write_entity(tmp_path, "one", pki.make_registrar(domain))
    _, other_key = tls.write_entity(tmp_path, "two", pki.make_registrar(domain))
    for arguments in ({"client_chain": chain}, {"client_key": key}):
        with pytest.raises(KeyUnusable, match="needs its"):
            https_client_context([domain.root], **arguments)
    with pytest.raises(KeyUnusable, match=r"(?i)mismatch"):
        https_client_context([domain.root], client_chain=chain, client_key=other_key)
    key.chmod(0o640)
    with pytest.raises(KeyUnusable, match="mode 0640"):
        https_client_context([domain.root], client_chain=chain, client_key=key)


def test_system_store_is_used_only_when_asked(domain: pki.Entity) -> None:
    """None takes it; a list, however short, does not."""
    assert https_client_context([domain.root]).cert_store_stats()["x509"] == 1
    assert https_client_context([]).cert_store_stats()["x509"] == 0
    assert https_client_context(None).verify_mode == ssl.CERT_REQUIRED
    assert https_client_context(None).check_hostname is True
