"""Abuse case 17: serial numbers that are somebody else's to one reader, or a command to another.

Case, letters that fold to others, combining forms, marks of direction, NUL, ten thousand
characters, SQL, paths, line breaks, format strings: outside of the allow-list they are refused by
registrar, MASA and OEM service alike; inside of it they are compared as they are. Nothing of them
reaches a log, a file name or a statement as it came.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

from brski.errors import Malformed, OnboardingError
from brski.idevid.record_json import decode_records, encode_records
from brski.pki.keys import parse_certificate
from brski.pki.names import check_serial_number, device_serial_number
from oem_backend.database.query import parse_question
from tests.abuse.desk import Desk
from tests.kit import pki
from tests.kit.world import record_of

REFUSED = {
    "long s": "\u017fN-1",
    "Kelvin sign": "\u212a-1",
    "combining form": "A\u030a-1",
    "composed form": "\u00c5-1",
    "full width": "\uff33\uff2e-1",
    "right to left": "SN-\u202e1",
    "zero width": "SN-\u200b1",
    "no-break space": "SN-\u00a01",
    "NUL": "SN-1\0",
    "ten thousand": "S" * 10_000,
    "sixty-five": "S" * 65,
    "nothing": "",
    "space": "SN 1",
    "trailing line break": "SN-1\n",
    "CRLF": "SN-1\r\nSet-Cookie: a=b",
    "SQL": "' OR 1=1--",
    "SQL statement": "SN-1'; DROP TABLE events; --",
    "path": "../../etc/passwd",
    "encoded path": "..%2f..%2fetc",
    "format": "%s%s%n",
    "format string": "{0.__class__}",
    "terminal": "SN-1\x1b[2J",
    "URL": "SN-1?idevid_issuer=x",
    "shell": "$(reboot)",
}
ALLOWED_AND_DIFFERENT = ("sn-1", "SN-1.", "SN-01", "SN_1", ".", "..", "-")


def _idevid(issuer: pki.Entity, text: str) -> bytes:
    """A certificate that names *text*, however little it is a serial number."""
    utf8 = _ASN1Type.UTF8String
    subject = x509.Name([x509.NameAttribute(NameOID.SERIAL_NUMBER, text, utf8, _validate=False)])
    return pki.make_idevid(issuer, subject=subject).der


@pytest.mark.requirement("SEC-10")
@pytest.mark.parametrize("name", REFUSED)
def test_readers(name: str) -> None:
    """Certificate, record and address: one list of characters everywhere."""
    text = REFUSED[name]
    with pytest.raises(Malformed) as caught:
        check_serial_number(text)
    assert caught.value.reason.isprintable()
    assert len(caught.value.reason) < 500
    with pytest.raises(Malformed):
        parse_question(text, "")
    if text:
        with pytest.raises(Malformed):
            device_serial_number(parse_certificate(_idevid(pki.make_root(), text)))


@pytest.mark.requirement("SEC-10")
@pytest.mark.parametrize("name", REFUSED)
async def test_everybody(desk: Desk, caplog: pytest.LogCaptureFixture, name: str) -> None:
    """In a request to the registrar, to the MASA, in a voucher, and in a record."""
    caplog.set_level(logging.DEBUG)
    text = REFUSED[name]
    for receiver in ("registrar", "masa", "pledge"):
        document = json.loads(desk.honest(receiver))
        (leaves,) = document.values()
        leaves["serial-number"] = text
        message = desk.signed(receiver, json.dumps(document).encode())
        refused = await desk.refusal(receiver, message)
        assert isinstance(refused.error, Malformed)
    records = json.loads(encode_records([record_of(desk.device)]))
    records["devices"][0]["serial_number"] = text
    with pytest.raises(Malformed):
        decode_records(json.dumps(records).encode())
    for line in caplog.messages:
        assert line.isprintable()
    for record in caplog.records:
        told = str(record.__dict__.get("serial_number", ""))
        assert told == "" or check_serial_number(told)


@pytest.mark.requirement("REG-4")
async def test_a_certificate_with_such_a_name(desk: Desk, tmp_path: Path) -> None:
    """Issued by a trusted manufacturer, even: refused, and the journal is whole."""
    world = desk.world
    for text in (REFUSED["SQL statement"], REFUSED["CRLF"], REFUSED["long s"]):
        leaf = parse_certificate(_idevid(world.oem, text))
        connection = world.connection([leaf, *desk.device.shown[1:]])
        body = desk.device.request(world.registrar_entity.certificate)
        with pytest.raises(OnboardingError):
            await world.registrar.request_voucher(body, "application/voucher-cms+json", connection)
    events = await world.journal.events()
    assert len(events) == 3
    with closing(sqlite3.connect(world.folder / "registrar.db")) as database:
        (tables,) = database.execute(
            "SELECT count(*) FROM sqlite_master WHERE name = 'events'"
        ).fetchone()
    assert tables == 1


@pytest.mark.requirement("PL-17", "REG-4")
@pytest.mark.parametrize("text", ALLOWED_AND_DIFFERENT)
async def test_what_is_allowed_is_compared_as_it_is(desk: Desk, text: str) -> None:
    """Never folded, trimmed or normalised: a near namesake is another device."""
    assert check_serial_number(text) == text
    for receiver in ("registrar", "masa", "pledge"):
        document = json.loads(desk.honest(receiver))
        (leaves,) = document.values()
        leaves["serial-number"] = text
        message = desk.signed(receiver, json.dumps(document).encode())
        refused = await desk.refusal(receiver, message)
        assert not isinstance(refused.error, Malformed)
