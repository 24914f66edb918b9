"""Abuse case 12: a registrar encloses another device's request, or an altered one.

403, no voucher, and written down as refused: serial numbers, nonces and the certificate that the
pledge saw must agree, and the signature must be of the key on the MASA's own record. Times need not
agree: a device's clock may be anything, and the nonce tells that it is of now.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from brski.voucher.model import Assertion
from brski.voucher.yang_types import encode_nonce
from tests.kit import pki
from tests.kit.masa_desk import REGISTRAR, STRANGER, Desk, desk
from tests.kit.masa_site import Site, masa_site
from tests.kit.world import Device

NONCE = bytes(range(16))


@dataclass(frozen=True)
class Asked:
    """What the device signed, and what the registrar says of it."""

    prior: bytes
    leaves: dict[str, object]


def request_of(device: Device, **changes: object) -> bytes:
    return device.request(REGISTRAR.certificate, nonce=NONCE, **changes)


def honest(masa: Desk) -> Asked:
    return Asked(request_of(masa.device), {})


def of_another_device(masa: Desk) -> Asked:
    return Asked(request_of(masa.world.make_device("SN-2")), {})


def names_another_device(masa: Desk) -> Asked:
    return Asked(request_of(masa.device, serial_number="SN-2"), {})


def signed_by_another_key(masa: Desk) -> Asked:
    return Asked(request_of(masa.world.make_device("SN-1", listed=False)), {})


def other_nonce(masa: Desk) -> Asked:
    return Asked(request_of(masa.device), {"nonce": encode_nonce(bytes(16))})


def no_nonce(masa: Desk) -> Asked:
    return Asked(request_of(masa.device), {"nonce": None})


def other_proximity(masa: Desk) -> Asked:
    seen = pki.make_registrar(pki.make_pki("Elsewhere", not_after=pki.NOT_AFTER))
    return Asked(masa.device.request(seen.certificate, nonce=NONCE), {})


def one_bit(masa: Desk) -> Asked:
    octets = bytearray(request_of(masa.device))
    octets[-1] ^= 1
    return Asked(bytes(octets), {})


def cut_off(masa: Desk) -> Asked:
    return Asked(request_of(masa.device)[:-1], {})


BAD: list[Callable[[Desk], Asked]] = [
    of_another_device,
    names_another_device,
    signed_by_another_key,
    other_nonce,
    no_nonce,
    other_proximity,
    one_bit,
    cut_off,
]


async def status_of(masa: Desk, site: Site, asked: Asked, by: pki.Entity = REGISTRAR) -> int:
    leaves = {
        "nonce": encode_nonce(NONCE),
        "assertion": Assertion.PROXIMITY,
        "prior_signed_voucher_request": asked.prior,
        **asked.leaves,
    }
    return (await site.post(masa.request(by=by, **leaves))).status  # type: ignore[arg-type]


@pytest.mark.parametrize("asserting", [False, True])
@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.__name__)
async def test_enclosed_request_that_is_not_this_devices(
    tmp_path: Path, bad: Callable[[Desk], Asked], asserting: bool
) -> None:
    """403 and a line in the book; the honest one of the same device gets its voucher."""
    async with (
        desk(tmp_path, asserting=asserting) as masa,
        masa_site(masa.world.wire.masa, tmp_path) as site,
    ):
        assert await status_of(masa, site, bad(masa)) == 403
        assert len(await masa.world.masa_store.last_refusals(10)) == 1
        assert await masa.world.masa_store.last(10) == ()
        assert await status_of(masa, site, honest(masa)) == 200


@pytest.mark.requirement("SEC-4")
async def test_another_registrar_with_a_request_that_was_made_for_us(tmp_path: Path) -> None:
    """Whoever has seen the device's request cannot use it under a key of his own."""
    async with desk(tmp_path) as masa, masa_site(masa.world.wire.masa, tmp_path) as site:
        assert await status_of(masa, site, honest(masa), by=STRANGER) == 403
