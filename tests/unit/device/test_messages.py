"""What the pledge says, and what it makes of answers that may come from anybody."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from brski import registry
from brski.errors import (
    AssertionNotAcceptable,
    ChainInvalid,
    CreatedOnOutOfWindow,
    IDevIDIssuerMismatch,
    KeyMismatch,
    Malformed,
    NonceMismatch,
    OnboardingError,
    PinMismatch,
    Refused,
    SerialNumberMismatch,
    SignatureInvalid,
    StateError,
    TooLarge,
    Unavailable,
    UnexpectedResponse,
    UnknownFormat,
    VoucherExpired,
    VoucherRefused,
)
from brski.est.certs_only import encode_certs_only
from brski.est.csr import build_csr
from brski.est.requirements import CSRRequirements
from brski.est.transfer import decode_base64, encode_base64
from brski.idevid.record import Presentation
from brski.pki.extensions import encode_idevid_issuer, key_identifier
from brski.pki.keys import certificate_der, encode_spki, spki_of
from brski.voucher.cms import CMS
from brski.voucher.model import Assertion, VoucherRequest
from brski.voucher.yang_json import decode_voucher_request
from device_client.pledge import messages
from device_client.pledge.judging import judge_voucher
from device_client.pledge.policy import Pledge
from device_client.pledge.states import Answer, DomainCertificates
from tests.kit import pki
from tests.kit.device import World

WORLD = World.make()
NONCE = bytes(range(16))
PLEDGE = WORLD.pledge()


def asked(pledge: Pledge = PLEDGE) -> tuple[VoucherRequest, bytes]:
    return messages.build_voucher_request(
        pledge,
        registrar_certificate=WORLD.registrar.certificate,
        nonce=NONCE,
        created_on=pki.NOW,
    )


def judge(
    octets: bytes,
    *,
    pledge: Pledge = PLEDGE,
    chain: Any = None,
    now: Any = pki.NOW,
) -> x509.Certificate:
    accepted = judge_voucher(
        octets,
        pledge=pledge,
        request=asked()[0],
        registrar_chain=WORLD.presented if chain is None else chain,
        now=now,
    )
    return accepted.pin


def voucher(**changes: Any) -> bytes:
    return WORLD.signed(WORLD.voucher_for(asked()[0], **changes))


# -- the voucher-request


@pytest.mark.requirement("PL-5", "PL-7", "PL-9", "PL-10", "CMS-12")
def test_voucher_request_of_an_asserting_device() -> None:
    """It names its key by SubjectKeyIdentifier, encloses nothing, and says what it has seen."""
    request, octets = asked()
    signed = CMS.open(octets)
    signed.verify(PLEDGE.signer.public_key)
    assert signed.certificates == ()
    spki = encode_spki(PLEDGE.signer.public_key)
    assert signed.signer.subject_key_identifier == key_identifier(spki)
    assert signed.signing_time == pki.NOW
    assert decode_voucher_request(signed.payload) == request
    assert request.serial_number == pki.SERIAL_NUMBER
    assert request.assertion is Assertion.PROXIMITY
    assert request.proximity_registrar_cert == WORLD.registrar.der
    assert request.nonce == "AAECAwQFBgcICQoLDA0ODw=="
    assert request.idevid_issuer is None


@pytest.mark.requirement("PL-5", "CMS-12")
def test_voucher_request_of_a_carrying_device() -> None:
    """It encloses its chain, and its IDevID is named as the signer."""
    pledge = WORLD.pledge(Presentation.CARRIED)
    _, octets = asked(pledge)
    signed = CMS.open(octets)
    signed.verify(pledge.signer.public_key)
    assert set(signed.certificates) == set(pledge.idevid_chain)
    assert signed.signer_certificate() == pledge.idevid_chain[0]


@pytest.mark.requirement("PL-11")
def test_device_without_a_clock_says_no_time() -> None:
    """Neither created-on nor a signing time."""
    request, octets = messages.build_voucher_request(
        PLEDGE, registrar_certificate=WORLD.registrar.certificate, nonce=NONCE, created_on=None
    )
    assert request.created_on is None
    assert CMS.open(octets).signing_time is None


@pytest.mark.requirement("PL-5", "PL-6")
def test_voucher_request_travels_raw() -> None:
    """DER, not base64; with the type that is sent and the type that is taken."""
    message = messages.voucher_request_message(b"\x30\x00", CMS.media_type)
    assert (message.method, message.path) == ("POST", "/.well-known/brski/requestvoucher")
    assert message.content_type == message.accept == "application/voucher-cms+json"
    assert message.body == b"\x30\x00"


# -- the voucher


@pytest.mark.requirement("PL-16", "PL-17", "PL-18", "PL-26")
@pytest.mark.parametrize("now", [pki.NOW, None], ids=["clock", "no clock"])
def test_an_honest_voucher_is_accepted(now: Any) -> None:
    """And brings the certificate that it pins."""
    assert judge(voucher(), now=now) == WORLD.owner_root.certificate


@pytest.mark.requirement("PL-26")
@pytest.mark.parametrize("pin", ["owner_root", "owner", "registrar"])
def test_root_sub_ca_and_registrar_itself_may_be_pinned(pin: str) -> None:
    """The three variants of RFC 8995 §5.6.2."""
    entity = getattr(WORLD, pin)
    assert judge(voucher(pinned_domain_cert=entity.der)) == entity.certificate


OTHER = World.make()
LATER = pki.NOW + timedelta(minutes=10)


@pytest.mark.requirement("PL-17", "PL-18", "PL-20", "PL-21", "PL-26")
@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"serial_number": "SN-0002"}, SerialNumberMismatch),
        ({"serial_number": "sn-0001"}, SerialNumberMismatch),
        ({"nonce": "//79/Pv6+fj39vX08/Lx8A=="}, NonceMismatch),
        ({"nonce": None}, NonceMismatch),
        ({"assertion": Assertion.AGENT_PROXIMITY}, AssertionNotAcceptable),
        ({"idevid_issuer": encode_idevid_issuer(bytes(20))}, IDevIDIssuerMismatch),
        ({"created_on": LATER}, CreatedOnOutOfWindow),
        ({"pinned_domain_cert": OTHER.owner_root.der}, PinMismatch),
        ({"pinned_domain_cert": OTHER.registrar.der}, PinMismatch),
        ({"pinned_domain_cert": certificate_der(WORLD.oem.root)}, PinMismatch),
    ],
)
def test_a_voucher_that_differs_in_one_thing_is_refused(
    changes: dict[str, Any], error: type[OnboardingError]
) -> None:
    """Each leaf that is altered, though the MASA signed it, has its own refusal."""
    with pytest.raises(error):
        judge(voucher(**changes))


@pytest.mark.requirement("PL-26", "PL-36")
def test_a_key_may_be_pinned() -> None:
    """By itself or by its digest, it pins the registrar that has it; another's pins nobody here."""
    ours, other = (spki_of(world.registrar.certificate) for world in (WORLD, OTHER))
    digests = (hashlib.sha256(ours).digest(), hashlib.sha256(other).digest())
    for leaf, (right, wrong) in (
        ("pinned-domain-pubk", (ours, other)),
        ("pinned-domain-pubk-sha256", digests),
    ):
        assert judge(pinned_by(leaf, right)) == WORLD.registrar.certificate
        with pytest.raises(PinMismatch):
            judge(pinned_by(leaf, wrong))


