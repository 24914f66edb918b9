"""What the device asks of its TPM, on a live swtpm: keys that stay inside, seeds that stay hidden,
and what it says when the TPM refuses, is full, or is taken.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.kit.programs import require_library
from tests.kit.tpm import SoftwareTPM, software_tpm, wrap_seed
from tests.kit.tpm_bus import (
    CREATE_LOADED,
    RC_COMMAND_CODE,
    RC_KERNEL_COMMAND_CODE,
    RC_TYPE,
    tapped,
)

require_library("tpm2_pytss", "tpm")

from tpm2_pytss import (
    ESYS_TR,
    TPM2_ALG,
    TPM2_RC,
    TPM2B_DATA,
    TPMA_OBJECT,
    TPMS_ATTEST,
    TPMT_SIG_SCHEME,
    TPMT_SYM_DEF_OBJECT,
    TSS2_Exception,
)

from brski.errors import DerivationRefused, KeyUnusable, SettingsError, Unavailable
from brski.pki import signatures
from brski.seed.secret import Seed
from brski.seed.tpm2 import TPM2_P256
from device_client.tpm.chip import Chip
from device_client.tpm.connection import TPM
from device_client.tpm.objects import Blob, Key
from device_client.tpm.templates import P256, P384, Suite, storage_key_public
from device_client.tpm.wrapped import Wrapped

SEED = Seed(bytes(range(100, 132)))
CHIP_ID = bytes.fromhex("c0ffee01")
HANDLE = 0x81010001


@pytest.fixture
def swtpm() -> Iterator[SoftwareTPM]:
    with software_tpm() as running:
        yield running


@pytest.fixture
def tpm(swtpm: SoftwareTPM, tmp_path: Path) -> TPM:
    return TPM(swtpm.tcti, tmp_path / "lock")


def _wrapped(chip: Chip) -> Wrapped:
    made = wrap_seed(SEED, TPM2_P256, chip.storage_key_public())
    return Wrapped(
        public=made.public, duplicate=made.duplicate, encrypted_secret=made.encrypted_secret
    )


# -- keys that stay inside


@pytest.mark.parametrize("suite", [P256, P384], ids=["p256", "p384"])
def test_a_fresh_key_signs_after_it_was_kept_as_a_blob(tpm: TPM, suite: Suite) -> None:
    with tpm.open() as chip:
        blob = chip.create_key(suite)
    digest = hashlib.new(suite.hash_name, b"data").digest()
    with tpm.open() as chip, chip.loaded_key(blob) as key:
        signatures.verify(key.public_key, chip.sign(key, digest), b"data", what="test")


def test_a_fresh_key_is_another_each_time(tpm: TPM) -> None:
    with tpm.open() as chip:
        first, second = chip.create_key(P256), chip.create_key(P256)
    assert first.public != second.public


def _certified_attributes(chip: Chip, key: Key) -> TPMA_OBJECT:
    """TPM2_Certify binds the Name, which is the digest of the public area: so the TPM says it."""
    attestation, _ = chip._esapi.certify(
        key.handle,
        ESYS_TR.NULL,
        TPM2B_DATA(),
        TPMT_SIG_SCHEME(scheme=TPM2_ALG.NULL),
        session2=ESYS_TR.PASSWORD,
    )
    attested, _ = TPMS_ATTEST.unmarshal(bytes(attestation))
    name = bytes(attested.attested.certify.name)
    area = key.public.publicArea
    assert name == b"\x00\x0b" + hashlib.sha256(area.marshal()).digest()
    return area.objectAttributes


def test_the_tpm_says_of_a_fresh_key_that_it_cannot_leave(tpm: TPM) -> None:
    with tpm.open() as chip, chip.loaded_key(chip.create_key(P256)) as key:
        attributes = _certified_attributes(chip, key)
    inside = TPMA_OBJECT.FIXEDTPM | TPMA_OBJECT.FIXEDPARENT | TPMA_OBJECT.SENSITIVEDATAORIGIN
    assert attributes & inside == inside


def test_the_tpm_says_of_a_derived_key_that_it_was_known_outside(tpm: TPM) -> None:
    """The method's price, told honestly: fixedTPM is clear."""
    with tpm.open() as chip, chip.derived_key(_wrapped(chip), P256, CHIP_ID) as key:
        attributes = _certified_attributes(chip, key)
    assert not attributes & (TPMA_OBJECT.FIXEDTPM | TPMA_OBJECT.SENSITIVEDATAORIGIN)


def _duplicate(chip: Chip, key: Key) -> None:
    chip._esapi.duplicate(
        key.handle,
        ESYS_TR.NULL,
        TPM2B_DATA(),
        TPMT_SYM_DEF_OBJECT(algorithm=TPM2_ALG.NULL),
        session1=ESYS_TR.PASSWORD,
    )


