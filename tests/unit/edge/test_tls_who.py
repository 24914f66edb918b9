"""The TLS engine: who gets in, and as whom."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from brski.edge.tls_client import provisional_context
from brski.errors import KeyUnusable, Malformed, TooLarge
from tests.kit import pki, tls
from tests.unit.edge.tls_ends import (
    CLIENTS,
    both_versions,
    client,
    domain,
    flipped,
    registrar,
    server,
    stdlib_client,
)

__all__ = ["domain", "registrar"]


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
