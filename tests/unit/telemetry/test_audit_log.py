"""The audit log: what is written, what is taken, and how a long one is abbreviated."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from brski.errors import LocalError, Malformed, TooLarge
from brski.pki.extensions import domain_id
from brski.telemetry.audit_log import (
    AUDIT_LOG_OCTETS,
    AuditEvent,
    AuditLog,
    Truncation,
    abbreviate,
    decode_audit_log,
    encode_audit_log,
)
from brski.voucher.model import Assertion

DAY = datetime(2026, 3, 1, 12, tzinfo=UTC)
EVENT = AuditEvent(
    date=DAY,
    domain_id=bytes(range(20)),
    nonce="ABEiM0RVZneImaq7zN3u/w==",
    assertion=Assertion.LOGGED,
)
NONCELESS = replace(EVENT, nonce=None)
LOG = AuditLog(events=(EVENT, NONCELESS), truncation=Truncation(nonced_duplicates=2))

DATES = st.datetimes(
    min_value=datetime(1900, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
    max_value=datetime(9999, 12, 1),  # noqa: DTZ001 - likewise
    timezones=st.integers(-720, 720).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)
COUNTS = st.integers(0, 1024)
EVENTS = st.builds(
    AuditEvent,
    date=DATES,
    domain_id=st.binary(min_size=1, max_size=64),
    nonce=st.none()
    | st.binary(min_size=8, max_size=32).map(lambda n: base64.b64encode(n).decode()),
    assertion=st.sampled_from(Assertion),
    truncated=COUNTS,
)
LOGS = st.builds(
    AuditLog,
    events=st.lists(EVENTS, min_size=1, max_size=4).map(tuple),
    truncation=st.builds(
        Truncation, nonced_duplicates=COUNTS, nonceless_duplicates=COUNTS, arbitrary=COUNTS
    ),
    version=st.integers(1, 9),
)


def document(log: AuditLog = LOG) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(encode_audit_log(log))
    return loaded


def decode(document: object) -> AuditLog:
    return decode_audit_log(json.dumps(document).encode())


def with_event(**members: object) -> dict[str, Any]:
    """One event, some of its members replaced; ``...`` takes one out."""
    event = document(AuditLog(events=(EVENT,)))["events"][0] | members
    return {"version": 1, "events": [{k: v for k, v in event.items() if v is not ...}]}


@given(LOGS)
def test_what_is_written_reads_back(log: AuditLog) -> None:
    """Every log survives the wire; dates as moments, whatever their offset was."""
    assert decode_audit_log(encode_audit_log(log)) == log


@pytest.mark.requirement("AUD-1", "AUD-2", "AUD-3", "AUD-4")
def test_written_log_to_the_octet() -> None:
    """Keys with spaces, integers, RFC 3339 dates, null for nonceless."""
    assert document() == {
        "version": 1,
        "events": [
            {
                "date": "2026-03-01T12:00:00Z",
                "domainID": "AAECAwQFBgcICQoLDA0ODxAREhM=",
                "nonce": "ABEiM0RVZneImaq7zN3u/w==",
                "assertion": "logged",
            },
            {
                "date": "2026-03-01T12:00:00Z",
                "domainID": "AAECAwQFBgcICQoLDA0ODxAREhM=",
                "nonce": None,
                "assertion": "logged",
            },
        ],
        "truncation": {"nonced duplicates": 2, "nonceless duplicates": 0, "arbitrary": 0},
    }


@pytest.mark.requirement("AUD-2", "AUD-6")
def test_published_example_with_strings_for_integers_parses(vectors: Path) -> None:
    """The RFC's CDDL says uint, its example has strings; both are read, integers are written."""
    octets = (vectors / "telemetry-json" / "example-auditlog.json").read_bytes()
    log = decode_audit_log(octets)
    assert log.version == 1
    assert log.truncation == Truncation(nonced_duplicates=0, nonceless_duplicates=1, arbitrary=2)
    assert [event.nonce for event in log.events] == [
        "VOUFT-WwrEv0NuAQEHoV7Q",
        "f4G6Vi1t8nKo/FieCVgpBg==",
    ]
    assert log.events[0].date == datetime(2019, 5, 15, 21, 25, 55, 644000, tzinfo=UTC)
    assert log.events[0].domain_id.hex() == "05db8985d1cfa5f8502f2a689dfe3c2735d2199f"
    assert {event.assertion for event in log.events} == {Assertion.PROXIMITY}
    assert document(log)["truncation"]["nonceless duplicates"] == 1


@pytest.mark.requirement("AUD-2")
@pytest.mark.parametrize(
    "value",
    ["-1", "01", "1.0", " 1", "+1", "", "one", "٣", "99999999999", -1, 1.0, True, None, [], {}],
)
@pytest.mark.parametrize("counter", ["nonced duplicates", "nonceless duplicates", "arbitrary"])
def test_a_counter_that_is_no_unsigned_integer_is_refused(value: object, counter: str) -> None:
    """Strings are tolerated only where they are the decimal text of an unsigned integer."""
    assert decode(document() | {"truncation": {counter: "7"}}).truncation != Truncation()
    with pytest.raises(Malformed, match="unsigned"):
        decode(document() | {"truncation": {counter: value}})
    with pytest.raises(Malformed, match="unsigned"):
        decode(with_event(truncated=value))


