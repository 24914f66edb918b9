"""What must be true of a :class:`~tests.kit.town.Town` after whatever step.

Read from the registrars' files by plain SQL, from what parties hold, and from what really happened;
signatures are verified with `cryptography` alone. I5 and I8 are judged with each request, by
:meth:`~tests.kit.town.Town.attempt`.
"""

from __future__ import annotations

import base64
import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from cryptography import x509

from brski.pki.keys import certificate_der, spki_sha256
from brski.voucher.cms import CMS
from brski.voucher.yang_json import decode_voucher, decode_voucher_request
from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.telemetry.events import Event, EventKind, Outcome
from tests.kit.town import Town

BEFORE_AN_LDEVID = (EventKind.VOUCHER, EventKind.VOUCHER_STATUS, EventKind.AUDIT_LOG)


def rows(town: Town, number: int, query: str, *values: object) -> list[tuple[Any, ...]]:
    """What a registrar's file holds, whoever has it open."""
    path = town.gates[number].folder / "registrar.db"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return db.execute(query, values).fetchall()


def check_i1(town: Town) -> None:
    """No LDevID without a valid, audited voucher for that device to that domain's key."""
    for number, gate in enumerate(town.gates):
        ours = {certificate_der(certificate) for certificate in gate.domain[1].chain}
        for issuer, serial, digest in rows(
            town, number, "SELECT idevid_issuer, serial_number, sha256 FROM certificates"
        ):
            record = town.record(issuer, serial)
            steps = [event for event in gate.seen if event.device == DeviceKey(issuer, serial)]
            assert _was_let_in(steps, digest.hex()), f"I1: {serial} has an LDevID out of order"
            vouchers = rows(town, number, "SELECT serial_number, octets FROM artifacts "
                            "WHERE kind = 'voucher'")  # fmt: skip
            assert any(
                name == serial
                and octets in town.masa.vouchers
                and decode_voucher(CMS.open(octets).payload).pinned_domain_cert in ours
                for name, octets in vouchers
            ), f"I1: {serial} has an LDevID without a voucher for this domain"
            (bound,) = rows(
                town,
                number,
                "SELECT idevid_spki_sha256 FROM onboardings "
                "WHERE idevid_issuer = ? AND serial_number = ?",
                issuer,
                serial,
            )
            assert bound[0] == hashlib.sha256(record.spki).digest(), "I1: another key's onboarding"


def _was_let_in(steps: list[Event], certificate_sha256: str) -> bool:
    """Whether a voucher, its acceptance and the log's verdict stand before the certificate."""
    done: set[EventKind] = set()
    for step in steps:
        if step.details.get("certificate_sha256") == certificate_sha256:
            return done.issuperset(BEFORE_AN_LDEVID)
        if step.outcome is Outcome.DONE:
            done.add(step.kind)
    return False


def check_i2(town: Town) -> None:
    """A pledge trusts no domain but that of a fresh voucher under its vendor's anchor."""
    for party in town.parties:
        for number, (octets, asked, pin) in party.pinned.items():
            voucher = decode_voucher(CMS.open(octets).payload)
            assert octets in town.masa.vouchers, "I2: the MASA never signed that"
            assert voucher.serial_number == party.device.serial_number, "I2: another device's"
            assert voucher.nonce == asked.nonce, "I2: not fresh"
            assert voucher.pinned_domain_cert == certificate_der(pin)
            assert pin in town.gates[number].domain[1].chain, "I2: another domain's"


def check_i3(town: Town) -> None:
    """One active LDevID for a device at a registrar."""
    for number in range(len(town.gates)):
        counted = rows(town, number, "SELECT serial_number, count(*) FROM certificates WHERE "
                       "state = 'active' GROUP BY idevid_issuer, serial_number")  # fmt: skip
        assert all(count == 1 for _, count in counted), f"I3: {counted}"


def check_i4(town: Town) -> None:
    """Every signature was intended on record before it was made: the same octets."""
    for number in range(len(town.gates)):
        intents = rows(town, number, "SELECT kind, octets, result FROM intents")
        signed = {result for _, _, result in intents if result}
        assert {body for gate, body in town.sent if gate == number} <= signed, "I4: on the wire"
        for kind, octets, result in intents:
            if kind == "ldevid" and result:
                tbs = x509.load_der_x509_certificate(result).tbs_certificate_bytes
                assert tbs == octets, "I4: another TBSCertificate than intended"
            elif result:
                serial = decode_voucher_request(CMS.open(result).payload).serial_number
                assert serial.encode() in octets, "I4: another request than intended"
        for party in town.parties:
            held = {certificate_der(c) for gate, c in party.ldevids if gate == number}
            assert held <= signed, "I4: an LDevID that nobody intended"


def check_i6(town: Town) -> None:
    """The same seed gives the same certificate; no two devices share a key."""
    keys = [spki_sha256(device.entity.certificate) for device in town.made.values()]
    assert len(set(keys)) == len(keys), "I6: a shared key"
    for (maker, serial), device in town.made.items():
        again = town.built(maker, serial, asserting=not device.carried)
        assert again.entity.der == device.entity.der, "I6: another certificate of the same seed"


def check_i7(town: Town) -> None:
    """No secret in a log, in a refusal or in the journal's words."""
    said = "\n".join([*town.said, *_journalled(town)])
    town.said.clear()
    for secret in town.secrets:
        for form in (secret.hex(), base64.b64encode(secret).decode(), repr(secret)):
            assert form not in said, "I7: a secret has been told"


def _journalled(town: Town) -> Iterator[str]:
    for gate in town.gates:
        for event in gate.seen:
            yield f"{event.reason} {event.details}"
