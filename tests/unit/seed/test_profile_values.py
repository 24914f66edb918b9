"""Every profile but the first: committed values, published values, and other implementations."""

from __future__ import annotations

import hashlib
import json
import secrets
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from brski.errors import Malformed
from brski.pki.keys import encode_spki
from brski.seed.profiles import NAMES, DevicePrivateKey, ScalarProfile, profile
from brski.seed.raw_key import ED25519, ML_DSA_44, ML_DSA_65, ML_DSA_87
from brski.seed.secret import Seed
from tests.kit.known_answers import mldsa_known_answers
from tests.kit.programs import require_program
from tests.unit.seed.openssl_derivation import OpenSSL

DATA = Path(__file__).parent / "data"
PAGE = Path(__file__).parents[3] / "docs" / "derivation.md"
VALUES: dict[str, list[dict[str, str]]] = json.loads((DATA / "profiles.json").read_text())
CASES = [
    pytest.param(name, case, id=f"{name}, {case['case']}")
    for name, cases in VALUES.items()
    for case in cases
]
BY_PROGRAM = [name for name in VALUES if name not in ("open-dice-p256", "open-dice-p384")]
BY_PROGRAM.remove("hmac-drbg-p384")
CHIP = bytes.fromhex("c0ffee01")


def inputs(case: dict[str, str]) -> tuple[Seed, bytes]:
    return Seed(bytes.fromhex(case["seed"])), bytes.fromhex(case["chip_id"])


def private_octets(key: DevicePrivateKey) -> bytes:
    """d, or the 32 octets that are the key."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.private_numbers().private_value.to_bytes((key.key_size + 7) // 8, "big")
    return key.private_bytes_raw()


def spki_sha256(key: DevicePrivateKey) -> str:
    return hashlib.sha256(encode_spki(key.public_key())).hexdigest()


@pytest.mark.requirement("OEM-8", "OEM-12")
@pytest.mark.parametrize(("name", "case"), CASES)
def test_values_that_a_second_implementation_computed(name: str, case: dict[str, str]) -> None:
    """All-zero seed, one bit of difference in seed and chip id, the longest chip id."""
    key = profile(name).derive(*inputs(case))
    assert private_octets(key).hex() == case["private"]
    assert spki_sha256(key) == case["spki_sha256"]


@pytest.mark.parametrize(("name", "case"), CASES)
def test_steps_end_in_the_key(name: str, case: dict[str, str]) -> None:
    *_, (last, octets) = profile(name).steps(*inputs(case)).items()
    assert octets.hex() == case["private"]
    assert last in {"d", "private-key", "xi", "ASYM_KDF"}


@pytest.mark.parametrize("name", VALUES)
def test_scalar_profiles_are_those_of_curves(name: str) -> None:
    """What a factory may multiply by itself is the private key that the device has."""
    found, given = profile(name), inputs(VALUES[name][1])
    key = found.derive(*given)
    if isinstance(found, ScalarProfile):
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        assert found.curve.name == key.curve.name
        assert found.scalar(*given) == key.private_numbers().private_value
    else:
        assert not isinstance(key, ec.EllipticCurvePrivateKey)


def test_every_profile_has_values() -> None:
    assert {"hmac-drbg-p256", *VALUES} == set(NAMES)


@pytest.mark.parametrize("name", VALUES)
def test_one_bit_gives_another_key(name: str) -> None:
    """Of the seed always; of the chip id unless the profile is Open DICE's, which has none."""
    zero, counting, seed_bit, chip_bit, *_ = (case["spki_sha256"] for case in VALUES[name])
    assert len({zero, counting, seed_bit}) == 3
    assert (chip_bit == counting) == name.startswith("open-dice-")


@pytest.mark.parametrize("name", VALUES)
def test_the_page_shows_values_and_steps(name: str) -> None:
    page = PAGE.read_text()
    for case in VALUES[name][:3]:
        row = f"| `{name}` | {case['case']} | `{case['private']}` | `{case['spki_sha256']}` |"
        assert row in page
    for step, octets in profile(name).steps(*inputs(VALUES[name][1])).items():
        assert f"`{step}`" in page
        assert octets.hex() in page or octets.hex(" ") in page
    assert f"| `{name}` |" in page


# -- other implementations


@pytest.fixture(scope="module")
def openssl() -> OpenSSL:
    return OpenSSL(require_program("openssl", "openssl"))


@pytest.mark.parametrize("name", BY_PROGRAM)
def test_the_openssl_program_derives_the_same_keys(openssl: OpenSSL, name: str) -> None:
    """HKDF and KBKDF of another OpenSSL, on fresh seeds of the least and the greatest length."""
    for octets in (profile(name).least_seed_octets, profile(name).most_seed_octets):
        seed, chip_id = secrets.token_bytes(octets), secrets.token_bytes(1 + octets % 64)
        key = profile(name).derive(Seed(seed), chip_id)
        private = openssl.private(name, seed, chip_id)
        assert private_octets(key) == private
        assert encode_spki(key.public_key()) == openssl.spki(name, private)


