"""One suite for every identity: a fuse file, key files, a TEE, a TPM."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

import pytest

from brski.edge.signers.file import write_chain, write_private_key
from brski.idevid.assertion import read_assertion
from brski.idevid.record import Presentation
from brski.pki import signatures
from brski.pki.extensions import idevid_issuer_of
from brski.pki.keys import encode_spki, spki_of
from brski.pki.names import device_serial_number
from brski.seed.secret import Seed
from brski.seed.tpm2 import TPM2_P256
from device_client.identity.from_files import load_identity
from device_client.identity.from_seed import SeedIdentity, load_fuse, write_fuse
from device_client.identity.from_tee import load_tee_identity
from device_client.identity.port import DeviceIdentity
from tests.kit import device, pki
from tests.kit.device import World
from tests.kit.tee import signer_process
from tests.kit.tpm import make_device, software_tpm

WORLD: Final = World.make()
TLS13: Final = b" " * 64 + b"TLS 1.3, client CertificateVerify\x00" + bytes(32)

Maker = Callable[[Path, Presentation], AbstractContextManager[DeviceIdentity]]


@contextmanager
def from_fuse(folder: Path, presentation: Presentation) -> Iterator[DeviceIdentity]:
    fuse = device.make_fuse(WORLD.oem, WORLD.masa_root, presentation=presentation)
    write_fuse(folder / "device.fuse", fuse)
    yield SeedIdentity(load_fuse(folder / "device.fuse"))


@contextmanager
def from_files(folder: Path, presentation: Presentation) -> Iterator[DeviceIdentity]:
    assert presentation is Presentation.CARRIED, "files hold the IDevID certificate"
    idevid = pki.make_idevid(WORLD.oem)
    write_private_key(folder / "key.pem", idevid.private_key)
    write_chain(folder / "chain.pem", idevid.chain[:-1])
    write_chain(folder / "anchors.pem", [WORLD.masa_root.certificate])
    yield load_identity(folder / "key.pem", folder / "chain.pem", folder / "anchors.pem")


@contextmanager
def from_tee(_: Path, presentation: Presentation) -> Iterator[DeviceIdentity]:
    fuse = device.make_fuse(WORLD.oem, WORLD.masa_root, presentation=presentation)
    with signer_process(fuse) as running:
        yield load_tee_identity(running.socket)


@contextmanager
def from_tpm(folder: Path, presentation: Presentation) -> Iterator[DeviceIdentity]:
    with software_tpm() as swtpm:
        connection = importlib.import_module("device_client.tpm.connection")
        tpm = connection.TPM(swtpm.tcti, folder / "lock")
        with tpm.open() as chip:
            storage_key = chip.storage_key_public()
        wrapped = make_device(storage_key, WORLD.oem, WORLD.masa_root, presentation=presentation)
        importlib.import_module("device_client.identity.tpm_file").write_device(
            folder / "device.tpm", wrapped
        )
        boot = importlib.import_module("device_client.identity.from_tpm").boot
        yield boot(folder / "device.tpm", tpm)


MAKERS: Final[dict[str, Maker]] = {
    "fuse": from_fuse,
    "files": from_files,
    "tee": from_tee,
    "tpm": from_tpm,
}


EVERY_WAY: Final = [
    (maker, presentation)
    for maker in MAKERS
    for presentation in Presentation
    if (maker, presentation) != ("files", Presentation.ASSERTED)  # they hold the certificate
]


@pytest.fixture(params=list(MAKERS))
def maker(request: pytest.FixtureRequest) -> Maker:
    return MAKERS[request.param]


@pytest.mark.parametrize(("maker", "presentation"), EVERY_WAY, indirect=["maker"])
def test_what_it_shows_is_what_it_says(
    tmp_path: Path, maker: Maker, presentation: Presentation
) -> None:
    """Serial number, issuer and key of the chain are the identity's own."""
    with maker(tmp_path, presentation) as identity:
        leaf = identity.client_chain[0]
        assert identity.carried is (presentation is Presentation.CARRIED)
        assert identity.serial_number == device_serial_number(leaf) == pki.SERIAL_NUMBER
        issuer = pki.key_identifier(WORLD.oem.private_key.public_key())
        assert identity.idevid_issuer == issuer
        if identity.carried:
            assert idevid_issuer_of(leaf) == issuer
        else:
            assert len(identity.client_chain) == 1
            assert read_assertion(leaf).idevid_issuer == issuer
        assert identity.voucher_anchors == (WORLD.masa_root.certificate,)


@pytest.mark.parametrize(("maker", "presentation"), EVERY_WAY, indirect=["maker"])
def test_its_signer_has_the_key_of_the_chain(
    tmp_path: Path, maker: Maker, presentation: Presentation
) -> None:
    """And the same chain; what it signs verifies, and is another each time."""
    with maker(tmp_path, presentation) as identity:
        signer = identity.signer()
        assert signer.chain == identity.client_chain
        spki = signatures.public_key_of(signer)
        assert spki == identity.client_chain[0].public_key()
        one, other = signer.sign(TLS13), signer.sign(TLS13)
        for signature in (one, other):
            signatures.verify(spki, signature, TLS13, what="data")
        assert one != other


@pytest.mark.parametrize("name", ["fuse", "tee", "tpm"])
def test_one_seed_gives_one_key_wherever_it_is(tmp_path: Path, name: str) -> None:
    """Started twice, in two places; the TPM's profile is another, so its key is another, too."""
    keys = set()
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        with MAKERS[name](tmp_path / place, Presentation.ASSERTED) as identity:
            keys.add(spki_of(identity.client_chain[0]))
    expected = TPM2_P256.derive(Seed(device.SEED), device.CHIP_ID)
    key = expected if name == "tpm" else device.derived_key()
    assert keys == {encode_spki(key.public_key())}


def test_nothing_secret_is_printed(tmp_path: Path, maker: Maker) -> None:
    """Neither of the identity nor of its signer."""
    with maker(tmp_path, Presentation.CARRIED) as identity:
        for shown in (repr(identity), repr(identity.signer()), str(identity)):
            assert device.SEED.hex() not in shown
            assert len(shown) < 200
