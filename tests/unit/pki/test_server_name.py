"""Whether a certificate is for the host that was asked for."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from brski.pki.server_name import names_server
from tests.kit import pki
from tests.kit.programs import require_program

HOST = "est.example.com"


def naming(*names: str, addresses: Sequence[str] = ()) -> x509.Certificate:
    entries: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    entries += [x509.IPAddress(ip_address(address)) for address in addresses]
    extra = [(x509.SubjectAlternativeName(entries), False)] if entries else []
    return pki.certify(pki.common_name(HOST), extra=extra).certificate


@pytest.mark.requirement("TLS-8")
@pytest.mark.parametrize(
    "names",
    [(HOST,), ("EST.Example.COM",), ("other.example.com", HOST), ("*.example.com",)],
)
def test_names_that_fit(names: tuple[str, ...]) -> None:
    """Whole, in any case; a wildcard for the whole leftmost label."""
    assert names_server(naming(*names), HOST)
    assert names_server(naming(*names), "EST.example.com.")


@pytest.mark.requirement("TLS-8")
@pytest.mark.parametrize(
    "names",
    [
        (),  # the common name alone
        ("example.com",),
        ("est.example.com.evil.example",),
        ("*.com",),
        ("*",),
        ("*.*.com",),
        ("e*.example.com",),
        ("*st.example.com",),
        ("est.*.com",),
        ("*.est.example.com",),
        ("",),
        ("est..com",),
    ],
)
def test_names_that_do_not_fit(names: tuple[str, ...]) -> None:
    """No part of a label, no label elsewhere, nothing right below the top."""
    assert not names_server(naming(*names), HOST)


@pytest.mark.requirement("TLS-8")
def test_a_wildcard_stands_for_one_label() -> None:
    """Not for two, and not for none."""
    certificate = naming("*.example.com")
    assert not names_server(certificate, "a.b.example.com")
    assert not names_server(certificate, "example.com")
    assert not names_server(certificate, ".example.com")
    assert not names_server(naming("*.com"), "example.com")


@pytest.mark.requirement("TLS-8")
def test_addresses_and_names_are_two_things() -> None:
    """An address as a dNSName is a name, and no address; spelling of an address does not count."""
    assert names_server(naming(addresses=["192.0.2.7"]), "192.0.2.7")
    assert names_server(naming(addresses=["2001:db8::7"]), "2001:0DB8:0:0::7")
    assert not names_server(naming("192.0.2.7"), "192.0.2.7")
    assert not names_server(naming(HOST, addresses=["192.0.2.7"]), "192.0.2.8")
    assert not names_server(naming(addresses=["192.0.2.7"]), HOST)


@pytest.mark.parametrize(
    ("name", "host"),
    [
        (HOST, HOST),
        ("*.example.com", HOST),
        ("*.example.com", "example.com"),
        ("*.example.com", "a.b.example.com"),
        ("est.*.com", HOST),
        ("*.com", "example.com"),
    ],
)
def test_openssl_judges_alike(tmp_path: Path, name: str, host: str) -> None:
    """`openssl verify -verify_hostname` takes what we take."""
    openssl = require_program("openssl", package="openssl")
    certificate = naming(name)
    path = tmp_path / "server.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    options = ("-CAfile", path, "-partial_chain", "-verify_hostname", host)
    told = subprocess.run([openssl, "verify", *options, path], capture_output=True, check=False)
    assert (told.returncode == 0) is names_server(certificate, host), told.stderr
