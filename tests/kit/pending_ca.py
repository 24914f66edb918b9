"""A CA whose operator takes his time: a folder with a file for each request, and for each word."""

from __future__ import annotations

import hashlib
from pathlib import Path

from cryptography import x509

from brski.pki.signer import Signer
from registrar_plugin.ca_backend.embedded import EmbeddedCA
from registrar_plugin.ca_backend.port import Pending


class PendingCA(EmbeddedCA):
    """Issues what :meth:`approve` has been called for; what it knows is in *folder* alone."""

    def __init__(self, signer: Signer, folder: Path, *, retry_after_s: int = 7) -> None:
        super().__init__(signer)
        self._folder = folder
        self._retry_after_s = retry_after_s
        folder.mkdir(exist_ok=True)

    async def complete(self, intent: bytes) -> x509.Certificate | Pending:
        """As :class:`~registrar_plugin.ca_backend.port.CABackend` has it."""
        name = hashlib.sha256(intent).hexdigest()
        (self._folder / f"{name}.asked").touch()
        if not (self._folder / f"{name}.approved").exists():
            return Pending(retry_after_s=self._retry_after_s)
        return await super().complete(intent)

    def asked(self) -> list[str]:
        """The requests that have come."""
        return sorted(path.stem for path in self._folder.glob("*.asked"))

    def approve(self) -> None:
        """All that have come."""
        for name in self.asked():
            (self._folder / f"{name}.approved").touch()
