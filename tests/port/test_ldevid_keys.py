"""One suite for whatever makes and holds LDevID keys: files, a TPM."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

import pytest
from cryptography import x509

from brski import registry
from brski.errors import KeyUnusable, StateError, UnknownFormat
from brski.est.csr import build_csr, parse_csr
from brski.est.requirements import P256, P384, KeyRequirement
from brski.pki import names
from brski.pki.keys import encode_spki
from device_client.keystore.files import FileKeystore
from device_client.keystore.keys import FileKeys
from device_client.keystore.ldevid_keys import LDevIDKeys
from device_client.keystore.port import Purpose
from device_client.pledge.origin import Origin
from device_client.pledge.states import DomainCertificates, Enrollment, Request
from device_client.transport.http import Limits
from device_client.transport.provisional_tls import open_link
from tests.kit import pki
from tests.kit.device import World, certify_public
from tests.kit.stub_registrar import StubRegistrar
from tests.kit.tpm import software_tpm

WORLD: Final = World.make()
SUBJECT: Final = names.idevid_subject(pki.SERIAL_NUMBER)
PURPOSE: Final = Purpose(device=bytes(32), domain=bytes(32), wanted=bytes(32))

Maker = Callable[[Path], AbstractContextManager[LDevIDKeys]]


@contextmanager
def in_files(_: Path) -> Iterator[LDevIDKeys]:
    yield FileKeys()


@contextmanager
def in_a_tpm(folder: Path) -> Iterator[LDevIDKeys]:
    with software_tpm() as swtpm:
        tpm = importlib.import_module("device_client.tpm.connection").TPM(
            swtpm.tcti, folder / "lock"
        )
        keys: LDevIDKeys = importlib.import_module("device_client.keystore.tpm_keys").TPMKeys(tpm)
        yield keys


@pytest.fixture(params=[in_files, in_a_tpm], ids=["files", "tpm"])
def keys(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LDevIDKeys]:
    maker: Maker = request.param
    with maker(tmp_path) as made:
        yield made


@pytest.mark.parametrize("kind", [P256, P384], ids=["P-256", "P-384"])
def test_a_key_is_found_again_by_its_reference(keys: LDevIDKeys, kind: KeyRequirement) -> None:
    """What it signs verifies; the key is of the kind that was asked for."""
    reference = keys.make(kind)
    assert reference.startswith(b"-----BEGIN ")
    assert len(reference) <= 64 * 1024
    one, other = keys.signer(reference), keys.signer(reference)
    assert encode_spki(one.public_key) == encode_spki(other.public_key)
    assert kind.matches(one.public_key)
    assert one.chain == ()
    request = parse_csr(build_csr(other, SUBJECT))
    assert request.spki == encode_spki(one.public_key)


def test_every_key_is_another(keys: LDevIDKeys) -> None:
    """From the holder's own generator."""
    references = [keys.make(P256) for _ in range(3)]
    spkis = {encode_spki(keys.signer(reference).public_key) for reference in references}
    assert len(spkis) == 3


def test_a_key_of_no_kind_is_refused(keys: LDevIDKeys) -> None:
    """Not some other key instead."""
    with pytest.raises(UnknownFormat):
        keys.make(KeyRequirement(algorithm=registry.ID_EC_PUBLIC_KEY, curve="1.2.3"))


@pytest.mark.parametrize("reference", [b"", b"x", b"-----BEGIN KEY ELSEWHERE-----\n0\n"])
def test_another_s_reference_is_refused(keys: LDevIDKeys, reference: bytes) -> None:
    """Also one that is damaged; the nearest acceptance is its own."""
    with pytest.raises(StateError):
        keys.signer(reference)
    own = keys.make(P256)
    keys.signer(own)
    with pytest.raises(StateError):
        keys.signer(own[: len(own) // 2])


def test_a_chain_for_another_key_is_refused(keys: LDevIDKeys) -> None:
    """The key's own is taken."""
    reference = keys.make(P256)
    public_key = keys.signer(reference).public_key
    ldevid = certify_public(WORLD.owner, SUBJECT, public_key)
    assert keys.signer(reference, (ldevid,)).chain == (ldevid,)
    with pytest.raises(KeyUnusable):
        keys.signer(reference, (WORLD.registrar.certificate,))


async def test_a_keystore_keeps_the_reference_and_tls_uses_it(
    keys: LDevIDKeys, tmp_path: Path
) -> None:
    """From the CSR to the report of success, with the same key and no octet of it besides."""
    keystore = FileKeystore(tmp_path / "keystore", keys)
    with keystore.exclusive():
        csr = keystore.request_for(
            PURPOSE, kind=P256, build_csr=lambda signer: build_csr(signer, SUBJECT)
        )
        request = x509.load_der_x509_csr(csr)
        ldevid = certify_public(WORLD.owner, SUBJECT, request.public_key())
        keystore.keep_enrollment(
            Enrollment(
                origin=Origin("192.0.2.7", 8443),
                ldevid_chain=(ldevid,),
                domain=DomainCertificates(anchors=(WORLD.owner.root,), certificates=()),
                pinned_domain_cert=WORLD.owner.root,
            )
        )
    registrar = StubRegistrar(WORLD)
    async with registrar.serving():
        shown = FileKeystore(tmp_path / "keystore", keys).ldevid()
        link = await open_link(registrar.origin, shown, Limits(progress_s=30, answer_s=60))
        path = f"{registry.EST_ROOT}/cacerts"
        answer = await link.exchange(Request(method="GET", path=path, accept="*/*"))
        await link.close()
    assert answer.status == 200
    assert registrar.heard[0].client_chain == (ldevid,)
