"""The pledge over real TLS: its LDevID is renewed, and the former one holds until then."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest
from cryptography import x509

from brski import registry
from brski.errors import StateError
from brski.est.certs_only import encode_certs_only
from brski.est.transfer import encode_base64
from brski.pki import names
from brski.pki.keys import spki_of
from brski.telemetry.status import decode_status
from device_client.pledge.origin import Origin
from device_client.pledge.states import Answer, Phase, Renewal, Result
from tests.integration.pledge_desk import OTHER, WORLD, Desk, desk, registrar
from tests.kit import pki
from tests.kit.device import certify_public
from tests.kit.stub_registrar import StubRegistrar

__all__ = ["desk", "registrar"]
AGAIN = ["cacerts", "csrattrs", "simplereenroll", "enrollstatus"]


@pytest.fixture
async def enrolled(desk: Desk, registrar: StubRegistrar) -> AsyncIterator[StubRegistrar]:
    """A registrar that is up, and has enrolled the device."""
    async with registrar.serving():
        await desk.onboard(registrar)
        registrar.heard.clear()
        desk.steps.clear()
        yield registrar


def ldevid(desk: Desk) -> x509.Certificate:
    enrollment = desk.keystore.load().enrollment
    assert enrollment is not None
    return enrollment.ldevid_chain[0]


def key_of(desk: Desk) -> bytes:
    return (desk.keystore.directory / "current" / "ldevid-key.pem").read_bytes()


@pytest.mark.requirement("ESTC-8", "PL-30", "TLS-3")
@pytest.mark.parametrize("rekey", [False, True], ids=["renew", "rekey"])
async def test_an_ldevid_is_renewed(desk: Desk, enrolled: StubRegistrar, rekey: bool) -> None:
    """Asked for under the former LDevID, told of under the new one; the name stays."""
    former, former_key = ldevid(desk), key_of(desk)
    outcome = await desk.renew(rekey=rekey)
    assert (outcome.result, outcome.code, outcome.reported) == (Result.ENROLLED, "renewed", True)
    assert enrolled.paths() == AGAIN
    renewed = ldevid(desk)
    assert renewed != former
    assert renewed.subject == former.subject
    assert (spki_of(renewed) == spki_of(former)) is not rekey
    assert (key_of(desk) == former_key) is not rekey
    assert {heard.client_chain[0] for heard in enrolled.heard[:3]} == {former}
    assert enrolled.heard[3].client_chain[0] == renewed
    assert len({heard.connection for heard in enrolled.heard[:3]}) == 1
    assert enrolled.heard[3].connection != enrolled.heard[0].connection
    assert [step.status.value for step in desk.steps] == ["ok"] * 5
    assert desk.keystore.load().phase is Phase.ENROLLED
    assert len(list((desk.keystore.directory / "generations").iterdir())) == 1


@pytest.mark.requirement("ESTC-8")
async def test_the_csr_says_what_the_certificate_says(desk: Desk, registrar: StubRegistrar) -> None:
    """Subject and subjectAltName are the certificate's, whatever the device would ask for."""
    alternative = x509.SubjectAlternativeName([x509.DNSName("sn-0001.example.com")])

    def certified(body: bytes) -> Answer:
        asked = x509.load_der_x509_csr(base64.b64decode(body))
        subject = pki.common_name("printer on the third floor")
        return answer_with(
            certify_public(WORLD.owner, subject, asked.public_key(), extra=[(alternative, True)])
        )

    registrar.script("simpleenroll", certified)
    registrar.script("simplereenroll", certified)
    async with registrar.serving():
        await desk.onboard(registrar)
        outcome = await desk.renew()
    assert outcome.code == "renewed"
    (sent,) = [heard for heard in registrar.heard if heard.path == "simplereenroll"]
    csr = x509.load_der_x509_csr(base64.b64decode(sent.body))
    assert csr.subject.public_bytes() == ldevid(desk).subject.public_bytes()
    extension = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert (extension.value, extension.critical) == (alternative, True)


