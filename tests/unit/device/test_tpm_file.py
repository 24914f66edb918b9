"""The device file of a TPM: read strictly, written whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brski.errors import FileUnusable, KeyUnusable, StateError
from brski.pki.keys import certificate_der
from device_client.identity.tpm_file import (
    TPMDevice,
    encode_device,
    load_device,
    parse_device,
    write_device,
)
from device_client.tpm.wrapped import Wrapped
from tests.kit import pki

OEM = pki.make_root("Example OEM")
IDEVID = pki.make_idevid(OEM)
WRAPPED = Wrapped(public=b"\x00\x01p", duplicate=b"\x00\x01d", encrypted_secret=b"\x00\x01e")
DEVICE = TPMDevice(
    chip_id=bytes.fromhex("c0ffee01"),
    serial_number="SC-00001",
    idevid_issuer=bytes(range(20)),
    derivation_profile="tpm2-p256",
    voucher_anchors=(OEM.certificate,),
    spki_sha256=bytes(range(32)),
    wrapped_seed=WRAPPED,
)


def _map(**changes: Any) -> dict[str, Any]:
    item: dict[str, Any] = {**cbor2.loads(encode_device(DEVICE))}
    for name, value in changes.items():
        item[name.replace("_", "-")] = value
    return {name: value for name, value in item.items() if value is not None}


def _parse(**changes: Any) -> TPMDevice:
    return parse_device(cbor2.dumps(_map(**changes), canonical=True))


def test_the_map_is_the_one_of_the_page() -> None:
    """As another CBOR implementation reads it."""
    assert _map() == {
        "format": "brski tpm v1",
        "chip-id": bytes.fromhex("c0ffee01"),
        "serial-number": "SC-00001",
        "idevid-issuer": bytes(range(20)),
        "derivation-profile": "tpm2-p256",
        "voucher-anchors": [certificate_der(OEM.certificate)],
        "spki-sha256": bytes(range(32)),
        "wrapped-seed": [b"\x00\x01p", b"\x00\x01d", b"\x00\x01e"],
    }


@pytest.mark.parametrize(
    "device",
    [
        DEVICE,
        replace(DEVICE, wrapped_seed=None),
        replace(DEVICE, wrapped_key=WRAPPED, masa_url="https://masa.example.com"),
        replace(DEVICE, wrapped_seed=None, assertion=OEM.certificate),
        replace(DEVICE, certificates=(IDEVID.certificate,), derivation_profile="tpm2-p384"),
    ],
)
def test_what_is_written_is_read(device: TPMDevice) -> None:
    assert parse_device(encode_device(device)) == device


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": "brski fuse v1"}, "format is not 'brski tpm v1'"),
        ({"format": None}, "no map with a format"),
        ({"spki_sha256": None}, "spki-sha256"),
        ({"chip_id": None}, "chip-id"),
        ({"seed": bytes(32)}, "should not have: seed"),
        ({"spki_sha256": bytes(31)}, "spki-sha256 of the TPM's device file: not 32 octets"),
        ({"chip_id": b""}, "chip-id"),
        ({"chip_id": bytes(65)}, "chip-id"),
        ({"idevid_issuer": bytes(19)}, "idevid-issuer"),
        ({"serial_number": "SC 1"}, "serial-number"),
        ({"serial_number": 1}, "not text"),
        ({"derivation_profile": "hmac-drbg-p256"}, "not one of tpm2-p256, tpm2-p384"),
        ({"voucher_anchors": []}, "1 to 8 certificates"),
        ({"masa_url": "https://user@masa.example.com"}, "masa-url"),
        ({"wrapped_seed": [b"\x00\x00", b"\x00\x00"]}, "not three parts"),
        ({"wrapped_seed": b"\x00\x00"}, "not three parts"),
        ({"wrapped_key": [b"\x00\x00", b"\x00\x00", b"\x00"]}, "wrapped-key"),
        ({"wrapped_seed": [bytes(2049), b"\x00\x00", b"\x00\x00"]}, "2 to 2048 octets"),
        ({"assertion": b"certificate"}, "assertion"),
        (
            {
                "assertion": certificate_der(OEM.certificate),
                "certificates": [certificate_der(IDEVID.certificate)],
            },
            "not both",
        ),
    ],
)
def test_a_file_that_differs_in_one_thing_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(StateError, match=said):
        _parse(**changes)


def test_the_nearest_acceptance() -> None:
    assert _parse() == DEVICE


def test_a_truncated_file_is_refused() -> None:
    """At every octet."""
    octets = encode_device(DEVICE)
    for end in range(len(octets)):
        with pytest.raises(StateError):
            parse_device(octets[:end])


def test_octets_after_the_map_are_refused() -> None:
    with pytest.raises(StateError, match="after the item"):
        parse_device(encode_device(DEVICE) + b"\x00")


@given(st.integers(min_value=0, max_value=8 * len(encode_device(DEVICE)) - 1))
def test_a_flipped_bit_is_refused_or_read_as_what_it_says(bit: int) -> None:
    """Never another error, and never a value that does not write the same octets again."""
    octets = bytearray(encode_device(DEVICE))
    octets[bit // 8] ^= 1 << bit % 8
    try:
        device = parse_device(bytes(octets))
    except StateError:
        return
    assert encode_device(device) == octets


def test_a_file_is_the_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "device.tpm"
    write_device(path, DEVICE)
    assert load_device(path) == DEVICE
    path.chmod(0o640)
    with pytest.raises(KeyUnusable, match="0640"):
        load_device(path)


def test_a_file_is_not_replaced_unasked(tmp_path: Path) -> None:
    path = tmp_path / "device.tpm"
    write_device(path, DEVICE)
    with pytest.raises(StateError, match="exists"):
        write_device(path, DEVICE)
    write_device(path, replace(DEVICE, wrapped_seed=None), may_replace=True)
    assert load_device(path).wrapped_seed is None


def test_a_file_that_is_missing_or_no_map_names_its_path(tmp_path: Path) -> None:
    path = tmp_path / "device.tpm"
    with pytest.raises(FileUnusable, match=r"device\.tpm"):
        load_device(path)
    path.write_bytes(b"nonsense")
    path.chmod(0o600)
    with pytest.raises(StateError, match=r"device\.tpm: not a TPM's device file"):
        load_device(path)