@pytest.mark.requirement("AUD-8")
def test_a_missing_counter_is_zero() -> None:
    """No truncation, an empty one, and one with a single counter."""
    bare = document()
    del bare["truncation"]
    assert decode(bare).truncation == Truncation()
    assert decode(bare | {"truncation": {}}).truncation == Truncation()
    assert decode(bare | {"truncation": {"arbitrary": 3}}).truncation == Truncation(arbitrary=3)
    with pytest.raises(Malformed, match="truncation"):
        decode(bare | {"truncation": []})


@pytest.mark.requirement("AUD-8")
def test_counters_of_zero_are_not_sent() -> None:
    """A log that left nothing out says nothing of truncation."""
    assert "truncation" not in document(replace(LOG, truncation=Truncation()))


@pytest.mark.requirement("AUD-4")
@pytest.mark.parametrize("nonce", [..., "", 0, False, [], {}, "x" * 257])
def test_only_null_says_nonceless(nonce: object) -> None:
    """A missing or empty nonce would leave it open what the voucher was; both are refused."""
    assert decode(with_event(nonce=None)).events[0].nonce is None
    with pytest.raises(Malformed, match="nonce"):
        decode(with_event(nonce=nonce))


@pytest.mark.requirement("AUD-4")
def test_a_nonce_stays_the_string_that_it_was() -> None:
    """base64url without padding, as published, is not normalised."""
    assert (
        decode(with_event(nonce="VOUFT-WwrEv0NuAQEHoV7Q")).events[0].nonce
        == "VOUFT-WwrEv0NuAQEHoV7Q"
    )


@pytest.mark.requirement("AUD-6")
def test_every_assertion_is_taken_and_no_other() -> None:
    """The four of RFC 8366bis, by name, in lower case."""
    for assertion in Assertion:
        assert decode(with_event(assertion=assertion.value)).events[0].assertion is assertion
    for value in ("Logged", "", "none", 1, None, ..., ["logged"]):
        with pytest.raises(Malformed, match="assertion"):
            decode(with_event(assertion=value))


@pytest.mark.requirement("AUD-5")
@pytest.mark.parametrize(
    "value",
    [
        ...,
        None,
        7,
        "",
        "BduJhdHPpfhQLyponf48JzXSGZ8",
        "BduJhdHPpfhQLyponf48JzXSGZ9=",
        "BduJhdHPpfhQLyponf48JzXSGZ8=\n",
        "_duJhdHPpfhQLyponf48JzXSGZ8=",
        "Bdu\u0661hdHPpfhQLyponf48JzXSGZ8=",
        base64.b64encode(bytes(65)).decode(),
    ],
)
def test_a_domain_id_that_is_not_base64_is_refused(value: object) -> None:
    """Unpadded, with stray bits, a line feed, the URL alphabet, not ASCII, or out of size."""
    assert (
        len(decode(with_event(domainID="BduJhdHPpfhQLyponf48JzXSGZ8=")).events[0].domain_id) == 20
    )
    with pytest.raises(Malformed, match="domainID"):
        decode(with_event(domainID=value))


@pytest.mark.requirement("AUD-5")
def test_domain_id_of_the_published_registrar_is_base64_once(vectors: Path) -> None:
    """Appendix C's registrar has no key identifier: its domainID is the SHA-256 of its key."""
    jrc = x509.load_pem_x509_certificate(
        (vectors / "rfc8995-appC" / "jrc_prime256v1.crt").read_bytes()
    )
    log = AuditLog(events=(replace(EVENT, domain_id=domain_id(jrc)),))
    assert document(log)["events"][0]["domainID"] == "Oy6w2vS8ar8m/FtEHuzs7sl7LSD3pW9yTCgCecoIL3M="


@pytest.mark.requirement("AUD-3")
@pytest.mark.parametrize(
    "value",
    [
        ...,
        None,
        0,
        "",
        "2026-03-01",
        "2026-03-01T12:00:00",
        "2026-W09-7T12:00:00Z",
        "2026-02-30T12:00:00Z",
    ],
)
def test_a_date_without_zone_or_calendar_is_refused(value: object) -> None:
    """RFC 3339 with a zone is taken, with or without a fraction; nothing else."""
    for text in ("2026-03-01T12:00:00Z", "2026-03-01T14:00:00.000+02:00"):
        assert decode(with_event(date=text)).events[0].date == DAY
    with pytest.raises(Malformed):
        decode(with_event(date=value))


