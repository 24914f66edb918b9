"""What ``brski-lab inspect`` tells, beside what OpenSSL tells of the same file."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from brski.voucher.cms import CMS
from brski.voucher.yang_json import encode_voucher_request
from brski_lab.inspecting.asn1 import Node, outline
from tests.conftest import require_program
from tests.kit import pki
from tests.kit.voucher import pledge_request
from tests.unit.lab.inspecting.looking import fact, the_artifact

OEM = pki.make_pki("Example OEM")
IDEVID = pki.make_idevid(OEM)
REGISTRAR = pki.make_registrar(pki.make_root())
MESSAGE = CMS.sign(
    encode_voucher_request(pledge_request(REGISTRAR)),
    IDEVID.signer,
    certificates=(IDEVID.certificate,),
    signing_time=pki.NOW,
)


@pytest.fixture(scope="module")
def openssl() -> str:
    return require_program("openssl", package="openssl")


def told(openssl: str, *arguments: str, octets: bytes) -> str:
    done = subprocess.run([openssl, *arguments], input=octets, capture_output=True, check=True)
    return (done.stdout + done.stderr).decode()


@pytest.mark.parametrize("entity", [IDEVID, REGISTRAR, OEM], ids=["idevid", "registrar", "ca"])
def test_certificates(openssl: str, entity: pki.Entity) -> None:
    """Names, numbers, fingerprint and dates are the same."""
    described = the_artifact(entity.der)
    text = told(
        openssl,
        *("x509", "-inform", "DER", "-noout", "-serial", "-fingerprint", "-sha256", "-enddate"),
        *("-dateopt", "iso_8601"),
        octets=entity.der,
    )
    found = dict(line.split("=", 1) for line in text.splitlines())
    number = str(fact(described, "certificate serial number"))
    assert int(found["serial"], 16) == int(number, 16)
    fingerprint = next(value for name, value in found.items() if "ingerprint" in name)
    assert fingerprint.replace(":", "").lower() == fact(described, "SHA-256")
    assert found["notAfter"].replace(" ", "T") == fact(described, "not after")


def test_a_message(openssl: str) -> None:
    """Content type, digest and signature algorithm, version, signing time."""
    described = the_artifact(MESSAGE)
    text = told(openssl, "cms", "-cmsout", "-print", "-inform", "DER", octets=MESSAGE)
    assert "1.2.840.113549.1.9.16.1.40" in text
    assert fact(described, "content type") == "id-ct-animaJSONVoucher"
    assert re.search(r"d\.signedData:\s+version: 3", text)
    assert fact(described, "version") == 3
    algorithm = fact(described, "signer", "signature algorithm")
    assert f"algorithm: {algorithm}" in text
    number = int(str(fact(described, "signer", "certificate serial number")), 16)
    assert f"serialNumber: 0x{number:X}" in text or f"serialNumber: {number}" in text


def test_every_element_of_a_message(openssl: str) -> None:
    """The reader of ASN.1 sees what asn1parse sees, at the same offsets."""
    text = told(openssl, "asn1parse", "-inform", "DER", octets=MESSAGE)
    expected = [int(line.split(":", 1)[0]) for line in text.splitlines()]
    from_us = []

    def walk(nodes: list[Node]) -> None:
        for node in nodes:
            from_us.append(node.start)
            walk(node.children)

    walk(outline(MESSAGE).nodes)
    assert from_us == expected


def test_a_truncated_message(tmp_path: Path, openssl: str) -> None:
    """Where asn1parse gives up, we do."""
    path = tmp_path / "cut"
    path.write_bytes(MESSAGE[:-40])
    done = subprocess.run(
        [openssl, "asn1parse", "-inform", "DER", "-in", path], capture_output=True, check=False
    )
    assert done.returncode != 0
    assert the_artifact(MESSAGE[:-40]).stop is not None
