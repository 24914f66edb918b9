"""The CMS artifacts of RFC 8995 Appendix C and of rfc8366bis, at their date.

All of them have the content type id-data, CMSVersion 1 and a nonce in base64url: they need the
interoperability switch, and are refused without, for each of these reasons.
"""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from brski.errors import ChainInvalid, Malformed, PinMismatch, SignatureInvalid, UnknownFormat
from brski.pki import keys
from brski.pki.chain import TrustAnchors
from brski.pki.extensions import domain_id, idevid_issuer_of, masa_url
from brski.pki.names import device_serial_number
from brski.voucher import rules
from brski.voucher.cms import CMS, SignedCMS
from brski.voucher.model import Assertion
from brski.voucher.signers import signer_chain
from brski.voucher.yang_json import decode_voucher, decode_voucher_request
from tests.kit.voucher import LENIENT

NAME = "00-D0-E5-F2-00-02"
NONCE = "-_XE9zK9q8Ll1qylMtLKeg"
SIGNED = (
    "rfc8995-appC/vr",
    "rfc8995-appC/parboiled_vr",
    "rfc8995-appC/parboiled",
    "rfc8995-appC/voucher",
    "rfc8366bis-cms/vr",
    "rfc8366bis-cms/voucher",
)


def message(vectors: Path, name: str) -> bytes:
    """DER of ``name_00-D0-E5-F2-00-02.b64``."""
    return base64.b64decode((vectors / f"{name}_{NAME}.b64").read_bytes())


def certificate(vectors: Path, name: str) -> x509.Certificate:
    """The one certificate of ``name.crt``."""
    (found,) = keys.parse_pem_certificates((vectors / f"{name}.crt").read_bytes())
    return found


def opened(vectors: Path, name: str) -> SignedCMS:
    """Opened, and verified under the enclosed certificate of its signer."""
    signed = LENIENT.open(message(vectors, name))
    signer = signed.signer_certificate()
    assert signer is not None
    signed.verify(keys.public_key_of_certificate(signer))
    return signed


@pytest.mark.requirement("CMS-3", "CMS-6", "CMS-9")
@pytest.mark.parametrize("name", SIGNED)
def test_signatures_verify_with_the_switch_and_not_without(vectors: Path, name: str) -> None:
    """The enclosed signer's key made the signature; strictly read it is not spoken here."""
    signed = opened(vectors, name)
    assert signed.signing_time is not None
    with pytest.raises(UnknownFormat, match="id-ct-animaJSONVoucher"):
        CMS.open(message(vectors, name))


@pytest.mark.parametrize("name", SIGNED)
def test_an_altered_example_does_not_verify(vectors: Path, name: str) -> None:
    """One character of the payload."""
    octets = message(vectors, name)
    signed = opened(vectors, name)
    signer = signed.signer_certificate()
    assert signer is not None
    altered = LENIENT.open(octets.replace(b'"serial-number":"00', b'"serial-number":"01', 1))
    assert altered.payload != signed.payload
    with pytest.raises(SignatureInvalid):
        altered.verify(keys.public_key_of_certificate(signer))


@pytest.mark.requirement("VR-1", "VR-2", "VR-3")
@pytest.mark.parametrize("name", [name for name in SIGNED if not name.endswith("parboiled")])
def test_documents_are_read_with_the_nonce_as_spelt(vectors: Path, name: str) -> None:
    """Their nonces are base64url: refused strictly, and kept unchanged otherwise."""
    signed = opened(vectors, name)
    of_voucher = name.endswith("voucher")
    document = signed.voucher() if of_voucher else signed.voucher_request()
    (body,) = json.loads(signed.payload).values()
    assert document.serial_number == NAME
    assert document.nonce == body["nonce"]
    decode = decode_voucher if of_voucher else decode_voucher_request
    with pytest.raises(Malformed, match="nonce"):
        decode(signed.payload)


@pytest.mark.requirement("CMS-12", "PL-9", "PL-10", "REG-3", "REG-4")
def test_appendix_c_pledge_request(vectors: Path) -> None:
    """Made by the IDevID, which leads to the vendor at that date, and by a pledge that saw the
    registrar."""
    signed = opened(vectors, "rfc8995-appC/vr")
    idevid = signed.signer_certificate()
    assert idevid is not None
    issued_later = certificate(vectors, f"rfc8995-appC/idevid_{NAME}")  # for the same key
    assert keys.spki_of(idevid) == keys.spki_of(issued_later)
    vendor = TrustAnchors([certificate(vectors, "rfc8995-appC/vendor")])
    assert signed.signing_time == datetime(2021, 4, 13, 21, 43, 23, tzinfo=UTC)
    assert vendor.validate(idevid, [], at=signed.signing_time)[0] == idevid
    with pytest.raises(ChainInvalid):
        vendor.validate(idevid, [], at=datetime(2025, 6, 1, tzinfo=UTC))
    request = signed.voucher_request()
    assert request.created_on == datetime(2021, 4, 13, 21, 43, 23, 747000, tzinfo=UTC)
    assert masa_url(idevid) == "highway-test.example.com:9443"
    rules.check_pledge_request(
        request,
        serial_number=device_serial_number(idevid),
        registrar_certificate=certificate(vectors, "rfc8995-appC/jrc_prime256v1"),
    )