def pinned_by(leaf: str, octets: bytes) -> bytes:
    """A voucher with that leaf in the place of the certificate, as rfc8366bis has it."""
    document = json.loads(CMS.open(voucher()).payload)
    del document["ietf-voucher:voucher"]["pinned-domain-cert"]
    document["ietf-voucher:voucher"][leaf] = base64.b64encode(octets).decode()
    return CMS.sign(
        json.dumps(document).encode(), WORLD.masa.signer, certificates=(WORLD.masa.certificate,)
    )


@pytest.mark.requirement("PL-36")
def test_of_several_pins_the_one_that_was_asked_for_counts() -> None:
    """The request named a certificate, so the certificate counts; without nonce the digest does."""
    lenient = WORLD.pledge(allow_nonceless=True)
    stranger = hashlib.sha256(spki_of(OTHER.registrar.certificate)).digest()
    both = {"pinned_domain_pubk_sha256": stranger}
    assert judge(voucher(**both)) == WORLD.owner_root.certificate
    with pytest.raises(PinMismatch):
        judge(voucher(**both, nonce=None, expires_on=LATER), pledge=lenient)


@pytest.mark.requirement("PL-26")
def test_the_servers_key_in_another_certificate_may_be_pinned() -> None:
    """A registrar that has renewed its certificate since the voucher was made."""
    older = pki.make_registrar(OTHER.owner, key=WORLD.registrar.private_key)
    assert judge(voucher(pinned_domain_cert=older.der)) == older.certificate


