"""Voucher documents as JSON: one spelling written, and only what has one meaning read."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brski.errors import LocalError, Malformed, TooLarge
from brski.voucher.model import Assertion, Voucher, VoucherRequest
from brski.voucher.yang_json import (
    decode_voucher,
    decode_voucher_request,
    encode_voucher,
    encode_voucher_request,
)
from brski.voucher.yang_types import (
    decode_binary,
    decode_date,
    decode_nonce,
    encode_binary,
    encode_date,
    encode_nonce,
)

CREATED_ON = datetime(2025, 6, 1, 12, 0, 0, tzinfo=UTC)
REQUEST = VoucherRequest(
    serial_number="SN-0001",
    assertion=Assertion.PROXIMITY,
    created_on=CREATED_ON,
    nonce=encode_nonce(bytes(range(16))),
    proximity_registrar_cert=b"\x30\x03\x02\x01\x00",
)
VOUCHER = Voucher(
    serial_number="SN-0001",
    assertion=Assertion.LOGGED,
    created_on=CREATED_ON,
    nonce=encode_nonce(bytes(range(16))),
    pinned_domain_cert=b"\x30\x03\x02\x01\x00",
)

DATES = st.datetimes(timezones=st.just(UTC))
SERIAL_NUMBERS = st.from_regex(r"[A-Za-z0-9._:-]{1,64}", fullmatch=True)
NONCES = st.binary(min_size=8, max_size=32).map(encode_nonce)
OCTETS = st.binary(max_size=64)
ASSERTIONS = st.sampled_from(Assertion)
REQUESTS = st.builds(
    VoucherRequest,
    serial_number=SERIAL_NUMBERS,
    assertion=st.none() | ASSERTIONS,
    created_on=st.none() | DATES,
    nonce=st.none() | NONCES,
    idevid_issuer=st.none() | OCTETS,
    prior_signed_voucher_request=st.none() | OCTETS,
    proximity_registrar_cert=st.none() | OCTETS,
)
VOUCHERS = st.builds(
    Voucher,
    serial_number=SERIAL_NUMBERS,
    assertion=ASSERTIONS,
    created_on=DATES,
    idevid_issuer=st.none() | OCTETS,
    pinned_domain_cert=OCTETS,
    domain_cert_revocation_checks=st.none() | st.booleans(),
)


def request_json(**leaves: Any) -> bytes:
    """A voucher-request with *leaves* (underscores for hyphens) beside a serial-number."""
    body = {"serial-number": "SN-0001"}
    body |= {name.replace("_", "-"): value for name, value in leaves.items()}
    return json.dumps({"ietf-voucher-request:voucher": body}).encode()


def voucher_json(**leaves: Any) -> bytes:
    """A voucher with *leaves* beside a serial-number."""
    body = {"serial-number": "SN-0001"}
    body |= {name.replace("_", "-"): value for name, value in leaves.items()}
    return json.dumps({"ietf-voucher:voucher": body}).encode()


# -- round trips -----------------------------------------------------------------------------------


@pytest.mark.requirement("VR-5")
@given(REQUESTS)
def test_a_request_reads_back_as_it_was_written(request: VoucherRequest) -> None:
    """All leaves survive, and writing what was read gives the same octets."""
    octets = encode_voucher_request(request)
    assert decode_voucher_request(octets) == request
    assert encode_voucher_request(decode_voucher_request(octets)) == octets


@pytest.mark.requirement("VR-6")
@given(VOUCHERS, NONCES | DATES, st.none() | DATES)
def test_a_voucher_reads_back_as_it_was_written(
    voucher: Voucher, nonce_or_expiry: str | datetime, renewal: datetime | None
) -> None:
    """With a nonce, or with expires-on and perhaps last-renewal-date."""
    if isinstance(nonce_or_expiry, str):
        voucher = replace(voucher, nonce=nonce_or_expiry)
    else:
        voucher = replace(voucher, expires_on=nonce_or_expiry, last_renewal_date=renewal)
    octets = encode_voucher(voucher)
    assert decode_voucher(octets) == voucher
    assert encode_voucher(decode_voucher(octets)) == octets


@pytest.mark.requirement("VR-1", "VR-2", "VR-3", "VR-4")
def test_what_a_pledge_writes_to_the_octet() -> None:
    """The members' names, their order, base64 with padding, UTC dates, no white space."""
    assert encode_voucher_request(REQUEST) == (
        b'{"ietf-voucher-request:voucher":{"created-on":"2025-06-01T12:00:00Z",'
        b'"assertion":"proximity","serial-number":"SN-0001",'
        b'"nonce":"AAECAwQFBgcICQoLDA0ODw==","proximity-registrar-cert":"MAMCAQA="}}'
    )


