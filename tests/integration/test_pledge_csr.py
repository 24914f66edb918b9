"""The pledge over real TLS: what the registrar wants of the certificate request."""

from __future__ import annotations

import base64

import pytest

from brski import registry
from brski.edge.tls_engine import TLS_1_2, TLS_1_3
from brski.est.csr import parse_csr
from brski.est.csr_attributes import encode_csr_attributes
from brski.est.requirements import P384, CSRRequirements
from brski.est.transfer import encode_base64
from device_client.pledge.states import (
    Answer,
    Result,
)
from tests.integration.pledge_desk import Desk, desk, really, registrar
from tests.kit.stub_registrar import StubRegistrar

__all__ = ["desk", "registrar"]


@pytest.mark.requirement("ESTS-13", "ESTC-10")
@pytest.mark.parametrize("maximum", [TLS_1_2, TLS_1_3], ids=["1.2", "1.3"])
async def test_the_csr_follows_the_attributes(
    desk: Desk, registrar: StubRegistrar, maximum: int
) -> None:
    """A P-384 key, bound to this connection by the challengePassword."""
    wanted = CSRRequirements(keys=(P384,), challenge_password=True)
    body = encode_base64(encode_csr_attributes(wanted))
    registrar.script("csrattrs", Answer(status=200, body=body, media_type=registry.CSR_ATTRIBUTES))
    async with registrar.serving(maximum=maximum):
        outcome = await desk.onboard(registrar)
    assert outcome.result is Result.ENROLLED
    csr = parse_csr(outcome.artifacts.csr)
    wanted.check(csr)
    assert csr.challenge_password == base64.b64encode(registrar.heard[4].binding).decode()


@pytest.mark.requirement("ESTC-10")
async def test_a_bound_csr_is_not_carried_to_another_connection(
    desk: Desk, registrar: StubRegistrar
) -> None:
    """It proves the connection that it was made on; the next attempt makes another."""
    body = encode_base64(encode_csr_attributes(CSRRequirements(challenge_password=True)))
    attributes = Answer(status=200, body=body, media_type=registry.CSR_ATTRIBUTES)
    registrar.script("csrattrs", attributes, attributes)
    registrar.script("simpleenroll", Answer(status=202, retry_after_s=1))
    desk.sleep = really
    async with registrar.serving(keepalive_s=0.1):
        outcome = await desk.onboard(registrar, rounds=2, first_delay_s=0.1)
    assert outcome.result is Result.ENROLLED
    posts = [heard for heard in registrar.heard if heard.path == "simpleenroll"]
    assert len(posts) == 2
    assert posts[0].body != posts[1].body
