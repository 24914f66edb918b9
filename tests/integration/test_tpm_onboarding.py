"""A device joins a network with two keys that its TPM holds: the derived one and a fresh one."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from tests.kit.programs import require_library
from tests.kit.tpm import SoftwareTPM, make_device, software_tpm
from tests.kit.tpm_bus import CREATE, CREATE_LOADED, RC_TYPE, SIGN, tapped

require_library("tpm2_pytss", "tpm")

from tpm2_pytss import ESAPI
from tpm2_pytss.tsskey import TSSPrivKey

from brski import registry
from brski.edge.tls_engine import TLS_1_2, TLS_1_3
from brski.errors import KeyUnusable, StateError, UnknownFormat
from brski.est.csr_attributes import encode_csr_attributes
from brski.est.requirements import ED25519, P256, P384, CSRRequirements, KeyRequirement
from brski.est.transfer import encode_base64
from brski.idevid.record import Presentation
from brski.pki import signatures
from brski.pki.keys import encode_spki, load_spki, spki_of
from brski.seed.tpm2 import TPM2_P256, TPM2_P384, TPM2Profile
from brski_lab.cli import main as lab_main
from device_client.cli import main
from device_client.identity.from_seed import write_fuse
from device_client.identity.from_tpm import TPMIdentity, boot
from device_client.identity.tpm_file import write_device
from device_client.keystore.files import FileKeystore
from device_client.keystore.tpm_keys import TPMKeys
from device_client.onboard import onboard
from device_client.outcome import Outcome
from device_client.pledge.states import Answer, Result
from device_client.renew import renew
from device_client.tpm.connection import TPM
from device_client.transport.http import Limits
from tests.kit.device import World, make_fuse
from tests.kit.stub_registrar import StubRegistrar

WORLD = World.make()
LIMITS = Limits(progress_s=30, answer_s=60)


@pytest.fixture
def swtpm() -> Iterator[SoftwareTPM]:
    with software_tpm() as running:
        yield running


@pytest.fixture
def tpm(swtpm: SoftwareTPM, tmp_path: Path) -> TPM:
    return TPM(swtpm.tcti, tmp_path / "lock")


@pytest.fixture
def registrar() -> StubRegistrar:
    return StubRegistrar(WORLD)


def _boot(
    tpm: TPM,
    folder: Path,
    *,
    profile: TPM2Profile = TPM2_P256,
    presentation: Presentation = Presentation.ASSERTED,
) -> TPMIdentity:
    with tpm.open() as chip:
        storage_key = chip.storage_key_public()
    device = make_device(
        storage_key, WORLD.oem, WORLD.masa_root, profile=profile, presentation=presentation
    )
    path = folder / "device.tpm"
    write_device(path, device)
    return boot(path, tpm)


async def _join(identity: TPMIdentity, registrar: StubRegistrar, keystore: FileKeystore) -> Outcome:
    return await onboard(identity, [registrar.origin], keystore, limits=LIMITS)


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3], ids=["1.2", "1.3"])
@pytest.mark.parametrize("profile", [TPM2_P256, TPM2_P384], ids=lambda each: each.name)
@pytest.mark.parametrize("presentation", Presentation)
async def test_a_device_enrolls(
    tpm: TPM,
    tmp_path: Path,
    registrar: StubRegistrar,
    presentation: Presentation,
    profile: TPM2Profile,
    version: int,
) -> None:
    """TLS and voucher-request under the derived key; CSR and the second TLS under the other one."""
    identity = _boot(tpm, tmp_path, profile=profile, presentation=presentation)
    keystore = FileKeystore(tmp_path / "keystore", TPMKeys(tpm))
    async with registrar.serving(maximum=version):
        outcome = await _join(identity, registrar, keystore)
    assert (outcome.result, outcome.reported) == (Result.ENROLLED, True)
    assert registrar.heard[0].client_chain == identity.client_chain
    ldevid = x509.load_der_x509_certificate(outcome.artifacts.ldevid_chain[0])
    assert registrar.heard[-1].path == "enrollstatus"
    assert registrar.heard[-1].client_chain[0] == ldevid
    assert spki_of(ldevid) != spki_of(identity.client_chain[0])


async def test_every_signature_is_the_tpms(
    swtpm: SoftwareTPM, tpm: TPM, tmp_path: Path, registrar: StubRegistrar
) -> None:
    """Two handshakes, the voucher-request and the CSR: four commands to sign, one key made."""
    _boot(tpm, tmp_path)
    with tapped(swtpm) as bus:
        watched = TPM(bus.tcti, tmp_path / "lock")
        identity = boot(tmp_path / "device.tpm", watched)
        keystore = FileKeystore(tmp_path / "keystore", TPMKeys(watched))
        async with registrar.serving():
            outcome = await _join(identity, registrar, keystore)
    assert outcome.result is Result.ENROLLED
    assert bus.codes().count(SIGN) == 4
    assert bus.codes().count(CREATE) == 1


@pytest.mark.requirement("ESTC-8")
@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3], ids=["1.2", "1.3"])
@pytest.mark.parametrize("rekey", [False, True], ids=["renew", "rekey"])
async def test_an_ldevid_of_the_tpm_is_renewed(
    tpm: TPM, tmp_path: Path, registrar: StubRegistrar, rekey: bool, version: int
) -> None:
    """Under the key that is in the TPM; a fresh one is made there too."""
    identity = _boot(tpm, tmp_path)
    keystore = FileKeystore(tmp_path / "keystore", TPMKeys(tpm))
    async with registrar.serving(maximum=version):
        await _join(identity, registrar, keystore)
        former = keystore.ldevid().chain[0]
        outcome = await renew(identity, keystore, rekey=rekey, limits=LIMITS)
    assert (outcome.code, outcome.reported) == ("renewed", True)
    renewed = keystore.ldevid().chain[0]
    assert (spki_of(renewed) == spki_of(former)) is not rekey
    assert registrar.heard[-2].path == "simplereenroll"
    assert registrar.heard[-2].client_chain[0] == former
    assert registrar.heard[-1].client_chain[0] == renewed


@pytest.mark.requirement("PL-1", "PL-32")
async def test_reset_leaves_no_ldevid_key_in_the_tpm(
    tpm: TPM, tmp_path: Path, registrar: StubRegistrar
) -> None:
    """The TPM holds the IDevID's key and nothing else; the LDevID's, which is only in the folder,
    is overwritten.
    """
    identity = _boot(tpm, tmp_path)
    with tpm.open() as chip:
        before = chip._handles(0x81000000, 16)
    keystore = FileKeystore(tmp_path / "keystore", TPMKeys(tpm))
    async with registrar.serving():
        await _join(identity, registrar, keystore)
    os.link(keystore.directory / "current" / "ldevid-key.pem", tmp_path / "wrapped")
    assert b"TSS2 PRIVATE KEY" in (tmp_path / "wrapped").read_bytes()
    keystore.reset()
    assert set((tmp_path / "wrapped").read_bytes()) == {0}
    with tpm.open() as chip:
        assert chip._handles(0x81000000, 16) == before
        assert chip._handles(0x80000000, 16) == ()


async def test_an_enrolled_device_stays_enrolled(
    tpm: TPM, tmp_path: Path, registrar: StubRegistrar
) -> None:
    """After another start, from what is on disk and in the TPM."""
    identity = _boot(tpm, tmp_path)
    directory = tmp_path / "keystore"
    async with registrar.serving():
        await _join(identity, registrar, FileKeystore(directory, TPMKeys(tpm)))
        again = FileKeystore(directory, TPMKeys(tpm))
        outcome = await _join(boot(tmp_path / "device.tpm", tpm), registrar, again)
    assert outcome.code == "already-enrolled"
    signer = again.ldevid()
    signatures.verify(signer.public_key, signer.sign(b"data"), b"data", what="test")


async def test_the_registrar_may_ask_for_p384(
    tpm: TPM, tmp_path: Path, registrar: StubRegistrar
) -> None:
    body = encode_base64(encode_csr_attributes(CSRRequirements(keys=(P384,))))
    registrar.script("csrattrs", Answer(status=200, body=body, media_type=registry.CSR_ATTRIBUTES))
    keystore = FileKeystore(tmp_path / "keystore", TPMKeys(tpm))
    async with registrar.serving():
        outcome = await _join(_boot(tpm, tmp_path), registrar, keystore)
    assert outcome.result is Result.ENROLLED
    ldevid = x509.load_der_x509_certificate(outcome.artifacts.ldevid_chain[0])
    assert P384.matches(load_spki(spki_of(ldevid)))


# -- from a terminal


async def test_the_program_onboards_and_shows(
    swtpm: SoftwareTPM,
    tpm: TPM,
    tmp_path: Path,
    registrar: StubRegistrar,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """brski-pledge with kind = "tpm": the first command boots; reset forgets the LDevID alone."""
    with tpm.open() as chip:
        device = make_device(chip.storage_key_public(), WORLD.oem, WORLD.masa_root)
    write_device(tmp_path / "device.tpm", device)
    settings = tmp_path / "pledge.toml"

    async def pledge(*arguments: object) -> int:
        command = [*arguments, "-s", settings]
        return await asyncio.to_thread(main, [str(each) for each in command])

    async with registrar.serving():
        settings.write_text(
            f'registrars = ["{registrar.origin}"]\n'
            f'[identity]\nkind = "tpm"\nfile = "device.tpm"\ntcti = "{swtpm.tcti}"\n'
            "[timing]\nprogress_s = 30\nanswer_s = 60\n"
        )
        assert await pledge("check") == 0
        assert await pledge("onboard") == 0
    assert "enrolled" in capsys.readouterr().out
    assert await pledge("show") == 0
    assert await pledge("reset", "--yes") == 0
    assert await pledge("check") == 0
    assert (tmp_path / "device.tpm.lock").exists()
    assert capsys.readouterr().err == ""


async def test_from_a_fuse_file_to_a_tpm(
    swtpm: SoftwareTPM, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The device tells its storage key, the vendor wraps the seed, the device boots."""
    fuse = make_fuse(WORLD.oem, WORLD.masa_root, derivation_profile="tpm2-p256")
    write_fuse(tmp_path / "device.fuse", fuse)
    settings = tmp_path / "pledge.toml"
    settings.write_text(f'[identity]\nkind = "tpm"\nfile = "device.tpm"\ntcti = "{swtpm.tcti}"\n')
    public, device = str(tmp_path / "srk.pub"), str(tmp_path / "device.tpm")
    assert main(["tpm-storage-key", public, "--tcti", swtpm.tcti]) == 0
    wrap = ["wrap", str(tmp_path / "device.fuse"), "--storage-key", public, "--out", device]
    capsys.readouterr()
    assert lab_main(wrap) == 0
    key = TPM2_P256.derive(fuse.seed, fuse.chip_id).public_key()
    assert capsys.readouterr().out.strip() == hashlib.sha256(encode_spki(key)).hexdigest()
    assert main(["check", "-s", str(settings)]) == 0
    assert lab_main(wrap) == 2  # the device file is not replaced
    assert "exists" in capsys.readouterr().err


