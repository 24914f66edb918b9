"""``brski-lab derive``: a seed on standard input, a public key on standard output."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from brski.pki.keys import encode_spki
from brski.seed.profiles import NAMES, profile
from brski.seed.secret import Seed
from brski_lab.cli import main
from tests.kit.programs import require_program

PAGE = Path(__file__).parents[3] / "docs" / "derivation.md"
COUNTING = bytes(range(32))

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def run_(seed: bytes, *options: str, name: str = "hmac-drbg-p256") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(seed)))
        code = main(["derive", "--profile", name, "--chip-id", "c0ffee01", *options])
        told = capsys.readouterr()
        return code, told.out, told.err

    return run_


def expected(name: str, seed: bytes) -> bytes:
    return encode_spki(profile(name).derive(Seed(seed), bytes.fromhex("c0ffee01")).public_key())


@pytest.mark.parametrize("name", NAMES)
def test_the_public_key_as_pem_and_nothing_else(run: Run, name: str) -> None:
    seed = bytes(range(profile(name).least_seed_octets))
    code, out, err = run(seed, name=name)
    assert (code, err) == (0, "")
    assert out.startswith("-----BEGIN PUBLIC KEY-----\n")
    assert out.endswith("\n-----END PUBLIC KEY-----\n")
    key: Any = load_pem_public_key(out.encode())
    assert encode_spki(key) == expected(name, seed)


@pytest.mark.parametrize("name", ["hmac-drbg-p256", "hmac-drbg-p384", "ed25519"])
def test_openssl_reads_it(run: Run, name: str) -> None:
    seed = bytes(range(36))
    _, out, _ = run(seed, name=name)
    command = [require_program("openssl", "openssl"), "pkey", "-pubin", "-outform", "DER"]
    read = subprocess.run(command, input=out.encode(), capture_output=True, check=True)
    assert read.stdout == expected(name, seed)


@pytest.mark.parametrize("name", NAMES)
def test_json_has_every_value_that_the_page_names(run: Run, name: str) -> None:
    seed = bytes(range(profile(name).least_seed_octets))
    code, out, _ = run(seed, "--json", name=name)
    document = json.loads(out)
    steps = profile(name).steps(Seed(seed), bytes.fromhex("c0ffee01"))
    assert code == 0
    assert document["steps"] == {step: octets.hex() for step, octets in steps.items()}
    assert (document["profile"], document["chip_id"]) == (name, "c0ffee01")
    assert document["spki_sha256"] == hashlib.sha256(expected(name, seed)).hexdigest()
    assert encode_spki(load_pem_public_key(document["public_key"].encode())) == (  # type: ignore[arg-type]  # of these kinds
        expected(name, seed)
    )
    for step in document["steps"]:
        assert f"`{step}`" in PAGE.read_text()


@pytest.mark.parametrize("tail", [b"\n", b"\r\n", b" ", b"\x00"])
def test_nothing_is_stripped(run: Run, tail: bytes) -> None:
    """A seed may end in any octet; one more octet is another seed."""
    seed = COUNTING[: -len(tail)] + tail
    _, ending, _ = run(seed)
    assert encode_spki(load_pem_public_key(ending.encode())) == expected(  # type: ignore[arg-type]  # P-256
        "hmac-drbg-p256", seed
    )
    _, longer, _ = run(COUNTING + tail)
    assert encode_spki(load_pem_public_key(longer.encode())) == expected(  # type: ignore[arg-type]  # P-256
        "hmac-drbg-p256", COUNTING + tail
    )


@pytest.mark.parametrize(
    ("seed", "name", "why"),
    [
        (b"", "hmac-drbg-p256", "seed has 0 octets, 32 or more are needed"),
        (COUNTING[:31], "hmac-drbg-p256", "seed has 31 octets"),
        (COUNTING, "hmac-drbg-p384", "seed has 32 octets, hmac-drbg-p384 needs 36 to 512"),
        (COUNTING + b"\n", "open-dice-p256", "seed has 33 octets, open-dice-p256 needs 32"),
        (bytes(513), "hmac-drbg-p256", "the seed has more than 512 octets"),
        (COUNTING, "no-such", "derivation profile 'no-such' is not known"),
    ],
)
def test_what_is_refused_says_why_and_prints_no_key(
    run: Run, seed: bytes, name: str, why: str
) -> None:
    for options in ((), ("--json",)):
        code, out, err = run(seed, *options, name=name)
        assert (code, out) == (1, "")
        assert why in err
        assert seed[:8].hex() not in err or not seed


@pytest.mark.parametrize("chip_id", ["CHIP-0001", "c0f", "", "c0 ff", "0xc0"])
def test_a_chip_id_that_is_not_hex_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], chip_id: str
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(COUNTING)))
    assert main(["derive", "--profile", "ed25519", "--chip-id", chip_id]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert "is not in hex" in told.err