@pytest.mark.requirement("AUD-11")
def test_a_greater_version_parses_and_tells_what_it_adds() -> None:
    """An operator decides on what is unknown; the events are read all the same."""
    later = document() | {"version": 2, "masa": "example"}
    for event in later["events"]:
        event["location"] = "here"
    later["truncation"]["by hand"] = 1
    log = decode(later)
    assert log.version == 2
    assert log.unknown_members == ("masa", "events.location", "truncation.by hand")
    assert log.events == LOG.events


@pytest.mark.requirement("AUD-11")
@pytest.mark.parametrize("version", [0, "0", -1, "v1", None, True, 1.5, ...])
def test_a_version_that_is_no_positive_integer_is_refused(version: object) -> None:
    """1 and "1" are the version; nothing, zero and words are not."""
    assert decode(document() | {"version": "1"}).version == 1
    with pytest.raises(Malformed, match="version"):
        decode({k: v for k, v in (document() | {"version": version}).items() if v is not ...})


@pytest.mark.requirement("AUD-13")
@pytest.mark.parametrize("events", [[], {}, None, "none", ..., [None], [[]], ["2026"]])
def test_a_log_has_at_least_one_event(events: object) -> None:
    """One event is a log; no event is 404, never an empty list."""
    with pytest.raises(Malformed, match="event"):
        decode({k: v for k, v in (document() | {"events": events}).items() if v is not ...})


@pytest.mark.requirement("AUD-13")
def test_a_log_without_events_is_not_written() -> None:
    """Nor made out of nothing."""
    with pytest.raises(LocalError, match="at least one"):
        encode_audit_log(AuditLog(events=()))
    with pytest.raises(LocalError, match="at least one"):
        abbreviate([])
    with pytest.raises(LocalError):
        abbreviate([EVENT], most=0)


@pytest.mark.requirement("AUD-1")
@pytest.mark.parametrize(
    "octets", [b"", b"[]", b"null", b'{"version":1}', b'{"version":1,"version":1}', b"{}{}"]
)
def test_what_is_no_log_is_refused(octets: bytes) -> None:
    """Another type, a member twice, a second value."""
    with pytest.raises(Malformed):
        decode_audit_log(octets)


def test_every_truncation_is_refused() -> None:
    """Cut at any octet, the text is no log."""
    octets = encode_audit_log(LOG)
    for end in range(len(octets)):
        with pytest.raises(Malformed):
            decode_audit_log(octets[:end])


def test_a_log_over_the_limit_is_not_read() -> None:
    """White space counts."""
    octets = encode_audit_log(LOG)
    assert decode_audit_log(octets.ljust(AUDIT_LOG_OCTETS)) == LOG
    with pytest.raises(TooLarge):
        decode_audit_log(octets.ljust(AUDIT_LOG_OCTETS + 1))


@pytest.mark.requirement("AUD-7")
def test_duplicates_of_a_domain_leave_the_newest_of_each_kind() -> None:
    """Nonced and nonceless are kept apart, and what is left out is counted in both places."""
    other = replace(EVENT, domain_id=b"other domain", date=DAY + timedelta(hours=1))
    events = [replace(EVENT, date=DAY + timedelta(days=n)) for n in (2, 0, 1)]
    events += [replace(NONCELESS, date=DAY + timedelta(days=n)) for n in (-1, -2)]
    log = abbreviate([*events, other])
    assert log.events == (
        replace(EVENT, date=DAY + timedelta(days=2), truncated=2),
        other,
        replace(NONCELESS, date=DAY - timedelta(days=1), truncated=1),
    )
    assert log.truncation == Truncation(nonced_duplicates=2, nonceless_duplicates=1)


@pytest.mark.requirement("AUD-7")
def test_a_cut_for_length_is_counted_as_arbitrary() -> None:
    """The newest stay; a log that fits says nothing of it."""
    events = [replace(EVENT, domain_id=bytes([n]), date=DAY + timedelta(days=n)) for n in range(5)]
    cut = abbreviate(events, most=2)
    assert [event.domain_id[0] for event in cut.events] == [4, 3]
    assert cut.truncation == Truncation(arbitrary=3)
    assert abbreviate(events, most=5).truncation == Truncation()


@pytest.mark.requirement("AUD-7")
def test_counters_rest_at_1024() -> None:
    """1024 left out and 1030 left out read the same."""
    for left_out, counted in ((1023, 1023), (1024, 1024), (1030, 1024)):
        log = abbreviate([EVENT] * (left_out + 1))
        assert log.events[0].truncated == counted
        assert log.truncation.nonced_duplicates == counted


@pytest.mark.requirement("AUD-7")
@given(st.lists(EVENTS, min_size=1, max_size=12), st.integers(1, 4))
def test_an_abbreviated_log_accounts_for_every_event(events: list[AuditEvent], most: int) -> None:
    """Kept, left out as duplicates and cut add up to what there was."""
    log = abbreviate([replace(event, truncated=0) for event in events], most=most)
    counted = log.truncation
    assert len(log.events) <= most
    assert (
        len(log.events)
        + counted.nonced_duplicates
        + counted.nonceless_duplicates
        + counted.arbitrary
    ) == len(events)
