"""Abuse case 9: one value in several spellings of base64.

Junk, line breaks, missing or superfluous padding, pad bits that are not zero, in
pinned-domain-cert, prior-signed-voucher-request and wherever else base64 stands: refused. Whatever
is compared or hashed is the decoded octets.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable

import pytest

from brski.errors import Malformed
from brski.est.transfer import decode_base64
from brski.idevid.record_json import decode_records, encode_records
from brski.pki.keys import parse_pem_certificates
from brski.telemetry.audit_log import decode_audit_log
from brski.voucher.comparisons import same_nonce
from brski.voucher.yang_types import decode_nonce
from oem_backend.database.query import encode_base64url, parse_question
from tests.abuse.desk import RECEIVERS, Desk
from tests.kit.world import record_of

Spell = Callable[[str], str]


def _pad_bits(text: str) -> str:
    """The same octets to a reader who does not look at the last bits."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    bare = text.rstrip("=")
    assert bare != text, "without padding there are no pad bits"
    return bare[:-1] + alphabet[alphabet.index(bare[-1]) + 1] + text[len(bare) :]


OTHER_SPELLINGS: dict[str, Spell] = {
    "pad bits": _pad_bits,
    "no padding": lambda text: text.rstrip("="),
    "too much padding": lambda text: text + "=",
    "line breaks": lambda text: text[:4] + "\n" + text[4:],
    "line break at the end": lambda text: text + "\n",
    "spaces": lambda text: " " + text,
    "junk": lambda text: text[:4] + "!*" + text[4:],
    "NUL": lambda text: text[:4] + "\0" + text[4:],
    "padding within": lambda text: text[:4] + "==" + text[4:],
    "not ASCII": lambda text: text + "\u0130",
}


def _respelled(document: bytes, leaf: str, spell: Spell) -> bytes:
    value = json.loads(document)
    (leaves,) = value.values()
    leaves[leaf] = spell(leaves[leaf])
    return json.dumps(value).encode()


LEAVES = {
    "registrar": "proximity-registrar-cert",
    "masa": "prior-signed-voucher-request",
    "pledge": "pinned-domain-cert",
}


@pytest.mark.requirement("SEC-10", "VR-2")
@pytest.mark.parametrize("receiver", RECEIVERS)
@pytest.mark.parametrize("name", OTHER_SPELLINGS)
async def test_leaves_of_vouchers_and_requests(desk: Desk, receiver: str, name: str) -> None:
    """Well signed, and still the same octets to a lenient reader."""
    document = desk.honest(receiver)
    await desk.give(receiver, desk.signed(receiver, document))
    if name in ("pad bits", "no padding") and not _has_padding(document, LEAVES[receiver]):
        leaf = "nonce"  # sixteen octets: always padded
    else:
        leaf = LEAVES[receiver]
    bent = _respelled(document, leaf, OTHER_SPELLINGS[name])
    refused = await desk.refusal(receiver, desk.signed(receiver, bent))
    assert isinstance(refused.error, Malformed)
    assert refused.status in (400, None)


def _has_padding(document: bytes, leaf: str) -> bool:
    (leaves,) = json.loads(document).values()
    return str(leaves[leaf]).endswith("=")


@pytest.mark.requirement("SEC-10", "VR-2")
@pytest.mark.parametrize("octets", [8, 9, 16, 32])
@pytest.mark.parametrize("name", OTHER_SPELLINGS)
def test_nonces(octets: int, name: str) -> None:
    """A nonce too, and with the interoperability switch all but its padding and alphabet."""
    text = base64.b64encode(bytes(range(octets))).decode()
    if not text.endswith("=") and name in ("pad bits", "no padding"):
        return
    spelt = OTHER_SPELLINGS[name](text)
    with pytest.raises(Malformed):
        decode_nonce(spelt)
    if name == "no padding":
        assert decode_nonce(spelt, lenient=True) == bytes(range(octets))
        assert same_nonce(spelt, text)
    elif name != "too much padding":
        with pytest.raises(Malformed):
            decode_nonce(spelt, lenient=True)


@pytest.mark.requirement("SEC-10")
@pytest.mark.parametrize("name", OTHER_SPELLINGS)
def test_what_is_not_a_voucher(desk_record: str, name: str) -> None:
    """Device records, audit logs, and PEM; of EST bodies all but white space (RFC 8951 §3.1)."""
    spell = OTHER_SPELLINGS[name]
    domain_id = base64.b64encode(bytes(20)).decode()
    event = {"date": "2025-06-01T12:00:00Z", "nonce": None, "assertion": "logged"}
    log = {"version": 1, "events": [event | {"domainID": domain_id}]}
    assert decode_audit_log(json.dumps(log).encode())
    log["events"] = [event | {"domainID": spell(domain_id)}]
    with pytest.raises(Malformed):
        decode_audit_log(json.dumps(log).encode())
    record = json.loads(desk_record)
    device = record["devices"][0]
    for member in ("certificate", "idevid_issuer"):
        text = device[member]
        if name in ("pad bits", "no padding") and not text.endswith("="):
            continue
        respelt = {**record, "devices": [device | {member: spell(text)}]}
        with pytest.raises(Malformed):
            decode_records(json.dumps(respelt).encode())
    body = spell(domain_id)
    if name in ("line breaks", "line break at the end", "spaces"):
        assert decode_base64(body.encode()) == bytes(20)
    else:
        with pytest.raises(Malformed):
            decode_base64(body.encode())
    if name not in ("line breaks", "line break at the end", "spaces"):
        pem = f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n"
        with pytest.raises(Malformed):
            parse_pem_certificates(pem.encode())


@pytest.fixture
async def desk_record(desk: Desk) -> str:
    """The device's record as its manufacturer sends it."""
    return encode_records([record_of(desk.device)]).decode()


@pytest.mark.requirement("SEC-10")
@pytest.mark.parametrize("name", OTHER_SPELLINGS)
def test_base64url_in_addresses(name: str) -> None:
    """Issuers in the queries of the OEM's service have no padding, and one spelling too."""
    text = encode_base64url(bytes(20))
    assert parse_question("SN-1", f"idevid_issuer={text}").idevid_issuer == bytes(20)
    if name == "no padding":
        return
    spelt = text[:-1] + "B" if name == "pad bits" else OTHER_SPELLINGS[name](text)
    with pytest.raises(Malformed):
        parse_question("SN-1", f"idevid_issuer={spelt}")
