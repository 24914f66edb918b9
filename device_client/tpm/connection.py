"""Opens the TPM for one operation after the other.

Nothing is held between operations: neither the TPM nor a slot in it. Processes that share the lock
file take turns, so that a TPM without resource manager serves several of them.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tpm2_pytss import ESAPI, TSS2_Exception

from brski.edge.atomic_file import file_error
from brski.errors import Unavailable
from device_client.tpm.answers import not_reached, translated
from device_client.tpm.chip import Chip

PATIENCE_S: Final = 30.0
_PAUSE_S: Final = 0.02
_SILENT: Final = "all+none"


class TPM:
    """Where a TPM is, and who else waits for it.

    Args:
        tcti: as the TSS names transports: ``"device:/dev/tpmrm0"``, ``"swtpm:path=/run/s"``.
        lock: a file that all processes using this TPM share; made when missing, mode 0600.
        patience_s: how long to wait for the others, in seconds.
    """

    def __init__(self, tcti: str, lock: Path, *, patience_s: float = PATIENCE_S) -> None:
        self._tcti = tcti
        self._lock = lock
        self._patience_s = patience_s

    @contextmanager
    def open(self) -> Iterator[Chip]:
        """Have the TPM to oneself for the block.

        Raises:
            Unavailable: another process holds it for too long, nothing answers at the transport,
                or the TPM is full or busy.
            KeyUnusable: the TPM refused something in the block for good.
            SettingsError: no transport of that name.
        """
        os.environ.setdefault("TSS2_LOG", _SILENT)  # else the TSS writes to stderr by itself
        with _turn(self._lock, self._patience_s):
            try:
                esapi = ESAPI(self._tcti)
            except TSS2_Exception as err:
                raise not_reached(err, self._tcti) from err
            try:
                chip = Chip(esapi)
                chip.sweep()
                yield chip
            except TSS2_Exception as err:
                raise translated(err) from err
            finally:
                esapi.close()

    def __repr__(self) -> str:
        return f"<TPM {self._tcti}>"


@contextmanager
def _turn(lock: Path, patience_s: float) -> Iterator[None]:
    """Hold *lock* for the block, after the others that were first."""
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as err:
        raise file_error(err, lock, "opened") from err
    try:
        deadline = time.monotonic() + patience_s
        while not _locked(descriptor, lock):
            if time.monotonic() > deadline:
                raise Unavailable(f"another process holds the TPM since {patience_s:g} s")
            time.sleep(_PAUSE_S)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int, lock: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as err:
        raise file_error(err, lock, "locked") from err
    return True
