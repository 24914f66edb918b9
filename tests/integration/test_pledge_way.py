"""The pledge over real TLS: the whole way from the first connection to the LDevID."""

from __future__ import annotations

import base64

import pytest
from cryptography import x509

from brski import registry
from brski.edge.tls_engine import TLS_1_2, TLS_1_3
from brski.est.csr import parse_csr
from brski.idevid.record import Presentation
from brski.pki.keys import certificate_der, encode_spki, spki_of
from brski.voucher.cms import CMS
from brski.voucher.yang_json import decode_voucher_request
from device_client.pledge.states import (
    Result,
    StepName,
    StepStatus,
)
from tests.integration.pledge_desk import ALL, WORLD, Desk, desk, registrar
from tests.kit.stub_registrar import StubRegistrar

__all__ = ["desk", "registrar"]


@pytest.mark.requirement("E2E-1", "PL-2", "PL-5", "PL-9", "PL-29", "PL-30", "PL-31", "TLS-1")
@pytest.mark.parametrize("presentation", Presentation)
@pytest.mark.parametrize("maximum", [TLS_1_2, TLS_1_3], ids=["1.2", "1.3"])
async def test_a_device_enrolls(
    desk: Desk, registrar: StubRegistrar, presentation: Presentation, maximum: int
) -> None:
    """One connection under the IDevID to the end of enrollment, another under the LDevID."""
    desk.presentation = presentation
    async with registrar.serving(maximum=maximum):
        outcome = await desk.onboard(registrar)
    assert (outcome.result, outcome.code, outcome.reported) == (Result.ENROLLED, "enrolled", True)
    assert registrar.paths() == ALL
    first, *rest = (heard.connection for heard in registrar.heard)
    assert rest[:-1] == [first] * 4
    assert rest[-1] != first
    identity = WORLD.identity(presentation)
    assert registrar.heard[0].client_chain == identity.client_chain
    artifacts = outcome.artifacts
    assert certificate_der(registrar.heard[-1].client_chain[0]) == artifacts.ldevid_chain[0]
    assert [(s.name, s.status) for s in desk.steps] == [(n, StepStatus.OK) for n in StepName]
    assert all(step.ms >= 0 and step.registrar == registrar.origin for step in desk.steps)


async def test_artifacts_are_what_was_on_the_wire(desk: Desk, registrar: StubRegistrar) -> None:
    """Raw octets, and PEM of the same."""
    async with registrar.serving():
        artifacts = (await desk.onboard(registrar)).artifacts
    assert artifacts.pledge_voucher_request == registrar.heard[0].body
    request = decode_voucher_request(CMS.open(artifacts.pledge_voucher_request).payload)
    assert request.proximity_registrar_cert == artifacts.registrar_chain[0] == WORLD.registrar.der
    assert CMS.open(artifacts.voucher).certificates == (WORLD.masa.certificate,)
    assert artifacts.pinned_domain_cert == WORLD.owner_root.der
    assert base64.b64decode(registrar.heard[4].body) == artifacts.csr
    ldevid = x509.load_pem_x509_certificates(artifacts.ldevid_pem)
    assert tuple(map(certificate_der, ldevid)) == artifacts.ldevid_chain
    assert spki_of(ldevid[0]) == parse_csr(artifacts.csr).spki
    assert ldevid[1] == WORLD.owner.certificate
    assert artifacts.ca_certs == tuple(sorted(map(certificate_der, WORLD.owner.chain)))


@pytest.mark.requirement("TLS-4")
async def test_what_a_voucher_request_says(desk: Desk, registrar: StubRegistrar) -> None:
    """Path, types, and a body that is DER."""
    async with registrar.serving():
        await desk.onboard(registrar)
    heard = registrar.heard[0]
    assert heard.content_type == heard.accept == registry.VOUCHER_CMS_JSON
    assert heard.body.startswith(b"\x30")


async def test_the_idevid_key_signs_no_csr(desk: Desk, registrar: StubRegistrar) -> None:
    """The LDevID key is fresh, and another in another life of the same device."""
    keys = set()
    async with registrar.serving():
        for _ in range(2):
            outcome = await desk.onboard(registrar)
            keys.add(parse_csr(outcome.artifacts.csr).spki)
            desk.keystore.reset()
    assert len(keys) == 2
    assert encode_spki(WORLD.identity().signer().public_key) not in keys


@pytest.mark.requirement("PL-7", "OEM-13", "SEC-1")
async def test_every_attempt_has_its_nonce(desk: Desk, registrar: StubRegistrar) -> None:
    """Also after a factory reset of one and the same device."""
    async with registrar.serving():
        for _ in range(3):
            await desk.onboard(registrar)
            desk.keystore.reset()
    bodies = [h.body for h in registrar.heard if h.path == "requestvoucher"]
    nonces = {decode_voucher_request(CMS.open(body).payload).nonce for body in bodies}
    assert len(nonces) == 3


@pytest.mark.requirement("PL-11", "PL-22")
async def test_a_device_without_a_clock_enrolls(desk: Desk, registrar: StubRegistrar) -> None:
    """It says no time, and holds no date against anybody."""
    desk.clock = None
    async with registrar.serving():
        outcome = await desk.onboard(registrar)
    assert outcome.result is Result.ENROLLED
    signed = CMS.open(outcome.artifacts.pledge_voucher_request)
    assert signed.signing_time is None
    assert decode_voucher_request(signed.payload).created_on is None
