"""A software TPM for one test, and a vendor that wraps seeds to it. Needs Debian's swtpm."""

from __future__ import annotations

import hashlib
import secrets
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from brski.idevid.record import Presentation
from brski.pki.keys import encode_spki
from brski.seed.secret import Seed
from brski.seed.tpm2 import TPM2_P256, TPM2Profile
from brski.seed.tpm_object import (
    SEED_VALUE_OCTETS,
    TPMObject,
    derivation_parent,
    parse_storage_key,
    signing_key,
)
from brski.seed.tpm_wrap import WrappedObject, wrap
from device_client.identity.tpm_file import TPMDevice
from device_client.tpm.wrapped import Wrapped
from tests.kit import pki
from tests.kit.device import CHIP_ID, SEED
from tests.kit.programs import require_library, require_program

_READY_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftwareTPM:
    """A swtpm that runs; it serves one connection at a time, as a TPM without resource manager."""

    path: Path  # TPM commands, one connection after the other; ``.ctrl`` beside it
    pid: int

    @property
    def tcti(self) -> str:
        """As the TSS takes it."""
        return f"swtpm:path={self.path}"


@contextmanager
def software_tpm(state: Path | None = None) -> Iterator[SoftwareTPM]:
    """Start a TPM, fresh or with the *state* of an earlier one, and end it after the block.

    Skips the test without swtpm or tpm2-pytss.
    """
    program = require_program("swtpm", "swtpm")
    require_library("tpm2_pytss", "tpm")
    # not pytest's tmp_path: a socket's path has 107 octets at most
    with tempfile.TemporaryDirectory(prefix="brski-tpm-") as name:
        folder = state or Path(name)
        path = Path(name) / "tpm"
        process = subprocess.Popen(
            [
                *(program, "socket", "--tpm2", "--tpmstate", f"dir={folder}"),
                *("--server", f"type=unixio,path={path}"),
                *("--ctrl", f"type=unixio,path={path}.ctrl"),
                *("--flags", "not-need-init,startup-clear"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _await(path, process)
            yield SoftwareTPM(path=path, pid=process.pid)
        finally:
            process.terminate()
            process.wait(_READY_S)


def _await(path: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _READY_S
    while not (_listens(path) and _listens(path.with_name(f"{path.name}.ctrl"))):
        assert process.poll() is None, "swtpm ended at once"
        assert time.monotonic() < deadline, "swtpm does not listen"
        time.sleep(0.005)


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as trial:
        return trial.connect_ex(str(path)) == 0


def wrap_object(plain: TPMObject, storage_key: bytes) -> WrappedObject:
    """What the vendor does with an object, given the storage key's TPM2B_PUBLIC."""
    parent = parse_storage_key(storage_key)
    return wrap(plain, parent, ec.generate_private_key(parent.public_key.curve))


def wrap_seed(seed: Seed, profile: TPM2Profile, storage_key: bytes) -> WrappedObject:
    """What the vendor does with a seed."""
    plain = derivation_parent(seed, profile, secrets.token_bytes(SEED_VALUE_OCTETS))
    return wrap_object(plain, storage_key)


def make_device(
    storage_key: bytes,
    issuer: pki.Entity,
    voucher_anchor: pki.Entity,
    serial_number: str = pki.SERIAL_NUMBER,
    *,
    profile: TPM2Profile = TPM2_P256,
    seed: bytes = SEED,
    chip_id: bytes = CHIP_ID,
    presentation: Presentation = Presentation.ASSERTED,
    with_key: bool = False,
    **changes: Any,
) -> TPMDevice:
    """What an honest vendor and factory write, but for *changes*."""
    key = profile.derive(Seed(seed), chip_id)
    wrapped_seed = wrap_seed(Seed(seed), profile, storage_key)
    wrapped_key = wrap_object(signing_key(key), storage_key)
    idevid = pki.make_idevid(issuer, serial_number, key=key)
    carried = presentation is Presentation.CARRIED
    values: dict[str, Any] = {
        "chip_id": chip_id,
        "serial_number": serial_number,
        "idevid_issuer": pki.key_identifier(issuer.private_key.public_key()),
        "derivation_profile": profile.name,
        "voucher_anchors": (voucher_anchor.certificate,),
        "certificates": (idevid.certificate, *idevid.intermediates) if carried else (),
        "spki_sha256": hashlib.sha256(encode_spki(key.public_key())).digest(),
        "wrapped_seed": Wrapped(**asdict(wrapped_seed)),
        "wrapped_key": Wrapped(**asdict(wrapped_key)) if with_key else None,
    }
    return TPMDevice(**{**values, **changes})
