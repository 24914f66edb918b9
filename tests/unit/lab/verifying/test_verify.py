"""A verdict step by step: one change, one step that fails, and the others judged all the same."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from brski.errors import OnboardingError
from brski.pki.extensions import encode_idevid_issuer, idevid_issuer_of
from brski.pki.keys import parse_pem_certificates
from brski.voucher.cms import CMS
from brski.voucher.model import Assertion, Voucher
from brski.voucher.rules import registrar_request, voucher_rules
from brski.voucher.yang_json import encode_voucher, encode_voucher_request
from brski_lab.inspecting.armor import unwrap
from brski_lab.verifying.steps import Outcome, Verdict
from brski_lab.verifying.voucher import VoucherCase, verify_voucher
from brski_lab.verifying.voucher_request import RequestCase, verify_voucher_request
from device_client.pledge.judging import judge_voucher
from device_client.pledge.policy import Pledge, Policy
from tests.kit import pki
from tests.kit.voucher import LENIENT, OTHER_NONCE, pledge_request, voucher_for

OEM = pki.make_pki("Example OEM")
IDEVID = pki.make_idevid(OEM)
DOMAIN = pki.make_root("Example Domain")
REGISTRAR = pki.make_registrar(DOMAIN)
MEMBER = pki.make_server(DOMAIN)
MASA_ROOT = pki.make_root("Example MASA Root")
MASA = pki.make_masa_signer(MASA_ROOT)
OTHER_MASA = pki.make_masa_signer(pki.make_root("Example MASA Root"))
REQUEST = pledge_request(REGISTRAR)
VOUCHER = replace(voucher_for(REQUEST, DOMAIN), domain_cert_revocation_checks=False)
PLEDGES = CMS.sign(encode_voucher_request(REQUEST), IDEVID.signer, certificates=IDEVID.chain[:-1])


def signed_voucher(signer: pki.Entity = MASA, **leaves: Any) -> bytes:
    return CMS.sign(
        encode_voucher(replace(VOUCHER, **leaves)),
        signer.signer,
        certificates=(signer.certificate,),
        signing_time=pki.NOW,
    )


def case(**changes: Any) -> VoucherCase:
    """What the honest pledge has before it; *changes* bend it."""
    usual: dict[str, Any] = {
        "voucher": signed_voucher(),
        "request": PLEDGES,
        "anchors": (MASA_ROOT.certificate,),
        "registrar_chain": REGISTRAR.chain,
        "idevid": None,
        "now": pki.NOW,
        "policy": Policy(),
    }
    return VoucherCase(**usual | changes)


def outcomes(verdict: Verdict, outcome: Outcome) -> list[str]:
    return [step.name for step in verdict.steps if step.outcome is outcome]


def test_a_sound_voucher_is_accepted() -> None:
    """Every rule is judged, and holds."""
    verdict = verify_voucher(case(), CMS)
    assert verdict.accepted
    assert {step.outcome for step in verdict.steps} == {Outcome.OK}
    assert [step.name for step in verdict.steps] == [
        "the request is read",
        "the message is read",
        "signature",
        "the document is read",
        "serial-number",
        "idevid-issuer",
        "nonce",
        "assertion",
        "expires-on",
        "created-on",
        "domain-cert-revocation-checks",
        "pin",
        "registrar",
    ]
    assert all(step.section for step in verdict.steps)


YESTERDAY = pki.NOW - timedelta(days=1)
ISSUER = encode_idevid_issuer(idevid_issuer_of(IDEVID.certificate))
REFUSED = [
    ("signature", {"voucher": signed_voucher(OTHER_MASA)}),
    ("signature", {"anchors": (DOMAIN.certificate,)}),
    ("serial-number", {"voucher": signed_voucher(serial_number="SN-0002")}),
    ("idevid-issuer", {"voucher": signed_voucher(idevid_issuer=bytes(20))}),
    ("nonce", {"voucher": signed_voucher(nonce=OTHER_NONCE)}),
    ("nonce", {"voucher": signed_voucher(nonce=None)}),
    ("assertion", {"policy": Policy(acceptable=frozenset({Assertion.VERIFIED}))}),
    (
        "expires-on",
        {
            "voucher": signed_voucher(nonce=None, expires_on=YESTERDAY),
            "policy": Policy(allow_nonceless=True),
        },
    ),
    ("created-on", {"voucher": signed_voucher(created_on=pki.NOW + timedelta(days=1))}),
    ("pin", {"voucher": signed_voucher(pinned_domain_cert=MASA_ROOT.der)}),
    ("registrar", {"registrar_chain": MEMBER.chain}),
]


@pytest.mark.requirement("PL-16", "PL-17", "PL-18", "PL-20", "PL-21", "PL-22", "PL-26")
@pytest.mark.parametrize(("name", "changes"), REFUSED)
def test_one_thing_wrong_is_one_step_that_fails(name: str, changes: dict[str, Any]) -> None:
    """The step has its section and reason; all others are judged, and hold. The pledge agrees."""
    bent = case(**changes)
    verdict = verify_voucher(bent, CMS)
    assert not verdict.accepted
    assert outcomes(verdict, Outcome.FAILED) == [name]
    assert outcomes(verdict, Outcome.NOT_JUDGED) == []
    (step,) = (step for step in verdict.steps if step.outcome is Outcome.FAILED)
    assert step.reason
    assert step.section.startswith(("RFC", "docs"))
    with pytest.raises(OnboardingError) as refused:
        as_the_pledge(bent)
    assert refused.value.reason == step.reason


def as_the_pledge(given: VoucherCase) -> x509.Certificate:
    """Judged by the device's own function."""
    pledge = Pledge(
        serial_number="SN-0001",
        idevid_issuer=idevid_issuer_of(IDEVID.certificate),
        signer=IDEVID.signer,
        idevid_chain=(),
        voucher_anchors=given.anchors,
        serialization=CMS,
        policy=given.policy,
    )
    return judge_voucher(
        given.voucher,
        pledge=pledge,
        request=REQUEST,
        registrar_chain=given.registrar_chain,
        now=given.now,
    ).pin


