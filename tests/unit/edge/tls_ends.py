"""Contexts and certificates that the tests of the TLS engine share."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from brski.edge.tls_client import provisional_context
from brski.edge.tls_engine import TLS_1_2, TLS_1_3, VerifyLaterContext
from brski.edge.tls_server import server_context
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
