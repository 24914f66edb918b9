"""tpm2-tools read and take what is written for a TPM here: formats as C programs know them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from brski.seed.secret import Seed
from brski.seed.tpm2 import TPM2_P256
from brski.seed.tpm_object import name_of, signing_key
from brski.seed.tpm_wrap import WrappedObject
from tests.kit.programs import require_library, require_program
from tests.kit.tpm import SoftwareTPM, software_tpm, wrap_object, wrap_seed

require_library("tpm2_pytss", "tpm")

from device_client.tpm.storage_key import read_storage_key

ATTRIBUTES = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt"
SEED = Seed(bytes(range(32)))


class Tools:
    """tpm2-tools at one TPM; what they load is flushed after each."""

    def __init__(self, tpm: SoftwareTPM, folder: Path) -> None:
        self._environment = {**os.environ, "TPM2TOOLS_TCTI": tpm.tcti}
        self._folder = folder

    def run(self, tool: str, *arguments: str) -> str:
        done = subprocess.run(
            [require_program(f"tpm2_{tool}", "tpm2-tools"), *arguments],
            env=self._environment,
            cwd=self._folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        if tool != "flushcontext":
            self.run("flushcontext", "-t")
        return done.stdout

    def read(self, name: str) -> bytes:
        return (self._folder / name).read_bytes()

    def write(self, wrapped: WrappedObject) -> None:
        (self._folder / "public").write_bytes(wrapped.public)
        (self._folder / "duplicate").write_bytes(wrapped.duplicate)
        (self._folder / "secret").write_bytes(wrapped.encrypted_secret)


@pytest.fixture
def swtpm() -> Iterator[SoftwareTPM]:
    with software_tpm() as running:
        yield running


@pytest.fixture
def tools(swtpm: SoftwareTPM, tmp_path: Path) -> Tools:
    """With the storage key of docs/tpm.md made by them."""
    tools = Tools(swtpm, tmp_path)
    tools.run(
        *("createprimary", "-C", "o", "-g", "sha256", "-G", "ecc256:aes128cfb"),
        *("-a", ATTRIBUTES, "-c", "srk.ctx"),
    )
    tools.run("readpublic", "-c", "srk.ctx", "-o", "srk.pub")
    return tools


def test_they_make_the_same_storage_key(swtpm: SoftwareTPM, tools: Tools) -> None:
    """By the commands of the page."""
    assert tools.read("srk.pub") == read_storage_key(swtpm.tcti)


def _wrapped_seed(storage_key: bytes) -> WrappedObject:
    return wrap_seed(SEED, TPM2_P256, storage_key)


def _wrapped_key(storage_key: bytes) -> WrappedObject:
    return wrap_object(signing_key(ec.derive_private_key(7, ec.SECP384R1())), storage_key)


@pytest.mark.parametrize("wrapped", [_wrapped_seed, _wrapped_key])
def test_they_import_what_is_wrapped(
    tools: Tools, wrapped: Callable[[bytes], WrappedObject]
) -> None:
    """The three octet strings are the tools' three files; the object is the one that was meant."""
    made = wrapped(tools.read("srk.pub"))
    tools.write(made)
    tools.run(
        *("import", "-C", "srk.ctx", "-u", "public", "-i", "duplicate"),
        *("-s", "secret", "-r", "private"),
    )
    tools.run("load", "-C", "srk.ctx", "-u", "public", "-r", "private", "-c", "object.ctx")
    tools.run("readpublic", "-c", "object.ctx", "-n", "name")
    assert tools.read("name") == name_of(made.public[2:])