def test_no_key_and_no_parent_can_be_duplicated_out(tpm: TPM) -> None:
    with tpm.open() as chip:
        wrapped = _wrapped(chip)
        for opened in (
            chip.loaded_key(chip.create_key(P256)),
            chip.derived_key(wrapped, P256, CHIP_ID),
            chip.imported_key(wrapped),
        ):
            with opened as key, pytest.raises(TSS2_Exception) as caught:
                _duplicate(chip, key)
            assert caught.value.error in {TPM2_RC.AUTH_TYPE, TPM2_RC.ATTRIBUTES}


def test_the_parent_does_nothing_but_derive(tpm: TPM) -> None:
    with tpm.open() as chip, chip.imported_key(_wrapped(chip)) as parent:
        attempts: tuple[Callable[[], object], ...] = (
            lambda: chip._esapi.hmac(parent.handle, b"data", TPM2_ALG.SHA256),
            lambda: chip._esapi.unseal(parent.handle),
        )
        for attempt in attempts:
            with pytest.raises(TSS2_Exception):
                attempt()


def test_a_blob_is_no_use_to_another_tpm(tpm: TPM, tmp_path: Path) -> None:
    with tpm.open() as chip:
        blob = chip.create_key(P256)
    with (
        software_tpm() as other,
        TPM(other.tcti, tmp_path / "other").open() as chip,
        pytest.raises(KeyUnusable, match="another TPM"),
        chip.loaded_key(blob),
    ):
        pass


def test_a_blob_of_a_key_that_may_leave_is_refused(tpm: TPM) -> None:
    """Somebody who puts his own key into the keystore does not get it certified."""
    with tpm.open() as chip:
        blob = chip.create_key(P256)
        attributes = int.from_bytes(blob.public[6:10], "big") & ~int(TPMA_OBJECT.FIXEDTPM)
        altered = blob.public[:6] + attributes.to_bytes(4, "big") + blob.public[10:]
        with (
            pytest.raises(KeyUnusable, match="to stay there"),
            chip.loaded_key(Blob(public=altered, private=blob.private)),
        ):
            pass


@pytest.mark.parametrize("octets", [b"", b"\x00", b"\x00\x02\x01", b"\x00\x00more"])
def test_octets_that_are_no_structure_are_refused(tpm: TPM, octets: bytes) -> None:
    with (
        tpm.open() as chip,
        pytest.raises(KeyUnusable, match="TPM2B"),
        chip.loaded_key(Blob(public=octets, private=octets)),
    ):
        pass


# -- the bus


def _encodings(secret: bytes) -> list[bytes]:
    return [secret, secret[::-1], secret.hex().encode()]


def test_neither_seed_nor_key_crosses_the_bus(swtpm: SoftwareTPM, tmp_path: Path) -> None:
    """Import, derivation, persisting and signing, recorded to the octet."""
    scalar = TPM2_P256.derive(SEED, CHIP_ID).private_numbers().private_value.to_bytes(32, "big")
    control = bytes(range(200, 232))
    with tapped(swtpm) as bus, TPM(bus.tcti, tmp_path / "lock").open() as chip:
        with chip.derived_key(_wrapped(chip), P256, CHIP_ID) as key:
            chip.persist(key, HANDLE)
        kept = chip.persistent_key(HANDLE)
        assert kept is not None
        chip.sign(kept, control)
    assert CREATE_LOADED in bus.codes()
    for secret in (SEED.octets, scalar):
        for encoding in _encodings(secret):
            assert encoding not in bus.octets
    assert control in bus.octets  # what does cross the bus is found


def test_a_seed_in_clear_would_be_seen(swtpm: SoftwareTPM, tmp_path: Path) -> None:
    """The control with the seed itself: hashed by the TPM, it is on the bus."""
    with tapped(swtpm) as bus, TPM(bus.tcti, tmp_path / "lock").open() as chip:
        chip._esapi.hash(SEED.octets, TPM2_ALG.SHA256, ESYS_TR.OWNER)
    assert SEED.octets in bus.octets


# -- TPMs that refuse


@pytest.mark.parametrize("code", [RC_TYPE, RC_COMMAND_CODE, RC_KERNEL_COMMAND_CODE])
def test_a_tpm_that_derives_no_keys_is_told_from_all_others(
    swtpm: SoftwareTPM, tmp_path: Path, code: int
) -> None:
    """libtpms 0.9 has no FIPS mode: the bus answers TPM2_CreateLoaded as such a TPM does."""
    with (
        tapped(swtpm, lambda command: code if command == CREATE_LOADED else None) as bus,
        TPM(bus.tcti, tmp_path / "lock").open() as chip,
        pytest.raises(DerivationRefused, match=f"derives no ECC keys.*0x{code:x}") as caught,
        chip.derived_key(_wrapped(chip), P256, CHIP_ID),
    ):
        pass
    assert caught.value.hint
    assert caught.value.code == "derivation-refused"