@pytest.mark.requirement("PL-24")
def test_voucher_without_a_pin_fails_gracefully() -> None:
    """No exception but a refusal: this device is not enrolled here."""
    unpinned = json.loads(CMS.open(voucher()).payload)
    del unpinned["ietf-voucher:voucher"]["pinned-domain-cert"]
    octets = CMS.sign(
        json.dumps(unpinned).encode(),
        WORLD.masa.signer,
        certificates=(WORLD.masa.certificate,),
    )
    with pytest.raises(PinMismatch, match="pins no"):
        judge(octets)


@pytest.mark.requirement("PL-25")
def test_unknown_leaves_are_ignored() -> None:
    """A leaf of a later standard changes nothing."""
    document = json.loads(CMS.open(voucher()).payload)
    document["ietf-voucher:voucher"]["est-domain"] = "x"
    octets = CMS.sign(
        json.dumps(document).encode(), WORLD.masa.signer, certificates=(WORLD.masa.certificate,)
    )
    assert judge(octets) == WORLD.owner_root.certificate


def test_own_issuer_may_be_named() -> None:
    """In each of the three spellings of the field (RFC 8366bis §6.3)."""
    issuer = PLEDGE.idevid_issuer
    assert issuer is not None
    whole = encode_idevid_issuer(issuer)
    for spelling in (whole, whole[2:], issuer):
        assert judge(voucher(idevid_issuer=spelling))


@pytest.mark.requirement("PL-21")
def test_assertion_is_a_matter_of_policy() -> None:
    """Who wants verified takes nothing weaker."""
    strict = WORLD.pledge(acceptable=frozenset({Assertion.VERIFIED}))
    assert judge(voucher(assertion=Assertion.VERIFIED), pledge=strict)
    with pytest.raises(AssertionNotAcceptable):
        judge(voucher(assertion=Assertion.LOGGED), pledge=strict)


@pytest.mark.requirement("PL-19", "PL-22")
def test_nonceless_vouchers_are_a_matter_of_policy() -> None:
    """Refused by default; where they are taken, they expire for who has a clock."""
    lenient = WORLD.pledge(allow_nonceless=True)
    fresh = voucher(nonce=None, expires_on=LATER)
    stale = voucher(nonce=None, expires_on=pki.NOW)
    with pytest.raises(NonceMismatch):
        judge(fresh)
    assert judge(fresh, pledge=lenient)
    with pytest.raises(VoucherExpired):
        judge(stale, pledge=lenient)
    assert judge(stale, pledge=lenient, now=None)
    with pytest.raises(NonceMismatch):
        judge(voucher(nonce="//79/Pv6+fj39vX08/Lx8A=="), pledge=lenient)


# -- who signed the voucher