@pytest.mark.requirement("VR-1", "VR-6", "VR-20")
def test_what_a_masa_writes_to_the_octet() -> None:
    """The four leaves that RFC 8366 makes mandatory, and the nonce; no prior-signed request."""
    assert encode_voucher(VOUCHER) == (
        b'{"ietf-voucher:voucher":{"created-on":"2025-06-01T12:00:00Z","assertion":"logged",'
        b'"serial-number":"SN-0001","nonce":"AAECAwQFBgcICQoLDA0ODw==",'
        b'"pinned-domain-cert":"MAMCAQA="}}'
    )


# -- the writer's own rules ------------------------------------------------------------------------


@pytest.mark.requirement("VR-6")
@pytest.mark.parametrize("leaf", ["created_on", "assertion", "pinned_domain_cert"])
def test_a_voucher_without_a_mandatory_leaf_is_not_written(leaf: str) -> None:
    """RFC 8366 has four of them, though readers of rfc8366bis ask for one only."""
    encode_voucher(VOUCHER)
    absent: dict[str, Any] = {leaf: None}
    with pytest.raises(LocalError, match=leaf.replace("_", "-")):
        encode_voucher(replace(VOUCHER, **absent))


@pytest.mark.requirement("VR-7")
def test_nonce_and_expires_on_are_never_written_together() -> None:
    """Each may be there; both may be read, since rfc8366bis dropped the rule."""
    later = CREATED_ON + timedelta(days=1)
    for nonce, expires_on in ((VOUCHER.nonce, None), (None, later)):
        encode_voucher(replace(VOUCHER, nonce=nonce, expires_on=expires_on))
        encode_voucher_request(replace(REQUEST, nonce=nonce, expires_on=expires_on))
    with pytest.raises(LocalError, match="exclude"):
        encode_voucher(replace(VOUCHER, expires_on=later))
    with pytest.raises(LocalError, match="exclude"):
        encode_voucher_request(replace(REQUEST, expires_on=later))
    both = voucher_json(nonce=VOUCHER.nonce, expires_on="2025-06-02T12:00:00Z")
    assert decode_voucher(both).expires_on == later


@pytest.mark.requirement("VR-7")
def test_last_renewal_date_is_written_with_expires_on_only() -> None:
    """A renewal date without an end to renew says nothing."""
    bare = replace(VOUCHER, nonce=None, last_renewal_date=CREATED_ON)
    encode_voucher(replace(bare, expires_on=CREATED_ON))
    with pytest.raises(LocalError, match="last-renewal-date"):
        encode_voucher(bare)


def test_a_date_without_zone_is_not_written() -> None:
    """Nobody could tell what it means."""
    naive = datetime(2025, 6, 1)  # noqa: DTZ001 - that is the point
    with pytest.raises(LocalError, match="zone"):
        encode_voucher_request(replace(REQUEST, created_on=naive))


