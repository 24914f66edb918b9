"""What holds for every file of signed chunks, whatever it says: build list, bundle and manifest."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, BinaryIO

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brski.errors import (
    BatchRefused,
    BundleRefused,
    Malformed,
    ManifestRefused,
    OnboardingError,
    Refused,
    SignatureInvalid,
    TooLarge,
    UnknownFormat,
)
from brski.idevid import build_list, bundle, manifest
from brski.idevid.build_list import BuildEntry, BuildListWriter, open_build_list
from brski.idevid.bundle import open_bundle
from brski.idevid.manifest import open_manifest
from brski.idevid.record import DeviceRecord, Presentation
from tests.kit import manifest as manifests
from tests.kit import oem, pki
from tests.kit.chunks import Changing, cut, join, resign

NUMBERS = ["SN-000001", "SN-000002", "SN-000030"]
ALL_LABELS = [build_list.LABEL, bundle.LABEL, manifest.LABEL, "brski seed batch v1"]
FACTORY = oem.Factory()
SIGNER = FACTORY.signer


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One of the formats, with a file of three records and one chunk."""

    label: str
    file: bytes
    open: Callable[[BinaryIO], Iterable[Any]]  # verified; gives the records
    refusal: type[Refused]

    def read(self, octets: bytes) -> list[Any]:
        """Everything in it."""
        return list(self.open(io.BytesIO(octets)))


def _build_list() -> bytes:
    writer = BuildListWriter(io.BytesIO())
    for number, serial_number in enumerate(NUMBERS):
        writer.add(
            BuildEntry(
                chip_id=b"chip %d" % number,
                serial_number=serial_number,
                presentation=Presentation.ASSERTED,
            )
        )
    out = io.BytesIO()
    writer.finish(
        out,
        signer=SIGNER,
        signer_id="line-1",
        created_at=datetime(2025, 3, 1, 8, 30, 0, tzinfo=UTC),
        product="Example Pump 7",
        generation=3,
    )
    return out.getvalue()


BUNDLE = FACTORY.bundle([FACTORY.make(number) for number in NUMBERS])


def _records() -> list[DeviceRecord]:
    return list(open_bundle(io.BytesIO(BUNDLE), FACTORY.keys).records())


FORMATS = {
    "build list": Format(
        label=build_list.LABEL,
        file=_build_list(),
        open=lambda file: open_build_list(file, {"line-1": SIGNER.public_key}).entries(),
        refusal=BatchRefused,
    ),
    "bundle": Format(
        label=bundle.LABEL,
        file=BUNDLE,
        open=lambda file: open_bundle(file, FACTORY.keys).records(),
        refusal=BundleRefused,
    ),
    "manifest": Format(
        label=manifest.LABEL,
        file=manifests.manifest(_records(), SIGNER),
        open=lambda file: open_manifest(
            file,
            {manifests.SIGNER_ID: SIGNER.public_key},
            owner=manifests.OWNER,
            now=manifests.ALIVE,
        ).records(),
        refusal=ManifestRefused,
    ),
}


@pytest.fixture(params=list(FORMATS))
def form(request: pytest.FixtureRequest) -> Format:
    return FORMATS[request.param]


def test_signing_anew_gives_the_same_file(form: Format) -> None:
    """So that each refusal below is of the one thing changed."""
    assert resign(form.file, signer=SIGNER) == form.file
    assert [each.serial_number for each in form.read(form.file)] == NUMBERS


def test_every_truncation_is_refused(form: Format) -> None:
    for length in range(len(form.file)):
        with pytest.raises((Malformed, UnknownFormat)):
            form.read(form.file[:length])


@settings(max_examples=900)
@given(st.sampled_from(list(FORMATS)), st.floats(0, 1, exclude_max=True), st.integers(1, 255))
def test_no_octet_can_be_altered(name: str, place: float, difference: int) -> None:
    form = FORMATS[name]
    octets = bytearray(form.file)
    octets[int(place * len(octets))] ^= difference
    with pytest.raises(OnboardingError):
        form.read(bytes(octets))


def test_octets_after_the_end_are_refused(form: Format) -> None:
    with pytest.raises(Malformed):
        form.read(form.file + b"\x00")


def test_a_signature_for_another_use_is_refused(form: Format) -> None:
    """Whoever signs with one key for two uses has signed only the one."""
    for label in {"", *ALL_LABELS} - {form.label}:
        with pytest.raises(SignatureInvalid):
            form.read(resign(form.file, signer=SIGNER, aad=label.encode()))


def test_another_label_is_refused(form: Format) -> None:
    for label in {"", form.label.replace("v1", "v2"), *ALL_LABELS} - {form.label}:
        with pytest.raises(UnknownFormat):
            form.read(resign(form.file, signer=SIGNER, label=label))


def _indefinite(item: Any) -> bytes:
    octets = cbor2.dumps(item)
    return bytes((octets[0] | 0x1F,)) + octets[1:] + b"\xff"


def test_another_encoding_of_the_same_is_refused(form: Format) -> None:
    with pytest.raises(Malformed):
        form.read(resign(form.file, signer=SIGNER, encode=_indefinite))


def _head(length: int) -> bytes:
    """A byte string's, in five octets: one more than is needed under 65,536."""
    return b"\x5a" + length.to_bytes(4, "big")


def test_heads_that_are_longer_than_needed_are_refused(form: Format) -> None:
    """The file's own framing has one encoding, too."""
    label, envelope, chunk = cut(form.file)
    with pytest.raises(Malformed, match="longer head"):
        form.read(join([label, envelope]) + _head(len(chunk)) + chunk)
    with pytest.raises(Malformed, match="no byte string"):
        form.read(join([label, envelope]) + b"\x5f" + cbor2.dumps(chunk) + b"\xff")
    with pytest.raises(Malformed, match="no byte string"):
        form.read(join([label, envelope, "text"]))


def test_lengths_that_promise_too_much_are_not_believed(form: Format) -> None:
    """Refused by the number alone; nothing of that size is set aside or read."""
    label, envelope, _ = cut(form.file)
    with pytest.raises(TooLarge):
        form.read(join([label, envelope]) + _head(2**24 + 1))
    with pytest.raises(TooLarge):
        form.read(join([label]) + b"\x5b" + (2**63).to_bytes(8, "big"))
    with pytest.raises(TooLarge):
        form.read(join([label, bytes(2**20 + 1)]))


def test_a_file_that_changes_after_it_was_verified_is_refused(form: Format) -> None:
    file = Changing(form.file, b"SN-000030", b"SN-000031")
    found = form.open(file)
    file.changed = True
    with pytest.raises(form.refusal, match="chunk 0 is not the one"):
        list(found)


def test_another_signers_key_is_refused(form: Format) -> None:
    """The header names the accepted key, another one has signed."""
    with pytest.raises(SignatureInvalid):
        form.read(resign(form.file, signer=pki.KeySigner(pki.make_key())))
