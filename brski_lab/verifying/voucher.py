"""A voucher as the pledge judges it: the pledge's own rules, one after the other, none left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

from cryptography import x509

from brski.errors import OnboardingError
from brski.pki.extensions import idevid_issuer_of
from brski.voucher.key_references import pin_of
from brski.voucher.model import Voucher, VoucherRequest
from brski.voucher.rules import find_pin, voucher_rules
from brski.voucher.serialization import Signed, VoucherSerialization
from brski_lab.verifying.steps import THE_DOCUMENT, THE_MESSAGE, Steps, Unknown, Verdict
from device_client.pledge.judging import check_speaks_for_domain, check_voucher_signature
from device_client.pledge.policy import Policy

_REVOCATION: Final = ("domain-cert-revocation-checks", "RFC 8366 §5.3")


@dataclass(frozen=True, slots=True, kw_only=True)
class VoucherCase:
    """What a voucher is judged by."""

    voucher: bytes  # the signed message
    request: bytes  # the pledge's, or the registrar's that holds it
    anchors: tuple[x509.Certificate, ...]  # the manufacturer's, for vouchers
    registrar_chain: tuple[x509.Certificate, ...]  # as shown in TLS, its own first; may be empty
    idevid: x509.Certificate | None  # the device's; None takes the one that its request encloses
    now: datetime | None  # aware UTC; None for a pledge without a clock
    policy: Policy


def verify_voucher(case: VoucherCase, serialization: VoucherSerialization) -> Verdict:
    """Go through all that the pledge would ask of a voucher."""
    steps = Steps()
    asked = steps.attempt(
        "the request is read", "RFC 8995 §5.2", partial(_open_request, case.request, serialization)
    )
    signed = steps.attempt(THE_MESSAGE, "RFC 8366 §5.4", partial(serialization.open, case.voucher))
    voucher: Voucher | Unknown = Unknown("the message cannot be read")
    if isinstance(signed, Unknown):
        steps.skip("signature", "RFC 8995 §5.6.1", signed.why)
    else:
        _judge_signature(steps, signed, case)
        voucher = steps.attempt(THE_DOCUMENT, "RFC 8366 §5.3", signed.voucher)
    if isinstance(voucher, Unknown) or isinstance(asked, Unknown):
        steps.skip("contents", "RFC 8995 §5.6.1", _first_why(voucher, asked))
        return steps.verdict()
    request, idevid = asked
    _judge_contents(steps, voucher, request, case.idevid or idevid, case)
    _judge_pin(steps, voucher, request, case)
    return steps.verdict()


def _open_request(
    octets: bytes, serialization: VoucherSerialization
) -> tuple[VoucherRequest, x509.Certificate | None]:
    """What the pledge asked, and its IDevID if that is enclosed; its signature is not judged."""
    signed = serialization.open(octets)
    request = signed.voucher_request()
    if request.prior_signed_voucher_request is not None:
        signed = serialization.open(request.prior_signed_voucher_request)
        request = signed.voucher_request()
    return request, signed.signer_certificate()


def _first_why(*values: object) -> str:
    return next((value.why for value in values if isinstance(value, Unknown)), "")


def _judge_signature(steps: Steps, signed: Signed, case: VoucherCase) -> None:
    signer = signed.signer_certificate()
    steps.attempt(
        "signature",
        "RFC 8995 §5.6.1",
        partial(check_voucher_signature, signed, case.anchors, now=case.now),
        found=f"signed by {signer.subject.rfc4514_string()}" if signer else "signer not enclosed",
        wanted="a path to " + " or ".join(a.subject.rfc4514_string() for a in case.anchors),
    )


def _judge_contents(
    steps: Steps,
    voucher: Voucher,
    request: VoucherRequest,
    idevid: x509.Certificate | None,
    case: VoucherCase,
) -> None:
    issuer = None if idevid is None else _issuer_of(idevid)
    for rule in voucher_rules(
        voucher,
        request,
        idevid_issuer=issuer,
        now=case.now,
        acceptable=case.policy.acceptable,
        allow_nonceless=case.policy.allow_nonceless,
    ):
        if rule.name == "idevid-issuer" and issuer is None and voucher.idevid_issuer is not None:
            steps.skip(rule.name, rule.section, "the IDevID is not given", found=rule.found)
        else:
            steps.judge([rule])
    checks = voucher.domain_cert_revocation_checks
    if checks is False:
        steps.attempt(*_REVOCATION, lambda: None, found="false: nobody is to look")
    else:
        steps.skip(*_REVOCATION, "no revocation list is fetched here", found=_flag(checks))


def _flag(value: bool | None) -> str:
    return "absent" if value is None else str(value).lower()


def _issuer_of(idevid: x509.Certificate) -> bytes | None:
    try:
        return idevid_issuer_of(idevid)
    except OnboardingError:
        return None


def _judge_pin(steps: Steps, voucher: Voucher, request: VoucherRequest, case: VoucherCase) -> None:
    reference = pin_of(voucher, request)
    pinned = "nothing" if reference is None else f"pinned-domain-{reference.form}"
    chain = case.registrar_chain
    if not chain and reference is not None:
        why = "the registrar's chain is not given"
        steps.skip("pin", "RFC 8995 §5.6.2", why, found=pinned)
        return
    pin = steps.attempt(
        "pin",
        "RFC 8995 §5.6.2",
        partial(find_pin, voucher, request, chain, at=case.now),
        found=pinned,
        wanted=_leaf_of(chain),
    )
    if not isinstance(pin, Unknown):
        steps.attempt(
            "registrar",
            "RFC 7030 §3.6.1",
            partial(check_speaks_for_domain, chain[0], pin),
            found=_leaf_of(chain),
            wanted="the pinned key, or id-kp-cmcRA",
        )


def _leaf_of(chain: Sequence[x509.Certificate]) -> str:
    return chain[0].subject.rfc4514_string() if chain else "a registrar"
