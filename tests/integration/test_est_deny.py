"""Default deny: without credentials every EST route answers 4xx, but for the two that are public.

A server of the field once checked its clients on the routes that it remembered; here the table is
made of the routes that there are.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from brski import registry
from brski.est.transfer import encode_base64
from registrar_plugin.ca_backend.embedded import EmbeddedCA
from registrar_plugin.enrollment.profile import EnrollmentProfile
from registrar_plugin.est_server.profile_settings import OPERATIONS
from registrar_plugin.pledge_facing import est
from tests.kit import pki
from tests.kit.accounts import written
from tests.kit.world import make_world
from tests.kit.world_site import est_site

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "NONSENSE")
PUBLIC = {(method, path) for method in ("GET", "HEAD") for path in ("cacerts", "csrattrs")}
MEDIA_TYPES = (
    None,
    registry.PKCS10,
    "application/pkcs10; charset=utf-8",
    registry.PKCS7_MIME,
    registry.JSON,
    registry.CSR_ATTRIBUTES,
    "multipart/mixed; boundary=x",
    "text/plain",
)


def served() -> set[str]:
    """The last segments of every route there is."""
    paths = {route.path for route in est.routes if isinstance(route, web.RouteDef)}
    return {path.rpartition("/")[2] for path in paths}


def test_every_operation_is_known_as_one() -> None:
    """A route that is added without a name in this table would not be looked at below."""
    assert served() == OPERATIONS


@pytest.mark.requirement("REG-29", "ESTS-5", "ESTS-6", "ESTS-22")
@pytest.mark.parametrize(
    ("label", "by_password"), [("", False), ("/sensors", False), ("/sensors", True)]
)
async def test_without_credentials_nothing_is_done(
    tmp_path: Path, label: str, by_password: bool
) -> None:
    """Every route, method and content type, with a good request in the body; 401 only where a
    password would do.
    """
    owner = pki.make_pki("Sensor Owner", not_after=pki.NOT_AFTER)
    labelled = {EnrollmentProfile(label="sensors", server_keys=True): EmbeddedCA(owner.signer)}
    accounts = written(tmp_path) if by_password else None
    async with (
        make_world(tmp_path, labelled=labelled, accounts=accounts) as world,
        est_site(world, tmp_path) as site,
    ):
        device = world.make_device()
        await world.voucher(device)
        await world.accept(device)
        body = encode_base64(world.csr(device))
        answers = {}
        async with aiohttp.ClientSession() as session:
            for method, path, media_type in product(METHODS, sorted(served()), MEDIA_TYPES):
                headers = {} if media_type is None else {"Content-Type": media_type}
                async with session.request(
                    method, f"{site.est}{label}/{path}", data=body, headers=headers, ssl=False
                ) as answer:
                    answers[method, path, media_type] = answer.status
        let_in = {(method, path) for (method, path, _), s in answers.items() if s == 200}
        assert let_in == PUBLIC
        refused = {s for (m, p, _), s in answers.items() if (m, p) not in PUBLIC}
        assert refused <= {400, 403, 404, 405, 415} | ({401} if by_password else set())
        assert (401 in refused) is by_password
        assert await world.journal.active_certificate(device.key) is None


async def test_a_certificate_of_ones_own_is_no_credential(tmp_path: Path) -> None:
    """Self-signed with a name that belongs to a device: refused wherever a certificate is made."""
    async with make_world(tmp_path) as world, est_site(world, tmp_path) as site:
        device = world.make_device()
        await world.onboard(device)
        stranger = pki.make_idevid(pki.make_pki("Nobody"), device.serial_number)
        shown = site.credentials([stranger.certificate], stranger.private_key)
        body = encode_base64(world.csr(device))
        for path in ("/simpleenroll", "/simplereenroll"):
            assert (await site.post(path, body, *shown)).status == 403
