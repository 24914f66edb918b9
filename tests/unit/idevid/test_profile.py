"""The certificate that the factory writes for a device, to the octet."""

from __future__ import annotations

import hashlib
import hmac
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import verification
from cryptography.x509.name import _ASN1Type
from hypothesis import given
from hypothesis import strategies as st

from brski.errors import KeyNotAllowed, KeyUnusable, Malformed, SettingsError
from brski.idevid import certificate
from brski.idevid.profile import IDevIDProfile
from brski.pki import der, extensions, keys, names, signatures
from brski.registry import ID_PE_MASA_URL
from tests.kit import pki
from tests.kit.programs import require_program

CREATED = datetime(2025, 3, 1, 8, 30, 0, tzinfo=UTC)
HARDWARE_TYPE = "1.3.6.1.4.1.32473.7"
ISSUERS = {kind: pki.make_pki(kind=kind) for kind in ("P-256", "P-384", "Ed25519")}
ISSUER = ISSUERS["P-256"]
DEVICE_KEYS = {
    kind: pki.make_key(kind)
    for kind in ("P-256", "P-384", "Ed25519", "ML-DSA-44", "ML-DSA-65", "ML-DSA-87")
}
SERIAL_NUMBERS = st.from_regex(r"[A-Za-z0-9.:-]{1,64}", fullmatch=True)


def _spki(kind: str = "P-256") -> bytes:
    public_key = DEVICE_KEYS[kind].public_key()
    return public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


SPKI = _spki()


def _profile(issuer: pki.Entity = ISSUER, **others: object) -> IDevIDProfile:
    settings = {"masa_url": pki.MASA_URL, "not_before": CREATED} | others
    return IDevIDProfile(issuer=issuer.certificate, **settings)  # type: ignore[arg-type]


def _certify(issuer: pki.Entity = ISSUER, serial_number: str = "SN-1", **others: object) -> bytes:
    return _profile(issuer, **others).certify(SPKI, serial_number, issuer.signer)


def _fields(tbs: bytes) -> list[bytes]:
    """version, serial, algorithm, issuer, validity, subject, key, extensions; DER each."""
    return [der.octets_of(tbs, field) for field in der.children(tbs, der.read_element(tbs))]


CERTIFICATE = keys.parse_certificate(_certify(hardware_module_type=HARDWARE_TYPE))
FIELDS = _fields(CERTIFICATE.tbs_certificate_bytes)


@pytest.mark.requirement("OEM-1", "OEM-2")
def test_subject_is_the_serial_number_alone_as_printable_string() -> None:
    assert FIELDS[5] == bytes.fromhex("300f310d300b0603550405") + b"\x13\x04SN-1"
    assert FIELDS[5] == names.idevid_subject("SN-1").public_bytes()
    assert names.device_serial_number(CERTIFICATE) == "SN-1"


@pytest.mark.requirement("OEM-4")
def test_validity_is_from_the_build_list_to_the_end_of_time() -> None:
    """notAfter is a GeneralizedTime (tag 18), as 802.1AR has it."""
    assert FIELDS[4] == b"\x30\x20\x17\x0d250301083000Z\x18\x0f99991231235959Z"
    assert CERTIFICATE.not_valid_before_utc == CREATED
    assert CERTIFICATE.not_valid_after_utc == pki.NEVER


@pytest.mark.parametrize(
    ("moment", "encoded"),
    [
        (datetime(1970, 1, 1, tzinfo=UTC), b"\x17\x0d700101000000Z"),
        (datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC), b"\x17\x0d491231235959Z"),
        (datetime(2050, 1, 1, tzinfo=UTC), b"\x18\x0f20500101000000Z"),
        (datetime(2025, 1, 1, 1, 0, 0, tzinfo=timezone(timedelta(hours=2))), b"\x17\x0d2412312300"),
    ],
)
def test_not_before_changes_its_type_in_2050(moment: datetime, encoded: bytes) -> None:
    """RFC 5280 §4.1.2.5, and the zone is always Z."""
    validity = _fields(_profile(not_before=moment).tbs(SPKI, "SN-1"))[4]
    assert validity[2:].startswith(encoded)


def test_issuer_is_the_issuing_certificates_subject_as_it_stands_there() -> None:
    """A name in TeletexString is not turned into another string type on the way."""
    odd = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "OEM", _ASN1Type.T61String)])
    issuer = pki.certify(
        odd,
        not_after=pki.NEVER,
        basic_constraints=x509.BasicConstraints(ca=True, path_length=0),
        key_usage=pki.CA_KEY_USAGE,
    )
    fields = _fields(_profile(issuer).tbs(SPKI, "SN-1"))
    assert fields[3] == _fields(issuer.certificate.tbs_certificate_bytes)[5]
    assert b"\x14\x03OEM" in fields[3]


