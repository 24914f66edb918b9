"""A device whose seed a TPM takes in at its first boot, and whose keys sign inside."""

from __future__ import annotations

import importlib
import importlib.util
import shutil

from brski_lab.devices.port import Ended, Joining
from brski_lab.software_tpm import PROGRAM


class TPMDevice:
    """Implements :class:`brski_lab.devices.port.DeviceKind` on a software TPM.

    What needs the TSS is in :mod:`brski_lab.devices.tpm_joining`, imported when it is there.
    """

    def missing(self) -> str:
        """swtpm or tpm2-pytss, or both."""
        lacking = []
        if shutil.which(PROGRAM) is None:
            lacking.append(f"the program {PROGRAM} (Debian package {PROGRAM})")
        if importlib.util.find_spec("tpm2_pytss") is None:
            lacking.append("tpm2-pytss (the extra [tpm], which needs libtss2-dev)")
        return f"{' and '.join(lacking)} is missing" if lacking else ""

    def remark(self) -> str:
        """Nothing."""
        return ""

    async def join(self, joining: Joining) -> Ended:
        """See the port."""
        module = importlib.import_module("brski_lab.devices.tpm_joining")
        ended: Ended = await module.join_with_tpm(joining)
        return ended
