"""What a profile announces, in each form, is what a device then asks for and what is granted."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509

from brski.edge.settings import read_settings
from brski.errors import CSRMismatch
from brski.est.csr import build_csr
from brski.est.csr_attributes import Announcement, decode_csr_attributes
from device_client.pledge.csr_contents import csr_contents
from registrar_plugin.enrollment.profile import EnrollmentProfile
from registrar_plugin.est_server.opening import profile_of
from registrar_plugin.est_server.profile_settings import ESTProfileSettings
from tests.kit import pki
from tests.kit.world import make_world


def profile(form: Announcement) -> EnrollmentProfile:
    table = {"csrattrs": form.value, "keys": ["P-384"]}
    return profile_of(read_settings(table, ESTProfileSettings, source=Path("registrar.toml")))


@pytest.mark.requirement("REG-28", "ESTS-13", "ESTS-16", "PL-29")
@pytest.mark.parametrize(
    "form", [Announcement.LIST, Announcement.TEMPLATE, Announcement.BOTH], ids=str
)
async def test_a_device_follows_either_form(tmp_path: Path, form: Announcement) -> None:
    """It makes the key that is announced, and gets its LDevID; another key gets none."""
    async with make_world(tmp_path, profile=profile(form)) as world:
        device = world.make_device()
        await world.voucher(device)
        await world.accept(device)
        announced = world.enrolling.csr_attributes()
        assert announced is not None
        contents = csr_contents(
            decode_csr_attributes(announced).requirements,
            serial_number=device.serial_number,
            idevid_issuer=device.issuer,
        )
        assert contents.key.curve == "1.3.132.0.34"
        with pytest.raises(CSRMismatch):
            await world.enroll(device)
        key = pki.KeySigner(pki.make_key("P-384"))
        csr = build_csr(key, contents.subject, extensions=contents.extensions)
        assert isinstance(await world.enroll(device, csr=csr), x509.Certificate)


async def test_who_is_told_nothing_is_held_to_the_same(tmp_path: Path) -> None:
    """A profile that announces nothing still refuses what it does not issue."""
    async with make_world(tmp_path, profile=profile(Announcement.NONE)) as world:
        device = world.make_device()
        await world.voucher(device)
        await world.accept(device)
        assert world.enrolling.csr_attributes() is None
        with pytest.raises(CSRMismatch, match=r"1\.3\.132\.0\.34"):
            await world.enroll(device)