def test_another_refusal_of_the_same_command_is_not_taken_for_it(
    swtpm: SoftwareTPM, tmp_path: Path
) -> None:
    with (
        tapped(swtpm, lambda command: 0x101 if command == CREATE_LOADED else None) as bus,
        pytest.raises(KeyUnusable, match="0x101"),  # TPM_RC_FAILURE
        TPM(bus.tcti, tmp_path / "lock").open() as chip,
        chip.derived_key(_wrapped(chip), P256, CHIP_ID),
    ):
        pass


# -- full, taken, not there


def test_what_a_killed_process_left_loaded_is_flushed(tpm: TPM) -> None:
    """Without it, three crashes would fill the three slots of a TPM without resource manager."""
    for _ in range(4):
        with tpm.open() as chip, ExitStack() as left:
            left.enter_context(chip.loaded_key(chip.create_key(P256)))
            left.pop_all()  # as if killed: never flushed
    with tpm.open() as chip:
        chip.sweep()
        assert chip._handles(0x80000000, 16) == ()


def test_what_others_left_loaded_stays(tpm: TPM) -> None:
    """Three strange objects fill the TPM; that passes when their owner goes."""
    strange = storage_key_public()
    strange.publicArea.authPolicy = bytes(32)
    with tpm.open() as chip:
        for _ in range(3):
            chip._esapi.create_primary(None, strange)
    with tpm.open() as chip:
        assert len(chip._handles(0x80000000, 16)) == 3
    with pytest.raises(Unavailable, match="full or busy"), tpm.open() as chip:
        chip.create_key(P256)


def test_an_owner_hierarchy_with_a_password_is_told(tpm: TPM) -> None:
    """The storage key is made with the empty one; that is for good, and not ours to change."""
    with tpm.open() as chip:
        chip._esapi.hierarchy_change_auth(ESYS_TR.OWNER, b"secret")
    with pytest.raises(KeyUnusable, match="the TPM refused"), tpm.open() as chip:
        chip.storage_key_public()


def test_who_waits_too_long_is_told_to_come_again(swtpm: SoftwareTPM, tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    first, second = TPM(swtpm.tcti, lock), TPM(swtpm.tcti, lock, patience_s=0.05)
    with first.open(), pytest.raises(Unavailable, match="another process"), second.open():
        pass
    with second.open():
        pass


_SIGN_OFTEN = """
import hashlib, sys
from pathlib import Path
from brski.pki import signatures
from device_client.tpm.connection import TPM
from device_client.tpm.wrapped import Wrapped
tpm = TPM(sys.argv[1], Path(sys.argv[2]))
for number in range(20):
    data = str(number).encode()
    with tpm.open() as chip:
        key = chip.persistent_key(0x81010001)
        signature = chip.sign(key, hashlib.sha256(data).digest())
    signatures.verify(key.public_key, signature, data, what="test")
"""


def test_processes_take_turns(swtpm: SoftwareTPM, tpm: TPM, tmp_path: Path) -> None:
    """Two processes and one TPM without resource manager: all signatures are good."""
    with tpm.open() as chip, chip.derived_key(_wrapped(chip), P256, CHIP_ID) as key:
        chip.persist(key, HANDLE)
    command = [sys.executable, "-c", _SIGN_OFTEN, swtpm.tcti, str(tmp_path / "lock")]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(2)]
    for process in running:
        _, said = process.communicate(timeout=120)
        assert (process.returncode, said) == (0, b"")


@pytest.mark.parametrize("tcti", ["swtpm:path=/nowhere/tpm", "device:/dev/null"])
def test_a_tpm_that_is_not_there_may_come(tcti: str, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no TPM at"), TPM(tcti, tmp_path / "lock").open():
        pass


def test_a_transport_that_does_not_exist_is_a_fault_of_the_settings(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no TPM transport"):
        TPM("carrier-pigeon:loft=1", tmp_path / "lock").open().__enter__()


def test_a_tpm_that_goes_away_is_unavailable(tmp_path: Path) -> None:

    def ask_while_it_ends(swtpm: SoftwareTPM) -> None:
        with TPM(swtpm.tcti, tmp_path / "lock").open() as chip:
            os.kill(swtpm.pid, signal.SIGTERM)
            while True:
                chip.storage_key_public()

    with software_tpm() as swtpm, pytest.raises(Unavailable, match="does not answer"):
        ask_while_it_ends(swtpm)


def test_the_tss_writes_nothing_to_stderr_by_itself(
    tpm: TPM, capfd: pytest.CaptureFixture[str]
) -> None:
    with tpm.open() as chip, pytest.raises(TSS2_Exception):
        chip._esapi.tr_from_tpmpublic(HANDLE)
    assert capfd.readouterr().err == ""
