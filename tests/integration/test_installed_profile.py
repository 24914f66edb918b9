"""A derivation profile of another distribution: every process that needs it finds it.

The distribution is a folder on the path with the metadata that pip would have written.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.kit import factory

PROGRAMS = Path(sys.executable).parent
CHIP = "c0ffee01"
SEED = bytes(range(32))
MODULE = '''
import hashlib
from cryptography.hazmat.primitives.asymmetric import ec


class Profile:
    """d is SHA-256 of name, chip id and seed, as nobody should do it."""

    name = "acme-p256"
    least_seed_octets = 32
    most_seed_octets = 32

    def derive(self, seed, chip_id):
        d = int.from_bytes(self.steps(seed, chip_id)["d"], "big")
        return ec.derive_private_key(d, ec.SECP256R1())

    def steps(self, seed, chip_id):
        return {"d": hashlib.sha256(b"acme" + chip_id + seed.octets).digest()}


ACME = Profile()
'''


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    site = tmp_path / "site"
    metadata = site / "acme_profiles-1.0.dist-info"
    metadata.mkdir(parents=True)
    (site / "acme_profiles.py").write_text(MODULE)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-profiles\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[brski.derivation_profile]\nacme-p256 = acme_profiles:ACME\n"
        "hmac-drbg-p256 = acme_profiles:ACME\n"
    )
    return os.environ | {"PYTHONPATH": str(site)}


def run(program: str, *arguments: object, env: dict[str, str], given: bytes = b"") -> bytes:
    command = [f"{PROGRAMS / program}", *map(str, arguments)]
    return subprocess.run(command, input=given, env=env, capture_output=True, check=True).stdout


def derived(name: str, env: dict[str, str]) -> str:
    options = ("derive", "--profile", name, "--chip-id", CHIP, "--json")
    digest: str = json.loads(run("brski-lab", *options, env=env, given=SEED))["spki_sha256"]
    return digest


def test_the_lab_derives_with_it_and_not_with_its_other_claim(
    environment: dict[str, str],
) -> None:
    """Its own name is found; the name of a profile of ours, which it claims too, is not its."""
    plain = dict(os.environ)
    assert derived("acme-p256", environment) != derived("hmac-drbg-p256", environment)
    assert derived("hmac-drbg-p256", environment) == derived("hmac-drbg-p256", plain)
    with pytest.raises(subprocess.CalledProcessError) as caught:
        derived("acme-p256", plain)
    assert caught.value.returncode == 1
    assert b"derivation profile 'acme-p256' is not known" in caught.value.stderr


def test_vendor_and_factory_work_with_it(tmp_path: Path, environment: dict[str, str]) -> None:
    """Mint, intake and make, each with its workers; the certificate is for the profile's key."""
    kit = factory.found(tmp_path / "oem", levels=2)
    chips, batch = tmp_path / "chips", tmp_path / "batch"
    run(
        *("brski-lab", "mint", "--count", 1, "--key", kit.folder / "vendor.key"),
        *("--recipient", kit.folder / "recipient.pub", "--chips", chips, "--out", batch),
        *("--vendor", "vendor", "--product", "sensor", "--profile", "acme-p256"),
        env=environment,
    )
    (chip,) = chips.glob("*.chip")
    chip_id = bytes.fromhex(chip.stem)
    built = kit.build_list([(chip_id, "SN-1")])
    run("brski-oem", "factory", "intake", batch, "-s", kit.settings, env=environment)
    run(
        *("brski-oem", "factory", "make", built, "-o", kit.folder / "bundle", "-s", kit.settings),
        env=environment,
    )
    (record,) = kit.records()
    d = hashlib.sha256(b"acme" + chip_id + chip.read_bytes()).digest()
    point = ec.derive_private_key(int.from_bytes(d, "big"), ec.SECP256R1()).public_key()
    assert record.derivation_profile == "acme-p256"
    assert record.spki.endswith(point.public_numbers().y.to_bytes(32, "big"))
