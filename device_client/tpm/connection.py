"""Opens the TPM for one operation after the other, and says in our terms what it answered.

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

from tpm2_pytss import ESAPI, TPM2_RC, TSS2_RC, TSS2_Exception

from brski.edge.atomic_file import file_error
from brski.errors import KeyUnusable, OnboardingError, SettingsError, Unavailable
from device_client.tpm.chip import Chip

PATIENCE_S: Final = 30.0
_PAUSE_S: Final = 0.02
_SILENT: Final = "all+none"
_LAYER: Final = 0x00FF0000
_TCTI_LAYER: Final = 0x000A0000
_CODE: Final = 0xFFFF
_MAY_PASS: Final = frozenset(
    {
        TPM2_RC.RETRY,
        TPM2_RC.YIELDED,
        TPM2_RC.TESTING,
        TPM2_RC.CANCELED,
        TPM2_RC.MEMORY,
        TPM2_RC.OBJECT_MEMORY,
        TPM2_RC.SESSION_MEMORY,
        TPM2_RC.OBJECT_HANDLES,
        TPM2_RC.SESSION_HANDLES,
        TPM2_RC.LOCKOUT,
        TPM2_RC.NV_RATE,
        TPM2_RC.NV_UNAVAILABLE,
    }
)
_WRONG_NAME: Final = frozenset({TSS2_RC.BASE_RC_BAD_VALUE, TSS2_RC.BASE_RC_NOT_SUPPORTED})


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
                raise _not_reached(err, self._tcti) from err
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


def translated(error: TSS2_Exception) -> OnboardingError:
    """What a TPM's answer means to us.

    Returns:
        :class:`~brski.errors.Unavailable` for what may pass (full, busy, locked out, no answer),
        else :class:`~brski.errors.KeyUnusable`.

    TPM 2.0 Part 2 §6.6.
    """
    rc = int(error.rc)
    if rc & _LAYER == _TCTI_LAYER:
        return Unavailable(f"the TPM does not answer: {error}")
    if rc & _CODE in _MAY_PASS:
        return Unavailable(f"the TPM is full or busy: {error} (0x{rc:x})")
    return KeyUnusable(f"the TPM refused: {error} (0x{rc:x})")


def _not_reached(error: TSS2_Exception, tcti: str) -> OnboardingError:
    if int(error.rc) & _CODE in _WRONG_NAME:
        return SettingsError(
            f"{tcti!r} is no TPM transport: {error}", hint='such as "device:/dev/tpmrm0"'
        )
    return Unavailable(
        f"no TPM at {tcti}: {error}", hint="is it there, may this user open it, is it taken?"
    )


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