@pytest.mark.requirement("VR-19")
def test_a_nonce_is_passed_on_as_it_came() -> None:
    """Whatever its spelling: the registrar and the MASA copy the string."""
    spelling = "-_XE9zK9q8Ll1qylMtLKeg"
    request = decode_voucher_request(request_json(nonce=spelling), lenient_nonce=True)
    assert request.nonce == spelling
    assert f'"nonce":"{spelling}"'.encode() in encode_voucher_request(request)


# -- documents -------------------------------------------------------------------------------------


@pytest.mark.requirement("VR-1", "VR-21")
def test_a_voucher_is_no_request_and_a_request_no_voucher() -> None:
    """The name of the one member tells them apart."""
    assert decode_voucher_request(request_json()).serial_number == "SN-0001"
    assert decode_voucher(voucher_json()).serial_number == "SN-0001"
    with pytest.raises(Malformed, match="ietf-voucher-request:voucher"):
        decode_voucher_request(voucher_json())
    with pytest.raises(Malformed, match="ietf-voucher:voucher"):
        decode_voucher(request_json())


@pytest.mark.requirement("VR-1")
@pytest.mark.parametrize(
    "document",
    [
        b'{"ietf-voucher-request:voucher":{"serial-number":"A"},"x":1}',
        b'{"x":1,"ietf-voucher-request:voucher":{"serial-number":"A"}}',
        b'[{"ietf-voucher-request:voucher":{"serial-number":"A"}}]',
        b'{"voucher":{"serial-number":"A"}}',
        b'{"ietf-voucher-request:voucher":[{"serial-number":"A"}]}',
        b'{"ietf-voucher-request:voucher":null}',
        b'{"ietf-voucher-request:voucher":{}}',
        b'{"ietf-voucher-request:voucher":{"Serial-Number":"A"}}',
        b'{"ietf-voucher-request:voucher":{"serial-number":"A"}',
        b'"ietf-voucher-request:voucher"',
        b"{}",
        b"",
    ],
)
def test_anything_but_the_one_member_with_a_serial_number_is_refused(document: bytes) -> None:
    """One top member, an object, with a serial-number in it."""
    decode_voucher_request(b'{"ietf-voucher-request:voucher":{"serial-number":"A"}}')
    with pytest.raises(Malformed):
        decode_voucher_request(document)


@pytest.mark.requirement("SEC-10")
@pytest.mark.parametrize(
    "leaf", ["serial-number", "nonce", "assertion", "created-on", "proximity-registrar-cert"]
)
def test_a_leaf_that_is_there_twice_is_refused(leaf: str) -> None:
    """Even with the same value: two readers could take two different ones."""
    text = encode_voucher_request(REQUEST).decode()
    body = json.loads(text)["ietf-voucher-request:voucher"]
    member = f'"{leaf}":{json.dumps(body[leaf])}'
    assert member in text
    with pytest.raises(Malformed, match="twice"):
        decode_voucher_request(text.replace(member, f"{member},{member}").encode())


@pytest.mark.requirement("SEC-10")
def test_every_truncation_of_a_request_is_refused() -> None:
    """No prefix of a document is a document."""
    octets = encode_voucher_request(REQUEST)
    for cut in range(len(octets)):
        with pytest.raises(Malformed):
            decode_voucher_request(octets[:cut])


@given(st.binary(max_size=300))
def test_any_octets_are_read_or_refused(octets: bytes) -> None:
    """Nothing but the two refusals comes out."""
    for decode in (decode_voucher_request, decode_voucher):
        with pytest.raises((Malformed, TooLarge)):
            decode(octets)


@given(st.data())
def test_an_altered_leaf_is_read_as_another_value_or_refused(data: st.DataObject) -> None:
    """One octet changed never goes unnoticed, except where it is white space or an ignored name."""
    octets = bytearray(encode_voucher_request(REQUEST))
    place = data.draw(st.integers(0, len(octets) - 1))
    octets[place] = data.draw(st.integers(0x20, 0x7E).filter(lambda c: c != octets[place]))
    try:
        assert decode_voucher_request(bytes(octets)) != REQUEST
    except Malformed as err:
        assert err.section  # noqa: PT017 - either outcome is right


