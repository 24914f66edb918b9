"""CSR attributes on the wire, in RFC 7030's form and as RFC 9908 straightens it."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from brski import registry
from brski.errors import LocalError, Malformed, PeerError, TooLarge
from brski.est.attributes import RequestedExtension
from brski.est.csr import build_csr, parse_csr
from brski.est.csr_attributes import (
    CSR_ATTRIBUTES_OCTETS,
    CSRAttributes,
    decode_csr_attributes,
    encode_csr_attributes,
)
from brski.est.requirements import (
    ED25519,
    P256,
    P384,
    CSRRequirements,
    KeyRequirement,
    SubjectRequirement,
)
from brski.est.transfer import decode_base64
from brski.pki import der
from tests.kit import est, pki

P521 = KeyRequirement(algorithm=registry.ID_EC_PUBLIC_KEY, curve="1.3.132.0.35")
RSA_4096 = KeyRequirement(algorithm=registry.RSA_ENCRYPTION, rsa_bits=4096)
SERIAL_NUMBER = SubjectRequirement(oid=registry.ID_AT_SERIAL_NUMBER)
MAC_ADDRESS = "1.3.6.1.1.1.1.22"
SAN = RequestedExtension.of(est.SAN)

PUBLISHED = {
    "rfc7030-example01": CSRAttributes(
        requirements=CSRRequirements(
            keys=(P384,),
            signature_algorithms=(registry.ECDSA_WITH_SHA384,),
            challenge_password=True,
        ),
        ignored=(MAC_ADDRESS,),
    ),
    "rfc7030-sec4.5.2": CSRAttributes(
        requirements=CSRRequirements(
            keys=(P384,),
            signature_algorithms=(registry.ECDSA_WITH_SHA384,),
            extension_oids=(MAC_ADDRESS,),
            challenge_password=True,
        ),
    ),
    "harkins01": CSRAttributes(
        requirements=CSRRequirements(
            keys=(RSA_4096,),
            signature_algorithms=(registry.SHA256_WITH_RSA,),
            challenge_password=True,
        ),
    ),
    "harkins02": CSRAttributes(
        requirements=CSRRequirements(
            keys=(P384,),
            signature_algorithms=(registry.ECDSA_WITH_SHA384,),
            subject=(SERIAL_NUMBER,),
            challenge_password=True,
        ),
    ),
    "harkins03": CSRAttributes(
        requirements=CSRRequirements(
            keys=(P521,),
            signature_algorithms=(registry.ECDSA_WITH_SHA512,),
            subject=(SERIAL_NUMBER,),
            challenge_password=True,
        ),
        ignored=("1.2.840.113549.1.9.20", "0.9.2342.19200300.100.1.5"),
    ),
}
PUBLISHED["potato-example"] = PUBLISHED["harkins03"]

OIDS = st.tuples(
    st.sampled_from([1, 2]), st.integers(0, 39), st.integers(0, 2**28), st.integers(0, 2**28)
).map(lambda arcs: ".".join(map(str, arcs)))
REQUIREMENTS = st.builds(
    CSRRequirements,
    keys=st.sampled_from([(), (P256,), (P384,), (RSA_4096,)]),
    signature_algorithms=st.sampled_from([(), (registry.ECDSA_WITH_SHA256,)]),
    subject=st.lists(
        st.integers(3, 99).map(lambda n: SubjectRequirement(oid=f"2.5.4.{n}")),
        max_size=3,
        unique=True,
    ).map(tuple),
    extension_oids=st.lists(
        st.integers(1, 60).map(lambda n: f"2.5.29.{n}"), max_size=3, unique=True
    ).map(tuple),
    extensions=st.lists(
        st.builds(
            RequestedExtension,
            oid=OIDS,
            value=st.binary(max_size=60).map(lambda v: der.encode(der.OCTET_STRING, v)),
            critical=st.booleans(),
        ),
        max_size=3,
        unique_by=lambda extension: extension.oid,
    ).map(tuple),
    challenge_password=st.booleans(),
)


def attributes(*items: bytes) -> bytes:
    return der.encode(der.SEQUENCE, *items)


# -- the published examples ---------------------------------------------------------------------


@pytest.mark.requirement("ESTS-13", "ESTS-15", "ESTC-6")
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_examples_say_what_their_text_says(vectors: Path, name: str) -> None:
    """RFC 7030's own example, in its original form too, and the working group's for RFC 9908."""
    text = (vectors / "csrattrs-rfc9908" / f"{name}.csrattr.b64").read_bytes()
    assert decode_csr_attributes(decode_base64(text)) == PUBLISHED[name]


@pytest.mark.requirement("ESTS-15")
@pytest.mark.parametrize("name", ["harkins01", "harkins02"])
def test_published_examples_are_written_to_the_octet(vectors: Path, name: str) -> None:
    """Those that hold nothing unknown come out of our writer as they are printed."""
    octets = (vectors / "csrattrs-rfc9908" / f"{name}.csrattr.der").read_bytes()
    assert encode_csr_attributes(PUBLISHED[name].requirements) == octets


@pytest.mark.requirement("ESTS-14", "ESTS-17", "ESTC-7")
def test_the_acp_example_gives_the_alternative_name_to_the_octet(vectors: Path) -> None:
    """One critical SAN with an AcpNodeName; a client copies it, and its request is accepted."""
    octets = (vectors / "csrattrs-rfc9908" / "realistic-acp.csrattr.der").read_bytes()
    wanted = decode_csr_attributes(octets).requirements
    (extension,) = wanted.extensions
    assert (extension.oid, extension.critical) == (est.SAN_OID, True)
    assert encode_csr_attributes(wanted) == octets
    made = build_csr(pki.KeySigner(pki.make_key()), est.SUBJECT, extensions=wanted.extensions)
    csr = parse_csr(made)
    wanted.check(csr)
    assert csr.subject_alternative_name is not None
    (name,) = csr.subject_alternative_name.get_values_for_type(x509.OtherName)
    assert name.type_id.dotted_string == "1.3.6.1.5.5.7.8.10"
    assert name.value == b"\x16\x39rfc8994+fd739fc23c3440112233445500000000+@acp.example.com"


def test_the_old_example_of_a_whole_request_is_no_csr_attributes(vectors: Path) -> None:
    """The working group's folder holds a PKCS #10 beside them: a request, and refused here."""
    octets = (vectors / "csrattrs-rfc9908" / "CSR-template.der").read_bytes()
    with pytest.raises(Malformed):
        decode_csr_attributes(octets)
    csr = parse_csr(octets)
    assert [part.value for part in csr.subject] == [".", "myDept", "myGroup"]
    assert [extension.oid for extension in csr.extensions] == ["2.5.29.19", "2.5.29.15"]


