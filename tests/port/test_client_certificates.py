"""By which certificate an EST client came: the last one, also for who opens the file anew."""

from __future__ import annotations

from pathlib import Path

from registrar_plugin.identity.clients import CERTIFICATE, client_key
from registrar_plugin.store.sqlite import SQLiteJournal
from registrar_plugin.store.sqlite_client_certificates import SQLiteClientCertificates
from tests.kit import pki
from tests.kit.est_clients import make_client

CLIENT = client_key(CERTIFICATE, "previous:gw-7")
CA = pki.make_pki("Previous")
FIRST, SECOND = make_client(CA).chain, make_client(CA).chain


async def test_the_last_one_stands(tmp_path: Path) -> None:
    """Of this client alone."""
    journal = SQLiteJournal(tmp_path / "journal.db")
    room = SQLiteClientCertificates(journal.writer)
    assert await room.of(CLIENT) is None
    await room.keep(CLIENT, FIRST)
    assert await room.of(CLIENT) == FIRST
    await room.keep(CLIENT, SECOND)
    assert await room.of(client_key(CERTIFICATE, "previous:gw-8")) is None
    await journal.close()
    again = SQLiteJournal(tmp_path / "journal.db")
    assert await SQLiteClientCertificates(again.writer).of(CLIENT) == SECOND
    await again.close()