@pytest.mark.requirement("PL-25")
def test_leaves_that_are_not_known_are_ignored() -> None:
    """Whatever their value; and a voucher has none of a request's own leaves (VR-20)."""
    plain = decode_voucher(encode_voucher(VOUCHER))
    document = json.loads(encode_voucher(VOUCHER))
    document["ietf-voucher:voucher"] |= {
        "example.com:colour": ["red", {"shade": 1.5}],
        "prior-signed-voucher-request": 7,
        "proximity-registrar-pubk-sha256": [],
        "tomorrow": None,
    }
    assert decode_voucher(json.dumps(document).encode()) == plain


@pytest.mark.requirement("VR-5")
def test_leaves_that_a_request_has_for_nothing_change_nothing() -> None:
    """RFC 8995 §3.2 keeps three of the voucher's leaves and says to ignore them."""
    plain = decode_voucher_request(request_json())
    assert plain == decode_voucher_request(
        request_json(
            pinned_domain_cert="not even base64",
            pinned_domain_pubk="nor this",
            pinned_domain_pubk_sha256="AAEC",
            domain_cert_revocation_checks="yes",
            last_renewal_date=7,
        )
    )


@pytest.mark.requirement("VR-6")
def test_a_voucher_with_a_serial_number_alone_is_read() -> None:
    """As in rfc8366bis; without one it is not."""
    assert decode_voucher(voucher_json()) == Voucher(serial_number="SN-0001")
    with pytest.raises(Malformed, match="serial-number"):
        decode_voucher(b'{"ietf-voucher:voucher":{"assertion":"logged"}}')


# -- leaves ----------------------------------------------------------------------------------------

TEXT_LEAVES = [
    "serial_number",
    "assertion",
    "created_on",
    "expires_on",
    "nonce",
    "idevid_issuer",
    "prior_signed_voucher_request",
    "proximity_registrar_cert",
]


@pytest.mark.parametrize("leaf", TEXT_LEAVES)
@pytest.mark.parametrize("value", [None, True, 7, 1.5, [], ["SN-0001"], {}])
def test_a_leaf_of_another_type_is_refused(leaf: str, value: object) -> None:
    """Strings are strings: no number, no list, no null in their place."""
    with pytest.raises(Malformed, match=leaf.replace("_", "-")):
        decode_voucher_request(request_json(**{leaf: value}))


@pytest.mark.parametrize("value", [None, "true", 1, 0, []])
def test_a_boolean_is_true_or_false(value: object) -> None:
    """And not what might be taken for it."""
    for right in (True, False):
        voucher = decode_voucher(voucher_json(domain_cert_revocation_checks=right))
        assert voucher.domain_cert_revocation_checks is right
    with pytest.raises(Malformed, match="domain-cert-revocation-checks"):
        decode_voucher(voucher_json(domain_cert_revocation_checks=value))


@pytest.mark.requirement("VR-4")
@pytest.mark.parametrize("name", ["verified", "logged", "proximity", "agent-proximity"])
def test_assertions_are_read_by_name(name: str) -> None:
    """Lower case, as YANG writes enums, and not by number."""
    assert decode_voucher(voucher_json(assertion=name)).assertion == Assertion(name)
    for wrong in (name.upper(), name + " ", ""):
        with pytest.raises(Malformed, match="assertion"):
            decode_voucher(voucher_json(assertion=wrong))


@pytest.mark.parametrize(
    "serial_number",
    [
        "",
        "A" * 65,
        "SN 1",
        "SN\u0131",
        "\u212a",
        "SN\n1",
        "SN\u0000",
        "../1",
        "' OR 1=1--",
        "A\u0301",
        "SN\u202e1",
    ],
)
def test_a_serial_number_is_of_its_allow_list(serial_number: str) -> None:
    """Compared octet by octet everywhere, so nothing that folds, hides or escapes gets in."""
    longest = "aZ09._:-" * 8
    assert decode_voucher_request(request_json(serial_number=longest)).serial_number == longest
    with pytest.raises(Malformed, match="serial-number"):
        decode_voucher_request(request_json(serial_number=serial_number))


