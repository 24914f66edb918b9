"""Devices of other algorithms against all the real programs: seed batch to LDevID, over TLS.

Vendor, factory, database, MASA and registrar are processes of their own; the device is in process.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa

from brski.idevid.record import Presentation
from brski.pki.keys import parse_certificate
from brski.voucher.cms import CMS
from brski_lab.children import Children
from brski_lab.stage import Ordered, Stage, set_stage
from brski_lab.vendor import Batch
from device_client.identity.from_seed import SeedIdentity, load_fuse
from device_client.keystore.files import FileKeystore
from device_client.onboard import Outcome, onboard
from device_client.pledge.origin import Origin
from device_client.pledge.states import Result

ASSERTING, CARRYING = "SN-0001", "SN-0002"
KINDS = {
    "hmac-drbg-p384": ec.EllipticCurvePublicKey,
    "ed25519": ed25519.Ed25519PublicKey,
    "ml-dsa-44": mldsa.MLDSA44PublicKey,
    "open-dice-ml-dsa-87": mldsa.MLDSA87PublicKey,
}


async def join(stage: Stage, serial_number: str) -> Outcome:
    return await onboard(
        SeedIdentity(load_fuse(stage.fuse_path(serial_number))),
        [Origin(host="127.0.0.1", port=stage.registrar_port)],
        FileKeystore(stage.keystore_path(serial_number)),
    )


@pytest.mark.slow
@pytest.mark.requirement("E2E-1", "E2E-9", "OEM-8")
@pytest.mark.parametrize("name", KINDS)
async def test_devices_enroll_under_keys_of_every_algorithm(tmp_path: Path, name: str) -> None:
    """One asserts its serial number, one carries its certificate; TLS is proven with that key."""
    batch = Batch(name="batch-1", profile=name)
    ordered = [
        Ordered(serial_number=ASSERTING, presentation=Presentation.ASSERTED, batch=batch),
        Ordered(serial_number=CARRYING, presentation=Presentation.CARRIED, batch=batch),
    ]
    async with Children(tmp_path / "logs") as children:
        stage = await set_stage(tmp_path, children, ordered)
        for serial_number in (ASSERTING, CARRYING):
            outcome = await join(stage, serial_number)
            assert (outcome.result, outcome.reason) == (Result.ENROLLED, outcome.reason)
            fuse = load_fuse(stage.fuse_path(serial_number))
            assert fuse.derivation_profile == name
            shown = SeedIdentity(fuse).client_chain[0].public_key()
            assert isinstance(shown, KINDS[name])
            CMS.open(outcome.artifacts.pledge_voucher_request).verify(shown)
            ldevid = parse_certificate(outcome.artifacts.ldevid_chain[0])
            assert ldevid.public_key() != shown