def answer_with(*certificates: x509.Certificate) -> Answer:
    body = encode_base64(encode_certs_only(certificates))
    return Answer(status=200, body=body, media_type=registry.PKCS7_MIME)


@pytest.mark.requirement("ESTC-9")
async def test_what_cacerts_brings_replaces_the_anchors(
    desk: Desk, enrolled: StubRegistrar
) -> None:
    """The domain has a new root beside the old; from then on the device knows both."""
    new_root = pki.make_root("Owner Root 2")
    body = encode_base64(encode_certs_only([*WORLD.owner.chain, new_root.certificate]))
    enrolled.script("cacerts", Answer(status=200, body=body, media_type=registry.PKCS7_MIME))
    await desk.renew()
    kept = desk.keystore.load().enrollment
    assert kept is not None
    assert set(kept.domain.anchors) == {WORLD.owner.root, new_root.certificate}


def of_another_key(body: bytes) -> Answer:
    asked = x509.load_der_x509_csr(base64.b64decode(body))
    other = pki.certify(asked.subject, issuer=WORLD.owner)
    return answer_with(other.certificate)


def of_another_name(body: bytes) -> Answer:
    asked = x509.load_der_x509_csr(base64.b64decode(body))
    other = names.idevid_subject("SN-0002")
    return answer_with(certify_public(WORLD.owner, other, asked.public_key()))


def of_another_domain(body: bytes) -> Answer:
    return OTHER.ldevid_answer(base64.b64decode(body))


@pytest.mark.parametrize(
    ("script", "code"),
    [
        (of_another_key, "key-mismatch"),
        (of_another_name, "unexpected-response"),
        (of_another_domain, "chain-invalid"),
        (lambda _: Answer(status=403), "refused"),
        (lambda _: Answer(status=200, body=b"", media_type="text/html"), "unexpected-response"),
    ],
)
@pytest.mark.parametrize("rekey", [False, True], ids=["renew", "rekey"])
async def test_a_renewal_that_fails_leaves_the_former_ldevid(
    desk: Desk, enrolled: StubRegistrar, script: Any, code: str, rekey: bool
) -> None:
    """It is told on the very connection; and the former one serves to renew again."""
    former, former_key = ldevid(desk), key_of(desk)
    enrolled.script("simplereenroll", script)
    outcome = await desk.renew(rekey=rekey)
    assert (outcome.result, outcome.code) == (Result.REFUSED, code)
    assert enrolled.paths() == AGAIN
    assert len({heard.connection for heard in enrolled.heard}) == 1
    assert decode_status(enrolled.heard[-1].body).status is False
    assert (ldevid(desk), key_of(desk)) == (former, former_key)
    assert (await desk.renew(rekey=rekey)).code == "renewed"
    first, second = (heard for heard in enrolled.heard if heard.path == "simplereenroll")
    assert first.body == second.body


async def test_a_renewal_that_began_with_a_fresh_key_ends_with_it(
    desk: Desk, enrolled: StubRegistrar
) -> None:
    """Its certificate may have been issued, and the former one superseded."""
    enrolled.script("simplereenroll", Answer(status=500))
    assert (await desk.renew(rekey=True)).result is Result.RETRY
    assert desk.keystore.load().renewal is Renewal.FRESH_KEY
    former = ldevid(desk)
    assert (await desk.renew()).code == "renewed"
    assert desk.keystore.load().renewal is None
    first, second = (heard for heard in enrolled.heard if heard.path == "simplereenroll")
    assert first.body == second.body
    assert spki_of(ldevid(desk)) != spki_of(former)


@pytest.mark.requirement("ESTC-5")
async def test_a_renewal_may_take_its_time(desk: Desk, enrolled: StubRegistrar) -> None:
    """202 and Retry-After: the same CSR goes again, not before the time."""
    enrolled.script("simplereenroll", Answer(status=202, retry_after_s=90))
    assert (await desk.renew()).code == "renewed"
    assert desk.slept == [90]
    first, second = (heard for heard in enrolled.heard if heard.path == "simplereenroll")
    assert first.body == second.body