def test_the_pledge_accepts_what_is_accepted_here() -> None:
    """With the issuer named, nonceless by policy, without a clock."""
    for changes in (
        {},
        {"voucher": signed_voucher(idevid_issuer=ISSUER)},
        {"voucher": signed_voucher(nonce=None), "policy": Policy(allow_nonceless=True)},
        {"now": None},
    ):
        given = case(**changes)
        assert verify_voucher(given, CMS).accepted
        assert as_the_pledge(given) == DOMAIN.certificate


def test_both_values_are_told() -> None:
    """Those that differ, as they are compared."""
    verdict = verify_voucher(case(voucher=signed_voucher(nonce=OTHER_NONCE)), CMS)
    (step,) = (step for step in verdict.steps if step.name == "nonce")
    assert (step.found, step.wanted) == (OTHER_NONCE, VOUCHER.nonce)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"now": None}, ["expires-on", "created-on"]),
        ({"registrar_chain": ()}, ["pin"]),
        (
            {"voucher": signed_voucher(domain_cert_revocation_checks=True)},
            ["domain-cert-revocation-checks"],
        ),
        ({"voucher": b"\x30\x00"}, ["signature", "contents"]),
        ({"request": b"\x30\x00"}, ["contents"]),
    ],
)
def test_what_cannot_be_judged_is_said_to_be_so(changes: dict[str, Any], names: list[str]) -> None:
    """With the reason; it is no acceptance by itself, and no refusal."""
    verdict = verify_voucher(case(**changes), CMS)
    assert outcomes(verdict, Outcome.NOT_JUDGED) == names
    assert all(s.reason for s in verdict.steps if s.outcome is Outcome.NOT_JUDGED)
    assert verdict.accepted is ("contents" not in names)


def test_an_issuer_is_not_judged_without_the_idevid() -> None:
    """A device that asserts encloses none; given, it counts."""
    asserted = CMS.sign(encode_voucher_request(REQUEST), IDEVID.signer, name_by_key_identifier=True)
    given = case(request=asserted, voucher=signed_voucher(idevid_issuer=ISSUER))
    verdict = verify_voucher(given, CMS)
    assert outcomes(verdict, Outcome.NOT_JUDGED) == ["idevid-issuer"]
    verdict = verify_voucher(replace(given, idevid=IDEVID.certificate), CMS)
    assert outcomes(verdict, Outcome.NOT_JUDGED) == []
    other = pki.make_idevid(pki.make_pki("Another OEM"))
    verdict = verify_voucher(replace(given, idevid=other.certificate), CMS)
    assert outcomes(verdict, Outcome.FAILED) == ["idevid-issuer"]


def test_the_registrars_request_does_as_well() -> None:
    """The pledge's is inside."""
    asked = registrar_request(
        REQUEST,
        PLEDGES,
        serial_number="SN-0001",
        idevid_issuer=idevid_issuer_of(IDEVID.certificate),
        created_on=pki.NOW,
    )
    octets = CMS.sign(encode_voucher_request(asked), REGISTRAR.signer)
    assert verify_voucher(case(request=octets), CMS) == verify_voucher(case(), CMS)


