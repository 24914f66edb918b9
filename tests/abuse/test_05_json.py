"""Abuse case 5: JSON that two readers read differently, or that costs more than its length.

Depth of thousands, numbers of tens of thousands of digits, NaN, a member twice, lone surrogates, a
byte order mark, not UTF-8: 400 (413 where it is a matter of size) with a code, no traceback, from
registrar, MASA and pledge alike; of a serial number given twice neither counts.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from brski.errors import Malformed, PriorRequestRefused, TooLarge
from brski.telemetry.audit_log import decode_audit_log
from brski.telemetry.status import decode_status
from brski.voucher.yang_json import decode_voucher_request, encode_voucher_request
from brski.voucher.yang_types import encode_binary
from tests.abuse.desk import RECEIVERS, Desk
from tests.kit.voucher import NONCE

Bend = Callable[[bytes], bytes]


def _with_member(member: bytes) -> Bend:
    """The document, and one more member among its leaves."""
    return lambda document: document.removesuffix(b"}}") + b"," + member + b"}}"


BENT: dict[str, tuple[Bend, type[Exception]]] = {
    "depth": (_with_member(b'"a":' + b"[" * 20_000 + b"]" * 20_000), TooLarge),
    "depth without end": (_with_member(b'"a":' + b"[" * 40_000), TooLarge),
    "a long number": (_with_member(b'"a":' + b"9" * 40_000), TooLarge),
    "a number beyond a double": (_with_member(b'"a":1e999'), TooLarge),
    "NaN": (_with_member(b'"a":NaN'), Malformed),
    "Infinity": (_with_member(b'"a":-Infinity'), Malformed),
    "serial number twice": (_with_member(b'"serial-number":"SN-1"'), Malformed),
    "serial number twice, once escaped": (
        _with_member(b'"serial\\u002dnumber":"SN-1"'),
        Malformed,
    ),
    "another serial number first": (
        lambda document: document.replace(b":{", b':{"serial-number":"SN-9",', 1),
        Malformed,
    ),
    "the top member twice": (
        lambda document: document.removesuffix(b"}") + b"," + document.removeprefix(b"{"),
        Malformed,
    ),
    "nonce twice": (_with_member(b'"nonce":"' + NONCE.encode() + b'"'), Malformed),
    "lone surrogate": (_with_member(b'"a":"\\ud800"'), Malformed),
    "lone surrogate as UTF-8": (_with_member(b'"a":"\xed\xa0\x80"'), Malformed),
    "byte order mark": (lambda document: b"\xef\xbb\xbf" + document, Malformed),
    "UTF-16": (lambda document: document.decode().encode("utf-16-le"), Malformed),
    "Latin-1": (_with_member('"a":"ä"'.encode("latin-1")), Malformed),
    "something after it": (lambda document: document + b" {}", Malformed),
}

TOO_LONG = ("depth", "depth without end", "a long number")  # to fit into a registrar's message


@pytest.mark.requirement("SEC-10")
@pytest.mark.parametrize("receiver", RECEIVERS)
@pytest.mark.parametrize("name", BENT)
async def test_bent_document_in_a_message_that_is_well_signed(
    desk: Desk, receiver: str, name: str
) -> None:
    """The signature is right, and still nobody acts on it."""
    bend, error = BENT[name]
    document = desk.honest(receiver)
    await desk.give(receiver, desk.signed(receiver, document))  # unbent it is taken
    before = len(desk.world.wire.answers)
    refused = await desk.refusal(receiver, desk.signed(receiver, bend(document)))
    assert type(refused.error) is error
    if refused.status is not None:
        assert refused.status == (413 if error is TooLarge else 400)
    assert len(desk.world.wire.answers) == before


@pytest.mark.requirement("SEC-10", "MASA-6")
@pytest.mark.parametrize("name", [name for name in BENT if name not in TOO_LONG])
async def test_bent_document_inside_of_a_registrars(desk: Desk, name: str) -> None:
    """The device's own request, as the MASA reads it: no voucher, not even one that says less."""
    bend, _ = BENT[name]
    prior = desk.device.sign(bend(encode_voucher_request(desk.request)))
    asked = json.loads(desk.honest("masa"))
    (leaves,) = asked.values()
    leaves["prior-signed-voucher-request"] = encode_binary(prior)
    refused = await desk.refusal("masa", desk.signed("masa", json.dumps(asked).encode()))
    assert isinstance(refused.error, PriorRequestRefused)
    assert refused.status == 403


# of a length that telemetry may have
FITTING = {
    "depth": (_with_member(b'"a":' + b"[" * 4_000 + b"]" * 4_000), TooLarge),
    "a long number": (_with_member(b'"a":' + b"9" * 8_000), TooLarge),
}


@pytest.mark.requirement("SEC-10", "TEL-1", "AUD-1")
@pytest.mark.parametrize("name", ["depth", "a long number", "NaN", "lone surrogate"])
def test_telemetry_and_audit_log(name: str) -> None:
    """A registrar's other readers of JSON are the same."""
    bend, error = FITTING.get(name, BENT[name])
    status = bend(b'{"version":1,"status":true,"reason-context":{"b":{}}}')
    with pytest.raises(error):
        decode_status(status)
    with pytest.raises(error):
        decode_audit_log(bend(b'{"version":1,"events":[],"truncation":{"arbitrary":{}}}'))


async def test_of_two_serial_numbers_none_counts() -> None:
    """What the standard library would make of it is the point: the last one."""
    twice = b'{"ietf-voucher-request:voucher":{"serial-number":"SN-1","serial-number":"SN-2"}}'
    assert "SN-2" in str(json.loads(twice))
    with pytest.raises(Malformed, match="twice"):
        decode_voucher_request(twice)
