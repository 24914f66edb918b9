"""What a registration authority asked for, in the journal: its certificate must stand meanwhile."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from brski.errors import WrongOrder
from brski.pki.keys import certificate_der
from registrar_plugin.ca_backend.crl import Reason
from registrar_plugin.identity.clients import CERTIFICATE, RA, client_key
from registrar_plugin.store.issuances import Issuance
from registrar_plugin.store.revocation import Revocation
from registrar_plugin.store.sqlite import SQLiteJournal
from registrar_plugin.store.sqlite_issuances import SQLiteIssuances
from registrar_plugin.store.sqlite_revocation import SQLiteWithdrawals
from registrar_plugin.telemetry.events import Event, EventKind
from tests.kit import pki
from tests.kit.journal import certified

EAST = client_key(CERTIFICATE, "previous:east-ra")
CLIENT = client_key(RA, "east:gw-7")
FIRST, SECOND = b"1" * 32, b"2" * 32
KEY = b"the key"
LINE = Event(at=pki.NOW, kind=EventKind.LDEVID_INTENT, device=CLIENT)
OWNER = pki.make_pki("Example Owner", not_after=pki.NOT_AFTER)


async def test_it_is_kept_who_asked(tmp_path: Path) -> None:
    """Beside label and kind, also for who opens the file anew; a revoked RA asks for nothing."""
    journal = SQLiteJournal(tmp_path / "journal.db")
    own = await certified(journal, OWNER, EAST, Issuance(enrollee=CERTIFICATE))
    digest = hashlib.sha256(certificate_der(own)).digest()
    asked = Issuance(label="lab", enrollee=RA, asked_by=digest)
    room = SQLiteIssuances(journal.writer)
    await room.intend(CLIENT, b"tbs", FIRST, asked, LINE, spki=KEY)
    assert await room.of_request(CLIENT, FIRST) == asked
    await room.intend(CLIENT, b"tbs", FIRST, asked, LINE, spki=KEY)

    revocation = Revocation(
        device=EAST, at=pki.NOW, reason=Reason.KEY_COMPROMISE, by="somebody", note=""
    )
    await SQLiteWithdrawals(journal.writer).revoke(revocation, LINE)
    for request in (FIRST, SECOND):  # one that stands, and a new one
        with pytest.raises(WrongOrder, match="registration authority"):
            await room.intend(CLIENT, b"tbs", request, asked, LINE, spki=KEY)
    await journal.close()
    again = SQLiteJournal(tmp_path / "journal.db")
    assert await SQLiteIssuances(again.writer).of_request(CLIENT, FIRST) == asked
    assert len(await again.open_intents()) == 1
    await again.close()
