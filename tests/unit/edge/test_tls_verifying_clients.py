"""TLS clients that verify whom they talk to."""

from __future__ import annotations

import ssl
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509

from brski.edge.tls_client import https_client_context
from brski.edge.tls_engine import VerifyLaterContext
from brski.edge.tls_server import server_context
from brski.errors import KeyUnusable
from tests.kit import pki, tls
from tests.unit.edge.tls_ends import domain, registrar

__all__ = ["domain", "registrar"]


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
