"""Devices of every derivation profile against all the real programs: seed batch to LDevID, by TLS.

Vendor, factory, database, MASA and registrar are processes of their own; the devices are in
process, with fuse files. Each profile has a seed batch of its own, all in one build list.
"""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa

from brski.idevid.record import Presentation
from brski.pki.keys import parse_certificate, public_key_of_certificate
from brski.seed.profiles import NAMES
from brski.voucher.cms import CMS
from brski_lab.building import Ordered
from brski_lab.children import Children
from brski_lab.stage import Stage, set_stage
from brski_lab.vendor import Batch
from device_client.cli import main
from device_client.identity.from_seed import SeedIdentity, load_fuse
from device_client.outcome import Outcome
from device_client.pledge.states import Result
from tests.kit.staged import join

KINDS = {
    "p256": ec.EllipticCurvePublicKey,
    "p384": ec.EllipticCurvePublicKey,
    "ed25519": ed25519.Ed25519PublicKey,
    "ml-dsa-44": mldsa.MLDSA44PublicKey,
    "ml-dsa-65": mldsa.MLDSA65PublicKey,
    "ml-dsa-87": mldsa.MLDSA87PublicKey,
}
ORDERED = [
    Ordered(
        serial_number=f"SN-{2 * number + index:04X}",
        presentation=presentation,
        batch=Batch(name=f"batch-{name}", profile=name),
    )
    for number, name in enumerate(NAMES)
    for index, presentation in enumerate((Presentation.CARRIED, Presentation.ASSERTED))
]


def check(stage: Stage, device: Ordered, outcome: Outcome) -> None:
    """It enrolled, with a key of its profile's algorithm in TLS and under its voucher-request."""
    name = device.batch.profile
    assert outcome.result is Result.ENROLLED, f"{name}: {outcome.reason}"
    fuse = load_fuse(stage.fuse_path(device.serial_number))
    assert fuse.derivation_profile == name
    shown = public_key_of_certificate(SeedIdentity(fuse).client_chain[0])
    (kind,) = (kind for suffix, kind in KINDS.items() if name.endswith(suffix))
    assert isinstance(shown, kind)
    CMS.open(outcome.artifacts.pledge_voucher_request).verify(shown)
    assert parse_certificate(outcome.artifacts.ldevid_chain[0]).public_key() != shown


@pytest.mark.slow
@pytest.mark.requirement("E2E-1", "E2E-9", "OEM-8")
async def test_devices_of_every_profile_enroll(tmp_path: Path) -> None:
    """Of each profile one carries its certificate, and one asserts its serial number."""
    async with Children(tmp_path / "logs") as children:
        stage = await set_stage(tmp_path, children, ORDERED)
        for device in ORDERED:
            check(stage, device, await join(stage, device.serial_number))
        await compare_samples(stage, children)


async def compare_samples(stage: Stage, children: Children) -> None:
    """The factory's self-test: each device's own line, against factory and database."""
    samples = stage.folder / "samples.txt"
    samples.write_text("".join(sample_of(stage, device) for device in ORDERED))
    factory = ("-s", stage.folder / "oem" / "factory.toml")
    for where in (factory, ("--database", stage.folder / "devices.db")):
        answer = await children.run("brski-oem", "check-samples", samples, *where, "--json")
        told = json.loads(answer)
        assert (told["samples"], told["matching"], told["unknown"]) == (26, 26, [])
        assert [batch["profile"] for batch in told["batches"]] == list(NAMES)


def sample_of(stage: Stage, device: Ordered) -> str:
    """What ``brski-pledge sample`` prints on the device."""
    settings = stage.folder / f"{device.serial_number}.toml"
    fuse = json.dumps(str(stage.fuse_path(device.serial_number)))
    settings.write_text(
        f'registrars = ["https://127.0.0.1:1"]\n[identity]\nkind = "fuse"\nfile = {fuse}\n'
    )
    out = io.StringIO()
    with redirect_stdout(out):
        assert main(["sample", "-s", str(settings)]) == 0
    return out.getvalue()