@pytest.mark.requirement("PL-8")
@pytest.mark.parametrize(("octets", "accepted"), [(7, False), (8, True), (32, True), (33, False)])
def test_a_nonce_has_8_to_32_octets(octets: int, accepted: bool) -> None:
    """After base64, not before; reading and making agree."""
    spelling = base64.b64encode(bytes(octets)).decode()
    if accepted:
        assert encode_nonce(bytes(octets)) == spelling
        assert decode_nonce(spelling) == bytes(octets)
        assert decode_voucher_request(request_json(nonce=spelling)).nonce == spelling
        return
    with pytest.raises(LocalError):
        encode_nonce(bytes(octets))
    for lenient in (False, True):
        with pytest.raises(Malformed, match="nonce"):
            decode_voucher_request(request_json(nonce=spelling), lenient_nonce=lenient)
        with pytest.raises(Malformed, match="nonce"):
            decode_voucher(voucher_json(nonce=spelling), lenient_nonce=lenient)


@pytest.mark.requirement("VR-2")
@pytest.mark.parametrize(
    "spelling", ["-_XE9zK9q8Ll1qylMtLKeg", "-_XE9zK9q8Ll1qylMtLKeg==", "+/XE9zK9q8Ll1qylMtLKeg"]
)
def test_other_spellings_of_a_nonce_need_the_switch(spelling: str) -> None:
    """Published examples have them, so they can be read; the standard does not."""
    strict = "+/XE9zK9q8Ll1qylMtLKeg=="
    assert decode_nonce(spelling, lenient=True) == decode_nonce(strict)
    for decode, document in (
        (decode_voucher_request, request_json(nonce=spelling)),
        (decode_voucher, voucher_json(nonce=spelling)),
    ):
        assert decode(document, lenient_nonce=True).nonce == spelling
        with pytest.raises(Malformed, match="nonce"):
            decode(document)


@pytest.mark.parametrize(
    "spelling", ["-_XE9zK9q8Ll1qylMtLKeh", "A", "====", "AAAA AAAAAAA", "é" * 12]
)
def test_a_nonce_that_is_no_base64_is_refused_even_with_the_switch(spelling: str) -> None:
    """Leniency is about alphabet and padding, not about bits and blanks."""
    with pytest.raises(Malformed):
        decode_nonce(spelling, lenient=True)


@pytest.mark.requirement("VR-2")
@pytest.mark.parametrize(
    ("accepted", "refused"),
    [
        ("QUI=", "QUJ="),  # trailing bits that are not zero
        ("QUI=", "QUI"),
        ("QUI=", "QUI=="),
        ("QUI=", "QUI=\n"),
        ("QUI=", " QUI="),
        ("QUI=", "QU\nI="),
        ("QUI=", "QUI=QUI="),
        ("+/8=", "-_8="),
        ("QQ==", "QR=="),
        ("QQ==", "Q==="),
        ("QQ==", "QQ=!"),
        ("QUJD", "QUJ\u0261"),
        ("", "="),
    ],
)
def test_binary_has_one_spelling(accepted: str, refused: str) -> None:
    """Otherwise one message could be told as two."""
    assert encode_binary(decode_binary(accepted)) == accepted
    with pytest.raises(Malformed):
        decode_binary(refused)
    with pytest.raises(Malformed, match="idevid-issuer"):
        decode_voucher_request(request_json(idevid_issuer=refused))


@given(st.binary(max_size=100))
def test_binary_reads_back_as_it_was_written(octets: bytes) -> None:
    """Any octets."""
    assert decode_binary(encode_binary(octets)) == octets