@pytest.mark.requirement("OEM-3")
def test_masa_url_is_an_ia5string_and_not_critical() -> None:
    extension = CERTIFICATE.extensions.get_extension_for_oid(x509.ObjectIdentifier(ID_PE_MASA_URL))
    assert not extension.critical
    assert extension.value.public_bytes() == b"\x16\x15" + pki.MASA_URL.encode()
    assert extensions.masa_url(CERTIFICATE) == pki.MASA_URL


@pytest.mark.requirement("OEM-6")
def test_authority_key_identifier_is_the_issuers_identifier_alone() -> None:
    identifier = extensions.subject_key_identifier(ISSUER.certificate)
    assert identifier is not None
    aki = CERTIFICATE.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert aki == x509.AuthorityKeyIdentifier(identifier, None, None)
    assert extensions.encode_idevid_issuer(identifier) in FIELDS[7]


def test_subject_key_identifier_is_method_1() -> None:
    ski = CERTIFICATE.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert ski == x509.SubjectKeyIdentifier.from_public_key(DEVICE_KEYS["P-256"].public_key())


@pytest.mark.requirement("OEM-7")
def test_hardware_module_name_holds_type_and_serial_number() -> None:
    san = CERTIFICATE.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert not san.critical
    (name,) = san.value
    assert name == extensions.hardware_module_name(HARDWARE_TYPE, b"SN-1")


@pytest.mark.requirement("OEM-5")
@pytest.mark.parametrize("hardware_type", [None, HARDWARE_TYPE])
def test_extensions_are_these_in_this_order(hardware_type: str | None) -> None:
    """No keyUsage and no basicConstraints; docs/idevid-certificate.md tells why."""
    parsed = keys.parse_certificate(_certify(hardware_module_type=hardware_type))
    found = [extension.oid.dotted_string for extension in parsed.extensions]
    alternative = [] if hardware_type is None else ["2.5.29.17"]
    assert found == ["2.5.29.35", "2.5.29.14", *alternative, ID_PE_MASA_URL]
    assert not any(extension.critical for extension in parsed.extensions)


@pytest.mark.requirement("OEM-14")
@given(SERIAL_NUMBERS)
def test_certificate_serial_number_is_a_mac_of_all_the_rest(serial_number: str) -> None:
    """Computed once more, from the finished certificate, as the page says."""
    tbs = _profile().tbs(SPKI, serial_number)
    fields = _fields(tbs)
    zeroed = tbs.replace(fields[1], b"\x02\x14" + bytes(20), 1)
    mac = hmac.new(keys.spki_sha256(ISSUER.certificate), zeroed, hashlib.sha256).digest()
    number = int.from_bytes(mac[:20], "big") & ~(1 << 159) | 1 << 158
    assert fields[1] == b"\x02\x14" + number.to_bytes(20, "big")


def test_certificate_serial_number_differs_with_anything_else() -> None:
    other_key = _spki("Ed25519")
    tbs = [
        _profile().tbs(SPKI, "SN-1"),
        _profile().tbs(SPKI, "SN-2"),
        _profile().tbs(other_key, "SN-1"),
        _profile(not_before=CREATED + timedelta(seconds=1)).tbs(SPKI, "SN-1"),
        _profile(masa_url="masa2.example.com").tbs(SPKI, "SN-1"),
        _profile(hardware_module_type=HARDWARE_TYPE).tbs(SPKI, "SN-1"),
        _profile(ISSUERS["P-384"]).tbs(SPKI, "SN-1"),
    ]
    assert len({_fields(octets)[1] for octets in tbs}) == len(tbs)


@pytest.mark.parametrize("kind", ISSUERS)
def test_two_runs_come_to_the_same_octets(kind: str) -> None:
    """Invariant I6 of the abuse cases: nothing but the input enters a certificate."""
    issuer = ISSUERS[kind]
    assert _certify(issuer) == _certify(issuer)


def test_with_a_signer_that_draws_nonces_what_is_signed_stays_the_same() -> None:
    """The nearest case: a token's signature differs, so a recorded certificate must be kept."""
    drawing = replace(ISSUER.signer, deterministic=False)
    runs = [_profile().certify(SPKI, "SN-1", drawing) for _ in range(2)]
    assert runs[0] != runs[1]
    first, second = (keys.parse_certificate(run) for run in runs)
    assert first.tbs_certificate_bytes == second.tbs_certificate_bytes


@pytest.mark.parametrize("kind", ISSUERS)
def test_in_two_steps_the_same_certificate_comes_out(kind: str) -> None:
    """What is to be signed can be made durable before it is."""
    issuer = ISSUERS[kind]
    profile = _profile(issuer)
    tbs = profile.tbs(SPKI, "SN-1")
    signature = signatures.sign(issuer.private_key, tbs, deterministic=True)
    assert profile.assemble(tbs, signature) == _certify(issuer)
    assert profile.issuer == issuer.certificate