@pytest.mark.requirement("PL-16", "E2E-4")
@pytest.mark.parametrize("who", ["masa", "owner", "registrar", "oem"])
def test_a_voucher_that_others_signed_is_refused(who: str) -> None:
    """Neither another manufacturer's MASA, nor the owner, nor the registrar, nor the OEM's CA."""
    signer = getattr(OTHER if who == "masa" else WORLD, who)
    octets = WORLD.signed(WORLD.voucher_for(asked()[0]), signer)
    with pytest.raises(ChainInvalid):
        judge(octets)
    enclosed = (*signer.chain, WORLD.masa_root.certificate)
    with pytest.raises(ChainInvalid):
        judge(WORLD.signed(WORLD.voucher_for(asked()[0]), signer, certificates=enclosed))


def test_a_signature_under_another_key_is_refused() -> None:
    """The MASA's certificate is enclosed, and somebody else signed."""
    forger = replace(WORLD.masa, private_key=pki.make_key())
    with pytest.raises(SignatureInvalid):
        judge(WORLD.signed(WORLD.voucher_for(asked()[0]), forger))


def test_a_device_cannot_vouch() -> None:
    """Where devices and MASA share a root, a device's certificate signs no vouchers."""
    accomplice = pki.make_idevid(WORLD.oem, "SN-0666")
    pledge = replace(PLEDGE, voucher_anchors=(WORLD.oem.root,))
    octets = WORLD.signed(WORLD.voucher_for(asked()[0]), accomplice)
    with pytest.raises(ChainInvalid, match="device"):
        judge(octets, pledge=pledge)
    masa = pki.make_masa_signer(WORLD.oem)
    assert judge(WORLD.signed(WORLD.voucher_for(asked()[0]), masa), pledge=pledge)


def test_the_anchor_may_be_the_signer_itself() -> None:
    """With or without its certificate in the message."""
    pledge = replace(PLEDGE, voucher_anchors=(OTHER.masa.certificate, WORLD.masa.certificate))
    for certificates in ((WORLD.masa.certificate,), ()):
        octets = WORLD.signed(WORLD.voucher_for(asked()[0]), certificates=certificates)
        assert judge(octets, pledge=pledge)
    by_key = CMS.sign(CMS.open(voucher()).payload, WORLD.masa.signer, name_by_key_identifier=True)
    assert judge(by_key, pledge=pledge)


def test_a_signer_that_nobody_knows_is_refused() -> None:
    """No certificate in the message, and no anchor that it names."""
    octets = WORLD.signed(WORLD.voucher_for(asked()[0]), certificates=())
    with pytest.raises(SignatureInvalid, match="neither"):
        judge(octets)


@pytest.mark.requirement("PL-23")
def test_dates_of_the_signature_count_for_who_has_a_clock() -> None:
    """An expired signer, and a signature of the future; without a clock neither matters."""
    expired = pki.make_masa_signer(WORLD.masa_root, not_after=pki.NOW - timedelta(days=1))
    octets = WORLD.signed(WORLD.voucher_for(asked()[0]), expired)
    with pytest.raises(ChainInvalid):
        judge(octets)
    assert judge(octets, now=None)
    ahead = WORLD.signed(WORLD.voucher_for(asked()[0]), signing_time=LATER)
    with pytest.raises(CreatedOnOutOfWindow):
        judge(ahead)
    assert judge(ahead, now=None)


# -- the registrar's chain


@pytest.mark.requirement("PL-26", "ESTC-2")
def test_a_member_of_the_domain_is_no_registrar() -> None:
    """Under a pinned CA only an RA's certificate speaks for the domain."""
    member = pki.make_registrar(WORLD.owner, ekus=pki.REGISTRAR_EKUS[1:])
    with pytest.raises(PinMismatch, match="cmcRA"):
        judge(voucher(), chain=member.chain[:-1])
    pinned_itself = voucher(pinned_domain_cert=member.der)
    assert judge(pinned_itself, chain=member.chain[:-1])


