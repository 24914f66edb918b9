"""Every published vector: what it is told to be, and what is odd about it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from brski.errors import UnknownFormat
from brski_lab.inspecting import sids
from brski_lab.inspecting.secret import SecretNotShown
from tests.unit.lab.inspecting.looking import fact, look, odd, the_artifact

NAME = "00-D0-E5-F2-00-02"

ID_DATA = "content type id-data"
URL_NONCE = "nonce: not base64"
SHOWN = [
    (f"rfc8995-appC/vr_{NAME}.b64", "voucher-request", [ID_DATA, URL_NONCE, "line feed at its"]),
    (f"rfc8995-appC/vr_{NAME}.pkcs", "voucher-request", [ID_DATA, "without authorityKey"]),
    (
        f"rfc8995-appC/vr_{NAME}.json",
        "voucher-request",
        ["nobody has signed it", "Invalid control character"],
    ),
    (
        f"rfc8995-appC/parboiled_vr_{NAME}.b64",
        "voucher-request",
        ["registrar's request without idevid-issuer", "prior-signed-voucher-request: content type"],
    ),
    (f"rfc8995-appC/parboiled_{NAME}.b64", "voucher-request", [ID_DATA]),
    (f"rfc8995-appC/voucher_{NAME}.b64", "voucher", [ID_DATA, "CMSVersion 1", URL_NONCE]),
    (
        f"rfc8995-appC/idevid_{NAME}.crt",
        "certificate",
        ["not after is not 99991231235959Z", "without authorityKeyIdentifier"],
    ),
    ("rfc8995-appC/jrc_prime256v1.crt", "certificate", ["without id-kp-serverAuth"]),
    ("rfc8995-appC/vendor.crt", "certificate", []),
    ("rfc8995-appC/server_secp256k1.crt", "certificate", ["public key is not P-256"]),
    (f"rfc8366bis-cms/vr_{NAME}.b64", "voucher-request", [ID_DATA, URL_NONCE]),
    (f"rfc8366bis-cms/voucher_{NAME}.pkcs", "voucher", [ID_DATA]),
    (f"rfc8366bis-cms/vendor-{NAME}.crt", "certificate", []),
    ("jws-voucher/draft16_pvr.json", "voucher-request", ["no program here takes it yet"]),
    ("jws-voucher/draft16_rvr.json", "voucher-request", ["no program here takes it yet"]),
    ("jws-voucher/draft16_voucher.json", "voucher", ["no program here takes it yet"]),
    ("jws-voucher/voucher_01.b64", "voucher", ["compact serialization"]),
    ("cbrski-cose/pvr.hex", "voucher-request", ["COSE: no program here takes it yet"]),
    ("cbrski-cose/pvr-nonsigned.hex", "voucher-request", ["nobody has signed it"]),
    ("cbrski-cose/rvr.hex", "voucher-request", ["prior-signed-voucher-request: COSE"]),
    ("cbrski-cose/voucher.hex", "voucher", ["COSE: no program here takes it yet"]),
    ("cbrski-cose/voucher-nonsigned.hex", "voucher", ["nobody has signed it"]),
    ("cbrski-cose/pledge.hex", "certificate", ["not after is not 99991231235959Z"]),
    ("cbrski-cose/registrar.pem", "certificate", []),
    ("csrattrs-rfc9908/harkins01.csrattr.b64", "CSR attributes", []),
    ("csrattrs-rfc9908/realistic-acp.csrattr.der", "CSR attributes", []),
    ("csrattrs-rfc9908/rfc7030-sec4.5.2.csrattr.b64", "CSR attributes", []),
    (
        "idevid-samples/idevid1-example.der",
        "certificate",
        ["IDevID with keyUsage", "without MASA-URL"],
    ),
    ("idevid-samples/cisco-sudi1/sudi.pem", "certificate", ["IDevID with keyUsage"]),
    (
        "telemetry-json/example-auditlog.json",
        "audit log",
        [
            "version is text",
            "counter 'nonceless duplicates' is text",
            "event 1: counter 'truncated' is text",
            "the log leaves events out",
        ],
    ),
    ("telemetry-json/example-telemetry.json", "status report", []),
    ("telemetry-json/example-enrollstatus.json", "status report", []),
    ("telemetry-json/example-voucher.json", "voucher", ["no created-on"]),
]


@pytest.mark.parametrize(("name", "kind", "findings"), SHOWN)
def test_a_vector_is_told_by_its_content(
    vectors: Path, name: str, kind: str, findings: list[str]
) -> None:
    """Under any name: only the octets are looked at."""
    octets = (vectors / name).read_bytes()
    assert the_artifact(octets).kind == kind
    assert the_artifact(octets).stop is None
    found = odd(octets)
    for text in findings:
        assert text in found
    if not findings:
        assert "RFC 8995" not in found


@pytest.mark.parametrize(
    "name",
    [
        "rfc8995-appC/vendor.key",
        "rfc8995-appC/jrc_prime256v1.key",
        f"rfc8366bis-cms/{NAME}.pem",
        f"rfc8366bis-cms/vendor-{NAME}.pem",
        "cbrski-cose/keys/privkey_pledge.pem",
    ],
)
def test_a_published_private_key_is_not_shown(vectors: Path, name: str) -> None:
    """Published or not."""
    with pytest.raises(SecretNotShown):
        look((vectors / name).read_bytes())


@pytest.mark.parametrize("name", ["INDEX.md", "cbrski-cose/pvr.txt", "cbrski-cose/masa.txt"])
def test_others_are_not_recognised(vectors: Path, name: str) -> None:
    """Prose, CBOR in diagnostic notation, what openssl prints."""
    with pytest.raises(UnknownFormat):
        look((vectors / name).read_bytes())


@pytest.mark.requirement("VR-10")
def test_a_constrained_request_is_seen_through(vectors: Path) -> None:
    """Keys by their names, the 26 octets of idevid-issuer, the pledge's request inside."""
    described = the_artifact((vectors / "cbrski-cose/rvr.hex").read_bytes())
    assert fact(described, "algorithm") == "ES256"
    assert fact(described, "document", "idevid-issuer", "octets") == 26
    assert fact(described, "document", "assertion") == "proximity"
    prior = fact(described, "document", "prior-signed-voucher-request", "document")
    assert isinstance(prior, dict)
    assert prior["serial-number"] == fact(described, "document", "serial-number")
    assert "proximity-registrar-pubk" in prior
    certificates = fact(described, "certificates")
    assert isinstance(certificates, list)
    assert len(certificates) == 2


