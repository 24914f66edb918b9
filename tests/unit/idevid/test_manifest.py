"""The manifest for an owner: whole and for this owner, or refused with the reason."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cwt import COSE, COSEKey

from brski.errors import (
    IDevIDIssuerMismatch,
    Malformed,
    ManifestRefused,
    OnboardingError,
    SerialNumberMismatch,
    SignatureInvalid,
    UnknownFormat,
)
from brski.idevid.bundle import open_bundle
from brski.idevid.manifest import LABEL, Manifest, open_manifest
from brski.idevid.record import DeviceRecord, DeviceStatus, Presentation
from brski.pki.signer import PublicKey
from tests.kit import oem, pki
from tests.kit.chunks import cut, join
from tests.kit.manifest import ALIVE, CREATED, OWNER, SIGNER_ID, manifest, terms

SIGNER = pki.KeySigner(pki.make_key())
ED25519 = pki.KeySigner(pki.make_key("Ed25519"))
STRANGER = pki.KeySigner(pki.make_key())
SIGNERS = {SIGNER_ID: SIGNER.public_key}
FACTORY = oem.Factory()
OTHER_FACTORY = oem.Factory(pki.make_pki("Another OEM"))


def record(serial_number: str, factory: oem.Factory = FACTORY, **changes: Any) -> DeviceRecord:
    made = factory.make(serial_number)
    facts = DeviceRecord(
        idevid_issuer=made.issuer,
        serial_number=serial_number,
        certificate=made.certificate,
        spki=made.spki,
        intermediates=tuple(each.public_bytes(Encoding.DER) for each in factory.issuer.chain[:-1]),
        presentation=Presentation.ASSERTED,
        derivation_profile="hmac-drbg-p256",
        batch_digest=bytes(32),
        chunk=3,
        generation=2,
    )
    return replace(facts, **changes)


RECORDS = [
    record("SN-1"),
    record("SN-10", status=DeviceStatus.REVOKED, status_reason="stolen"),
    record("SN-2", presentation=Presentation.CARRIED, generation=9),
    record("SN-2", OTHER_FACTORY),
]
RECORDS.sort(key=lambda each: (each.serial_number, each.idevid_issuer))
FILE = manifest(RECORDS, SIGNER)


BY_ED25519: Mapping[str, PublicKey] = {SIGNER_ID: ED25519.public_key}


def opened(
    octets: bytes,
    signers: Mapping[str, PublicKey] = SIGNERS,
    *,
    owner: str = OWNER,
    now: datetime = ALIVE,
) -> Manifest:
    return open_manifest(io.BytesIO(octets), signers, owner=owner, now=now)


def resigned(
    header: dict[str, Any], records: list[Any], signer: pki.KeySigner = ED25519, label: str = LABEL
) -> bytes:
    """A manifest that another implementation has put together: cbor2 and cwt."""
    chunk = cbor2.dumps(records)
    payload = cbor2.dumps([cbor2.dumps(header, canonical=True), [hashlib.sha256(chunk).digest()]])
    pem = signer.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    envelope = COSE.new().encode_and_sign(
        payload, COSEKey.from_pem(pem), protected={1: -8}, external_aad=label.encode()
    )
    return cbor2.dumps(label) + cbor2.dumps(envelope) + cbor2.dumps(chunk)


def parts(octets: bytes) -> tuple[dict[str, Any], list[Any]]:
    """Header and records of a manifest of one chunk, as cbor2 reads them."""
    _, envelope, chunk = cut(octets)
    header, _ = cbor2.loads(cbor2.loads(envelope).value[2])
    return cbor2.loads(header), cbor2.loads(chunk)


def test_it_brings_the_records_as_they_stand() -> None:
    """In any order in, in one order out, marks with them."""
    found = opened(FILE)
    assert list(found.records()) == RECORDS
    assert found.record_count == 4
    assert found.terms == terms()
    assert manifest(RECORDS[::-1], SIGNER) == FILE


def test_a_second_implementation_comes_to_the_same_octets() -> None:
    """From docs/manifest.md alone: cbor2 for what is said, cwt for the signature."""
    issuers = sorted(
        {
            cbor2.dumps([each.idevid_issuer, list(each.intermediates)]): each.idevid_issuer
            for each in RECORDS
        }.items()
    )
    origins = sorted(cbor2.dumps(["hmac-drbg-p256", bytes(32), number]) for number in (2, 9))
    header = {
        "version": 1,
        "signer": SIGNER_ID,
        "signer-key": hashlib.sha256(
            ED25519.public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        ).digest(),
        "owner": OWNER,
        "order": "order 7",
        "created": int(CREATED.timestamp()),
        "expires": int(CREATED.timestamp()) + 90 * 86400,
        "generation": 1,
        "chains": [cbor2.loads(octets) for octets, _ in issuers],
        "origins": [cbor2.loads(octets) for octets in origins],
        "records": 4,
        "chunks": 1,
    }
    rows = [
        [
            each.serial_number,
            [issuer for _, issuer in issuers].index(each.idevid_issuer),
            origins.index(cbor2.dumps(["hmac-drbg-p256", bytes(32), each.generation])),
            int(each.presentation is Presentation.ASSERTED),
            each.certificate,
            3,
            2 if each.status_reason else 0,
            each.status_reason,
        ]
        for each in RECORDS
    ]
    assert resigned(header, rows) == manifest(RECORDS, ED25519)
    assert list(opened(resigned(header, rows), BY_ED25519).records()) == RECORDS


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"owner": "Another Owner"}, "is for 'Example Owner'"),
        ({"now": CREATED + timedelta(days=90)}, "ended at"),
        ({"signers": {"nobody": STRANGER.public_key}}, "is not configured"),
        ({"signers": {SIGNER_ID: STRANGER.public_key}}, "configured is"),
    ],
)
def test_a_foreign_or_ended_manifest_is_refused(change: dict[str, Any], said: str) -> None:
    """Another owner's, an unknown signer's, another key; a second before its end it is not."""
    with pytest.raises(ManifestRefused, match=said):
        opened(FILE, **change)
    assert opened(FILE, now=CREATED + timedelta(days=90, seconds=-1)).record_count == 4


def test_a_signature_for_another_format_is_none() -> None:
    """Whoever signs bundles with the same key has signed no manifest, and the reverse."""
    header, rows = parts(manifest(RECORDS, ED25519))
    as_bundle = resigned(header, rows, label="brski bundle v1")
    relabelled = join([LABEL, *cut(as_bundle)[1:]])
    with pytest.raises(SignatureInvalid):
        opened(relabelled, BY_ED25519)
    with pytest.raises(UnknownFormat):
        opened(as_bundle, BY_ED25519)
    with pytest.raises(UnknownFormat):
        open_bundle(io.BytesIO(FILE), SIGNERS)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"version": 2}, UnknownFormat),
        ({"records": 5}, ManifestRefused),
        ({"chunks": 2}, ManifestRefused),
        ({"expires": int(CREATED.timestamp())}, Malformed),
        ({"extra": 1}, Malformed),
        ({"chains": []}, Malformed),
        ({"order": ""}, Malformed),
        ({"generation": -1}, Malformed),
    ],
)
def test_a_header_that_is_not_the_pages_is_refused(
    change: dict[str, Any], kind: type[OnboardingError]
) -> None:
    """Signed all the same: the signer's own faults are refused, too."""
    header, rows = parts(manifest(RECORDS, ED25519))
    assert opened(resigned(header, rows), BY_ED25519).record_count == 4
    with pytest.raises(kind):
        opened(resigned(header | change, rows), BY_ED25519)