@pytest.mark.requirement("ESTC-1", "ESTC-9")
async def test_nothing_is_asked_of_a_stranger(desk: Desk, enrolled: StubRegistrar) -> None:
    """Nor of a server that only the manufacturer vouches for, nor of one that only the voucher
    pinned.
    """
    impostors = (
        OTHER.registrar,
        pki.make_registrar(WORLD.masa_root),
        pki.make_server(WORLD.owner, name="elsewhere.example.com", addresses=()),
        pki.make_registrar(None),
    )
    for impostor in impostors:
        stranger = StubRegistrar(WORLD, certificate=impostor)
        async with stranger.serving():
            outcome = await desk.renew(registrar=stranger.origin)
        assert (outcome.result, outcome.code) == (Result.REFUSED, "chain-invalid")
        assert stranger.heard == []


@pytest.mark.requirement("ESTC-2")
async def test_a_server_of_the_domain_with_the_right_name_will_do(
    desk: Desk, enrolled: StubRegistrar
) -> None:
    """It needs no id-kp-cmcRA then."""
    named = pki.make_server(WORLD.owner, name="127.0.0.1")
    server = StubRegistrar(WORLD, certificate=named)
    async with server.serving():
        outcome = await desk.renew(registrar=server.origin)
    assert outcome.code == "renewed"
    assert outcome.registrar == server.origin


class Found:
    """Announces what a test says."""

    def __init__(self, *registrars: StubRegistrar) -> None:
        self.registrars = registrars

    async def look(self) -> tuple[Origin, ...]:
        return tuple(registrar.origin for registrar in self.registrars)


async def test_a_registrar_that_has_moved_is_found(desk: Desk, registrar: StubRegistrar) -> None:
    """Strangers on the way are told nothing; whoever is of the domain is asked, and no more."""
    async with registrar.serving():
        await desk.onboard(registrar)
    stranger = StubRegistrar(OTHER)
    moved, further = StubRegistrar(WORLD), StubRegistrar(WORLD)
    async with stranger.serving(), moved.serving(), further.serving():
        found = Found(stranger, moved, further)
        outcome = await desk.renew(discovery=found)
        moved.script("simplereenroll", Answer(status=403))
        refused = await desk.renew(discovery=found, registrar=moved.origin)
    assert (outcome.code, outcome.registrar) == ("renewed", moved.origin)
    assert refused.code == "refused"
    assert stranger.heard == further.heard == []
    assert desk.slept
    assert all(3 <= pause <= 5 for pause in desk.slept)
    kept = desk.keystore.load().enrollment
    assert kept is not None
    assert kept.origin == moved.origin


async def test_a_registrar_that_nobody_finds(desk: Desk, registrar: StubRegistrar) -> None:
    """The former LDevID stays, and trying again may help."""
    async with registrar.serving():
        await desk.onboard(registrar)
    former = ldevid(desk)
    assert (await desk.renew(discovery=Found())).result is Result.RETRY
    assert ldevid(desk) == former


async def test_a_report_that_failed_is_made_at_the_next_start(
    desk: Desk, enrolled: StubRegistrar
) -> None:
    """The new LDevID is kept, and onboard finds it not reported."""
    enrolled.script("enrollstatus", Answer(status=503))
    assert (await desk.renew()).code == "renewed-unreported"
    assert desk.keystore.load().phase is Phase.UNREPORTED
    enrolled.heard.clear()
    assert (await desk.onboard(enrolled)).reported
    assert enrolled.paths() == ["enrollstatus"]


async def test_there_must_be_something_to_renew(desk: Desk) -> None:
    """In the factory state it is misuse, and nothing leaves the device."""
    with pytest.raises(StateError, match="no LDevID"):
        await desk.renew()


async def test_an_expired_ldevid_is_the_registrars_to_judge(
    desk: Desk, enrolled: StubRegistrar
) -> None:
    """The device shows what it has; it does not know what the registrar's clock says."""
    desk.clock = None
    assert (await desk.renew()).code == "renewed"
