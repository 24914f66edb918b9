"""The same key on both sides: docs/derivation.md against a second implementation."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from brski.errors import Malformed, UnknownFormat
from brski.seed import hmac_drbg, profiles
from brski.seed.drbg import HMACDRBG
from brski.seed.hmac_drbg import HMAC_DRBG_P256, candidate_scalar
from brski.seed.profiles import DerivationProfile, profile
from brski.seed.secret import Seed

DATA = Path(__file__).parent / "data"
PAGE = Path(__file__).parents[3] / "docs" / "derivation.md"
VALUES = json.loads((DATA / "hmac_drbg_p256.json").read_text())
CASES = VALUES["cases"]
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
SEED = Seed(bytes(range(32)))


def derived(seed: bytes, chip_id: bytes) -> tuple[int, int, int]:
    key = profile("hmac-drbg-p256").derive(Seed(seed), chip_id)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert isinstance(key.curve, ec.SECP256R1)
    numbers = key.private_numbers()
    return numbers.private_value, numbers.public_numbers.x, numbers.public_numbers.y


@pytest.mark.requirement("OEM-8", "OEM-12", "E2E-9")
@pytest.mark.parametrize("case", CASES, ids=[case["case"] for case in CASES])
def test_values_that_a_second_implementation_computed(case: dict[str, str]) -> None:
    expected = (int(case["d"], 16), int(case["x"], 16), int(case["y"], 16))
    assert derived(bytes.fromhex(case["seed"]), bytes.fromhex(case["chip_id"])) == expected


def test_every_committed_case_has_a_key_of_its_own() -> None:
    """One bit of the seed, one bit of the chip id, one further octet: another key."""
    assert VALUES["profile"] == "hmac-drbg-p256"
    assert len({case["d"] for case in CASES}) == len(CASES) >= 8


def computed_by(
    program: Path, inputs: list[tuple[bytes, bytes]], *order: str
) -> list[tuple[int, int, int]]:
    lines = "".join(f"{seed.hex()} {chip_id.hex()}\n" for seed, chip_id in inputs)
    answer = subprocess.run(
        [program, "hmac-drbg-p256", *order], input=lines, capture_output=True, text=True, check=True
    )
    return [
        (int(d, 16), int(point[:64], 16), int(point[64:], 16))
        for d, point, _ in (line.split() for line in answer.stdout.splitlines())
    ]


def test_a_c_program_agrees_on_fresh_seeds(derive_c: Path) -> None:
    inputs = [
        (secrets.token_bytes(32 + secrets.randbelow(100)), secrets.token_bytes(1 + i % 64))
        for i in range(256)
    ]
    for (seed, chip_id), expected in zip(inputs, computed_by(derive_c, inputs), strict=True):
        assert derived(seed, chip_id) == expected, (seed.hex(), chip_id.hex())


def test_the_c_program_still_computes_the_committed_values(derive_c: Path) -> None:
    inputs = [(bytes.fromhex(case["seed"]), bytes.fromhex(case["chip_id"])) for case in CASES]
    assert computed_by(derive_c, inputs) == [
        (int(case["d"], 16), int(case["x"], 16), int(case["y"], 16)) for case in CASES
    ]


def giving(*candidates: int) -> Callable[[int], bytes]:
    left = list(candidates)

    def generate(octets: int) -> bytes:
        assert octets == 32
        return left.pop(0).to_bytes(octets, "big")

    return generate


@pytest.mark.requirement("OEM-12")
def test_candidates_out_of_range_are_passed_over() -> None:
    """0, n and n + 1 are no private keys; the first good candidate is, unchanged."""
    assert candidate_scalar(giving(0, N, N + 1, 0xC0FFEE, 1), N) == 0xC0FFEE


@pytest.mark.parametrize("good", [1, N - 1])
def test_the_ends_of_the_range_are_accepted(good: int) -> None:
    assert candidate_scalar(giving(good), N) == good


def test_after_a_rejection_both_implementations_draw_the_same_next_candidate(
    derive_c: Path,
) -> None:
    """An order near 2^252 turns down 15 candidates of 16, so that the loop is seen to go round."""
    order = (1 << 252) + 1
    inputs = [(secrets.token_bytes(32), secrets.token_bytes(8)) for _ in range(32)]
    answers = computed_by(derive_c, inputs, f"{order:x}")
    for (seed, chip_id), (expected, _, _) in zip(inputs, answers, strict=True):
        personalization = b"hmac-drbg-p256\x00\x00\x08" + chip_id
        generator = HMACDRBG("sha256", seed, personalization=personalization)
        assert candidate_scalar(generator.generate, order) == expected


def test_the_profile_uses_the_candidate_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A generator that starts with 0, n, n + 1 gives the key of its fourth output."""

    class Fake:
        def __init__(self, *args: object, **kwargs: object) -> None:
            self.generate = giving(0, N, N + 1, 5)

    monkeypatch.setattr(hmac_drbg, "HMACDRBG", Fake)
    assert HMAC_DRBG_P256.derive(SEED, b"\x01").private_numbers().private_value == 5