@given(SERIAL_NUMBERS, st.sampled_from(sorted(DEVICE_KEYS)), st.booleans())
def test_every_length_gives_sound_der(serial_number: str, kind: str, with_name: bool) -> None:
    """Lengths move from one to two and three octets as names and keys grow."""
    hardware_type = HARDWARE_TYPE if with_name else None
    profile = _profile(hardware_module_type=hardware_type)
    encoded = profile.certify(_spki(kind), serial_number, ISSUER.signer)
    parsed = keys.parse_certificate(encoded)
    assert parsed.public_bytes(Encoding.DER) == encoded
    assert names.device_serial_number(parsed) == serial_number
    assert keys.spki_of(parsed) == _spki(kind)
    parsed.verify_directly_issued_by(ISSUER.certificate)


def test_it_is_what_the_librarys_builder_would_write() -> None:
    """A second writer comes to the same octets from the same values."""
    san = x509.SubjectAlternativeName([extensions.hardware_module_name(HARDWARE_TYPE, b"SN-1")])
    identifier = extensions.subject_key_identifier(ISSUER.certificate)
    built = (
        x509.CertificateBuilder()
        .subject_name(names.idevid_subject("SN-1"))
        .issuer_name(ISSUER.certificate.subject)
        .public_key(DEVICE_KEYS["P-256"].public_key())
        .serial_number(CERTIFICATE.serial_number)
        .not_valid_before(CREATED)
        .not_valid_after(pki.NEVER)
        .add_extension(x509.AuthorityKeyIdentifier(identifier, None, None), critical=False)
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(DEVICE_KEYS["P-256"].public_key()),
            critical=False,
        )
        .add_extension(san, critical=False)
        .add_extension(extensions.masa_url_extension(pki.MASA_URL), critical=False)
        .sign(ISSUER.private_key, hashes.SHA256(), ecdsa_deterministic=True)
    )
    assert built.public_bytes(Encoding.DER) == CERTIFICATE.public_bytes(Encoding.DER)


@pytest.mark.parametrize("kind", ["P-256", "P-384"])
@pytest.mark.parametrize("at", [pki.NOW, datetime(9999, 12, 30, tzinfo=UTC)])
def test_the_librarys_path_validation_accepts_it(kind: str, at: datetime) -> None:
    issuer = ISSUERS[kind]
    ca_policy = verification.ExtensionPolicy.permit_all().require_present(
        x509.BasicConstraints, verification.Criticality.AGNOSTIC, None
    )
    verifier = (
        verification.PolicyBuilder()
        .store(verification.Store([issuer.root]))
        .time(at)
        .extension_policies(
            ca_policy=ca_policy, ee_policy=verification.ExtensionPolicy.permit_all()
        )
        .build_client_verifier()
    )
    parsed = keys.parse_certificate(_certify(issuer))
    verified = verifier.verify(parsed, list(issuer.chain[:-1]))
    assert [entry.subject for entry in verified.chain] == [
        entry.subject for entry in (parsed, *issuer.chain)
    ]


def _openssl(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = require_program("openssl", "openssl")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)


def _write_pem(path: Path, *certificates: x509.Certificate) -> str:
    path.write_bytes(b"".join(entry.public_bytes(Encoding.PEM) for entry in certificates))
    return str(path)


@pytest.mark.parametrize("kind", ISSUERS)
def test_openssl_verifies_the_chain(kind: str, tmp_path: Path) -> None:
    issuer = ISSUERS[kind]
    leaf = _write_pem(tmp_path / "idevid.pem", keys.parse_certificate(_certify(issuer)))
    root = _write_pem(tmp_path / "root.pem", issuer.root)
    between = _write_pem(tmp_path / "between.pem", *issuer.chain[:-1])
    when = str(int(pki.NOW.timestamp()))
    arguments = ("verify", "-x509_strict", "-attime", when, "-CAfile", root)
    done = _openssl(*arguments, "-untrusted", between, leaf)
    assert done.returncode == 0, done.stderr
    without = _openssl(*arguments, leaf)
    assert without.returncode != 0


def test_openssl_reads_every_field(tmp_path: Path) -> None:
    parsed = keys.parse_certificate(_certify(hardware_module_type=HARDWARE_TYPE))
    path = _write_pem(tmp_path / "idevid.pem", parsed)
    done = _openssl("x509", "-in", path, "-noout", "-text")
    text = done.stdout
    assert "Not After : Dec 31 23:59:59 9999 GMT" in text
    assert "serialNumber" in text
    assert pki.MASA_URL in text
    assert "Basic Constraints" not in text
    strings = _openssl("asn1parse", "-in", path).stdout
    assert "PRINTABLESTRING   :SN-1" in strings
    assert "GENERALIZEDTIME   :99991231235959Z" in strings