@pytest.mark.requirement("PL-23")
def test_an_expired_registrar_is_refused_by_who_has_a_clock() -> None:
    """RFC 8995 §2.6.1: two profiles, two outcomes."""
    expired = pki.make_registrar(WORLD.owner, not_after=pki.NOW - timedelta(days=1))
    with pytest.raises(PinMismatch):
        judge(voucher(), chain=expired.chain[:-1])
    assert judge(voucher(), chain=expired.chain[:-1], now=None)


@pytest.mark.requirement("PL-3")
def test_presented_chain_is_verified_though_its_root_is_unknown() -> None:
    """Self-signed is fine; a certificate that the next one did not issue is not."""
    messages.check_registrar_chain(WORLD.presented)
    messages.check_registrar_chain(pki.make_registrar(None).chain)
    for broken in ((), (WORLD.registrar.certificate, OTHER.owner.certificate)):
        with pytest.raises(ChainInvalid):
            messages.check_registrar_chain(broken)


@pytest.mark.requirement("PL-31")
def test_the_registrar_stays_the_same() -> None:
    """A new connection with another certificate, even of the same key, is another registrar's."""
    messages.check_same_registrar(WORLD.presented, WORLD.presented[:1])
    renewed = pki.make_registrar(WORLD.owner, key=WORLD.registrar.private_key, not_after=pki.NEVER)
    for other in (OTHER.presented, renewed.chain, ()):
        with pytest.raises(ChainInvalid):
            messages.check_same_registrar(WORLD.presented, other)


DOMAIN = DomainCertificates(anchors=(WORLD.owner_root.certificate,), certificates=WORLD.owner.chain)


@pytest.mark.requirement("ESTC-1", "ESTC-2", "ESTC-9")
@pytest.mark.parametrize("now", [pki.NOW, None], ids=["clock", "no clock"])
def test_later_connections_are_judged(now: Any) -> None:
    """By the domain's anchors and by being an RA's or of the right name; the voucher's pin counts
    where it is the server's own key, and as an anchor no more.
    """

    def check(
        chain: Any, pin: pki.Entity | None = WORLD.owner_root, host: str = "192.0.2.7"
    ) -> None:
        pinned = pin.certificate if pin else None
        messages.check_known_registrar(chain, domain=DOMAIN, host=host, pin=pinned, now=now)

    check(WORLD.presented)
    check(WORLD.presented, OTHER.owner_root)
    check(OTHER.presented, OTHER.registrar)
    member = pki.make_server(WORLD.owner, name="est.example.com", addresses=())
    check(member.chain[:-1], host="est.example.com")
    for stranger in (OTHER.presented, member.chain[:-1], ()):
        with pytest.raises(ChainInvalid):
            check(stranger)
    with pytest.raises(ChainInvalid):
        check(OTHER.presented, OTHER.owner_root)
    with pytest.raises(ChainInvalid):
        check(OTHER.presented, None)


# -- answers


@pytest.mark.requirement("PL-4")
@given(st.binary(max_size=300))
def test_no_octets_break_the_readers(body: bytes) -> None:
    """Every reader of a stranger's body answers with one of our errors."""
    est = Answer(status=200, body=body, media_type=registry.PKCS7_MIME)
    attributes = Answer(status=200, body=body, media_type=registry.CSR_ATTRIBUTES)
    text = Answer(status=404, body=body, media_type=registry.TEXT)
    with pytest.raises(OnboardingError):
        judge(body)
    with pytest.raises(OnboardingError):
        messages.domain_certificates_of(est)
    with contextlib.suppress(OnboardingError):
        messages.csr_requirements_of(attributes)
    with pytest.raises(Refused) as refused:
        messages.check_success(text, Refused, what="x", section="")
    assert refused.value.reason.isprintable()
    assert len(refused.value.reason) < 300


@pytest.mark.requirement("PL-4")
def test_a_voucher_cut_anywhere_is_refused() -> None:
    """At every octet, by one of our errors."""
    octets = voucher()
    for end in range(len(octets)):
        with pytest.raises((Malformed, UnknownFormat, TooLarge)):
            judge(octets[:end])