@pytest.mark.parametrize("name", ["hmac-drbg-p384", "open-dice-p256", "open-dice-p384"])
def test_the_c_program_derives_the_same_keys(derive_c: Path, name: str) -> None:
    least, most = profile(name).least_seed_octets, min(profile(name).most_seed_octets, 100)
    given = [
        (secrets.token_bytes(least + i % (most - least + 1)), secrets.token_bytes(1 + i % 64))
        for i in range(64)
    ]
    lines = "".join(f"{seed.hex()} {chip_id.hex()}\n" for seed, chip_id in given)
    answer = subprocess.run(
        [derive_c, name], input=lines, capture_output=True, text=True, check=True
    )
    for (seed, chip_id), line in zip(given, answer.stdout.splitlines(), strict=True):
        d, point, _ = line.split()
        key = profile(name).derive(Seed(seed), chip_id)
        assert private_octets(key).hex() == d
        assert encode_spki(key.public_key()).hex().endswith("04" + point)


# -- published values

OPEN_DICE = {
    "Ed25519": "open-dice-ed25519",
    "P-256": "open-dice-p256",
    "P-384": "open-dice-p384",
    "Mldsa65": "open-dice-ml-dsa-65",
    "Mldsa87": "open-dice-ml-dsa-87",
}


def test_open_dice_certificates(vectors: Path) -> None:
    """The keys of the certificates that the Open DICE authors expect: two inputs each."""
    cases = json.loads((vectors / "derivation" / "open_dice_seed_to_key.json").read_text())
    seen = set()
    for case in cases:
        found = profile(OPEN_DICE.get(case["alg"], "open-dice-" + case["alg"].lower()))
        seed = Seed(bytes.fromhex(case["cdi_attest"]))
        assert encode_spki(found.derive(seed, CHIP).public_key()).hex() == case["spki"]
        assert found.steps(seed, CHIP)["ASYM_KDF"].hex() == case["asym_kdf_seed"]
        seen.add(found.name)
    assert len(cases) == 10
    assert seen == {name for name in NAMES if name.startswith("open-dice-")}


@pytest.mark.parametrize(
    ("kind", "size"), [(ML_DSA_44, 44), (ML_DSA_65, 65), (ML_DSA_87, 87)], ids=["44", "65", "87"]
)
def test_ml_dsa_key_generation_known_answers(kind: Any, size: int) -> None:
    """FIPS 204 algorithm 6: xi to public key."""
    cases = mldsa_known_answers(size)
    assert len(cases) == 100
    for case in cases:
        assert kind.load(case["xi"]).public_key().public_bytes_raw() == case["pk"]


def test_ed25519_key_of_rfc_8032() -> None:
    """§7.1, test 1: the 32 octets of the private key to the public one."""
    private = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
    public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    key = ED25519.load(bytes.fromhex(private))
    assert key.public_key().public_bytes_raw().hex() == public


# -- lengths


@pytest.mark.parametrize("name", NAMES)
def test_seeds_of_a_length_that_is_not_taken_are_refused(name: str) -> None:
    found = profile(name)
    for octets in (found.least_seed_octets, found.most_seed_octets):
        found.derive(Seed(bytes(octets)), CHIP)
        found.steps(Seed(bytes(octets)), CHIP)
    for octets in {max(32, found.least_seed_octets - 1), found.most_seed_octets + 1} - {
        found.least_seed_octets
    }:
        for call in (found.derive, found.steps):
            with pytest.raises(Malformed, match=f"seed has {octets} octets, {name} needs"):
                call(Seed(bytes(octets)), CHIP)


def test_p384_asks_for_288_bits() -> None:
    """SP 800-90A §8.6.7: one and a half times the 192 bits that it claims."""
    profile("hmac-drbg-p384").derive(Seed(bytes(36)), CHIP)
    with pytest.raises(Malformed, match="seed has 35 octets, hmac-drbg-p384 needs 36 to 512"):
        profile("hmac-drbg-p384").derive(Seed(bytes(35)), CHIP)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("octets", [0, 65])
def test_a_chip_id_of_another_length_is_refused(name: str, octets: int) -> None:
    seed = Seed(bytes(profile(name).least_seed_octets))
    for call in (profile(name).derive, profile(name).steps):
        with pytest.raises(Malformed, match=f"chip id has {octets} octets"):
            call(seed, bytes(octets))


def test_no_two_profiles_of_ours_give_one_key_from_one_seed() -> None:
    """The name is bound in; the two of a TPM differ by hash and curve."""
    seed = Seed(bytes(range(36)))
    privates = [
        private_octets(profile(name).derive(seed, CHIP))[:32]
        for name in NAMES
        if not name.startswith("open-dice-")
    ]
    assert len(set(privates)) == len(privates)
