"""The fuse file, to the octet, and the identity that grows out of it."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brski.errors import FileUnusable, KeyUnusable, LocalError, StateError
from brski.idevid.assertion import is_asserted, read_assertion
from brski.idevid.record import Presentation
from brski.pki.keys import spki_of
from device_client.identity.from_seed import (
    Fuse,
    SeedIdentity,
    encode_fuse,
    load_fuse,
    make_fuse,
    parse_fuse,
    write_fuse,
)
from tests.kit import device, pki

OEM = pki.make_pki()
MASA = pki.make_root("Example MASA Root")


def asserting(**changes: Any) -> Fuse:
    return device.make_fuse(OEM, MASA, **changes)


def carrying(**changes: Any) -> Fuse:
    return device.make_fuse(OEM, MASA, presentation=Presentation.CARRIED, **changes)


def as_map(fuse: Fuse) -> dict[str, Any]:
    """The file read by another implementation."""
    document: dict[str, Any] = cbor2.loads(encode_fuse(fuse))
    return document


def file_of(document: dict[str, Any]) -> bytes:
    return cbor2.dumps(document, canonical=True)


def test_octets_are_those_of_the_page() -> None:
    """docs/fuse-file.md lays the head of a file out octet by octet."""
    fuse = asserting(serial_number="SC-00001")
    anchor = MASA.der
    assert encode_fuse(fuse) == b"".join(
        [
            bytes.fromhex("a7"),
            bytes.fromhex("6473656564 5820") + bytes(range(32)),
            bytes.fromhex("66666f726d6174 6d6272736b692066757365207631"),
            bytes.fromhex("67636869702d6964 44c0ffee01"),
            bytes.fromhex("6d6964657669642d697373756572 54") + fuse.idevid_issuer,
            bytes.fromhex("6d73657269616c2d6e756d626572 6853432d3030303031"),
            bytes.fromhex("6f766f75636865722d616e63686f7273 8159") + len(anchor).to_bytes(2, "big"),
            anchor,
            bytes.fromhex("7264657269766174696f6e2d70726f66696c65"),
            bytes.fromhex("6e686d61632d647262672d70323536"),
        ]
    )


@pytest.mark.parametrize("fuse", [asserting(), carrying(), asserting(masa_url="masa.example.com")])
def test_what_is_written_is_read(fuse: Fuse) -> None:
    """Both kinds of device, with and without the optional entries."""
    octets = encode_fuse(fuse)
    assert parse_fuse(octets) == fuse
    assert file_of(cbor2.loads(octets)) == octets


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": "brski fuse v2"}, "format"),
        ({"format": 1}, "format"),
        ({"seed": bytes(31)}, "seed"),
        ({"seed": bytes(65)}, "seed"),
        ({"seed": "x" * 32}, "seed"),
        ({"chip-id": b""}, "chip-id"),
        ({"chip-id": bytes(65)}, "chip-id"),
        ({"serial-number": "SN 1"}, "serial-number"),
        ({"serial-number": b"SN-1"}, "serial-number"),
        ({"idevid-issuer": bytes(19)}, "idevid-issuer"),
        ({"idevid-issuer": bytes(26)}, "idevid-issuer"),
        ({"derivation-profile": "md5"}, "derivation-profile"),
        ({"voucher-anchors": []}, "voucher-anchors"),
        ({"voucher-anchors": [b"\x30\x00"]}, "voucher-anchors"),
        ({"voucher-anchors": [MASA.der] * 9}, "voucher-anchors"),
        ({"voucher-anchors": MASA.der}, "voucher-anchors"),
        ({"certificates": []}, "certificates"),
        ({"masa-url": "http://u:p@masa.example.com"}, "masa-url"),
        ({"private-key": b"x"}, "private-key"),
    ],
)
def test_a_value_out_of_bounds_is_refused(change: dict[str, Any], says: str) -> None:
    """Each entry has its bounds, and there are no other entries."""
    with pytest.raises(StateError, match=says):
        parse_fuse(file_of({**as_map(asserting()), **change}))


@pytest.mark.parametrize("name", sorted(as_map(asserting())))
def test_a_missing_entry_is_refused(name: str) -> None:
    """None of the seven has a default."""
    document = as_map(asserting())
    del document[name]
    with pytest.raises(StateError):
        parse_fuse(file_of(document))


def test_another_encoding_of_the_same_facts_is_refused() -> None:
    """One fuse has one file: order, lengths and trailing octets count."""
    octets = encode_fuse(asserting())
    document = cbor2.loads(octets)
    unordered = cbor2.dumps(dict(reversed(document.items())))
    for other in (unordered, octets + b"\x00", b"\xd9\xd9\xf7" + octets, b"\xbf" + octets[1:]):
        with pytest.raises(StateError):
            parse_fuse(other)


def test_a_file_cut_anywhere_is_refused() -> None:
    """At every octet."""
    octets = encode_fuse(asserting())
    for end in range(len(octets)):
        with pytest.raises(StateError):
            parse_fuse(octets[:end])


@given(st.binary(max_size=200))
def test_no_octets_break_the_reader(octets: bytes) -> None:
    """Anything but a fuse file is a StateError."""
    with pytest.raises(StateError):
        parse_fuse(octets)


# -- the file


def test_file_is_private_and_comes_back(tmp_path: Path) -> None:
    """It is written 0600 whatever the umask says, and never over another."""
    path = tmp_path / "device.fuse"
    mask = os.umask(0)
    try:
        write_fuse(path, asserting())
    finally:
        os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_fuse(path) == asserting()
    with pytest.raises(StateError, match="exists"):
        write_fuse(path, asserting())


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o660, 0o644])
def test_file_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    """Reading or writing, group or others."""
    path = tmp_path / "device.fuse"
    write_fuse(path, asserting())
    path.chmod(mode)
    with pytest.raises(KeyUnusable, match="mode") as refused:
        load_fuse(path)
    assert "chmod 600" in refused.value.hint
    path.chmod(0o400)
    assert load_fuse(path) == asserting()


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A folder, or nothing at all."""
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(FileUnusable):
            load_fuse(path)