@pytest.mark.requirement("PL-4")
@given(st.data())
def test_a_voucher_with_one_octet_altered_is_refused(data: st.DataObject) -> None:
    """Wherever it is; the signature covers what the certificates do not."""
    octets = bytearray(VOUCHER)
    at = data.draw(st.integers(0, len(octets) - 1))
    octets[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(OnboardingError):
        judge(bytes(octets))


VOUCHER = voucher()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer(status=400), VoucherRefused),
        (Answer(status=401), VoucherRefused),
        (Answer(status=404), VoucherRefused),
        (Answer(status=406), VoucherRefused),
        (Answer(status=408), Unavailable),
        (Answer(status=429, retry_after_s=7), Unavailable),
        (Answer(status=500), Unavailable),
        (Answer(status=503, retry_after_s=7), Unavailable),
        (Answer(status=201), UnexpectedResponse),
        (Answer(status=204), UnexpectedResponse),
        (Answer(status=303), UnexpectedResponse),
        (Answer(status=200, body=b"x"), UnexpectedResponse),
        (Answer(status=200, body=b"x", media_type="application/voucher+cose"), UnexpectedResponse),
        (Answer(status=200, media_type=registry.VOUCHER_CMS_JSON), UnexpectedResponse),
    ],
)
def test_answers_that_are_no_voucher(answer: Answer, error: type[OnboardingError]) -> None:
    """Refusals, silence and nonsense are told apart."""
    with pytest.raises(error) as raised:
        messages.voucher_of(answer, registry.VOUCHER_CMS_JSON)
    if answer.retry_after_s:
        assert getattr(raised.value, "retry_after_s", 0) == 7


def test_registrars_words_are_repeated_harmlessly() -> None:
    """Control characters and length do not reach the terminal; other types are not repeated."""
    rude = Answer(
        status=404,
        body=b"no such\x1b[2J device\r\nX: y" + b"z" * 1000,
        media_type="text/plain",
    )
    with pytest.raises(VoucherRefused, match=r'"no such \[2J device X: yz+" ') as refused:
        messages.voucher_of(rude, registry.VOUCHER_CMS_JSON)
    assert len(refused.value.reason) < 300
    with pytest.raises(VoucherRefused, match=r"voucher-request \("):
        messages.voucher_of(replace(rude, media_type="text/html"), registry.VOUCHER_CMS_JSON)


# -- telemetry


@pytest.mark.requirement("PL-28", "SEC-6", "TEL-1", "TEL-2")
def test_a_stranger_learns_nothing_from_a_refusal() -> None:
    """The same words, whatever was wrong."""
    bodies = {
        messages.voucher_status_message(error).body
        for error in (NonceMismatch("nonce"), ChainInvalid("chain"), PinMismatch("pin"))
    }
    (body,) = bodies
    assert json.loads(body) == {"version": 1, "status": False, "reason": "voucher not accepted"}


@pytest.mark.requirement("PL-28", "TEL-1", "TEL-4")
def test_acceptance_is_told() -> None:
    """With the path's underscore and the JSON type."""
    message = messages.voucher_status_message(None)
    assert message.path == "/.well-known/brski/voucher_status"
    assert message.content_type == "application/json"
    assert json.loads(message.body) == {"version": 1, "status": True}


@pytest.mark.requirement("PL-30", "TEL-2")
def test_enrollment_failures_are_told_with_the_reason() -> None:
    """What the registrar did, yes; what happened inside the device, no."""
    message = messages.enroll_status_message(KeyMismatch("another key"))
    assert message.path == "/.well-known/brski/enrollstatus"
    assert json.loads(message.body)["reason"] == "another key"
    inside = messages.enroll_status_message(StateError("/var/lib/x is full"))
    assert "/var" not in inside.body.decode()
    assert json.loads(messages.enroll_status_message(None).body)["status"] is True


