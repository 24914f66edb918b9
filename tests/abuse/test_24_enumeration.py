"""Abuse case 24: a registrar tries out serial numbers, claims in great number, guesses passwords.

After a few refusals it is not heard at all (429 with Retry-After), for what it would get neither;
others are heard as before. Nobody but an owner of now or of old sees a log, or a domainID in it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from brski.errors import OnboardingError
from brski.rates import Rate
from brski.registry import BRSKI_ROOT, REQUEST_AUDIT_LOG, REQUEST_VOUCHER
from brski.voucher.yang_types import encode_nonce
from masa_stub.app import registrar_rates
from masa_stub.passwords import Account, Passwords
from masa_stub.rates import RegistrarRates
from masa_stub.settings import RatesSettings
from tests.integration.test_masa_site import basic
from tests.kit import pki
from tests.kit.masa_desk import CUSTOMER, STRANGER, desk
from tests.kit.masa_site import masa_site

AUDIT_LOG = BRSKI_ROOT + REQUEST_AUDIT_LOG
PASSWORD = b"correct horse"
PASSWORDS = Passwords({"owner": Account(customer=CUSTOMER.name, password=PASSWORD)})


@pytest.mark.parametrize("path", [BRSKI_ROOT + REQUEST_VOUCHER, AUDIT_LOG])
async def test_serial_numbers_are_not_tried_out(tmp_path: Path, path: str) -> None:
    """After a few wrong ones nothing is told any more, of right ones neither."""
    rates = RegistrarRates(
        lambda: 0.0, requests=Rate(per_s=1, burst=100), refusals=Rate(per_s=0.01, burst=3)
    )
    async with (
        desk(tmp_path, rates=rates) as masa,
        masa_site(masa.world.wire.masa, tmp_path) as site,
    ):
        await masa.world.sell(masa.device, CUSTOMER.name)
        await masa.voucher()
        unknown = [masa.world.make_device(f"SN-9{n}", listed=False) for n in range(3)]
        statuses = [(await site.post(masa.request(device=d), path=path)).status for d in unknown]
        assert statuses == [404, 404, 404]
        answer = await site.post(masa.request(), path=path)
        assert (answer.status, answer.media_type) == (429, "text/plain")
        assert answer.fields["retry-after"] == "100"
        refusals = await masa.world.masa_store.last_refusals(10)
        assert all(refusal.code != "too-many-requests" for refusal in refusals)


@pytest.mark.requirement("SEC-5")
async def test_claims_in_great_number_are_slowed(tmp_path: Path) -> None:
    """From one address, under however many domains."""
    rates = RegistrarRates(
        lambda: 0.0, requests=Rate(per_s=0.5, burst=3), refusals=Rate(per_s=1, burst=100)
    )
    async with (
        desk(tmp_path, rates=rates, allow_logged=True) as masa,
        masa_site(masa.world.wire.masa, tmp_path) as site,
    ):
        claimants = [pki.make_registrar(pki.make_root(f"Claimant {n}")) for n in range(4)]
        nonce = encode_nonce(bytes(16))
        answers = [await site.post(masa.request(by=by, nonce=nonce)) for by in claimants]
        assert [answer.status for answer in answers] == [200, 200, 200, 429]
        assert answers[-1].fields["retry-after"] == "2"


async def test_passwords_are_not_tried_out(tmp_path: Path) -> None:
    """A few wrong ones, and the right one is not heard either."""
    rates = RegistrarRates(
        lambda: 0.0, requests=Rate(per_s=1, burst=100), refusals=Rate(per_s=0.01, burst=3)
    )
    async with (
        desk(tmp_path, rates=rates) as masa,
        masa_site(masa.world.wire.masa, tmp_path, passwords=PASSWORDS) as site,
    ):
        await masa.world.sell(masa.device, CUSTOMER.name)
        tried = [basic("owner", password) for password in (b"1", b"2", b"3", PASSWORD)]
        answers = [await site.post(masa.request(), fields=fields) for fields in tried]
        assert [answer.status for answer in answers] == [401, 401, 401, 429]


async def test_by_default_a_hundred_guesses_are_all(tmp_path: Path) -> None:
    """And one more every two seconds; the owner elsewhere does not notice.

    Both ask from one address here, so that the domain's budget is looked at without it.
    """
    rates = registrar_rates(RatesSettings(refusals_per_s=0.5))
    async with desk(tmp_path, rates=rates) as masa:
        await masa.world.sell(masa.device, CUSTOMER.name)
        codes = []
        for number in range(102):
            unknown = masa.world.make_device(f"SN-9{number}", listed=False)
            with pytest.raises(OnboardingError) as refused:
                await masa.voucher(by=STRANGER, device=unknown)
            codes.append(refused.value.code)
        assert codes[:100] == ["device-unknown"] * 100
        assert codes[-1] == "too-many-requests"
        await masa.voucher()
