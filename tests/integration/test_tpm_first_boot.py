"""The first boot of a device with a TPM, and every other; also when it is killed in between."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.kit import pki
from tests.kit.programs import require_library
from tests.kit.tpm import SoftwareTPM, make_device, software_tpm
from tests.kit.tpm_bus import CREATE_LOADED, EVICT_CONTROL, RC_TYPE, SIGN, Answer, tapped

require_library("tpm2_pytss", "tpm")

from brski.errors import DerivationRefused, KeyUnusable, StateError
from brski.idevid.assertion import is_asserted, read_assertion
from brski.idevid.record import Presentation
from brski.pki import signatures
from brski.pki.keys import certificate_der, encode_spki, spki_of
from brski.seed.secret import Seed
from brski.seed.tpm2 import TPM2_P256, TPM2_P384, TPM2Profile
from device_client.identity.from_seed import SeedIdentity
from device_client.identity.from_tpm import HANDLE, TPMIdentity, boot
from device_client.identity.tpm_file import TPMDevice, load_device, write_device
from device_client.tpm.connection import TPM
from tests.kit.device import CHIP_ID, SEED, make_fuse

OEM = pki.make_root("Example OEM")
MASA = pki.make_root("Example MASA")


@pytest.fixture
def swtpm() -> Iterator[SoftwareTPM]:
    with software_tpm() as running:
        yield running


@pytest.fixture
def tpm(swtpm: SoftwareTPM, tmp_path: Path) -> TPM:
    return TPM(swtpm.tcti, tmp_path / "lock")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "device.tpm"


def _make(tpm: TPM, path: Path, **changes: object) -> TPMDevice:
    with tpm.open() as chip:
        storage_key = chip.storage_key_public()
    device: TPMDevice = make_device(storage_key, OEM, MASA, **changes)  # type: ignore[arg-type]
    write_device(path, device)
    return device


def _check_works(identity: TPMIdentity, profile: TPM2Profile = TPM2_P256) -> None:
    """It signs, under the key that the OEM computes."""
    expected = profile.derive(Seed(SEED), CHIP_ID).public_key()
    signer = identity.signer()
    assert signer.public_key == expected
    signatures.verify(expected, signer.sign(b"data"), b"data", what="test")


def _handles(tpm: TPM) -> tuple[int, ...]:
    with tpm.open() as chip:
        return chip._handles(0x80000000, 16)


@pytest.mark.parametrize("profile", [TPM2_P256, TPM2_P384], ids=lambda each: each.name)
def test_first_boot_of_an_asserting_device(tpm: TPM, path: Path, profile: TPM2Profile) -> None:
    """The key is persistent, the parent gone, the file forgets the seed, and asserts."""
    _make(tpm, path, profile=profile)
    identity = boot(path, tpm)
    _check_works(identity, profile)
    kept = load_device(path)
    assert (kept.wrapped_seed, kept.wrapped_key) == (None, None)
    assert _handles(tpm) == ()
    assert not identity.carried
    assert is_asserted(identity.client_chain)
    asserted = read_assertion(identity.client_chain[0])
    assert asserted.serial_number == identity.serial_number == pki.SERIAL_NUMBER
    assert asserted.idevid_issuer == identity.idevid_issuer
    assert path.stat().st_mode & 0o777 == 0o600


def test_later_boots_show_the_same_octets(tpm: TPM, path: Path) -> None:
    """A TPM's ECDSA draws nonces; the assertion certificate is kept for that."""
    _make(tpm, path)
    first = boot(path, tpm)
    octets = path.read_bytes()
    second = boot(path, tpm)
    assert path.read_bytes() == octets
    assert certificate_der(first.client_chain[0]) == certificate_der(second.client_chain[0])
    assert first.signer().sign(b"data") != first.signer().sign(b"data")


def test_a_device_that_carries_its_idevid(tpm: TPM, path: Path) -> None:
    _make(tpm, path, presentation=Presentation.CARRIED)
    identity = boot(path, tpm)
    _check_works(identity)
    assert identity.carried
    assert spki_of(identity.client_chain[0]) == encode_spki(identity.signer().public_key)
    assert load_device(path).assertion is None