# -- EST


@pytest.mark.requirement("ESTS-1", "ESTS-3")
def test_csr_travels_in_base64() -> None:
    """Unlike the voucher-request on the same server."""
    csr = build_csr(pki.KeySigner(pki.make_key()), pki.common_name("x"))
    message = messages.enroll_message(csr)
    assert decode_base64(message.body) == csr
    assert (message.path, message.content_type) == (
        "/.well-known/est/simpleenroll",
        "application/pkcs10",
    )


def test_anchors_are_the_self_signed() -> None:
    """What is between is kept beside; without a root all are anchors."""
    domain = messages.domain_certificates_of(WORLD.ca_certs_answer())
    assert domain.anchors == DOMAIN.anchors
    assert set(domain.certificates) == set(DOMAIN.certificates)  # DER sorts them
    body = encode_base64(encode_certs_only([WORLD.owner.certificate]))
    rootless = Answer(status=200, body=body, media_type=registry.PKCS7_MIME)
    assert messages.domain_certificates_of(rootless).anchors == (WORLD.owner.certificate,)


def test_a_root_that_did_not_sign_itself_is_no_root() -> None:
    """It names itself as its issuer, and another key signed."""
    impostor = pki.make_ca("X", WORLD.owner, issuer_name=pki.common_name("X"))
    body = encode_base64(encode_certs_only([impostor.certificate, WORLD.owner_root.certificate]))
    answer = Answer(status=200, body=body, media_type=registry.PKCS7_MIME)
    assert messages.domain_certificates_of(answer).anchors == (WORLD.owner_root.certificate,)
    alone = encode_base64(encode_certs_only([WORLD.owner.certificate, impostor.certificate]))
    with pytest.raises(ChainInvalid):
        messages.domain_certificates_of(replace(answer, body=alone))


@pytest.mark.requirement("ESTS-12")
@pytest.mark.parametrize(
    "answer",
    [
        Answer(status=204),
        Answer(status=404),
        Answer(status=200, body=b"MAA=\n", media_type=registry.CSR_ATTRIBUTES),
    ],
)
def test_three_ways_to_ask_for_nothing(answer: Answer) -> None:
    """204, 404 and an empty SEQUENCE mean the same."""
    assert messages.csr_requirements_of(answer) == CSRRequirements()


KEY = pki.make_key()
CSR = build_csr(pki.KeySigner(KEY), pki.common_name("x"))


@pytest.mark.parametrize("now", [pki.NOW, None], ids=["clock", "no clock"])
def test_ldevid_for_our_key_under_the_domain_is_taken(now: Any) -> None:
    """With the way up to the anchor, which stays out."""
    chain = messages.ldevid_chain_of(WORLD.ldevid_answer(CSR), csr=CSR, domain=DOMAIN, now=now)
    assert spki_of(chain[0]) == encode_spki(KEY.public_key())
    assert chain[1:] == (WORLD.owner.certificate,)


def test_ldevids_that_are_not_ours_are_refused() -> None:
    """For another key, under another domain, or out of its time."""

    def read(answer: Answer) -> None:
        messages.ldevid_chain_of(answer, csr=CSR, domain=DOMAIN, now=pki.NOW)

    other = build_csr(pki.KeySigner(pki.make_key()), pki.common_name("x"))
    with pytest.raises(KeyMismatch):
        read(WORLD.ldevid_answer(other))
    with pytest.raises(ChainInvalid):
        read(OTHER.ldevid_answer(CSR))
    with pytest.raises(ChainInvalid):
        read(WORLD.ldevid_answer(CSR, not_after=pki.NOW - timedelta(days=1)))
    with pytest.raises(UnexpectedResponse):
        read(replace(WORLD.ldevid_answer(CSR), media_type="text/html"))
    with pytest.raises(Refused):
        read(Answer(status=403))
    with pytest.raises(Unavailable):
        read(Answer(status=500))
