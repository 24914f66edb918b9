"""EST's messages with OpenSSL at the other end: its tools read ours, and the other way."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from brski import registry
from brski.errors import KeyNotAllowed, Malformed, UnknownFormat
from brski.est.certs_only import decode_certs_only, encode_certs_only
from brski.est.csr import build_csr, parse_csr
from brski.est.csr_attributes import encode_csr_attributes
from brski.est.requirements import P384, CSRRequirements, SubjectRequirement
from brski.est.transfer import decode_base64, encode_base64
from brski.pki.names import ldevid_subject
from tests.conftest import require_program
from tests.kit import est, pki

ROOT = pki.make_root("Owner Root")
CA = pki.make_ca("Owner CA", ROOT)
LEAF = pki.certify(pki.common_name("device"), issuer=CA)
SUBJECT = ldevid_subject("SN-0001", bytes(range(20)))
USAGE = pki.LEAF_KEY_USAGE


@pytest.fixture
def openssl() -> str:
    return require_program("openssl", "openssl")


def run(*arguments: str | Path, stdin: bytes = b"") -> bytes:
    """Run to the end, which must be good; what was said on both outputs."""
    done = subprocess.run(
        [str(a) for a in arguments],
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=True,
        timeout=60,
    )
    return done.stdout


def write_key(path: Path, kind: str) -> Path:
    """A new key, PKCS #8 PEM."""
    key = pki.make_key(kind)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


# -- requests -----------------------------------------------------------------------------------


@pytest.mark.requirement("ESTS-7")
@pytest.mark.parametrize("kind", ["P-256", "P-384", "Ed25519", "RSA-2048"])
def test_openssl_verifies_our_request(openssl: str, kind: str) -> None:
    """Subject, extensions and challenge password as asked, and the signature is good."""
    made = build_csr(
        pki.KeySigner(pki.make_key(kind)),
        SUBJECT,
        extensions=[est.SAN, USAGE],
        challenge_password="dGxzLXVuaXF1ZQ==",
    )
    said = run(
        openssl, "req", "-inform", "DER", "-verify", "-noout", "-text", "-nameopt", "RFC2253",
        stdin=made,
    ).decode()  # fmt: skip
    assert "verify OK" in said
    for text in ("serialNumber=SN-0001", "dnQualifier=", "DNS:device.example.com"):
        assert text in said
    assert "Digital Signature" in said
    assert "challengePassword        :dGxzLXVuaXF1ZQ==" in said


@pytest.mark.requirement("ESTS-7")
def test_openssl_does_not_verify_it_altered(openssl: str) -> None:
    """The same request with another serial number."""
    made = build_csr(pki.KeySigner(pki.make_key()), SUBJECT)
    altered = made.replace(b"SN-0001", b"SN-0002")
    done = subprocess.run(
        [openssl, "req", "-inform", "DER", "-verify", "-noout"],
        input=altered,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert b"verify OK" not in done.stdout + done.stderr


@pytest.mark.requirement("ESTS-1", "ESTS-2", "ESTS-7")
@pytest.mark.parametrize("kind", ["P-256", "P-384", "Ed25519", "RSA-2048"])
def test_we_read_openssls_request(openssl: str, tmp_path: Path, kind: str) -> None:
    """As PEM, as base64 in lines and on one line: the bodies that its users post."""
    key = write_key(tmp_path / "key.pem", kind)
    config = tmp_path / "req.cnf"
    config.write_text(
        "[req]\nprompt = no\ndistinguished_name = dn\nattributes = more\nreq_extensions = ext\n"
        "[dn]\nserialNumber = SN-0001\nCN = device\n"
        "[more]\nchallengePassword = dGxzLXVuaXF1ZQ==\n"
        "[ext]\nsubjectAltName = DNS:device.example.com\nkeyUsage = critical,digitalSignature\n"
    )
    pem = run(openssl, "req", "-new", "-key", key, "-config", config)
    octets = run(openssl, "req", "-outform", "DER", stdin=pem)
    wrapped = run(openssl, "base64", stdin=octets)
    one_line = run(openssl, "base64", "-A", stdin=octets)
    assert {decode_base64(body) for body in (pem, wrapped, one_line)} == {octets}
    csr = parse_csr(octets)
    assert [part.value for part in csr.subject] == ["SN-0001", "device"]
    assert csr.subject_alternative_name == est.SAN
    assert csr.challenge_password == "dGxzLXVuaXF1ZQ=="
    usage = csr.extension(est.KEY_USAGE_OID)
    assert usage is not None
    assert usage.critical
    assert usage.value == USAGE.public_bytes()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"], None),
        (["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-521"], KeyNotAllowed),
        (["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"], KeyNotAllowed),
        (
            [
                *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
                *("-pkeyopt", "ec_param_enc:explicit"),
            ],
            KeyNotAllowed,
        ),
        (["-newkey", "rsa:1024"], KeyNotAllowed),
        (["-newkey", "rsa:2048", "-pkeyopt", "rsa_keygen_pubexp:3"], KeyNotAllowed),
        (["-newkey", "rsa:2048", "-sigopt", "rsa_padding_mode:pss"], UnknownFormat),
        (["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-sha1"], UnknownFormat),
    ],
)
def test_we_refuse_what_openssl_would_let_pass(
    openssl: str, tmp_path: Path, arguments: list[str], error: type[Exception] | None
) -> None:
    """Other curves, explicit parameters, weak RSA, PSS, SHA-1; the first of them is good."""
    run(
        openssl, "req", "-new", *arguments, "-nodes", "-keyout", tmp_path / "key.pem",
        "-subj", "/serialNumber=SN-0001", "-outform", "DER", "-out", tmp_path / "csr.der",
    )  # fmt: skip
    octets = (tmp_path / "csr.der").read_bytes()
    if error is None:
        assert parse_csr(octets)
    else:
        with pytest.raises(error):
            parse_csr(octets)


