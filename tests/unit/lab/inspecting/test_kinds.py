"""Artifacts of our own: each is shown, nothing sound is found odd, and each oddity is."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from brski.errors import OnboardingError, TooLarge, UnknownFormat
from brski.est.certs_only import encode_certs_only
from brski.est.csr import build_csr
from brski.pki import cbor
from brski.pki.extensions import encode_idevid_issuer
from brski.pki.names import ldevid_subject
from brski.voucher.cms import CMS
from brski.voucher.yang_json import encode_voucher, encode_voucher_request
from brski_lab.inspecting.inspection import MOST_BLOCKS, inspect
from brski_lab.inspecting.secret import SecretNotShown
from device_client.identity.from_seed import encode_fuse
from tests.fuzz.seeds import CORPUS
from tests.kit import device, pki
from tests.kit.voucher import (
    IDEVID_ISSUER,
    cms,
    pledge_request,
    signer_info,
    voucher_for,
)
from tests.unit.lab.inspecting.looking import fact, look, odd, the_artifact

OEM = pki.make_pki("Example OEM")
IDEVID = pki.make_idevid(OEM)
DOMAIN = pki.make_root("Example Domain")
REGISTRAR = pki.make_registrar(DOMAIN)
MASA = pki.make_masa_signer(OEM)
REQUEST = pledge_request(REGISTRAR)
VOUCHER = voucher_for(REQUEST, DOMAIN)


def signed(payload: bytes, signer: pki.Entity) -> bytes:
    return CMS.sign(
        payload, signer.signer, certificates=(signer.certificate,), signing_time=pki.NOW
    )


def voucher_json(**leaves: Any) -> bytes:
    """A bare voucher document: the sound one with *leaves*; None takes one out."""
    document = json.loads(encode_voucher(VOUCHER))
    body = document["ietf-voucher:voucher"]
    for name, value in leaves.items():
        body.pop(name.replace("_", "-"), None)
        if value is not None:
            body[name.replace("_", "-")] = value
    return json.dumps(document).encode()


def request_json(**leaves: Any) -> bytes:
    """A bare voucher-request document, likewise."""
    document = json.loads(encode_voucher_request(REQUEST))
    body = document["ietf-voucher-request:voucher"]
    for name, value in leaves.items():
        body.pop(name.replace("_", "-"), None)
        if value is not None:
            body[name.replace("_", "-")] = value
    return json.dumps(document).encode()


# -- sound artifacts -------------------------------------------------------------------------------


def test_a_voucher_of_ours_has_nothing_odd() -> None:
    """Signed by the MASA; the signature is judged under the certificate that came with it."""
    octets = signed(encode_voucher(VOUCHER), MASA)
    described = the_artifact(octets)
    assert described.kind == "voucher"
    assert odd(octets) == ""
    assert fact(described, "content type") == "id-ct-animaJSONVoucher"
    assert fact(described, "document", "pinned-domain-cert", "role") == "CA"
    assert fact(described, "signer", "named by") == "issuer and serial number"


def test_a_request_without_its_signer_is_not_judged() -> None:
    """As an asserting device sends it."""
    octets = CMS.sign(encode_voucher_request(REQUEST), IDEVID.signer, name_by_key_identifier=True)
    described = the_artifact(octets)
    assert fact(described, "signature") == "not judged: the signer's certificate is not enclosed"
    assert fact(described, "signer", "certificate enclosed") is False
    altered = octets.replace(b"SN-0001", b"SN-0002")
    assert "messageDigest is not the payload's" in odd(altered)


def test_an_altered_signature_does_not_hold() -> None:
    """One octet of the payload, or of the signature."""
    octets = signed(encode_voucher(VOUCHER), MASA)
    for altered in (octets.replace(b"SN-0001", b"SN-0002"), octets[:-1] + bytes([octets[-1] ^ 1])):
        assert fact(the_artifact(altered), "signature") == "does not hold"


@pytest.mark.parametrize("label", ["CERTIFICATE", "ANYTHING"])
def test_armor_is_taken_off(label: str) -> None:
    """PEM with any label, base64, hex, and none: the same certificate."""
    der = IDEVID.der
    text = base64.encodebytes(der).decode()
    pem = f"-----BEGIN {label}-----\n{text}-----END {label}-----\n".encode()
    for octets, layers in (
        (der, ()),
        (pem, ("PEM",)),
        (b"Subject: a certificate\n" + pem, ("PEM",)),
        (base64.b64encode(der), ("base64",)),
        (base64.urlsafe_b64encode(der).rstrip(b"="), ("base64url",)),
        (der.hex().encode(), ("hex",)),
        (der.hex().upper().encode() + b"\n", ("hex",)),
    ):
        inspection = look(octets)
        assert inspection.layers in (layers, ("base64",) if layers == ("base64url",) else layers)
        assert fact(inspection.artifacts[0], "role") == "IDevID"


def test_a_chain_in_pem_is_several_artifacts() -> None:
    """In the order of the file."""
    pem = b"".join(
        entity.certificate.public_bytes(Encoding.PEM) for entity in (REGISTRAR, DOMAIN, IDEVID)
    )
    roles = [fact(each, "role") for each in look(pem).artifacts]
    assert roles == ["registrar", "CA", "IDevID"]


def test_an_enrollment_is_shown() -> None:
    """CSR and answer; a challengePassword is told of and not shown."""
    key = pki.KeySigner(pki.make_key())
    csr = build_csr(
        key, ldevid_subject("SN-0001", IDEVID_ISSUER), challenge_password="correct-horse"
    )
    described = the_artifact(csr)
    assert described.kind == "certificate signing request"
    assert fact(described, "signature") == "holds under the key in it"
    assert "correct-horse" not in str(described)
    assert fact(described, "attributes", "challengePassword") == "there, 13 octets, not shown"
    answer = the_artifact(encode_certs_only([IDEVID.certificate, OEM.certificate]))
    assert answer.kind == "certs-only message"
    told = fact(answer, "certificates")
    assert isinstance(told, list)
    assert len(told) == 2


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("bundle/file", "bundle"),
        ("build-list/file", "build list"),
        ("manifest/file", "owner manifest"),
        ("cms-batch/file", "seed batch"),
        ("csrattrs/template", "CSR attributes"),
        ("audit-log/one", "audit log"),
        ("telemetry/failure", "status report"),
        ("pem/two", "certificate"),
    ],
)
def test_files_of_the_factory_and_of_the_registrar(name: str, kind: str) -> None:
    """By their content; no key is needed for the header of a batch."""
    inspection = look((CORPUS / name).read_bytes())
    assert {each.kind for each in inspection.artifacts} == {kind}
    assert all(each.stop is None for each in inspection.artifacts)


def test_a_signed_file_is_shown_with_its_first_records() -> None:
    """Header and records have their names; an altered chunk is found."""
    octets = (CORPUS / "build-list/file").read_bytes()
    described = the_artifact(octets)
    assert fact(described, "label") == "brski build list v1"
    entry = fact(described, "records, the first 20 at most", 0)
    assert isinstance(entry, dict)
    assert set(entry) == {"chip id", "serial number", "presentation", "replace"}
    altered = octets[:-1] + bytes([octets[-1] ^ 1])
    assert "not the chunk that was signed for its place" in odd(altered)
    assert "octets after the last chunk" in odd(octets + b"\0")


def test_the_header_of_a_large_batch_is_shown() -> None:
    """Its beginning is enough; of other kinds a file that was not read whole is refused."""
    octets = (CORPUS / "bundle/file").read_bytes()
    (described,) = inspect(octets, size=1 << 30).artifacts
    assert fact(described, "chunks read") == "none: the file is large, its beginning was read"
    with pytest.raises(TooLarge):
        inspect(IDEVID.der, size=1 << 30)


# -- what is odd -----------------------------------------------------------------------------------


@pytest.mark.requirement("VR-10", "VR-11")
@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (encode_idevid_issuer(IDEVID_ISSUER), None),
        (encode_idevid_issuer(IDEVID_ISSUER)[2:], "24 octets: without the OCTET STRING"),
        (IDEVID_ISSUER, "20 octets: the bare keyIdentifier"),
        (IDEVID_ISSUER[:-1], "idevid-issuer: "),
    ],
)
def test_forms_of_an_idevid_issuer(octets: bytes, text: str | None) -> None:
    """All are shown as one keyIdentifier; the two short ones are odd."""
    document = request_json(idevid_issuer=base64.b64encode(octets).decode())
    found = odd(document)
    if text is None:
        assert "idevid-issuer" not in found
    else:
        assert text in found
    if len(octets) >= 20:
        told = fact(the_artifact(document), "idevid-issuer", "keyIdentifier")
        assert told == IDEVID_ISSUER.hex()


@pytest.mark.requirement("VR-5", "VR-6", "VR-7", "VR-9", "VR-14", "VR-18", "VR-20")
@pytest.mark.parametrize(
    ("document", "text"),
    [
        (voucher_json(expires_on="2026-01-01T00:00:00Z"), "nonce and expires-on"),
        (voucher_json(nonce=None), "neither nonce nor expires-on"),
        (voucher_json(nonce=None, last_renewal_date="2026-01-01T00:00:00Z"), "last-renewal-date"),
        (voucher_json(created_on=None), "no created-on, which RFC 8366 wants"),
        (voucher_json(pinned_domain_cert=None), "it pins nothing"),
        (voucher_json(prior_signed_voucher_request="AAEC"), "a voucher with a prior-signed"),
        (voucher_json(pinned_domain_pubk="AAEC"), "one of them counts"),
        (voucher_json(assertion="trusted"), "assertion: 'trusted' is no assertion"),
        (voucher_json(created_on="yesterday"), "created-on: not a yang:date-and-time"),
        (voucher_json(colour="red"), "'colour' is no leaf of it"),
        (voucher_json(serial_number="a b"), "serial-number: "),
        (request_json(nonce=None), "a request without nonce"),
        (request_json(nonce="AAECAwQFBg=="), "nonce of 7 octets"),
        (request_json(proximity_registrar_cert=None), "nothing that shows it"),
        (request_json(proximity_registrar_pubk="AAEC"), "one of them counts"),
        (request_json(pinned_domain_cert="AAEC"), "where it is ignored"),
        (request_json(prior_signed_voucher_request="AAEC"), "a registrar's request with proximity"),
        (
            request_json(prior_signed_voucher_request="AAEC", proximity_registrar_cert=None),
            "a registrar's request without idevid-issuer",
        ),
        (b'{"ietf-voucher:voucher":{"nonce":"a","nonce":"b"}}', "a member name twice"),
        (b'{"ietf-voucher:voucher":[]}', "nobody has signed it"),
        (b'{"ietf-voucher:voucher":{},"more":1}', "members beside"),
    ],
)
def test_what_is_odd_about_a_document(document: bytes, text: str) -> None:
    """Each finding with its section; the sound document has only that nobody has signed it."""
    for sound in (voucher_json(), request_json()):
        assert odd(sound).splitlines() == [
            ": the document alone: nobody has signed it (RFC 8366 §5.4)"
        ]
    assert text in odd(document)


@pytest.mark.requirement("CMS-4", "CMS-5")
@pytest.mark.parametrize(
    ("message", "text"),
    [
        (cms(signer_info(IDEVID.signer, attributes=None)), "no signed attributes"),
        (cms(signer_info(IDEVID.signer), version=1), "CMSVersion 1 with another content type"),
        (cms(signer_info(IDEVID.signer), signer_info(IDEVID.signer)), "2 signers, one is taken"),
        (cms(), "0 signers, one is taken"),
        (cms(signer_info(IDEVID.signer), crls=b"\xa1\x00"), "CRLs"),
        (cms(signer_info(IDEVID.signer)) + b"\0\0", "more octets after it"),
    ],
)
def test_what_is_odd_about_a_message(message: bytes, text: str) -> None:
    """Shown all the same, with what the strict reader says."""
    assert text in odd(message)
    assert "refused: " in odd(message)


@pytest.mark.requirement("OEM-4", "OEM-5")
@pytest.mark.parametrize(
    ("entity", "text"),
    [
        (pki.make_idevid(OEM, not_after=pki.NOT_AFTER), "not after is not 99991231235959Z"),
        (pki.make_idevid(OEM, aki=False), "without authorityKeyIdentifier"),
        (pki.make_idevid(OEM, masa_url=None), "without MASA-URL extension"),
        (pki.make_idevid(OEM), "IDevID with keyUsage digitalSignature"),
    ],
)
def test_what_is_odd_about_an_idevid(entity: pki.Entity, text: str) -> None:
    """Against the profile of RFC 8995 §2.3 and 802.1AR."""
    assert text in odd(entity.der)


def test_indefinite_lengths_are_shown() -> None:
    """BER is read, and said to be."""
    body = IDEVID.der[4:]
    ber = b"\x30\x80" + body + b"\0\0"
    assert the_artifact(ber).kind == "certificate"
    assert "indefinite length" in odd(ber)


# -- what is not shown -----------------------------------------------------------------------------


def private_keys() -> list[Any]:
    """The same key in the forms that keys come in."""
    key = pki.make_key()
    forms: list[bytes] = [
        key.private_bytes(encoding, form, NoEncryption())
        for encoding in (Encoding.PEM, Encoding.DER)
        for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL)
    ]
    forms += [
        key.private_bytes(encoding, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
        for encoding in (Encoding.PEM, Encoding.DER)
    ]
    rsa = pki.make_key("RSA-2048")
    forms.append(rsa.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    forms.append(
        pki.make_key("Ed25519").private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    )
    forms += [base64.b64encode(forms[2]), forms[2].hex().encode()]
    forms.append(IDEVID.certificate.public_bytes(Encoding.PEM) + forms[0])
    forms.append(b'{"kty":"EC","crv":"P-256","x":"AA","y":"AA","d":"c2VjcmV0"}')
    return forms


PRIVATE_KEYS = private_keys()


@pytest.mark.parametrize("octets", PRIVATE_KEYS, ids=range(len(PRIVATE_KEYS)))
def test_a_private_key_is_refused(octets: bytes) -> None:
    """In any of its forms, also beside a certificate; the refusal shows nothing of it."""
    with pytest.raises(SecretNotShown) as caught:
        look(octets)
    assert len(str(caught.value)) < 80


def test_a_fuse_file_is_refused() -> None:
    """And any other file that a device keeps for itself."""
    fuse = encode_fuse(device.make_fuse(OEM, OEM))
    for octets in (fuse, base64.b64encode(fuse), cbor.encode({"format": "brski tpm device v1"})):
        with pytest.raises(SecretNotShown):
            look(octets)
    with pytest.raises(UnknownFormat):
        look(cbor.encode({"form": "brski tpm device v1"}))


def test_pem_of_many_blocks_is_refused() -> None:
    """More than anybody reads."""
    pem = IDEVID.certificate.public_bytes(Encoding.PEM)
    assert len(look(pem * MOST_BLOCKS).artifacts) == MOST_BLOCKS
    with pytest.raises(TooLarge):
        look(pem * (MOST_BLOCKS + 1))


@pytest.mark.parametrize("octets", [b"", b"\n", b"hello", b"{}", b"[]", b"0" * 40, b"\x30\x03\x02"])
def test_what_is_nothing_known_is_refused(octets: bytes) -> None:
    """An error of ours, and nothing of the file in it."""
    with pytest.raises(OnboardingError):
        look(octets)


def test_idevids_are_told_from_other_end_entities() -> None:
    """By what their subject and extensions say."""
    roles = {
        "IDevID": IDEVID.der,
        "registrar": REGISTRAR.der,
        "CA": DOMAIN.der,
        "end entity": MASA.der,
    }
    for role, octets in roles.items():
        assert fact(the_artifact(octets), "role") == role