def test_the_rules_are_those_of_check_voucher() -> None:
    """What is listed is what is checked: a rule that is not there is not judged anywhere."""
    rules = voucher_rules(
        Voucher(serial_number="A"),
        REQUEST,
        idevid_issuer=None,
        now=None,
        acceptable=frozenset(),
        allow_nonceless=False,
    )
    assert [(rule.name, rule.judged) for rule in rules] == [
        ("serial-number", True),
        ("idevid-issuer", True),
        ("nonce", True),
        ("assertion", True),
        ("expires-on", False),
        ("created-on", False),
    ]


# -- a pledge's request ----------------------------------------------------------------------------


def request_case(**changes: Any) -> RequestCase:
    usual: dict[str, Any] = {
        "request": PLEDGES,
        "anchors": (OEM.root,),
        "registrar": REGISTRAR.certificate,
        "idevid": (),
        "now": pki.NOW,
    }
    return RequestCase(**usual | changes)


def signed_request(signer: pki.Entity = IDEVID, **leaves: Any) -> bytes:
    return CMS.sign(
        encode_voucher_request(replace(REQUEST, **leaves)),
        signer.signer,
        certificates=signer.chain[:-1],
    )


@pytest.mark.requirement("REG-3", "REG-4", "CMS-12")
@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, []),
        ({"anchors": (DOMAIN.certificate,)}, ["IDevID"]),
        ({"registrar": MEMBER.certificate}, ["proximity"]),
        ({"request": signed_request(serial_number="SN-0002")}, ["serial-number"]),
        ({"request": signed_request(assertion=None)}, ["proximity"]),
        ({"request": signed_request(nonce=None)}, ["nonce"]),
        ({"idevid": pki.make_idevid(OEM).chain}, ["signature"]),
        ({"request": signed_request(REGISTRAR)}, ["IDevID", "serial number of the IDevID"]),
        ({"request": b""}, ["the message is read"]),
    ],
)
def test_a_pledges_request(changes: dict[str, Any], names: list[str]) -> None:
    """As the registrar judges the message itself."""
    verdict = verify_voucher_request(request_case(**changes), CMS)
    assert outcomes(verdict, Outcome.FAILED) == names
    assert verdict.accepted is not bool(names)


def test_a_request_without_idevid_and_registrar() -> None:
    """What they would tell is not judged."""
    octets = CMS.sign(encode_voucher_request(REQUEST), IDEVID.signer, name_by_key_identifier=True)
    verdict = verify_voucher_request(request_case(request=octets, registrar=None), CMS)
    assert outcomes(verdict, Outcome.NOT_JUDGED) == ["signature", "serial-number", "proximity"]
    given = request_case(request=octets, idevid=IDEVID.chain)
    assert outcomes(verify_voucher_request(given, CMS), Outcome.NOT_JUDGED) == []


# -- published vectors -----------------------------------------------------------------------------


@pytest.mark.requirement("CMS-3")
@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("rfc8995-appC", []),
        ("rfc8366bis-cms", ["pin"]),  # made after the certificate that it pins had expired
    ],
)
def test_published_vouchers_at_their_date(vectors: Path, folder: str, expected: list[str]) -> None:
    """Signature and contents hold with the switch; refused without it, and at a later date."""
    appendix = vectors / "rfc8995-appC"
    name = "00-D0-E5-F2-00-02"

    def octets(of: str) -> bytes:
        text = (vectors / folder / f"{of}_{name}.b64").read_bytes()
        return unwrap(text, size=len(text)).contents[0].octets

    def certificates(*names: str) -> tuple[x509.Certificate, ...]:
        pem = b"".join((appendix / f"{each}.crt").read_bytes() for each in names)
        return parse_pem_certificates(pem)

    voucher = LENIENT.open(octets("voucher"))
    assert voucher.signing_time is not None
    given = VoucherCase(
        voucher=octets("voucher"),
        request=octets("vr"),
        anchors=certificates("vendor"),
        registrar_chain=certificates("jrc_prime256v1", "ownerca_secp384r1"),
        idevid=None,
        now=voucher.signing_time + timedelta(seconds=30),
        policy=Policy(),
    )
    assert outcomes(verify_voucher(given, LENIENT), Outcome.FAILED) == expected
    assert verify_voucher(replace(given, now=None), LENIENT).accepted
    strict = verify_voucher(given, CMS)
    assert {s.reason for s in strict.steps if s.outcome is Outcome.FAILED} == {
        "CMS eContentType is not id-ct-animaJSONVoucher"
    }
    late = verify_voucher(replace(given, now=pki.NOW), LENIENT)
    assert "signature" in outcomes(late, Outcome.FAILED)
