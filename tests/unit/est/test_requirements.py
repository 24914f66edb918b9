"""What a request must be and hold: every acceptance beside its nearest refusal."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from brski import registry
from brski.errors import CSRMismatch
from brski.est.attributes import RequestedExtension
from brski.est.csr import CSR, build_csr, parse_csr
from brski.est.requirements import (
    ED25519,
    P256,
    P384,
    CSRRequirements,
    KeyRequirement,
    SubjectRequirement,
)
from tests.kit import est, pki

SAN = RequestedExtension.of(est.SAN)
USAGE = RequestedExtension.of(pki.LEAF_KEY_USAGE, critical=True)
CA_EXTENSION = x509.BasicConstraints(ca=True, path_length=None)


def csr(
    *extensions: RequestedExtension | x509.ExtensionType,
    kind: str = "P-256",
    subject: x509.Name = est.SUBJECT,
    challenge_password: str | None = None,
) -> CSR:
    return parse_csr(
        build_csr(
            pki.KeySigner(pki.make_key(kind)),
            subject,
            extensions=extensions,
            challenge_password=challenge_password,
        )
    )


def refused(requirements: CSRRequirements, request: CSR) -> str:
    with pytest.raises(CSRMismatch) as caught:
        requirements.check(request)
    return caught.value.reason


def test_no_requirement_takes_any_key_and_grants_no_extension() -> None:
    """A missing policy means no: what nobody announced is not signed."""
    for kind in ("P-256", "P-384", "Ed25519", "RSA-2048", "ML-DSA-44", "ML-DSA-65", "ML-DSA-87"):
        CSRRequirements().check(csr(kind=kind))
    assert est.SAN_OID in refused(CSRRequirements(), csr(est.SAN))


@pytest.mark.requirement("ESTS-13")
@pytest.mark.parametrize(
    ("requirement", "fits", "fits_not"),
    [
        (P256, "P-256", "P-384"),
        (P384, "P-384", "P-256"),
        (ED25519, "Ed25519", "P-256"),
        (KeyRequirement(algorithm=registry.ID_EC_PUBLIC_KEY), "P-384", "Ed25519"),
        (KeyRequirement(algorithm=registry.RSA_ENCRYPTION), "RSA-2048", "P-256"),
        (KeyRequirement(algorithm=registry.RSA_ENCRYPTION, rsa_bits=3072), "RSA-3072", "RSA-2048"),
    ],
)
def test_a_key_of_another_kind_is_refused(
    requirement: KeyRequirement, fits: str, fits_not: str
) -> None:
    """Algorithm, curve and size; the refusal names both kinds."""
    requirements = CSRRequirements(keys=(requirement,))
    requirements.check(csr(kind=fits))
    assert str(requirement) in refused(requirements, csr(kind=fits_not))


def test_several_keys_are_alternatives() -> None:
    """Either is taken, a third is not."""
    requirements = CSRRequirements(keys=(P256, P384))
    requirements.check(csr(kind="P-256"))
    requirements.check(csr(kind="P-384"))
    assert "or" in refused(requirements, csr(kind="Ed25519"))


@pytest.mark.requirement("ESTS-13")
def test_a_signature_of_another_algorithm_is_refused() -> None:
    """The announced hash, or one of the announced."""
    wanted = CSRRequirements(signature_algorithms=(registry.ECDSA_WITH_SHA384,))
    wanted.check(csr(kind="P-384"))
    assert registry.ECDSA_WITH_SHA256 in refused(wanted, csr(kind="P-256"))
    either = (registry.ECDSA_WITH_SHA384, registry.ECDSA_WITH_SHA256)
    replace(wanted, signature_algorithms=either).check(csr(kind="P-256"))


@pytest.mark.requirement("REG-28")
def test_a_request_without_the_announced_alternative_name_is_refused() -> None:
    """A value that was announced is asked for to the octet, criticality included."""
    requirements = CSRRequirements(extensions=(SAN,))
    requirements.check(csr(SAN))
    other = x509.SubjectAlternativeName([x509.DNSName("other.example.com")])
    more = x509.SubjectAlternativeName([*est.SAN, x509.DNSName("other.example.com")])
    refused(requirements, csr())
    refused(requirements, csr(other))
    refused(requirements, csr(more))
    refused(requirements, csr(replace(SAN, critical=True)))


@pytest.mark.requirement("REG-28")
def test_an_extension_whose_value_is_the_clients_must_be_there() -> None:
    """Any value of it, but it."""
    requirements = CSRRequirements(extension_oids=(est.SAN_OID,))
    requirements.check(csr(est.SAN))
    requirements.check(csr(x509.SubjectAlternativeName([x509.DNSName("other.example.com")])))
    assert est.SAN_OID in refused(requirements, csr())


@pytest.mark.requirement("REG-28", "ESTS-22")
def test_an_extension_that_nobody_announced_is_refused() -> None:
    """A request that would be a CA, or carry a name of its choosing, goes no further."""
    requirements = CSRRequirements(
        extensions=(USAGE,), optional_extensions=frozenset({"2.5.29.37"})
    )
    requirements.check(csr(USAGE))
    requirements.check(csr(USAGE, x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])))
    assert "2.5.29.19" in refused(requirements, csr(USAGE, CA_EXTENSION))
    assert est.SAN_OID in refused(requirements, csr(USAGE, est.SAN))


@pytest.mark.requirement("ESTS-13")
def test_a_challenge_password_that_was_asked_for_must_be_there() -> None:
    """What it says is the caller's to verify; unasked it does no harm."""
    wanted = CSRRequirements(challenge_password=True)
    wanted.check(csr(challenge_password="x"))
    CSRRequirements().check(csr(challenge_password="x"))
    assert "challengePassword" in refused(wanted, csr())


@pytest.mark.requirement("REG-28")
def test_subject_parts_are_compared_as_text() -> None:
    """A part with a value, a part with any value, and one of several."""
    serial_number = SubjectRequirement(oid=registry.ID_AT_SERIAL_NUMBER, value="SN-0001")
    CSRRequirements(subject=(serial_number,)).check(csr())
    CSRRequirements(subject=(replace(serial_number, value=None),)).check(csr())
    for value in ("SN-0002", "sn-0001", "SN-0001 ", ""):
        wanted = CSRRequirements(subject=(replace(serial_number, value=value),))
        assert "SN-0001" in refused(wanted, csr())
    missing = CSRRequirements(subject=(SubjectRequirement(oid="2.5.4.3"),))
    assert "2.5.4.3" in refused(missing, csr())
    units = [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, text) for text in ("one", "two")]
    both = CSRRequirements(
        subject=tuple(SubjectRequirement(oid="2.5.4.11", value=v) for v in ("two", "one"))
    )
    both.check(csr(subject=x509.Name(units)))
    assert "two" in refused(both, csr(subject=x509.Name(units[:1])))
