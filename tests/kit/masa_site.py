"""The MASA's registrar-facing listener over TLS, and somebody who asks there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from brski.edge.http.answer import Answer
from brski.edge.http.client import Call, HTTPSClient, any_address
from brski.edge.http.request import encode_request
from brski.edge.serve import Listener, serving
from brski.edge.signers.file import write_chain, write_private_key
from brski.edge.tls_client import https_client_context
from brski.edge.tls_server import server_context
from brski.registry import BRSKI_ROOT, REQUEST_VOUCHER, VOUCHER_CMS_JSON
from masa_stub.ephemeral import ephemeral_signer
from masa_stub.faults.plan import FaultPlan
from masa_stub.masa import MASA
from masa_stub.passwords import Passwords
from masa_stub.web.faults import Misbehaviour
from masa_stub.web.locations import Locations
from masa_stub.web.registrar_facing import registrar_facing_app
from tests.kit import pki

ROOT = pki.make_root("Service Root")
NO_PASSWORDS = Passwords({})
SERVER = pki.make_server(ROOT, name="localhost")


@dataclass
class Site:
    """Where a MASA answers."""

    port: int
    folder: Path
    clients: dict[bytes, HTTPSClient] = field(default_factory=dict)

    async def post(
        self,
        body: bytes,
        *,
        path: str = BRSKI_ROOT + REQUEST_VOUCHER,
        method: str = "POST",
        shown: pki.Entity | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request; *shown* is the TLS client certificate, *fields* are over the usual ones."""
        named = {"Content-Type": VOUCHER_CMS_JSON, **(fields or {})}
        octets = encode_request(method, path, f"localhost:{self.port}", named, body)
        call = Call(
            host="localhost", port=self.port, octets=octets, body_octets=1 << 20, repeatable=False
        )
        return await self._client(shown).send(call)

    async def close(self) -> None:
        """Hang up."""
        for client in self.clients.values():
            await client.close()

    def _client(self, shown: pki.Entity | None) -> HTTPSClient:
        name = b"" if shown is None else shown.der
        if name not in self.clients:
            self.clients[name] = HTTPSClient(
                self._context(shown), timeout_s=10, connections=4, addresses=any_address
            )
        return self.clients[name]

    def _context(self, shown: pki.Entity | None):  # type: ignore[no-untyped-def]  # ssl.SSLContext
        if shown is None:
            return https_client_context([ROOT.certificate])
        chain, key = self.folder / "client.pem", self.folder / "client.key"
        key.unlink(missing_ok=True)
        write_chain(chain, shown.chain[:-1])
        write_private_key(key, shown.private_key)
        return https_client_context([ROOT.certificate], client_chain=chain, client_key=key)


def misbehaviour(masa: MASA, plan: FaultPlan | None) -> Misbehaviour:
    """How *masa* misbehaves by *plan*."""
    return Misbehaviour(
        plan,
        serializations=masa.reception._serializations,
        signers=masa._signers,
        stranger=ephemeral_signer(masa.reception.now()),
        clock=masa.reception.now,
    )


@asynccontextmanager
async def masa_site(
    masa: MASA,
    folder: Path,
    *,
    passwords: Passwords = NO_PASSWORDS,
    plan: FaultPlan | None = None,
    locations: Locations | None = None,
) -> AsyncIterator[Site]:
    """Serve *masa* at a free port of loopback; its certificate is under :data:`ROOT`."""
    listener = Listener(
        name="registrars",
        app=registrar_facing_app(masa, passwords, misbehaviour(masa, plan), locations),
        listen="127.0.0.1:0",
        ssl_context=server_context((SERVER.certificate,), SERVER.private_key),
    )
    async with serving([listener]) as addresses:
        site = Site(port=int(addresses["registrars"].rpartition(":")[2]), folder=folder)
        try:
            yield site
        finally:
            await site.close()
