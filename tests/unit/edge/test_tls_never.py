"""The TLS engine: what it never does."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from tests.kit import pki, tls
from tests.unit.edge.tls_ends import (
    CLIENTS,
    both_versions,
    client,
    domain,
    registrar,
    server,
    stdlib_client,
)

__all__ = ["domain", "registrar"]


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