# -- what is written ----------------------------------------------------------------------------


@given(REQUIREMENTS)
def test_what_is_announced_is_read(requirements: CSRRequirements) -> None:
    """The client's requirements are the server's."""
    found = decode_csr_attributes(encode_csr_attributes(requirements))
    assert found == CSRAttributes(requirements=requirements)


@pytest.mark.requirement("ESTS-12")
def test_no_requirement_is_an_empty_sequence() -> None:
    """30 00, which means what no content means."""
    assert encode_csr_attributes(CSRRequirements()) == b"\x30\x00"
    assert decode_csr_attributes(b"\x30\x00") == CSRAttributes(requirements=CSRRequirements())


@pytest.mark.requirement("ESTS-13")
def test_the_first_of_several_is_announced() -> None:
    """The form has no "or"; whoever follows it is accepted."""
    wanted = CSRRequirements(
        keys=(P256, P384),
        signature_algorithms=(registry.ECDSA_WITH_SHA256, registry.ECDSA_WITH_SHA384),
    )
    announced = decode_csr_attributes(encode_csr_attributes(wanted)).requirements
    assert announced.keys == (P256,)
    assert announced.signature_algorithms == (registry.ECDSA_WITH_SHA256,)
    wanted.check(parse_csr(build_csr(pki.KeySigner(pki.make_key()), est.SUBJECT)))


def test_ed25519_is_a_key_and_a_signature_at_once() -> None:
    """One object identifier, written once, read as both."""
    wanted = CSRRequirements(keys=(ED25519,), signature_algorithms=(registry.ID_ED25519,))
    assert encode_csr_attributes(wanted) == attributes(der.encode_oid(registry.ID_ED25519))
    assert decode_csr_attributes(encode_csr_attributes(wanted)).requirements == wanted


def test_optional_extensions_are_not_announced() -> None:
    """They are taken, not asked for."""
    wanted = CSRRequirements(optional_extensions=frozenset({est.SAN_OID}))
    assert encode_csr_attributes(wanted) == b"\x30\x00"


def test_a_subject_value_has_no_place_in_this_form() -> None:
    """The kind of a part can be announced, its value only in a template (RFC 9908 §3.4)."""
    assert encode_csr_attributes(CSRRequirements(subject=(SERIAL_NUMBER,)))
    given_ = SubjectRequirement(oid=registry.ID_AT_SERIAL_NUMBER, value="SN-0001")
    with pytest.raises(LocalError):
        encode_csr_attributes(CSRRequirements(subject=(given_,)))


@pytest.mark.requirement("ESTS-14")
def test_an_extension_is_not_announced_twice() -> None:
    """Two of one kind are our mistake."""
    with pytest.raises(LocalError):
        encode_csr_attributes(CSRRequirements(extensions=(SAN, SAN)))


# -- what is read -------------------------------------------------------------------------------


@pytest.mark.requirement("ESTC-6")
@given(st.lists(OIDS.filter(lambda oid: not oid.startswith("2.5.")), max_size=5))
def test_unknown_object_identifiers_are_passed_over(oids: list[str]) -> None:
    """Bare or with values, whatever they mean to somebody else."""
    octets = attributes(
        *map(der.encode_oid, oids),
        *(est.attribute(oid, b"\x05\x00", b"\x02\x01\x07") for oid in oids),
    )
    found = decode_csr_attributes(octets)
    assert found.requirements == CSRRequirements()
    assert found.ignored == tuple(oids + oids)


