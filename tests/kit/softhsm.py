"""A SoftHSM of the test's own: a PKCS#11 module whose tokens are folders."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pkcs11
import pytest

from brski.edge.signers.pkcs11 import TokenAddress, forget_openssl_errors
from tests.kit.programs import require_program

MODULES = (
    *Path("/usr/lib").glob("softhsm/libsofthsm2.so"),
    *Path("/usr/lib").glob("*/softhsm/libsofthsm2.so"),
    *Path("/usr/local/lib").glob("softhsm/libsofthsm2.so"),
)
PIN, OFFICER_PIN = "482915", "73519246"


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftHSM:
    """Tokens of one test; ``SOFTHSM2_CONF`` names them to this process and those it starts."""

    folder: Path
    module: Path

    @property
    def tokens(self) -> Path:
        return self.folder / "tokens"

    def make_token(self, label: str = "oem") -> TokenAddress:
        self.tool("--init-token", "--free", "--label", label, "--so-pin", OFFICER_PIN)
        pin_file = self.folder / f"{label}.pin"
        pin_file.write_text(PIN + "\n")
        pin_file.chmod(0o600)
        return TokenAddress(module=self.module, token=label, pin_file=pin_file)

    def tool(self, *arguments: str) -> None:
        program = require_program("softhsm2-util", "softhsm2")
        subprocess.run([program, *arguments, "--pin", PIN], check=True, capture_output=True)
        self.forget()

    def forget(self) -> None:
        """Have this process's next look at the module be its first."""
        pkcs11.unload(str(self.module))

    def remove_tokens(self) -> None:
        """As if somebody had taken them out."""
        shutil.rmtree(self.tokens)
        self.tokens.mkdir()


@pytest.fixture
def softhsm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SoftHSM]:
    """An empty SoftHSM; needs Debian's softhsm2."""
    require_program("softhsm2-util", "softhsm2")
    folder = tmp_path / "softhsm"
    (folder / "tokens").mkdir(parents=True)
    conf = folder / "softhsm2.conf"
    conf.write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
    monkeypatch.setitem(os.environ, "SOFTHSM2_CONF", str(conf))
    hsm = SoftHSM(folder=folder, module=MODULES[0])
    yield hsm
    hsm.forget()
    forget_openssl_errors()  # of calls that a test made around the adapter
