"""What the device's CSR holds: its own knowledge, and what the registrar asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from brski import registry
from brski.errors import UnknownFormat
from brski.est.attributes import RequestedExtension
from brski.est.csr import build_csr, parse_csr
from brski.est.csr_attributes import decode_csr_attributes, encode_csr_attributes
from brski.est.requirements import (
    ED25519,
    P256,
    P384,
    CSRRequirements,
    KeyRequirement,
    SubjectRequirement,
)
from brski.pki.names import idevid_subject, ldevid_subject
from device_client.pledge.csr_contents import CSRContents, csr_contents
from tests.kit import pki

ISSUER = bytes(range(20))
RSA = KeyRequirement(algorithm=registry.RSA_ENCRYPTION, rsa_bits=2048)
SAN = RequestedExtension.of(x509.SubjectAlternativeName([x509.DNSName("x.example.com")]))


def contents(requirements: CSRRequirements) -> CSRContents:
    return csr_contents(requirements, serial_number="SN-1", idevid_issuer=ISSUER)


def test_left_to_itself_the_device_asks_for_its_own_name() -> None:
    """P-256, serial number and qualifier, no extensions."""
    assert contents(CSRRequirements()) == CSRContents(
        subject=ldevid_subject("SN-1", ISSUER), key=P256
    )


def test_without_an_issuer_the_name_is_the_serial_number() -> None:
    """A device that does not know who numbered it says nothing of it."""
    wanted = csr_contents(CSRRequirements(), serial_number="SN-1", idevid_issuer=None)
    assert wanted.subject == idevid_subject("SN-1")


@pytest.mark.requirement("ESTS-13")
@pytest.mark.parametrize(
    ("keys", "algorithms", "made"),
    [
        ((P384,), (), P384),
        ((ED25519,), (), ED25519),
        ((RSA,), (), RSA),
        ((replace(RSA, rsa_bits=None),), (), RSA),
        ((replace(RSA, rsa_bits=4096),), (), replace(RSA, rsa_bits=4096)),
        ((KeyRequirement(algorithm=registry.ID_EC_PUBLIC_KEY),), (), P256),
        ((P384, P256), (), P256),
        ((), (registry.ECDSA_WITH_SHA384,), P384),
        (
            (KeyRequirement(algorithm=registry.ID_EC_PUBLIC_KEY),),
            (registry.ECDSA_WITH_SHA384,),
            P384,
        ),
    ],
)
def test_the_key_is_of_the_kind_that_was_asked_for(
    keys: tuple[KeyRequirement, ...], algorithms: tuple[str, ...], made: KeyRequirement
) -> None:
    """Of several the device takes what it likes best."""
    wanted = CSRRequirements(keys=keys, signature_algorithms=algorithms)
    assert contents(wanted).key == made


@pytest.mark.parametrize(
    "requirements",
    [
        CSRRequirements(keys=(replace(RSA, rsa_bits=1024),)),
        CSRRequirements(keys=(KeyRequirement(algorithm="1.2.3"),)),
        CSRRequirements(keys=(P256,), signature_algorithms=(registry.ECDSA_WITH_SHA384,)),
        CSRRequirements(extension_oids=("2.5.29.17",)),
        CSRRequirements(subject=(SubjectRequirement(oid="2.5.4.10"),)),
        CSRRequirements(subject=(SubjectRequirement(oid="2.5.4.6", value="Utopia"),)),
        CSRRequirements(subject=(SubjectRequirement(oid="2.5.4.5", value="SN-2"),)),
    ],
    ids=["weak", "unknown", "impossible", "san", "organization", "country", "another device"],
)
def test_what_cannot_be_given_is_refused(requirements: CSRRequirements) -> None:
    """The device says so, instead of posting what will be refused."""
    with pytest.raises(UnknownFormat):
        contents(requirements)


@pytest.mark.requirement("ESTC-7")
def test_extensions_go_in_as_announced() -> None:
    """To the octet and with their criticality; usages are the device's where it may choose."""
    critical = replace(SAN, critical=True)
    wanted = contents(
        CSRRequirements(extensions=(critical,), extension_oids=("2.5.29.37", "2.5.29.15"))
    )
    assert wanted.extensions[0] == critical
    assert [e.oid for e in wanted.extensions] == ["2.5.29.17", "2.5.29.37", "2.5.29.15"]


def test_subject_is_added_to_and_never_taken_from() -> None:
    """Serial number and qualifier stay, whatever else is wanted."""
    wanted = contents(
        CSRRequirements(
            subject=(
                SubjectRequirement(oid=NameOID.SERIAL_NUMBER.dotted_string),
                SubjectRequirement(oid=NameOID.ORGANIZATION_NAME.dotted_string, value="Example"),
                SubjectRequirement(oid=NameOID.COMMON_NAME.dotted_string),
            )
        )
    )
    own = ldevid_subject("SN-1", ISSUER)
    assert wanted.subject.rdns[: len(own.rdns)] == own.rdns
    added = [(a.oid, a.value) for a in wanted.subject][len(own.rdns) :]
    assert added == [(NameOID.ORGANIZATION_NAME, "Example"), (NameOID.COMMON_NAME, "SN-1")]


def test_every_difference_shows_in_the_digest() -> None:
    """A kept CSR is used again only for the same wish."""
    wishes = [
        CSRRequirements(),
        CSRRequirements(keys=(P384,)),
        CSRRequirements(extensions=(SAN,)),
        CSRRequirements(extensions=(replace(SAN, critical=True),)),
        CSRRequirements(challenge_password=True),
        CSRRequirements(subject=(SubjectRequirement(oid="2.5.4.3"),)),
    ]
    assert len({contents(wish).digest for wish in wishes}) == len(wishes)
    assert contents(wishes[0]).digest == contents(wishes[0]).digest


@pytest.mark.requirement("REG-28", "PL-29")
@pytest.mark.parametrize(
    "requirements",
    [
        CSRRequirements(),
        CSRRequirements(keys=(P384,), extensions=(SAN,), extension_oids=("2.5.29.15",)),
        CSRRequirements(subject=(SubjectRequirement(oid="2.5.4.5"),)),
    ],
)
def test_a_csr_made_so_passes_the_registrars_check(requirements: CSRRequirements) -> None:
    """What one side announces, the other follows: through the wire form and back."""
    announced = decode_csr_attributes(encode_csr_attributes(requirements)).requirements
    wanted = contents(announced)
    kind = "P-384" if wanted.key == P384 else "P-256"
    signer = pki.KeySigner(pki.make_key(kind))
    csr = build_csr(signer, wanted.subject, extensions=wanted.extensions)
    requirements.check(parse_csr(csr))


@pytest.mark.requirement("ESTS-14", "ESTS-17")
def test_acp_attributes_of_rfc_9908_are_followed(vectors: Path) -> None:
    """The SAN with the ACP node name goes into the CSR as it came."""
    octets = (vectors / "csrattrs-rfc9908" / "realistic-acp.csrattr.der").read_bytes()
    announced = decode_csr_attributes(octets).requirements
    assert contents(announced).extensions == announced.extensions != ()