def test_a_storage_key_without_a_tpm_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tpm-storage-key", str(tmp_path / "out"), "--tcti", "device:/dev/null"]) == 3
    assert "no TPM at device:/dev/null" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


async def test_the_program_says_that_the_tpm_refuses(
    swtpm: SoftwareTPM, tpm: TPM, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with tpm.open() as chip:
        device = make_device(chip.storage_key_public(), WORLD.oem, WORLD.masa_root)
    write_device(tmp_path / "device.tpm", device)
    settings = tmp_path / "pledge.toml"
    with tapped(swtpm, lambda code: RC_TYPE if code == CREATE_LOADED else None) as bus:
        settings.write_text(f'[identity]\nkind = "tpm"\nfile = "device.tpm"\ntcti = "{bus.tcti}"\n')
        assert await asyncio.to_thread(main, ["check", "-s", str(settings)]) == 2
    said = capsys.readouterr().err
    assert "brski-pledge: error: this TPM derives no ECC keys" in said
    assert "hint: ask the vendor for a file with a wrapped key" in said
    assert "Traceback" not in said


# -- the key at rest


@pytest.mark.parametrize("kind", [P256, P384], ids=["p256", "p384"])
def test_a_reference_is_what_another_program_writes(tpm: TPM, kind: KeyRequirement) -> None:
    """tpm2-pytss reads the PEM, and makes the same octets of it."""
    reference = TPMKeys(tpm).make(kind)
    theirs = TSSPrivKey.from_pem(reference)
    assert (theirs.empty_auth, theirs.parent) == (True, 0x40000001)
    assert theirs.to_pem() == reference


def test_another_program_can_load_it(swtpm: SoftwareTPM, tpm: TPM) -> None:
    reference = TPMKeys(tpm).make(P256)
    public_key = TPMKeys(tpm).signer(reference).public_key
    with ESAPI(swtpm.tcti) as esapi:
        handle = TSSPrivKey.from_pem(reference).load(esapi)
        public, _, _ = esapi.read_public(handle)
        esapi.flush_context(handle)
    assert int.from_bytes(bytes(public.publicArea.unique.ecc.x), "big") == (
        public_key.public_numbers().x
    )


def test_making_a_key_leaves_nothing_in_the_tpm(tpm: TPM) -> None:
    """A device that is killed before the keystore has the reference has lost nothing but time."""
    reference = TPMKeys(tpm).make(P256)
    TPMKeys(tpm).signer(reference).sign(b"data")
    with tpm.open() as chip:
        assert chip._handles(0x80000000, 16) == chip._handles(0x81000000, 16) == ()


def test_a_kind_of_key_that_the_tpm_does_not_make(tpm: TPM) -> None:
    with pytest.raises(UnknownFormat, match="makes no key"):
        TPMKeys(tpm).make(ED25519)


def test_a_reference_that_was_changed_is_refused(tpm: TPM) -> None:
    """Each line, and each octet at the ends."""
    keys = TPMKeys(tpm)
    reference = keys.make(P256)
    lines = reference.splitlines(keepends=True)
    others = [b"".join(lines[:n] + lines[n + 1 :]) for n in range(len(lines))]
    for other in [*others, b"", reference + b"\n", reference[:-1], reference.replace(b"T", b"t")]:
        with pytest.raises(StateError):
            keys.signer(other)


def test_a_chain_for_another_key_is_refused(tpm: TPM) -> None:
    keys = TPMKeys(tpm)
    with pytest.raises(KeyUnusable, match="another key"):
        keys.signer(keys.make(P256), [WORLD.oem.certificate])


def test_a_reference_of_another_tpm_does_not_sign(tpm: TPM, tmp_path: Path) -> None:
    with software_tpm() as other:
        reference = TPMKeys(TPM(other.tcti, tmp_path / "other")).make(P256)
    signer = TPMKeys(tpm).signer(reference)
    with pytest.raises(KeyUnusable, match="another TPM"):
        signer.sign(b"data")
