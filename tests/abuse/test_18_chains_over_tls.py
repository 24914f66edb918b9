"""Abuse case 18: what a peer shows in TLS is a wrong chain, and the others are served on.

At the registrar a device, at the pledge a registrar and a voucher, at the MASA a registrar's
request. What the cases are, one by one, is in test_18_chains; here it is one of each kind.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brski import registry
from brski.edge.signers.file import write_chain
from brski.pki import chain
from brski.voucher.cms import CMS
from brski.voucher.model import Assertion
from brski.voucher.yang_json import decode_voucher_request
from brski.voucher.yang_types import encode_nonce
from device_client.pledge.states import Answer, Phase, Result
from registrar_plugin.telemetry.events import Outcome
from tests.abuse.test_18_chains import BAD_CAS
from tests.integration.pledge_desk import WORLD, Desk
from tests.kit import pki
from tests.kit.masa_desk import desk as masa_desk
from tests.kit.masa_site import masa_site
from tests.kit.stub_registrar import StubRegistrar
from tests.kit.wired import Wired, wired
from tests.kit.world import Device
from tests.limbo.idevid_cases import root
from tests.unit.pki.bad_chains import ISSUER_AT, POLICY_WANTED

BELOW = BAD_CAS | {"policy constraints": {"extra": [(POLICY_WANTED, False)]}}
SHOWABLE = {name: knobs for name, knobs in BELOW.items() if name != "weak key"}  # OpenSSL won't
LEAVES: dict[str, dict[str, Any]] = {
    "unknown critical extension": BAD_CAS["unknown critical extension"],
    "critical authority information access": {"extra": [(ISSUER_AT, True)]},
    "keyCertSign": {"key_usage": pki.CA_KEY_USAGE},
    "not yet valid": {"not_before": pki.AFTER},
}


def _below_a_bad_ca(name: str) -> Callable[[pki.Entity], tuple[pki.Entity, dict[str, Any]]]:
    return lambda oem: (pki.make_ca("Sub", oem, **{"not_after": pki.NEVER} | BELOW[name]), {})


def _bad_leaf(name: str) -> Callable[[pki.Entity], tuple[pki.Entity, dict[str, Any]]]:
    return lambda oem: (pki.make_ca("Sub", oem, not_after=pki.NEVER), LEAVES[name])


def _too_long(oem: pki.Entity) -> tuple[pki.Entity, dict[str, Any]]:
    """One more than stand in a path, and as many as a handshake may bring."""
    for level in range(chain.INTERMEDIATES_LIMIT + 1):
        oem = pki.make_ca(f"CA {level}", oem, not_after=pki.NEVER)
    return oem, {}


def _in_circles(oem: pki.Entity) -> tuple[pki.Entity, dict[str, Any]]:
    """Two CAs that certified each other, and no root of anybody's."""
    one, two = root("One", "1"), root("Two", "2")
    two_by_one = pki.make_ca("Two", one, key=two.private_key, not_after=pki.NEVER)
    return pki.make_ca("One", two_by_one, key=one.private_key, not_after=pki.NEVER), {}


def _below_a_device(oem: pki.Entity) -> tuple[pki.Entity, dict[str, Any]]:
    """Whoever has a device's key makes more of them."""
    return pki.make_idevid(oem, "SN-9"), {}


SHOWN = {
    **{f"CA: {name}": _below_a_bad_ca(name) for name in SHOWABLE},
    **{f"device: {name}": _bad_leaf(name) for name in LEAVES},
    "too long": _too_long,
    "in circles": _in_circles,
    "below a device": _below_a_device,
}


async def _refused(wire: Wired, device: Device) -> list[str]:
    """*device* gets no voucher and the MASA is not asked; what the journal says of it."""
    assert (await wire.voucher(device)).status == 403
    assert wire.asked == []
    return [event.code for event in await wire.events() if event.outcome is Outcome.REFUSED]


