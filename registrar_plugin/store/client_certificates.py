"""The room of the journal that knows by which certificate of another CA an EST client came.

Once it has one of ours it shows that alone; whether the other CA has revoked it since is asked of
this.
"""

from __future__ import annotations

from typing import Protocol

from cryptography import x509

from registrar_plugin.identity.model import DeviceKey

Path = tuple[x509.Certificate, ...]


class ClientCertificates(Protocol):
    """Keyed by client (:func:`registrar_plugin.identity.clients.client_key`)."""

    async def keep(self, client: DeviceKey, path: Path) -> None:
        """Make durable by which certificate *client* came last.

        Args:
            path: leaf first, anchor last.
        """

    async def of(self, client: DeviceKey) -> Path | None:
        """The path that was kept last; leaf first, anchor last."""