def test_the_faulty_file_is_named(tmp_path: Path) -> None:
    """A person has to know which file to look at."""
    path = tmp_path / "device.fuse"
    path.touch(mode=0o600)
    path.write_bytes(b"\xa0")
    with pytest.raises(StateError, match=r"device\.fuse"):
        load_fuse(path)


# -- the identity


@pytest.mark.requirement("OEM-8", "E2E-9")
def test_device_and_oem_have_the_same_key() -> None:
    """The same seed gives the same SubjectPublicKeyInfo on both sides."""
    identity = SeedIdentity(asserting())
    idevid = device.make_idevid(OEM)
    assert spki_of(identity.client_chain[0]) == spki_of(idevid.certificate)


def test_asserting_device_shows_one_self_made_certificate() -> None:
    """It names serial number and issuer, and the MASA when the fuse does."""
    identity = SeedIdentity(asserting(masa_url="masa.example.com"))
    assert not identity.carried
    assert is_asserted(identity.client_chain)
    asserted = read_assertion(identity.client_chain[0])
    assert asserted.serial_number == identity.serial_number == pki.SERIAL_NUMBER
    assert asserted.idevid_issuer == identity.idevid_issuer
    assert asserted.masa_url == "masa.example.com"


def test_carrying_device_shows_its_chain() -> None:
    """The IDevID first, its issuers after it."""
    fuse = carrying()
    identity = SeedIdentity(fuse)
    assert identity.carried
    assert identity.client_chain == fuse.certificates
    assert not is_asserted(identity.client_chain)
    assert identity.voucher_anchors == (MASA.certificate,)


@pytest.mark.parametrize(
    ("fuse", "says"),
    [
        (replace(carrying(), seed=asserting(seed=bytes(32)).seed), "key"),
        (replace(carrying(), chip_id=b"another"), "key"),
        (replace(carrying(), serial_number="SN-0002"), "SN-0002"),
        (replace(carrying(), idevid_issuer=bytes(20)), "issuer"),
        (
            replace(
                carrying(),
                certificates=(carrying().certificates[0], pki.make_root("X").certificate),
            ),
            "chain",
        ),
    ],
    ids=["seed", "chip", "serial", "issuer", "chain"],
)
def test_chain_that_is_not_this_devices_is_refused(fuse: Fuse, says: str) -> None:
    """And is never tried again as an assertion."""
    with pytest.raises(KeyUnusable, match=says):
        SeedIdentity(fuse)


@pytest.mark.requirement("OEM-13")
def test_second_boot_has_the_same_identity_and_other_randomness() -> None:
    """The key and the assertion certificate are the same octets; signatures and nonces are not.

    ECDSA with the system's generator: the identity seed is not the source of anything else.
    """
    first, second = SeedIdentity(asserting()), SeedIdentity(asserting())
    assert first.client_chain == second.client_chain
    assert first.signer().public_key == second.signer().public_key
    assert first.signer().sign(b"x") != second.signer().sign(b"x")


def test_nothing_shows_the_seed(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """Neither a repr, nor an error, nor the log, in hex, as text or as octets."""
    caplog.set_level(logging.DEBUG)
    fuse = asserting()
    secret = fuse.seed.octets
    texts = [repr(fuse), str(fuse), repr(SeedIdentity(fuse)), repr(SeedIdentity(fuse).signer())]
    document = as_map(fuse)
    for change in ({"chip-id": b""}, {"format": "x"}, {"seed": secret[:31]}, {"y": secret}):
        with pytest.raises(LocalError) as refused:
            parse_fuse(file_of({**document, **change}))
        texts.append(repr(refused.value) + str(refused.value.__cause__))
    texts.append(caplog.text)
    for text in texts:
        assert secret.hex() not in text
        assert secret.hex()[:16] not in text
        assert repr(secret)[2:-1] not in text
        assert "\\x01\\x02\\x03" not in text


def test_a_fuse_is_made_of_a_persons_values() -> None:
    """Checked at once, not when the device boots."""
    values: dict[str, Any] = {
        "chip_id": device.CHIP_ID,
        "serial_number": pki.SERIAL_NUMBER,
        "idevid_issuer": asserting().idevid_issuer,
        "derivation_profile": device.PROFILE,
        "voucher_anchors": (MASA.certificate,),
    }
    assert make_fuse(device.SEED, **values) == asserting()
    with pytest.raises(StateError, match="31 octets"):
        make_fuse(device.SEED[:31], **values)
    with pytest.raises(StateError, match="voucher-anchors"):
        make_fuse(device.SEED, **values | {"voucher_anchors": ()})


def test_only_the_seeds_own_modules_reach_for_seeds() -> None:
    """The identity, and the command for a fuse's other secrets; the rest of the device sees a
    signer and a certificate.
    """
    package = Path(__file__).resolve().parents[3] / "device_client"
    reaching = {
        path.name
        for path in package.rglob("*.py")
        if re.search(r"^\s*(from|import) brski\.seed", path.read_text(), flags=re.MULTILINE)
    }
    assert reaching == {"from_seed.py", "secret_cli.py"}
