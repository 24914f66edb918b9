"""The TLS engine: names and contexts."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brski.edge.tls_client import provisional_context
from brski.edge.tls_server import connection_of, peer_chain, server_context
from brski.errors import FileUnusable, KeyUnusable, WrongContext
from tests.kit import pki, tls
from tests.unit.edge.tls_ends import client, domain, registrar, server, stdlib_client

__all__ = ["domain", "registrar"]


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
