"""What fits a learned shape is what the long way would have let through, with the same key."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from brski.errors import OnboardingError
from brski.idevid.profile import IDevIDProfile
from brski.idevid.record import certified_spki
from brski.idevid.shape import Shapes
from brski.pki import extensions, keys, signatures
from tests.kit import pki

CREATED = datetime(2025, 3, 1, 8, 30, 0, tzinfo=UTC)
ISSUER = pki.make_pki()
IDEVID_ISSUER = extensions.subject_key_identifier(ISSUER.certificate)
HARDWARE_TYPE = "1.3.6.1.4.1.32473.7"
SPKIS = [
    keys.encode_spki(ec.derive_private_key(scalar, ec.SECP256R1()).public_key())
    for scalar in (7, 8)
]


def certify(serial_number: str, spki: bytes = SPKIS[0], hardware_type: str | None = None) -> bytes:
    profile = IDevIDProfile(
        issuer=ISSUER.certificate,
        masa_url=pki.MASA_URL,
        not_before=CREATED,
        hardware_module_type=hardware_type,
    )
    return profile.certify(spki, serial_number, ISSUER.signer)


def learned(certificate: bytes, serial_number: str) -> Shapes:
    shapes = Shapes()
    shapes.learn(certificate, serial_number)
    return shapes


def the_long_way(certificate: bytes, serial_number: str) -> bytes | None:
    """The key that the general parser finds, or None where it refuses."""
    assert IDEVID_ISSUER is not None
    try:
        return certified_spki(certificate, idevid_issuer=IDEVID_ISSUER, serial_number=serial_number)
    except OnboardingError:
        return None


@pytest.mark.parametrize("hardware_type", [None, HARDWARE_TYPE])
def test_another_device_of_the_same_layout_fits(hardware_type: str | None) -> None:
    """Its parts are those of the certificate, and the signature stands under them."""
    shapes = learned(certify("SN-0001", SPKIS[0], hardware_type), "SN-0001")
    other = certify("SN-0002", SPKIS[1], hardware_type)
    parts = shapes.fit(other, "SN-0002")
    assert parts is not None
    assert parts.spki == SPKIS[1] == the_long_way(other, "SN-0002")
    assert parts.tbs == keys.parse_certificate(other).tbs_certificate_bytes
    signatures.verify(ISSUER.signer.public_key, parts.signature, parts.tbs, what="certificate")


def test_what_was_not_learned_goes_the_long_way() -> None:
    """Another length, another extension, another issuer's date, another device's number."""
    shapes = learned(certify("SN-0001"), "SN-0001")
    assert Shapes().fit(certify("SN-0001"), "SN-0001") is None
    assert shapes.fit(certify("SN-00001"), "SN-00001") is None
    assert shapes.fit(certify("SN-0001", hardware_type=HARDWARE_TYPE), "SN-0001") is None
    assert shapes.fit(certify("SN-0002"), "SN-0001") is None
    assert shapes.fit(b"", "SN-0001") is None


@pytest.mark.parametrize("hardware_type", [None, HARDWARE_TYPE])
def test_each_altered_octet_is_seen_or_is_a_signature_that_fails(
    hardware_type: str | None,
) -> None:
    """Nothing fits that the long way would have refused, or would have read otherwise."""
    genuine = certify("SN-0001", SPKIS[0], hardware_type)
    shapes = learned(genuine, "SN-0001")
    public_key = ISSUER.signer.public_key
    fitting = 0
    for place in range(len(genuine)):
        for other in {genuine[place] ^ 1, genuine[place] ^ 0x80, 0, 0xFF} - {genuine[place]}:
            altered = genuine[:place] + bytes((other,)) + genuine[place + 1 :]
            parts = shapes.fit(altered, "SN-0001")
            if parts is None:
                continue
            fitting += 1
            assert the_long_way(altered, "SN-0001") == parts.spki
            with pytest.raises(OnboardingError):
                signatures.verify(public_key, parts.signature, parts.tbs, what="certificate")
    assert fitting > 100, "the certificate's number and the signature are values, and may differ"


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_certificate_that_is_cut_or_goes_on_does_not_fit(cut: int) -> None:
    genuine = certify("SN-0001")
    shapes = learned(genuine, "SN-0001")
    assert shapes.fit(genuine[:-cut], "SN-0001") is None
    assert shapes.fit(genuine + bytes(cut), "SN-0001") is None


def test_a_number_that_is_part_of_another_value_is_not_learned() -> None:
    """The MASA's name holds the serial number twice over: which octets are whose, is not clear."""
    profile = IDevIDProfile(
        issuer=ISSUER.certificate, masa_url="s1s1.example.com", not_before=CREATED
    )
    certificate = profile.certify(SPKIS[0], "s1", ISSUER.signer)
    assert learned(certificate, "s1").fit(certificate, "s1") is None


def test_a_number_that_stands_once_in_the_masas_name_binds_it_there() -> None:
    """Other devices then go the long way: slower, never wrong."""
    profile = IDevIDProfile(
        issuer=ISSUER.certificate, masa_url="s1.example.com", not_before=CREATED
    )
    shapes = learned(profile.certify(SPKIS[0], "s1", ISSUER.signer), "s1")
    assert shapes.fit(profile.certify(SPKIS[1], "s2", ISSUER.signer), "s2") is None


@pytest.mark.parametrize("last", ["serial number", "name"])
def test_where_a_name_stands_last_nothing_is_learned(last: str) -> None:
    """Or one device's number could stay in the subject while the name becomes another's."""
    genuine = _with_name("SN-0001", "SN-0001", last)
    forged = _with_name("SN-0001", "SN-0002", last)
    assert the_long_way(genuine, "SN-0001") is not None
    assert the_long_way(forged, "SN-0002") is None
    shapes = learned(genuine, "SN-0001")
    assert shapes.fit(forged, "SN-0002") is None
    assert (shapes.fit(genuine, "SN-0001") is not None) == (last == "serial number")


def _with_name(serial_number: str, name: str, last: str) -> bytes:
    attributes = [
        x509.NameAttribute(NameOID.COMMON_NAME, name),
        x509.NameAttribute(NameOID.SERIAL_NUMBER, serial_number),
    ]
    ordered = attributes if last == "serial number" else attributes[::-1]
    key = ec.derive_private_key(7, ec.SECP256R1())
    return keys.certificate_der(pki.certify(x509.Name(ordered), issuer=ISSUER, key=key).certificate)
