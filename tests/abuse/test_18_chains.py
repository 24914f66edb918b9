"""Abuse case 18: a chain that does not hold, or one that costs whoever looks at it.

Expired issuers, path lengths, no CA bit, unknown critical extensions, CAs that certify each other,
weak keys: refused by the registrar before it asks anybody, and by the pledge before it believes a
registrar or a voucher. A thousand roots of one name cost no more than ten signature verifications.
"""

from __future__ import annotations

import time
from typing import Any

import pytest
from cryptography import x509

from brski.errors import ChainInvalid, KeyNotAllowed, Malformed, PinMismatch
from brski.pki import effort
from brski.pki.chain import TrustAnchors, validate_to_pin
from device_client.pledge.judging import judge_voucher
from device_client.pledge.messages import build_voucher_request
from registrar_plugin.identity.model import VerifiedIDevID
from tests.kit import identity, pki
from tests.kit.device import World
from tests.limbo import surgery
from tests.limbo.deviations import expected
from tests.limbo.generate import IDEVID
from tests.limbo.idevid_cases import UNKNOWN, idevid, root
from tests.limbo.schema import LimboCase, load
from tests.limbo.verdicts import pem_octets, read

CASES = load(IDEVID)
# The registrar asks for clientAuth, too, of an IDevID that has usages.
GOOD = [case for case in CASES if case.succeeds and expected("ours", case)]
BAD = [case for case in CASES if case not in GOOD]
DOMAIN = World.make()
BAD_CAS: dict[str, dict[str, Any]] = {
    "expired": {"not_after": pki.BEFORE, "not_before": pki.BEFORE.replace(year=2022)},
    "no CA": {"basic_constraints": x509.BasicConstraints(ca=False, path_length=None)},
    "no keyCertSign": {"key_usage": pki.key_usage("crl_sign")},
    "unknown critical extension": {"extra": [(UNKNOWN, True)]},
    "weak key": {"key": pki.make_key("RSA-1024")},
}


async def _shows(case: LimboCase, **policy: Any) -> tuple[VerifiedIDevID | None, int]:
    """A device comes to a registrar that trusts the case's anchors; and who has been asked."""
    world = identity.World()
    maker = world.maker("A", anchors=TrustAnchors(read(case.trusted)), source=None, **policy)
    by = world.verifier(maker, now=case.at)
    octets = [pem_octets(pem) for pem in (case.peer, *case.intermediates)]
    try:
        request = world.request(surgery.fixed_key("device"), created_on=case.at)
        return await by.verify(octets, request), len(world.lookup.asked)
    except (ChainInvalid, KeyNotAllowed, Malformed):
        return None, len(world.lookup.asked)


@pytest.mark.requirement("REG-1", "SEC-10")
@pytest.mark.parametrize("case", BAD, ids=lambda case: case.id)
async def test_at_the_registrar(case: LimboCase) -> None:
    """The TLS key has signed the request, and its chain is not believed; nobody is asked."""
    assert await _shows(case) == (None, 0)


@pytest.mark.requirement("REG-1")
@pytest.mark.parametrize("case", GOOD, ids=lambda case: case.id)
async def test_its_neighbours_are_let_in(case: LimboCase) -> None:
    """What differs from these in one thing holds."""
    verified, _ = await _shows(case)
    assert verified is not None
    assert verified.device.serial_number == pki.SERIAL_NUMBER


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_at_the_pledge_as_a_registrar(case: LimboCase) -> None:
    """The voucher pins a root, and the registrar's chain does not lead there."""
    try:
        chain = read((case.peer, *case.intermediates))
        validate_to_pin(chain, read(case.trusted)[0], at=case.at)
    except (PinMismatch, Malformed):
        assert not expected("ours", case)
    else:
        assert expected("ours", case)


@pytest.mark.requirement("PL-16")
@pytest.mark.parametrize("name", ["sound", *BAD_CAS])
def test_at_the_pledge_as_a_masa(name: str) -> None:
    """The voucher's signer stands under the pledge's anchor, below a CA that is none."""
    ca = pki.make_ca("MASA CA", DOMAIN.masa_root, **BAD_CAS.get(name, {}))
    pledge = DOMAIN.pledge()
    request, _ = build_voucher_request(
        pledge,
        registrar_certificate=DOMAIN.registrar.certificate,
        nonce=bytes(16),
        created_on=pki.NOW,
    )
    octets = DOMAIN.signed(DOMAIN.voucher_for(request), pki.make_masa_signer(ca))
    given: dict[str, Any] = {
        "pledge": pledge,
        "request": request,
        "registrar_chain": DOMAIN.presented,
        "now": pki.NOW,
    }
    if name == "sound":
        assert judge_voucher(octets, **given).pin == DOMAIN.owner_root.certificate
        return
    with pytest.raises(ChainInvalid):
        judge_voucher(octets, **given)


@pytest.mark.requirement("SEC-10")
def test_a_thousand_roots_of_one_name() -> None:
    """No key identifier tells which one it is: four are tried, and no more."""
    bare: dict[str, Any] = {"ski": False, "aki": False}
    roots = [root(label=f"namesake {i}", **bare).certificate for i in range(1000)]
    anchors = TrustAnchors(roots)
    stray = idevid(root(label="forger", **bare), aki=False).certificate
    started = time.process_time()
    with effort.counted() as spent, pytest.raises(ChainInvalid):
        anchors.validate(stray, (), at=pki.NOW)
    assert spent.spent <= effort.VERIFICATIONS_LIMIT
    assert time.process_time() - started < 0.5  # ten times what it may, whatever else is running