@pytest.mark.parametrize("name", ["ietf-voucher", "ietf-voucher-request"])
def test_the_numbers_are_the_published_ones(vectors: Path, name: str) -> None:
    """Each leaf of the module's .sid file has its key here."""
    text = (vectors / f"sid-yang-cddl/{name}-sid.txt").read_text()
    container = 2451 if name == "ietf-voucher" else 2501
    found = re.findall(r"(\d{4}) +data +/[a-z-]+:voucher/([a-z0-9-]+)", text)
    assert len(found) in (15, 22)
    for sid, leaf in found:
        document = sids.as_json({container: {int(sid) - container: "x"}})
        assert document is not None
        assert list(next(iter(json.loads(document).values()))) == [leaf]


@pytest.mark.requirement("VR-12")
def test_the_appendix_c_request_is_seen_through(vectors: Path) -> None:
    """The pledge's request inside of the registrar's, its signature, and whose it is."""
    octets = (vectors / f"rfc8995-appC/parboiled_vr_{NAME}.b64").read_bytes()
    described = the_artifact(octets)
    assert fact(described, "signature") == "holds under the enclosed certificate, whosever that is"
    prior = fact(described, "document", "prior-signed-voucher-request")
    assert isinstance(prior, dict)
    assert prior["kind"] == "voucher-request"
    assert prior["signature"] == fact(described, "signature")
    assert fact(described, "document", "nonce", "as spelt") == "-_XE9zK9q8Ll1qylMtLKeg"
    assert fact(described, "certificates", 0, "role") == "registrar"
    assert fact(described, "certificates", 1, "role") == "CA"