@given(st.text(st.sampled_from("ABQZaz09+/-_= \n"), max_size=12))
def test_what_is_read_as_binary_is_written_the_same(text: str) -> None:
    """The octet string and its spelling determine one another."""
    try:
        octets = decode_binary(text)
    except Malformed:
        return
    assert encode_binary(octets) == text


@pytest.mark.requirement("VR-3")
@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2021-04-13T17:43:23.747-04:00", datetime(2021, 4, 13, 21, 43, 23, 747000, tzinfo=UTC)),
        ("2021-04-13T21:43:23Z", datetime(2021, 4, 13, 21, 43, 23, tzinfo=UTC)),
        ("2021-04-13T21:43:23+00:00", datetime(2021, 4, 13, 21, 43, 23, tzinfo=UTC)),
        ("2021-04-13T21:43:23-00:00", datetime(2021, 4, 13, 21, 43, 23, tzinfo=UTC)),
        ("2021-04-14T03:13:23.5+05:30", datetime(2021, 4, 13, 21, 43, 23, 500000, tzinfo=UTC)),
        ("2021-04-13T21:43:23.1234567Z", datetime(2021, 4, 13, 21, 43, 23, 123456, tzinfo=UTC)),
    ],
)
def test_dates_with_offset_and_fraction_are_read(text: str, moment: datetime) -> None:
    """And come out in UTC."""
    assert decode_date(text) == moment
    assert decode_date(text).tzinfo is UTC


@pytest.mark.requirement("VR-3")
@pytest.mark.parametrize(
    "text",
    [
        "2021-04-13T21:43:23",
        "2021-04-13 21:43:23Z",
        "2021-04-13t21:43:23z",
        "2021-04-13",
        "20210413T214323Z",
        "2021-04-13T21:43Z",
        "2021-04-13T21:43:23.Z",
        "2021-04-13T21:43:23,5Z",
        "2021-04-13T21:43:23+0400",
        "2021-04-13T21:43:23+04",
        "2021-04-13T21:43:23+24:00",
        "2021-02-29T00:00:00Z",
        "2021-13-01T00:00:00Z",
        "2021-04-13T24:00:00Z",
        "2021-04-13T21:60:00Z",
        "2021-04-13T21:43:60Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "2021-04-13T21:43:23Z\n",
        "٢٠٢١-04-13T21:43:23Z",
        "2021-W15-2T21:43:23Z",
        "",
    ],
)
def test_other_dates_are_refused(text: str) -> None:
    """No zone, other ISO 8601 forms, digits of other scripts, moments that never were."""
    with pytest.raises(Malformed):
        decode_date(text)
    with pytest.raises(Malformed, match="created-on"):
        decode_voucher_request(request_json(created_on=text))


@given(st.datetimes().filter(lambda d: 1 < d.year < 9999), st.integers(-14 * 60, 14 * 60))
def test_dates_of_any_zone_are_written_in_utc(moment: datetime, offset_minutes: int) -> None:
    """To the microsecond."""
    aware = moment.replace(tzinfo=timezone(timedelta(minutes=offset_minutes)))
    text = encode_date(aware)
    assert text.endswith("Z")
    assert decode_date(text) == aware


@pytest.mark.requirement("SEC-10")
@pytest.mark.parametrize(
    "hostile",
    [
        b'{"ietf-voucher-request:voucher":' * 1900 + b"1" + b"}" * 1900,
        b'{"ietf-voucher-request:voucher":{"serial-number":' + b"9" * 40000 + b"}}",
        b'{"ietf-voucher-request:voucher":{"serial-number":"A","x":' + b"[" * 9999,
        request_json(x=[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]),
        request_json(x="A" * 65536),
    ],
)
def test_hostile_documents_are_too_large(hostile: bytes) -> None:
    """Depth, digits and octets have their limits."""
    with pytest.raises(TooLarge):
        decode_voucher_request(hostile)