# -- certs-only ---------------------------------------------------------------------------------


@pytest.mark.requirement("ESTS-4")
def test_openssl_reads_our_certs_only(openssl: str) -> None:
    """All certificates of cacerts, and no signer, by either of its readers."""
    message = encode_certs_only(CA.chain)
    said = run(openssl, "pkcs7", "-inform", "DER", "-print_certs", stdin=message)
    assert set(x509.load_pem_x509_certificates(said)) == set(CA.chain)
    said = run(openssl, "cms", "-cmsout", "-inform", "DER", "-print", "-noout", stdin=message)
    assert said.count(b"d.certificate:") == 2
    assert said.split()[-2:] == [b"signerInfos:", b"<EMPTY>"]


@pytest.mark.requirement("ESTS-1", "ESTS-9")
def test_the_way_of_the_rfcs_appendix(openssl: str) -> None:
    """openssl base64 -d | openssl pkcs7 -inform DER -print_certs, on a body as we send it."""
    body = encode_base64(encode_certs_only([LEAF.certificate]), "wrap")
    octets = run(openssl, "base64", "-d", stdin=body)
    said = run(openssl, "pkcs7", "-inform", "DER", "-print_certs", stdin=octets)
    assert x509.load_pem_x509_certificates(said) == [LEAF.certificate]


@pytest.mark.requirement("ESTS-4")
@pytest.mark.parametrize("crl", [False, True])
def test_we_read_openssls_certs_only(openssl: str, tmp_path: Path, crl: bool) -> None:
    """With and without a revocation list; as PEM it is taken out of its block first."""
    bundle = tmp_path / "chain.pem"
    bundle.write_bytes(b"".join(c.public_bytes(Encoding.PEM) for c in LEAF.chain))
    source: list[str | Path] = ["-nocrl"]
    if crl:
        source = ["-in", tmp_path / "list.pem"]
        (tmp_path / "list.pem").write_bytes(revocation_list().public_bytes(Encoding.PEM))
    pem = run(openssl, "crl2pkcs7", *source, "-certfile", bundle)
    assert set(decode_certs_only(decode_base64(pem))) == set(LEAF.chain)


def test_a_signed_message_of_openssl_is_not_certs_only(openssl: str, tmp_path: Path) -> None:
    """The same certificate, in a message that signs something."""
    (tmp_path / "key.pem").write_bytes(LEAF.key_pem)
    (tmp_path / "leaf.pem").write_bytes(LEAF.certificate.public_bytes(Encoding.PEM))
    octets = run(
        openssl, "cms", "-sign", "-binary", "-nodetach", "-signer", tmp_path / "leaf.pem",
        "-inkey", tmp_path / "key.pem", "-outform", "DER", stdin=b"x",
    )  # fmt: skip
    with pytest.raises(Malformed):
        decode_certs_only(octets)


def revocation_list() -> x509.CertificateRevocationList:
    """An empty one of the owner's CA."""
    key = CA.private_key
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return (
        x509.CertificateRevocationListBuilder()
        .issuer_name(CA.certificate.subject)
        .last_update(pki.NOT_BEFORE)
        .next_update(pki.NOT_AFTER)
        .sign(key, hashes.SHA256())
    )


# -- CSR attributes -----------------------------------------------------------------------------


@pytest.mark.requirement("ESTS-12", "ESTS-13")
def test_openssl_shows_our_csr_attributes(openssl: str) -> None:
    """What a person sees who fetches csrattrs with curl and openssl asn1parse."""
    body = encode_base64(
        encode_csr_attributes(
            CSRRequirements(
                keys=(P384,),
                signature_algorithms=(registry.ECDSA_WITH_SHA384,),
                subject=(SubjectRequirement(oid=registry.ID_AT_SERIAL_NUMBER),),
                challenge_password=True,
            )
        )
    )
    octets = run(openssl, "base64", "-d", stdin=body)
    said = run(openssl, "asn1parse", "-inform", "DER", stdin=octets).decode()
    shown = [line.rsplit(":", 1)[1] for line in said.splitlines() if " OBJECT " in line]
    assert shown == [
        "challengePassword",
        "id-ecPublicKey",
        "secp384r1",
        "serialNumber",
        "ecdsa-with-SHA384",
    ]
