"""Targets: what pledges, registrars and MASAs send one another."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from brski.errors import LocalError, PeerError
from brski.pki import der, strict_json
from brski.pki.signatures import public_key_of
from brski.telemetry.audit_log import decode_audit_log, encode_audit_log
from brski.telemetry.status import decode_status, encode_status
from brski.voucher import signed_data
from brski.voucher.cms import CMS, CMSSerialization
from brski.voucher.interoperability import Interoperability
from brski.voucher.rules import check_voucher, find_pin, registrar_request
from brski.voucher.signers import signer_chain
from brski.voucher.yang_json import (
    decode_voucher,
    decode_voucher_request,
    encode_voucher,
    encode_voucher_request,
)
from brski.voucher.yang_types import decode_nonce
from tests.fuzz import bench
from tests.fuzz.harness import Target, either

_LENIENT: Final = CMSSerialization(interoperability=Interoperability.PUBLISHED_SAMPLES)
_DOCUMENT: Final = b'{"ietf-voucher-request:voucher":{"serial-number":"SN-0001"}}'


def _open(data: bytes) -> bytes:
    """The payload of a message, after everything that is done to a message."""
    signed = _LENIENT.open(data)
    assert bench.recoded(data) == data
    with suppress(PeerError):
        assert CMS.open(data).payload == signed.payload
    with suppress(PeerError):
        signer_chain(signed)
    named = signed.signer_certificate()
    assert named is None or named in signed.certificates
    with suppress(PeerError):
        signed.verify(public_key_of(bench.DEVICE.signer))
    return signed.payload


def _request_message(data: bytes) -> None:
    _request_document(_open(data))


def _request_document(data: bytes) -> None:
    strict = _outcome(decode_voucher_request, data)
    request = decode_voucher_request(data, lenient_nonce=True)
    assert strict is None or strict == request
    if request.nonce is not None:
        assert 8 <= len(decode_nonce(request.nonce, lenient=True)) <= 32
    with suppress(LocalError):  # leaves that we would not write together
        again = decode_voucher_request(encode_voucher_request(request), lenient_nonce=True)
        assert again == request
    with suppress(PeerError):
        registrar_request(
            request,
            data,
            serial_number="SN-0001",
            idevid_issuer=bytes(20),
            created_on=bench.CREATED,
        )


def _request_inside(data: bytes) -> None:
    """The document; one that is taken also signed by the device: what the message says is what it
    was made of. Around the others it would be the same message each time.
    """
    _request_document(data)
    message = CMS.sign(data, bench.DEVICE.signer, certificates=bench.DEVICE.chain)
    if len(message) <= 65536:
        signed = CMS.open(message)
        signed.verify(public_key_of(bench.DEVICE.signer))
        assert signed.payload == data
        assert signed.signer_certificate() == bench.DEVICE.certificate


def _voucher_message(data: bytes) -> None:
    _voucher_document(_open(data))


def _voucher_document(data: bytes) -> None:
    voucher = decode_voucher(data, lenient_nonce=True)
    request = decode_voucher_request(_DOCUMENT)
    with suppress(LocalError):
        assert decode_voucher(encode_voucher(voucher), lenient_nonce=True) == voucher
    with suppress(PeerError):
        find_pin(voucher, request, bench.REGISTRAR.chain, at=bench.CREATED)
    check_voucher(
        voucher,
        request,
        idevid_issuer=bytes(20),
        now=bench.CREATED,
        acceptable=frozenset(),
        allow_nonceless=True,
    )


def _attributes(data: bytes) -> None:
    """The input as signed attributes, under a signature that is right."""
    if len(data) > 4096:
        return
    message = bench.signed_by_the_device(data, _DOCUMENT)
    signed = CMS.open(message)
    signed.verify(public_key_of(bench.DEVICE.signer))
    attributes = der.encode(der.SET, data)
    values = der.children(attributes, der.read_element(attributes))
    assert len(values) <= signed_data.ATTRIBUTES_LIMIT


def _audit_log(data: bytes) -> None:
    log = decode_audit_log(data)
    known = replace(log, unknown_members=())
    assert decode_audit_log(encode_audit_log(known)) == known


def _status(data: bytes) -> None:
    status = decode_status(data)
    if status.status or status.reason:
        known = replace(status, unknown_members=())
        assert decode_status(encode_status(known)) == known


def _json(data: bytes) -> None:
    """What is taken says the same to the standard library, and is written back as the same."""
    value = strict_json.loads(data)
    assert json.loads(data) == value
    assert strict_json.loads(json.dumps(value, ensure_ascii=False).encode()) == value


def _outcome(decode: Any, data: bytes) -> Any:
    try:
        return decode(data)
    except PeerError:
        return None


MESSAGES: Final = (
    Target(name="voucher-request", run=either(_request_message, _request_inside)),
    Target(name="voucher", run=either(_voucher_message, _voucher_document)),
    Target(name="signed-attributes", run=_attributes, octets=1024),
    Target(name="audit-log", run=_audit_log, octets=4096),
    Target(name="telemetry", run=_status, octets=4096),
    Target(name="json", run=_json, octets=4096),
)