def test_the_order_is_that_of_p256() -> None:
    assert HMAC_DRBG_P256.curve.group_order == N


@pytest.mark.parametrize("octets", [0, 65])
def test_a_chip_id_of_another_length_is_refused(octets: int) -> None:
    with pytest.raises(Malformed, match=f"chip id has {octets} octets"):
        HMAC_DRBG_P256.derive(SEED, bytes(octets))


def test_a_profile_may_ask_for_a_longer_seed() -> None:
    demanding = hmac_drbg.HMACDRBGProfile(
        name="x", least_seed_octets=48, hash_name="sha384", curve=ec.SECP384R1()
    )
    demanding.derive(Seed(bytes(48)), b"\x01")
    with pytest.raises(Malformed, match="seed has 47 octets, x needs 48 to 512"):
        demanding.derive(Seed(bytes(47)), b"\x01")


def test_profile_names_are_bound() -> None:
    """Two profiles that differ in nothing but their name give two keys."""
    named = [
        hmac_drbg.HMACDRBGProfile(
            name=name, least_seed_octets=32, hash_name="sha256", curve=ec.SECP256R1()
        )
        for name in ("hmac-drbg-p256", "hmac-drbg-p256b")
    ]
    keys = [each.derive(SEED, b"\x01").private_numbers().private_value for each in named]
    assert keys[0] == derived(SEED.octets, b"\x01")[0]
    assert keys[0] != keys[1]


@pytest.mark.parametrize("name", ["", "HMAC-DRBG-P256", "hmac-drbg-p256 ", "hmac-drbg-p521"])
def test_an_unknown_profile_is_refused(name: str) -> None:
    with pytest.raises(UnknownFormat, match="is not known"):
        profile(name)


def test_the_table_is_what_it_says() -> None:
    """Each profile is found by its own name, and asks for 256 bits or more."""
    assert set(profiles.NAMES) >= {"hmac-drbg-p256"}
    for name in profiles.NAMES:
        found: DerivationProfile = profile(name)
        assert found.name == name
        assert name.isascii()
        assert found.least_seed_octets >= 32


def test_the_page_shows_the_committed_values() -> None:
    page = PAGE.read_text()
    for case in CASES[:3]:
        for value in ("d", "x", "y"):
            assert case[value] in page
    for name in profiles.NAMES:
        assert f"| `{name}` |" in page
    example = page.split("```python\n")[1].split("```")[0]
    exec(compile(example, str(PAGE), "exec"), {})  # noqa: S102 - the page's own example


def test_deriving_twice_gives_one_key() -> None:
    """No state is kept from one derivation to the next (the generator is gone with the call)."""
    first = derived(SEED.octets, b"\x01")
    derived(SEED.octets, b"\x02")
    assert derived(SEED.octets, b"\x01") == first