def test_keys_without_parameters_are_read() -> None:
    """Bare ecPublicKey or rsaEncryption leaves curve or size to the client."""
    for oid in (registry.ID_EC_PUBLIC_KEY, registry.RSA_ENCRYPTION):
        found = decode_csr_attributes(attributes(der.encode_oid(oid)))
        assert found.requirements.keys == (KeyRequirement(algorithm=oid),)
        assert found.ignored == ()


def test_several_values_of_a_key_are_alternatives() -> None:
    """One attribute with two curves in its set."""
    curves = sorted([der.encode_oid(registry.SECP256R1), der.encode_oid(registry.SECP384R1)])
    found = decode_csr_attributes(attributes(est.attribute(registry.ID_EC_PUBLIC_KEY, *curves)))
    assert set(found.requirements.keys) == {P256, P384}


EC, RSA = registry.ID_EC_PUBLIC_KEY, registry.RSA_ENCRYPTION
ONE_EXTENSION = est.extensions(est.extension(est.SAN_OID, est.SAN.public_bytes()))


@pytest.mark.requirement("ESTS-14", "ESTS-15")
@pytest.mark.parametrize(
    "items",
    [
        [est.attribute(EC, b"\x02\x01\x07")],
        [est.attribute(EC)],
        [est.attribute(EC, der.encode_oid(registry.SECP256R1))] * 2,
        [est.attribute(RSA, der.encode_oid(registry.SECP256R1))],
        [est.attribute(RSA, b"\x02\x01\x00")],
        [est.attribute(RSA, b"\x02\x02\xf0\x00")],
        [est.attribute(RSA, b"\x02\x03\x01\x00\x00")],
        [est.attribute(est.EXTENSION_REQUEST, ONE_EXTENSION)] * 2,
        [est.attribute(est.EXTENSION_REQUEST, ONE_EXTENSION, ONE_EXTENSION)],
        [est.attribute(est.EXTENSION_REQUEST, der.encode_oid(est.SAN_OID), ONE_EXTENSION)],
        [est.attribute(est.EXTENSION_REQUEST, est.extensions())],
        [
            est.attribute(
                est.EXTENSION_REQUEST, est.extensions(b"\x30\x05" + der.encode_oid(est.SAN_OID))
            )
        ],
        [est.attribute(est.EXTENSION_REQUEST, b"\x05\x00")],
        [est.attribute(est.EXTENSION_REQUEST)],
        [b"\x05\x00"],
        [b"\x30\x00"],
        [b"\x31\x00"],
        [der.encode(der.SEQUENCE, der.encode_oid(EC))],
    ],
)
def test_known_attributes_with_another_content_are_refused(items: list[bytes]) -> None:
    """What is understood is not guessed at: wrong types, sizes, several where one is, twice."""
    assert decode_csr_attributes(
        attributes(
            est.attribute(EC, der.encode_oid(registry.SECP256R1)),
            est.attribute(RSA, b"\x02\x02\x10\x00"),
            est.attribute(est.EXTENSION_REQUEST, ONE_EXTENSION),
        )
    ).requirements == CSRRequirements(keys=(P256, RSA_4096), extensions=(SAN,))
    with pytest.raises(Malformed):
        decode_csr_attributes(attributes(*items))


@pytest.mark.parametrize(
    "octets", [b"", b"\x30\x80\x00\x00", b"\x31\x00", b"\x05\x00", b"\x30\x00\x00"]
)
def test_what_is_no_csr_attributes_is_refused(octets: bytes) -> None:
    """Nothing, BER, another type, an octet behind it."""
    with pytest.raises(Malformed):
        decode_csr_attributes(octets)


def test_size_is_bounded() -> None:
    """8 KiB are read, one object identifier more is not."""
    oid = der.encode_oid("1.2.3")  # 4 octets
    filler = der.encode(der.OCTET_STRING, bytes(CSR_ATTRIBUTES_OCTETS - 20))
    one = attributes(est.attribute("1.2.3", filler))
    assert len(one) <= CSR_ATTRIBUTES_OCTETS
    assert decode_csr_attributes(one).ignored == ("1.2.3",)
    with pytest.raises(TooLarge):
        decode_csr_attributes(attributes(est.attribute("1.2.3", filler), oid))


FULL = encode_csr_attributes(
    CSRRequirements(
        keys=(P256,),
        signature_algorithms=(registry.ECDSA_WITH_SHA256,),
        subject=(SERIAL_NUMBER,),
        extensions=(SAN,),
        challenge_password=True,
    )
)


def test_every_truncation_is_refused() -> None:
    """Cut at any octet."""
    for end in range(len(FULL)):
        with pytest.raises(Malformed):
            decode_csr_attributes(FULL[:end])


@given(st.integers(0, len(FULL) - 1), st.binary(max_size=8), st.integers(0, 8))
def test_whatever_comes_is_read_or_a_peers_fault(start: int, junk: bytes, length: int) -> None:
    """Altered octets never end in another exception."""
    with contextlib.suppress(PeerError):
        decode_csr_attributes(FULL[:start] + junk + FULL[start + length :])