def test_a_carried_certificate_for_another_key_is_refused(tpm: TPM, path: Path) -> None:
    """Such a device does not assert instead."""
    stranger = pki.make_idevid(OEM)
    _make(tpm, path, certificates=(stranger.certificate, *stranger.intermediates))
    with pytest.raises(KeyUnusable, match="not for the device's key"):
        boot(path, tpm)


def test_a_key_that_was_not_announced_is_not_kept(tpm: TPM, path: Path) -> None:
    """Seeds swapped at the vendor are found at the first boot."""
    _make(tpm, path, spki_sha256=hashlib.sha256(b"another").digest())
    with pytest.raises(KeyUnusable, match="than the vendor announced"):
        boot(path, tpm)
    with tpm.open() as chip:
        assert chip.persistent_key(HANDLE) is None
    assert load_device(path).wrapped_seed is not None


def test_a_handle_that_another_device_has_is_refused(tpm: TPM, path: Path, tmp_path: Path) -> None:
    _make(tpm, path)
    boot(path, tpm)
    other = tmp_path / "other.tpm"
    _make(tpm, other, seed=bytes(32), chip_id=b"other")
    with pytest.raises(KeyUnusable, match="0x81010001 is not this device's"):
        boot(other, tpm)
    assert boot(other, tpm, HANDLE + 1).serial_number == pki.SERIAL_NUMBER


def test_a_cleared_tpm_is_told(tpm: TPM, path: Path) -> None:
    _make(tpm, path)
    identity = boot(path, tpm)
    with tpm.open() as chip:
        chip.evict(HANDLE)
    with pytest.raises(KeyUnusable, match="no longer holds"):
        identity.signer().sign(b"data")
    with pytest.raises(KeyUnusable, match="holds no key at 0x81010001") as caught:
        boot(path, tpm)
    assert "cleared" in caught.value.hint


def test_a_seed_for_another_tpm_is_refused(tpm: TPM, path: Path, tmp_path: Path) -> None:
    with software_tpm() as other:
        _make(TPM(other.tcti, tmp_path / "other"), path)
    with pytest.raises(KeyUnusable, match="another TPM"):
        boot(path, tpm)


# -- TPMs that refuse to derive


def _refusing(command: int) -> int | None:
    return RC_TYPE if command == CREATE_LOADED else None


def _boot_refused(swtpm: SoftwareTPM, path: Path, answer: Answer = _refusing) -> TPMIdentity:
    with tapped(swtpm, answer) as bus:
        boot(path, TPM(bus.tcti, path.with_name("lock")))
    return boot(path, TPM(swtpm.tcti, path.with_name("lock")))


def test_a_tpm_that_refuses_to_derive_ends_with_the_fact(
    swtpm: SoftwareTPM, tpm: TPM, path: Path
) -> None:
    _make(tpm, path)
    with pytest.raises(DerivationRefused, match="derives no ECC keys"):
        _boot_refused(swtpm, path)
    assert load_device(path).wrapped_seed is not None


def test_a_tpm_that_refuses_to_derive_takes_the_key_itself(
    swtpm: SoftwareTPM, tpm: TPM, path: Path
) -> None:
    """Where the vendor wrapped it, too; nothing else changes."""
    _make(tpm, path, with_key=True)
    _check_works(_boot_refused(swtpm, path))
    assert load_device(path).wrapped_key is None


def test_a_tpm_that_derives_does_not_import(swtpm: SoftwareTPM, tpm: TPM, path: Path) -> None:
    """The nearest to the above: with both at hand, derivation goes first."""
    _make(tpm, path, with_key=True)
    with tapped(swtpm) as bus:
        boot(path, TPM(bus.tcti, path.with_name("lock")))
    assert CREATE_LOADED in bus.codes()


def test_a_file_with_a_key_alone_is_enough(tpm: TPM, path: Path) -> None:
    _make(tpm, path, with_key=True, wrapped_seed=None)
    _check_works(boot(path, tpm))