@pytest.mark.requirement("MASA-3", "MASA-6", "MASA-7", "VR-14", "VR-15")
def test_appendix_c_registrar_request(vectors: Path) -> None:
    """Made by the registrar under its domain's CA; the pledge's request is in it to the octet."""
    signed = opened(vectors, "rfc8995-appC/parboiled_vr")
    jrc = certificate(vectors, "rfc8995-appC/jrc_prime256v1")
    owner = certificate(vectors, "rfc8995-appC/ownerca_secp384r1")
    assert signer_chain(signed) == (jrc, owner)
    assert signed.signing_time is not None
    TrustAnchors([owner]).validate(jrc, [], at=signed.signing_time)
    request = signed.voucher_request()
    assert request.prior_signed_voucher_request == message(vectors, "rfc8995-appC/vr")
    assert request.proximity_registrar_cert is None
    assert request.idevid_issuer is None  # older than the erratum that asks for it
    prior = LENIENT.open(request.prior_signed_voucher_request)
    prior.verify(
        keys.public_key_of_certificate(certificate(vectors, f"rfc8995-appC/idevid_{NAME}"))
    )
    rules.check_prior_signed(request, prior.voucher_request(), signed.certificates)


@pytest.mark.requirement("REG-9", "VR-9", "VR-12")
def test_appendix_c_registrar_request_made_here(vectors: Path) -> None:
    """The same request as in the appendix, with the idevid-issuer that it lacks."""
    octets = message(vectors, "rfc8995-appC/vr")
    published = opened(vectors, "rfc8995-appC/parboiled_vr").voucher_request()
    assert published.created_on is not None
    idevid = certificate(vectors, f"rfc8995-appC/idevid_{NAME}")
    ours = rules.registrar_request(
        LENIENT.open(octets).voucher_request(),
        octets,
        serial_number=device_serial_number(idevid),
        idevid_issuer=idevid_issuer_of(idevid),
        created_on=published.created_on,
    )
    assert ours.idevid_issuer is not None
    assert ours.idevid_issuer.hex() == "041830168014" + "4588cc9696006437b0ba236564645408066c56ad"
    assert replace(ours, idevid_issuer=None) == published


@pytest.mark.requirement("PL-17", "PL-18", "PL-21", "PL-26", "AUD-5")
def test_appendix_c_voucher(vectors: Path) -> None:
    """Made by the MASA under the vendor; it answers the pledge's request and pins the registrar."""
    signed = opened(vectors, "rfc8995-appC/voucher")
    masa = certificate(vectors, "rfc8995-appC/masa")
    assert signed.signer_certificate() == masa
    assert signed.signing_time is not None
    vendor = TrustAnchors([certificate(vectors, "rfc8995-appC/vendor")])
    vendor.validate(masa, signed.certificates, at=signed.signing_time)
    voucher = signed.voucher()
    request = opened(vectors, "rfc8995-appC/vr").voucher_request()
    assert voucher.nonce == request.nonce == NONCE
    rules.check_voucher(
        voucher,
        request,
        idevid_issuer=None,
        now=signed.signing_time,
        acceptable=frozenset({Assertion.LOGGED}),
        allow_nonceless=False,
    )
    jrc = certificate(vectors, "rfc8995-appC/jrc_prime256v1")
    owner = certificate(vectors, "rfc8995-appC/ownerca_secp384r1")
    assert rules.find_pin(voucher, request, (jrc, owner), at=signed.signing_time) == jrc
    assert rules.find_pin(voucher, request, (jrc, owner), at=None) == jrc
    with pytest.raises(PinMismatch):
        rules.find_pin(voucher, request, (masa,), at=signed.signing_time)
    with pytest.raises(PinMismatch):
        rules.find_pin(voucher, request, (jrc, owner), at=signed.signing_time + timedelta(days=365))
    assert base64.b64encode(domain_id(jrc)) == b"Oy6w2vS8ar8m/FtEHuzs7sl7LSD3pW9yTCgCecoIL3M="


@pytest.mark.parametrize(("name", "signer"), [("vr", None), ("voucher", "masa")])
def test_rfc8366bis_examples_lead_to_the_vendor_of_appendix_c(
    vectors: Path, name: str, signer: str | None
) -> None:
    """The vendor certificate beside them is another one of that name, and does not do."""
    signed = opened(vectors, f"rfc8366bis-cms/{name}")
    found = signed.signer_certificate()
    assert found is not None
    assert signed.signing_time is not None
    vendor = certificate(vectors, "rfc8995-appC/vendor")
    TrustAnchors([vendor]).validate(found, signed.certificates, at=signed.signing_time)
    if signer is not None:
        assert found == certificate(vectors, f"rfc8995-appC/{signer}")


@pytest.mark.requirement("SEC-10")
def test_every_truncation_of_a_published_message_is_refused(vectors: Path) -> None:
    """The pledge's request of the appendix, cut at each octet."""
    octets = message(vectors, "rfc8995-appC/vr")
    for cut in range(len(octets)):
        with pytest.raises(Malformed):
            LENIENT.open(octets[:cut])


@pytest.mark.requirement("CMS-11")
@pytest.mark.parametrize("suffix", ["b64", "pkcs"])
def test_published_files_are_base64_and_pem_and_no_bodies(vectors: Path, suffix: str) -> None:
    """As they stand in the folder they are not what goes over the wire."""
    text = (vectors / f"rfc8995-appC/vr_{NAME}.{suffix}").read_bytes()
    with pytest.raises(Malformed, match="raw DER"):
        LENIENT.open(text)
