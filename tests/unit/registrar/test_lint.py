"""The CA's lint: a sound TBSCertificate passes, and each planted fault does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from brski.errors import CertificateUnsound
from brski.idevid.certificate import encode_extension
from brski.pki import der
from brski.pki.extensions import key_identifier
from brski.pki.keys import encode_spki
from brski.pki.names import ldevid_subject
from brski.pki.signatures import signature_algorithm
from brski.registry import ID_KP_CLIENT_AUTH, ID_KP_SERVER_AUTH
from registrar_plugin.ca_backend.embedded import EmbeddedCA
from registrar_plugin.ca_backend.layout import encode_distribution_point, encode_time
from registrar_plugin.ca_backend.lint.certificate import check_certificate
from registrar_plugin.ca_backend.port import LDevIDRequest
from tests.kit import pki

OWNER = pki.make_pki("Example Owner", not_after=pki.NOT_AFTER)
SPKI = encode_spki(pki.make_key().public_key())
OWN_KEY = key_identifier(SPKI)
ISSUER_KEY = pki.key_identifier(OWNER.private_key.public_key())
PURPOSES = (ID_KP_CLIENT_AUTH,)

BASIC_CONSTRAINTS, KEY_USAGE, PURPOSE = "2.5.29.19", "2.5.29.15", "2.5.29.37"
SUBJECT_KEY, AUTHORITY_KEY, ALT_NAME = "2.5.29.14", "2.5.29.35", "2.5.29.17"
LISTS = "2.5.29.31"


def ext(oid: str, *value: bytes, critical: bool = False) -> bytes:
    return encode_extension(oid, b"".join(value), critical=critical)


def purposes(*oids: str) -> bytes:
    return ext(PURPOSE, der.encode(der.SEQUENCE, *map(der.encode_oid, oids)))


def bits(*content: int) -> bytes:
    return der.encode(der.BIT_STRING, bytes(content))


GOOD_EXTENSIONS = {
    "basic": ext(BASIC_CONSTRAINTS, der.encode(der.SEQUENCE), critical=True),
    "usage": ext(KEY_USAGE, bits(7, 0x80), critical=True),
    "purposes": purposes(*PURPOSES),
    "own": ext(SUBJECT_KEY, der.encode(der.OCTET_STRING, OWN_KEY)),
    "issuer": ext(AUTHORITY_KEY, der.encode(der.SEQUENCE, der.encode(0x80, ISSUER_KEY))),
}


def validity(begin: bytes, end: bytes) -> bytes:
    return der.encode(der.SEQUENCE, begin, end)


def attribute(oid: str, tag: int, value: bytes) -> bytes:
    return der.encode(der.SEQUENCE, der.encode_oid(oid), der.encode(tag, value))


def name(*attributes: bytes) -> bytes:
    return der.encode(der.SEQUENCE, *(der.encode(der.SET, each) for each in attributes))


BEGIN, END = encode_time(pki.NOW), encode_time(pki.NOW + timedelta(days=90))
SERIAL = attribute("2.5.4.5", der.PRINTABLE_STRING, b"SN-1")


@dataclass(frozen=True)
class Parts:
    """A TBSCertificate in its eight fields, each whole DER."""

    version: bytes = b"\xa0\x03\x02\x01\x02"
    serial: bytes = b"\x02\x14" + b"\x41" * 20
    algorithm: bytes = signature_algorithm(OWNER.private_key.public_key())
    issuer: bytes = OWNER.certificate.subject.public_bytes()
    validity: bytes = validity(BEGIN, END)
    subject: bytes = ldevid_subject("SN-1", bytes(20)).public_bytes()
    spki: bytes = SPKI
    extensions: Sequence[bytes] = tuple(GOOD_EXTENSIONS.values())
    after: bytes = b""

    def encode(self) -> bytes:
        listed = der.encode(0xA3, der.encode(der.SEQUENCE, *self.extensions))
        fields = (self.version, self.serial, self.algorithm, self.issuer, self.validity)
        return der.encode(der.SEQUENCE, *fields, self.subject, self.spki, listed, self.after)

    def with_extension(self, which: str, *instead: bytes) -> Parts:
        kept = [each for name_, each in GOOD_EXTENSIONS.items() if name_ != which]
        return replace(self, extensions=(*kept, *instead))


GOOD = Parts()


def test_a_sound_certificate_passes() -> None:
    """What the faults below are planted into is without fault."""
    check_certificate(GOOD.encode(), OWNER.certificate, extended_key_usages=PURPOSES)


@pytest.mark.parametrize(
    "more",
    [
        encode_distribution_point("http://crl.example.com/owner.crl"),
        ext(ALT_NAME, der.encode(der.SEQUENCE, der.encode(0x82, b"host.example.com"))),
    ],
    ids=["distribution point", "alternative name"],
)
def test_optional_extensions_pass(more: bytes) -> None:
    """A distribution point and a subjectAltName may be there."""
    parts = replace(GOOD, extensions=(*GOOD.extensions, more))
    check_certificate(parts.encode(), OWNER.certificate, extended_key_usages=PURPOSES)


def test_dates_of_both_types_pass() -> None:
    """To 2049 the one type, from 2050 the other; an issuer without end allows both."""
    never = pki.make_root("Endless", not_after=pki.NEVER)
    parts = replace(
        GOOD,
        issuer=never.certificate.subject.public_bytes(),
        validity=validity(
            encode_time(datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)),
            encode_time(datetime(2050, 1, 1, tzinfo=UTC)),
        ),
    ).with_extension(
        "issuer",
        ext(
            AUTHORITY_KEY,
            der.encode(
                der.SEQUENCE, der.encode(0x80, pki.key_identifier(never.private_key.public_key()))
            ),
        ),
    )
    check_certificate(parts.encode(), never.certificate)


def utc(text: bytes) -> bytes:
    return der.encode(der.UTC_TIME, text)


def generalized(text: bytes) -> bytes:
    return der.encode(der.GENERALIZED_TIME, text)


WEAK = encode_spki(pki.make_key("RSA-1024").public_key())  # refused, and so it shall be
FAULTS = {
    "version 1": replace(GOOD, version=b"\xa0\x03\x02\x01\x00"),
    "version missing": replace(GOOD, version=b""),
    "unique identifier": replace(GOOD, spki=SPKI + b"\x81\x02\x00\x01"),
    "something after the extensions": replace(GOOD, after=b"\x05\x00"),
    "serial 0": replace(GOOD, serial=b"\x02\x01\x00"),
    "negative serial": replace(GOOD, serial=b"\x02\x01\x80"),
    "serial of 21 octets": replace(GOOD, serial=b"\x02\x15" + b"\x41" * 21),
    "padded serial": replace(GOOD, serial=b"\x02\x02\x00\x01"),
    "another algorithm": replace(
        GOOD, algorithm=signature_algorithm(pki.make_key("P-384").public_key())
    ),
    "another issuer": replace(GOOD, issuer=OWNER.root.subject.public_bytes()),
    "dates turned round": replace(GOOD, validity=validity(END, BEGIN)),
    "no time at all": replace(GOOD, validity=validity(BEGIN, BEGIN)),
    "one date": replace(GOOD, validity=der.encode(der.SEQUENCE, BEGIN)),
    "beyond the issuer": replace(
        GOOD, validity=validity(BEGIN, encode_time(pki.NOT_AFTER + timedelta(seconds=1)))
    ),
    "GeneralizedTime before 2050": replace(
        GOOD, validity=validity(generalized(b"20250601120000Z"), END)
    ),
    "UTCTime without seconds": replace(GOOD, validity=validity(utc(b"2506011200Z"), END)),
    "UTCTime with an offset": replace(GOOD, validity=validity(utc(b"250601120000+0000"), END)),
    "fraction of a second": replace(
        GOOD, validity=validity(BEGIN, generalized(b"20510601120000.5Z"))
    ),
    "the 31st of June": replace(GOOD, validity=validity(utc(b"250631120000Z"), END)),
    "UTCTime with a sign": replace(GOOD, validity=validity(utc(b"+50601120000Z"), END)),
    "date that is no time": replace(GOOD, validity=validity(der.encode_integer(1), END)),
    "empty subject": replace(GOOD, subject=name()),
    "empty relative name": replace(GOOD, subject=der.encode(der.SEQUENCE, der.encode(der.SET))),
    "empty attribute": replace(GOOD, subject=name(attribute("2.5.4.5", der.PRINTABLE_STRING, b""))),
    "attribute of 65 characters": replace(
        GOOD, subject=name(attribute("2.5.4.3", der.UTF8_STRING, b"x" * 65))
    ),
    "attribute twice": replace(GOOD, subject=name(SERIAL, SERIAL)),
    "serialNumber as UTF8String": replace(
        GOOD, subject=name(attribute("2.5.4.5", der.UTF8_STRING, b"SN-1"))
    ),
    "PrintableString with an underscore": replace(
        GOOD, subject=name(attribute("2.5.4.5", der.PRINTABLE_STRING, b"SN_1"))
    ),
    "UTF8String that is none": replace(
        GOOD, subject=name(attribute("2.5.4.3", der.UTF8_STRING, b"\xff"))
    ),
    "BMPString": replace(GOOD, subject=name(attribute("2.5.4.3", 0x1E, b"\x00A"))),
    "weak key": replace(GOOD, spki=WEAK).with_extension(
        "own", ext(SUBJECT_KEY, der.encode(der.OCTET_STRING, key_identifier(WEAK)))
    ),
    "the CA's own key": replace(
        GOOD, spki=encode_spki(OWNER.private_key.public_key())
    ).with_extension("own", ext(SUBJECT_KEY, der.encode(der.OCTET_STRING, ISSUER_KEY))),
    "no extension": replace(GOOD, extensions=()),
    "extension twice": replace(GOOD, extensions=(*GOOD.extensions, GOOD_EXTENSIONS["own"])),
    "extension that nobody knows": replace(
        GOOD, extensions=(*GOOD.extensions, ext("1.2.3.4", der.encode(der.NULL)))
    ),
    "basicConstraints missing": GOOD.with_extension("basic"),
    "basicConstraints not critical": GOOD.with_extension(
        "basic", ext(BASIC_CONSTRAINTS, der.encode(der.SEQUENCE))
    ),
    "CA:TRUE": GOOD.with_extension(
        "basic",
        ext(BASIC_CONSTRAINTS, der.encode(der.SEQUENCE, b"\x01\x01\xff"), critical=True),
    ),
    "CA:FALSE written out": GOOD.with_extension(
        "basic",
        ext(BASIC_CONSTRAINTS, der.encode(der.SEQUENCE, b"\x01\x01\x00"), critical=True),
    ),
    "keyUsage missing": GOOD.with_extension("usage"),
    "keyUsage not critical": GOOD.with_extension("usage", ext(KEY_USAGE, bits(7, 0x80))),
    "keyCertSign": GOOD.with_extension("usage", ext(KEY_USAGE, bits(2, 0x84), critical=True)),
    "cRLSign": GOOD.with_extension("usage", ext(KEY_USAGE, bits(1, 0x82), critical=True)),
    "no usage": GOOD.with_extension("usage", ext(KEY_USAGE, bits(0), critical=True)),
    "usage with trailing zeros": GOOD.with_extension(
        "usage", ext(KEY_USAGE, bits(6, 0x80), critical=True)
    ),
    "decipherOnly": GOOD.with_extension(
        "usage", ext(KEY_USAGE, bits(7, 0x80, 0x80), critical=True)
    ),
    "extKeyUsage missing": GOOD.with_extension("purposes"),
    "extKeyUsage empty": GOOD.with_extension("purposes", purposes()),
    "purpose twice": GOOD.with_extension(
        "purposes", purposes(ID_KP_CLIENT_AUTH, ID_KP_CLIENT_AUTH)
    ),
    "a purpose beyond the profile": GOOD.with_extension(
        "purposes", purposes(ID_KP_CLIENT_AUTH, ID_KP_SERVER_AUTH)
    ),
    "another purpose": GOOD.with_extension("purposes", purposes(ID_KP_SERVER_AUTH)),
    "every purpose": GOOD.with_extension("purposes", purposes(ID_KP_CLIENT_AUTH, "2.5.29.37.0")),
    "subjectKeyIdentifier missing": GOOD.with_extension("own"),
    "subjectKeyIdentifier of another key": GOOD.with_extension(
        "own", ext(SUBJECT_KEY, der.encode(der.OCTET_STRING, ISSUER_KEY))
    ),
    "subjectKeyIdentifier critical": GOOD.with_extension(
        "own", ext(SUBJECT_KEY, der.encode(der.OCTET_STRING, OWN_KEY), critical=True)
    ),
    "authorityKeyIdentifier missing": GOOD.with_extension("issuer"),
    "authorityKeyIdentifier of another key": GOOD.with_extension(
        "issuer", ext(AUTHORITY_KEY, der.encode(der.SEQUENCE, der.encode(0x80, OWN_KEY)))
    ),
    "FALSE written out": GOOD.with_extension(
        "own",
        der.encode(
            der.SEQUENCE,
            der.encode_oid(SUBJECT_KEY),
            b"\x01\x01\x00",
            der.encode(der.OCTET_STRING, der.encode(der.OCTET_STRING, OWN_KEY)),
        ),
    ),
    "extension without a value": GOOD.with_extension(
        "own", der.encode(der.SEQUENCE, der.encode_oid(SUBJECT_KEY))
    ),
    "extension whose value is no DER": GOOD.with_extension("own", ext(SUBJECT_KEY, b"\x04\x05x")),
    "empty alternative name": replace(
        GOOD, extensions=(*GOOD.extensions, ext(ALT_NAME, der.encode(der.SEQUENCE)))
    ),
    "empty distribution points": replace(
        GOOD, extensions=(*GOOD.extensions, ext(LISTS, der.encode(der.SEQUENCE)))
    ),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_planted_fault_is_found(fault: Parts) -> None:
    """One thing differs from what passes, and it is not signed."""
    with pytest.raises(CertificateUnsound, match="not signed"):
        check_certificate(fault.encode(), OWNER.certificate, extended_key_usages=PURPOSES)


def test_no_truncation_passes() -> None:
    """Cut short anywhere, it is refused and never crashes."""
    whole = GOOD.encode()
    for end in range(len(whole)):
        with pytest.raises(CertificateUnsound):
            check_certificate(whole[:end], OWNER.certificate)


def test_no_octet_can_be_turned_into_a_crash() -> None:
    """Whatever an octet becomes, the lint says yes or no and nothing else."""
    whole = GOOD.encode()
    for place in range(len(whole)):
        for value in (0x00, 0x30, 0x80, 0xFF):
            bent = whole[:place] + bytes((value,)) + whole[place + 1 :]
            try:
                check_certificate(bent, OWNER.certificate, extended_key_usages=PURPOSES)
            except CertificateUnsound:
                continue


async def test_the_ca_does_not_sign_what_the_journal_was_made_to_say() -> None:
    """An intent that was altered on the disk into a CA's certificate gets no signature."""
    ca = EmbeddedCA(OWNER.signer)
    bent = FAULTS["CA:TRUE"].encode()
    with pytest.raises(CertificateUnsound):
        await ca.complete(bent)


def test_the_ca_does_not_record_what_it_would_not_sign() -> None:
    """The lint is in front of the journal, too: a subject without a name is not prepared."""
    ca = EmbeddedCA(OWNER.signer)
    asked = LDevIDRequest(
        idevid_issuer=bytes(20),
        serial_number="SN-1",
        csr=b"",
        public_key=pki.make_key().public_key(),
        subject=x509.Name([]),
    )
    with pytest.raises(CertificateUnsound, match="subject is empty"):
        ca.prepare(asked, now=pki.NOW)


def test_what_was_found_sound_is_so_for_its_issuer_and_its_purposes_alone() -> None:
    """The same octets again, with one thing asked otherwise: refused as for the first time."""
    again = GOOD.encode()
    check_certificate(again, OWNER.certificate, extended_key_usages=PURPOSES)
    check_certificate(again, OWNER.certificate)
    with pytest.raises(CertificateUnsound, match="not what the profile grants"):
        check_certificate(again, OWNER.certificate, extended_key_usages=(ID_KP_SERVER_AUTH,))
    with pytest.raises(CertificateUnsound, match="issuer is not the subject"):
        check_certificate(again, pki.make_root("Somebody else").certificate)