def test_the_same_seed_in_a_fuse_is_the_same_device(
    swtpm: SoftwareTPM, tpm: TPM, path: Path
) -> None:
    """The other way out: no TPM, and nothing changes for the OEM."""
    _make(tpm, path)
    with pytest.raises(DerivationRefused):
        _boot_refused(swtpm, path)
    fuse = make_fuse(OEM, MASA, derivation_profile="tpm2-p256")
    identity = SeedIdentity(fuse)
    announced = load_device(path).spki_sha256
    assert hashlib.sha256(spki_of(identity.client_chain[0])).digest() == announced


# -- killed in between

_BOOT = """
import sys
from pathlib import Path
from device_client.identity.from_seed import SeedIdentity
from device_client.identity.from_tpm import boot
from device_client.tpm.connection import TPM
path = Path(sys.argv[2])
boot(path, TPM(sys.argv[1], path.with_name("lock")))
"""


def _boot_killed(swtpm: SoftwareTPM, path: Path, at: int) -> bool:
    """Boot in a process that is killed when the TPM has done its command number *at* (from 0),
    before it hears of it. Whether there was such a command.
    """
    started, count = threading.Event(), 0
    running: list[subprocess.Popen[bytes]] = []

    def count_down(_code: int) -> None:
        nonlocal count
        if count == at:
            started.wait(20)
            os.kill(running[0].pid, signal.SIGKILL)
        count += 1

    with tapped(swtpm, answered=count_down) as bus:
        running.append(subprocess.Popen([sys.executable, "-c", _BOOT, bus.tcti, str(path)]))
        started.set()
        code = running[0].wait(60)
    assert code in (0, -signal.SIGKILL)
    return code != 0


def _count_commands(swtpm: SoftwareTPM, path: Path) -> list[int]:
    with tapped(swtpm) as bus:
        boot(path, TPM(bus.tcti, path.with_name("lock")))
    return bus.codes()


def test_killed_after_any_command_and_booted_again(
    swtpm: SoftwareTPM, tpm: TPM, path: Path
) -> None:
    """Whatever the TPM had done by then: in the end the key is persistent and the parent gone."""
    device = _make(tpm, path)
    commands = _count_commands(swtpm, path)
    assert {CREATE_LOADED, EVICT_CONTROL, SIGN} <= set(commands)
    for at in range(len(commands)):
        with tpm.open() as chip:
            chip.evict(HANDLE)
        write_device(path, device, may_replace=True)
        assert _boot_killed(swtpm, path, at), f"command {at} of {len(commands)}"
        _check_works(boot(path, tpm))
        assert load_device(path).wrapped_seed is None, at
        assert _handles(tpm) == (), at
    assert not _boot_killed(swtpm, path, len(commands))  # the control: not killed, it ends well


@pytest.mark.parametrize("command", [CREATE_LOADED, EVICT_CONTROL, SIGN])
def test_power_fails_after_a_command_that_matters(tmp_path: Path, path: Path, command: int) -> None:
    """Device and TPM lose their power at once, and come back with what is durable."""
    state = tmp_path / "state"
    state.mkdir()
    with software_tpm(state) as before:
        device = _make(TPM(before.tcti, tmp_path / "lock"), path)
        commands = _count_commands(before, path)
        with TPM(before.tcti, tmp_path / "lock").open() as chip:
            chip.evict(HANDLE)
        write_device(path, device, may_replace=True)
        assert _boot_killed(before, path, commands.index(command))
    with software_tpm(state) as after:
        tpm = TPM(after.tcti, tmp_path / "lock")
        _check_works(boot(path, tpm))
        assert load_device(path).wrapped_seed is None
        assert _handles(tpm) == ()


def test_two_processes_boot_at_once(swtpm: SoftwareTPM, tpm: TPM, path: Path) -> None:
    """One derives, the other finds the key: both end well, and the file is whole."""
    _make(tpm, path)
    command = [sys.executable, "-c", _BOOT, swtpm.tcti, str(path)]
    running = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait(60) for process in running] == [0, 0]
    _check_works(boot(path, tpm))


def test_a_file_that_says_both_is_refused(tpm: TPM, path: Path) -> None:
    device = _make(tpm, path, presentation=Presentation.CARRIED)
    with pytest.raises(StateError, match="not both"):
        replace(device, assertion=device.certificates[0])