def test_chains_and_origins_stand_in_one_order() -> None:
    header, rows = parts(manifest(RECORDS, ED25519))
    for name in ("chains", "origins"):
        with pytest.raises(Malformed, match="out of order"):
            opened(
                resigned(header | {name: header[name][::-1]}, rows),
                BY_ED25519,
            )


@pytest.mark.parametrize(
    ("order", "kind"),
    [((1, 0, 2, 3), ManifestRefused), ((0, 1, 2, 2), ManifestRefused)],
)
def test_records_come_once_and_in_order(
    order: tuple[int, ...], kind: type[OnboardingError]
) -> None:
    header, rows = parts(manifest(RECORDS, ED25519))
    with pytest.raises(kind, match="comes twice or out of order"):
        opened(resigned(header, [rows[at] for at in order]), BY_ED25519)


@pytest.mark.parametrize(
    ("place", "value", "kind"),
    [
        (0, "SN-0", SerialNumberMismatch),
        (1, 7, Malformed),
        (2, 7, Malformed),
        (3, 2, Malformed),
        (4, b"\x30\x00", Malformed),
        (6, 3, Malformed),
        (7, "stolen", Malformed),
    ],
)
def test_a_record_that_is_not_its_devices_is_refused(
    place: int, value: Any, kind: type[OnboardingError]
) -> None:
    """Its certificate is of this serial number and issuer, and its status has its reason."""
    header, rows = parts(manifest(RECORDS, ED25519))
    rows[0][place] = value
    with pytest.raises(kind):
        list(opened(resigned(header, rows), BY_ED25519).records())


def test_a_certificate_of_another_issuer_is_refused() -> None:
    header, rows = parts(manifest(RECORDS, ED25519))
    rows[0][1] = 1 - rows[0][1]
    with pytest.raises(IDevIDIssuerMismatch):
        list(opened(resigned(header, rows), BY_ED25519).records())


def test_one_device_twice_is_not_written() -> None:
    with pytest.raises(ManifestRefused, match="comes twice"):
        manifest([RECORDS[0], RECORDS[0]], SIGNER)
    with pytest.raises(Malformed):
        manifest([], SIGNER)