@pytest.mark.requirement("REG-1", "SEC-10")
@pytest.mark.parametrize("kind", ["P-256", "Ed25519"])  # the library's verifier; our own walk
@pytest.mark.parametrize("name", SHOWN)
async def test_device_at_the_registrar(tmp_path: Path, name: str, kind: str) -> None:
    """403 and on record; the manufacturer's good device is let in before and after."""
    oem = pki.make_root("Example OEM Root CA", kind=kind, not_after=pki.NEVER)
    async with wired(tmp_path, oem=oem) as wire, wire.serving():
        issuer, knobs = SHOWN[name](oem)
        bad = wire.world.make_device("SN-2", issuer=issuer, **knobs)
        assert await _refused(wire, bad) == ["chain-invalid"]
        good = pki.make_ca("Sub", oem, not_after=pki.NEVER)
        await wire.onboard(wire.world.make_device("SN-1", issuer=good))
        assert (await wire.voucher(bad)).status == 403


@pytest.mark.requirement("SEC-10")
async def test_device_of_no_root_among_many_of_one_name(tmp_path: Path) -> None:
    """Two hundred namesakes are trusted, and nothing tells which one it may be."""
    bare: dict[str, Any] = {"ski": False, "aki": False}
    oem = root(label="genuine", **bare)
    async with wired(tmp_path, oem=oem) as wire:
        roots = [root(label=f"namesake {i}", **bare).certificate for i in range(200)]
        write_chain(tmp_path / "oem-root.pem", [oem.certificate, *roots])
        async with wire.serving():
            forger = root(label="forger", **bare)
            device = wire.world.make_device("SN-2", issuer=forger, aki=False)
            assert await _refused(wire, device) == ["chain-invalid"]
            genuine = pki.make_ca("Sub", oem, not_after=pki.NEVER, aki=False)
            await wire.onboard(wire.world.make_device("SN-1", issuer=genuine))


@pytest.mark.requirement("PL-26", "SEC-10")
@pytest.mark.parametrize("name", ["sound", *SHOWABLE])
async def test_registrar_at_the_pledge(tmp_path: Path, name: str) -> None:
    """The voucher pins the root above it; nothing is asked of a registrar that is not below."""
    ca = pki.make_ca("Owner's Sub CA", WORLD.owner_root, **BELOW.get(name, {}))
    registrar = StubRegistrar(WORLD, certificate=pki.make_registrar(ca))
    desk = Desk(tmp_path)
    async with registrar.serving():
        outcome = await desk.onboard(registrar)
    _compare(name, desk, registrar, outcome.result)


@pytest.mark.requirement("PL-16", "SEC-10")
@pytest.mark.parametrize("name", ["sound", *BELOW])
async def test_voucher_at_the_pledge(tmp_path: Path, name: str) -> None:
    """Its signer stands under the device's anchor, below a CA that is none."""
    masa = pki.make_masa_signer(pki.make_ca("MASA CA", WORLD.masa_root, **BELOW.get(name, {})))
    registrar, desk = StubRegistrar(WORLD), Desk(tmp_path)

    def signed(body: bytes) -> Answer:
        request = decode_voucher_request(CMS.open(body).payload)
        voucher = WORLD.signed(WORLD.voucher_for(request), masa)
        return Answer(status=200, body=voucher, media_type=registry.VOUCHER_CMS_JSON)

    registrar.script("requestvoucher", signed)
    async with registrar.serving():
        outcome = await desk.onboard(registrar)
    _compare(name, desk, registrar, outcome.result)


def _compare(name: str, desk: Desk, registrar: StubRegistrar, result: Result) -> None:
    if name == "sound":
        assert result is Result.ENROLLED
        return
    assert result is Result.REFUSED
    assert "simpleenroll" not in registrar.paths()
    assert desk.keystore.load().phase is Phase.FACTORY


@pytest.mark.requirement("MASA-2", "SEC-10")
@pytest.mark.parametrize("name", ["sound", *BELOW])
async def test_registrar_at_the_masa(tmp_path: Path, name: str) -> None:
    """Its own root does not help it: the CA between is none: 403, and no voucher."""
    owner = pki.make_root("Owner", not_after=pki.NOT_AFTER)
    by = pki.make_registrar(pki.make_ca("Sub", owner, **BELOW.get(name, {})))
    nonce = bytes(range(16))
    async with masa_desk(tmp_path) as masa, masa_site(masa.world.wire.masa, tmp_path) as site:
        leaves: dict[str, Any] = {
            "nonce": encode_nonce(nonce),
            "assertion": Assertion.PROXIMITY,
            "prior_signed_voucher_request": masa.device.request(by.certificate, nonce=nonce),
        }
        reply = await site.post(masa.request(by=by, **leaves))
        assert reply.status == (200 if name == "sound" else 403)
