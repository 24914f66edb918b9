"""A pledge's voucher-request as the registrar judges it: the registrar's own rules, all of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import partial

from cryptography import x509

from brski.pki.chain import TrustAnchors
from brski.pki.keys import public_key_of_certificate
from brski.pki.names import device_serial_number
from brski.voucher.model import VoucherRequest
from brski.voucher.rules import pledge_request_rules
from brski.voucher.serialization import Signed, VoucherSerialization
from brski_lab.verifying.steps import (
    THE_DOCUMENT,
    THE_MESSAGE,
    THE_SIGNATURE,
    Steps,
    Unknown,
    Verdict,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestCase:
    """What a pledge's voucher-request is judged by."""

    request: bytes  # the signed message
    anchors: tuple[x509.Certificate, ...]  # the manufacturer's, for IDevIDs
    registrar: x509.Certificate | None  # what the registrar showed to the pledge
    idevid: tuple[x509.Certificate, ...]  # the IDevID's chain; empty takes the enclosed one
    now: datetime  # aware UTC


def verify_voucher_request(case: RequestCase, serialization: VoucherSerialization) -> Verdict:
    """Go through all that a registrar would ask of the message itself."""
    steps = Steps()
    signed = steps.attempt(THE_MESSAGE, "RFC 8366 §5.4", partial(serialization.open, case.request))
    if isinstance(signed, Unknown):
        steps.skip("all else", "RFC 8995 §5.2", signed.why)
        return steps.verdict()
    idevid = case.idevid[0] if case.idevid else signed.signer_certificate()
    if idevid is None:
        steps.skip(THE_SIGNATURE, "RFC 8995 §5.2", "the IDevID is neither enclosed nor given")
    else:
        _judge_signer(steps, signed, idevid, case)
    request = steps.attempt(THE_DOCUMENT, "RFC 8995 §3", signed.voucher_request)
    if not isinstance(request, Unknown):
        _judge_contents(steps, request, idevid, case)
    return steps.verdict()


def _judge_signer(
    steps: Steps, signed: Signed, idevid: x509.Certificate, case: RequestCase
) -> None:
    steps.attempt(
        THE_SIGNATURE,
        "RFC 8995 §5.2",
        lambda: signed.verify(public_key_of_certificate(idevid)),
        found="the message's",
        wanted=f"made by the key of {idevid.subject.rfc4514_string()}",
    )
    others = [c for c in (*case.idevid, *signed.certificates) if c != idevid]
    steps.attempt(
        "IDevID",
        "RFC 8995 §5.1",
        lambda: TrustAnchors(case.anchors).validate(
            idevid, list(dict.fromkeys(others)), at=case.now
        ),
        found=idevid.subject.rfc4514_string(),
        wanted="a path to " + " or ".join(a.subject.rfc4514_string() for a in case.anchors),
    )


def _judge_contents(
    steps: Steps, request: VoucherRequest, idevid: x509.Certificate | None, case: RequestCase
) -> None:
    serial_number = (
        Unknown("the IDevID is neither enclosed nor given")
        if idevid is None
        else steps.attempt(
            "serial number of the IDevID", "RFC 8995 §2.3.1", partial(device_serial_number, idevid)
        )
    )
    for rule in pledge_request_rules(
        request,
        serial_number="" if isinstance(serial_number, Unknown) else serial_number,
        registrar_certificate=case.registrar or case.anchors[0],
    ):
        if rule.name == "serial-number" and isinstance(serial_number, Unknown):
            steps.skip(rule.name, rule.section, serial_number.why, found=rule.found)
        elif rule.name == "proximity" and case.registrar is None:
            why = "the registrar's certificate is not given"
            steps.skip(rule.name, rule.section, why, found=rule.found)
        else:
            steps.judge([rule])