def test_a_device_is_no_ca_although_nothing_says_so(tmp_path: Path) -> None:
    """Without basicConstraints OpenSSL and the library refuse the certificate as an issuer."""
    device = pki.Entity(
        certificate=CERTIFICATE, private_key=DEVICE_KEYS["P-256"], issuers=ISSUER.chain
    )
    forged = pki.make_idevid(device, "SN-2")
    root = _write_pem(tmp_path / "root.pem", ISSUER.root)
    between = _write_pem(tmp_path / "between.pem", CERTIFICATE, *ISSUER.chain[:-1])
    leaf = _write_pem(tmp_path / "leaf.pem", forged.certificate)
    when = str(int(pki.NOW.timestamp()))
    done = _openssl("verify", "-attime", when, "-CAfile", root, "-untrusted", between, leaf)
    assert done.returncode != 0
    assert "invalid CA certificate" in done.stderr


@pytest.mark.parametrize(
    "serial_number", ["", "SN_1", "SN 1", "S" * 65, "SN-1\n", "\u017fN", "SN\x00", "../1", "SN'1"]
)
@pytest.mark.requirement("OEM-2")
def test_what_cannot_be_a_serial_number_is_not_certified(serial_number: str) -> None:
    """A '_' is a serial number elsewhere, but PrintableString does not have it."""
    with pytest.raises(Malformed):
        _certify(serial_number=serial_number)


def test_a_key_that_is_not_accepted_is_not_certified() -> None:
    other = ec.generate_private_key(ec.SECP521R1()).public_key()
    spki = other.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(KeyNotAllowed):
        _profile().tbs(spki, "SN-1")


def test_a_compressed_point_is_not_certified() -> None:
    """The same key in another encoding would be another SubjectPublicKeyInfo."""
    public_key = DEVICE_KEYS["P-256"].public_key()
    point = public_key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    algorithm = SPKI[2 : 2 + 2 + SPKI[3]]
    spki = der.encode(der.SEQUENCE, algorithm, der.encode(der.BIT_STRING, b"\x00", point))
    with pytest.raises(KeyNotAllowed):
        _profile().tbs(spki, "SN-1")


def test_another_ca_cannot_sign_in_this_profiles_name() -> None:
    with pytest.raises(KeyUnusable):
        _profile().certify(SPKI, "SN-1", pki.KeySigner(pki.make_key()))


REFUSED_ISSUERS = {
    "ends before its devices": pki.make_root(not_after=pki.NOT_AFTER),
    "no SubjectKeyIdentifier": pki.make_root(not_after=pki.NEVER, ski=False),
    "long SubjectKeyIdentifier": pki.make_root(
        not_after=pki.NEVER, ski=False, extra=[(x509.SubjectKeyIdentifier(bytes(32)), False)]
    ),
    "no CA": pki.make_idevid(ISSUER),
    "no keyUsage": pki.make_root(not_after=pki.NEVER, key_usage=None),
    "keyUsage without keyCertSign": pki.make_root(
        not_after=pki.NEVER, key_usage=pki.key_usage("crl_sign")
    ),
}


@pytest.mark.parametrize("why", REFUSED_ISSUERS)
def test_an_issuing_certificate_that_does_not_fit_is_refused(why: str) -> None:
    with pytest.raises(SettingsError):
        _profile(REFUSED_ISSUERS[why])


@pytest.mark.parametrize(
    "not_before",
    [
        datetime(2025, 1, 1),  # noqa: DTZ001 - without a zone, that is the point
        datetime(2025, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC),
    ],
)
def test_a_date_that_a_certificate_cannot_hold_is_refused(not_before: datetime) -> None:
    with pytest.raises(SettingsError):
        _profile(not_before=not_before)


@pytest.mark.parametrize(
    "masa_url", ["", "ftp://masa.example.com", "masa.example.com?x", "\u017f.example"]
)
def test_a_masa_url_that_no_registrar_would_follow_is_refused(masa_url: str) -> None:
    with pytest.raises(SettingsError):
        _profile(masa_url=masa_url)


@pytest.mark.parametrize("hardware_type", ["", "1", "3.1", "a.b", "1.-2"])
def test_a_hardware_type_that_is_no_object_identifier_is_refused(hardware_type: str) -> None:
    with pytest.raises(SettingsError):
        _profile(hardware_module_type=hardware_type)


def test_the_end_of_time_is_one_constant() -> None:
    assert certificate.NOT_AFTER == pki.NEVER
