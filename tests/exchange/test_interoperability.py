"""Devices that speak as the published samples do: taken with the switch, refused without."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from brski.edge.settings import Settings, load_settings
from brski.errors import Malformed, OnboardingError, SettingsError, UnknownFormat
from brski.pki import der
from brski.pki.keys import certificate_der
from brski.registry import VOUCHER_CMS_JSON
from brski.voucher.cms import CMS
from brski.voucher.interoperability import Interoperability
from brski.voucher.model import Assertion, VoucherRequest
from brski.voucher.yang_json import encode_voucher_request
from device_client.settings import PledgeSettings
from masa_stub.settings import MASASettings
from registrar_plugin.registrar import VoucherAnswer
from registrar_plugin.settings import RegistrarSettings
from tests.kit import pki
from tests.kit.voucher import (
    DATA,
    JSON_VOUCHER,
    LENIENT,
    cms,
    content_type_attribute,
    digest_attribute,
    explicit_octets,
    signer_info,
)
from tests.kit.world import Device, World, make_world

STRICT_NONCE: Final = "+/XE9zK9q8Ll1qylMtLKeg=="
SAMPLE_NONCE: Final = "-_XE9zK9q8Ll1qylMtLKeg"  # RFC 8995 Appendix C


def request_of(
    world: World,
    device: Device,
    *,
    nonce: str = STRICT_NONCE,
    content_type: bytes = JSON_VOUCHER,
    version: int = 3,
) -> bytes:
    """A request that is right but for what is asked otherwise."""
    payload = encode_voucher_request(
        VoucherRequest(
            serial_number=device.serial_number,
            assertion=Assertion.PROXIMITY,
            nonce=nonce,
            proximity_registrar_cert=certificate_der(world.registrar_entity.certificate),
        )
    )
    signer = pki.KeySigner(device.entity.private_key, device.shown)
    attributes = (content_type_attribute(content_type), digest_attribute(payload))
    return cms(
        signer_info(signer, payload, attributes=attributes),
        content=explicit_octets(payload),
        content_type=content_type,
        version=version,
        certificates=der.encode(0xA0, *map(certificate_der, device.shown)),
    )


DEVIATIONS: Final = [
    ({"content_type": DATA}, UnknownFormat, "eContentType"),
    ({"version": 1}, UnknownFormat, "CMSVersion"),
    ({"nonce": SAMPLE_NONCE}, Malformed, "nonce"),
    ({"nonce": STRICT_NONCE.rstrip("=")}, Malformed, "nonce"),
    ({"content_type": DATA, "version": 1, "nonce": SAMPLE_NONCE}, UnknownFormat, "eContentType"),
]


@pytest.mark.requirement("CMS-3", "CMS-9", "VR-2", "VR-19")
@pytest.mark.parametrize(("deviation", "error", "reason"), DEVIATIONS)
async def test_each_deviation_needs_the_switch(
    tmp_path: Path, deviation: dict[str, object], error: type[OnboardingError], reason: str
) -> None:
    """The nonce comes back as it was spelt; without the switch each is refused for its reason."""
    async with make_world(tmp_path, serialization=LENIENT) as world:
        device = world.make_device()
        body = request_of(world, device, **deviation)  # type: ignore[arg-type]  # its knobs
        connection = world.connection(device.shown)
        answer = await world.registrar.request_voucher(body, VOUCHER_CMS_JSON, connection)
        assert isinstance(answer, VoucherAnswer)
        voucher = CMS.open(answer.body)  # what is written stays strict
        assert voucher.payload.count(str(deviation.get("nonce", STRICT_NONCE)).encode()) == 1
    (tmp_path / "strict").mkdir()
    async with make_world(tmp_path / "strict") as world:
        device = world.make_device()
        connection = world.connection(device.shown)
        body = request_of(world, device, **deviation)  # type: ignore[arg-type]  # its knobs
        with pytest.raises(error, match=reason):
            await world.registrar.request_voucher(body, VOUCHER_CMS_JSON, connection)
        right = request_of(world, device)
        await world.registrar.request_voucher(right, VOUCHER_CMS_JSON, connection)


PROGRAMS: Final[list[tuple[type[Settings], str]]] = [
    (
        RegistrarSettings,
        """
        [registrar]
        key = "a"
        chain = "a"
        [ca]
        kind = "embedded"
        [[manufacturer]]
        name = "acme"
        anchors = "a"
        """,
    ),
    (MASASettings, '[tls]\nkey = "a"\nchain = "a"'),
    (PledgeSettings, '[identity]\nkind = "fuse"'),
]


@pytest.mark.requirement("CMS-3")
@pytest.mark.parametrize(("model", "rest"), PROGRAMS)
def test_every_program_has_the_switch_and_it_is_off(
    tmp_path: Path, model: type[Settings], rest: str
) -> None:
    """By name; another name is a fault of the file."""
    path = tmp_path / "settings.toml"
    (tmp_path / "a").touch()
    path.write_text(rest)
    assert vars(load_settings(path, model))["interoperability"] is Interoperability.STRICT
    path.write_text('interoperability = "published-samples"\n' + rest)
    chosen = vars(load_settings(path, model))["interoperability"]
    assert chosen is Interoperability.PUBLISHED_SAMPLES
    path.write_text("interoperability = true\n" + rest)
    with pytest.raises(SettingsError, match="interoperability"):
        load_settings(path, model)
