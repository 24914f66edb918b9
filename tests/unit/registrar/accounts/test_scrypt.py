"""Passwords as they are kept, held against OpenSSL's scrypt and RFC 7914's own values."""

from __future__ import annotations

import base64
import hashlib
import subprocess

import pytest

from brski.errors import StateError
from registrar_plugin.accounts.scrypt import USUAL, Cost, hash_password, parse_password_hash
from tests.kit.accounts import CHEAP
from tests.kit.programs import require_program

SALT = bytes(range(16))


def test_the_library_computes_the_rfcs_scrypt() -> None:
    """RFC 7914 §12, the third vector."""
    derived = hashlib.scrypt(
        b"pleaseletmein", salt=b"SodiumChloride", n=16384, r=8, p=1, maxmem=1 << 26, dklen=64
    )
    assert derived.hex().startswith(
        "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"
    )


@pytest.mark.parametrize("cost", [CHEAP, USUAL, Cost(ln=16, r=4, p=4)], ids=str)
def test_openssl_derives_the_same(cost: Cost) -> None:
    """From the word alone, and the password's UTF-8 in NFC."""
    word = str(hash_password("pässwort", salt=SALT, cost=cost))
    _, name, costs, salt, octets = word.split("$")
    assert name == "scrypt"
    numbers = dict(part.split("=") for part in costs.split(","))
    ran = subprocess.run(
        [
            *(require_program("openssl", "openssl"), "kdf", "-keylen", "32", "-binary"),
            *("-kdfopt", "pass:pässwort", "-kdfopt", f"n:{2 ** int(numbers['ln'])}"),
            *("-kdfopt", f"r:{numbers['r']}", "-kdfopt", f"p:{numbers['p']}"),
            *("-kdfopt", f"hexsalt:{base64.b64decode(salt + '==').hex()}"),
            *("-kdfopt", "maxmem_bytes:134217728", "SCRYPT"),
        ],
        capture_output=True,
        check=True,
    )
    assert ran.stdout == base64.b64decode(octets + "=")


def test_a_password_fits_its_hash_and_no_other() -> None:
    """In whichever normal form it comes."""
    kept = parse_password_hash(str(hash_password("cafe\u0301 au lait", salt=SALT, cost=CHEAP)))
    assert kept.fits("café au lait")
    assert kept.fits("cafe\u0301 au lait")
    for wrong in ("cafe au lait", "café au lai", "café au lait ", ""):
        assert not kept.fits(wrong)
    assert hash_password("x", salt=SALT, cost=CHEAP) != hash_password(
        "x", salt=bytes(16), cost=CHEAP
    )


def test_it_is_not_shown() -> None:
    """A hash is not for logs: from it a weak password can be guessed."""
    kept = hash_password("x", salt=SALT, cost=CHEAP)
    assert str(kept).rpartition("$")[2][:8] not in repr(kept)
    assert kept.octets.hex()[:8] not in repr(kept)


@pytest.mark.parametrize(
    ("ln", "r", "p"),
    [
        (13, 8, 1),
        (14, 8, 0),
        (14, 0, 1),
        (17, 8, 1),
        (19, 8, 1),
        (14, 8, 17),
        (0, 8, 3),
        (21, 1, 1),
    ],
)
def test_a_cost_too_small_or_too_large_is_refused(ln: int, r: int, p: int) -> None:
    """One protects no password, the other this host."""
    with pytest.raises(StateError, match=f"ln={ln}, r={r}, p={p}"):
        Cost(ln=ln, r=r, p=p)


GOOD = str(hash_password("x", salt=SALT, cost=CHEAP))


@pytest.mark.parametrize(
    "word",
    [
        "",
        "x",
        GOOD[:-1],
        GOOD + "=",
        GOOD + "\n",
        GOOD.replace("scrypt", "argon2id"),
        GOOD.replace("ln=14", "ln=014"),
        GOOD.replace("r=8,p=1", "p=1,r=8"),
        GOOD.replace("ln=14", "ln=1"),
        GOOD[:-1] + "/",  # pad bits that are not zero
        "$2y$10$abcdefghijklmnopqrstuv",
    ],
    ids=ascii,
)
def test_what_is_no_hash_is_refused(word: str) -> None:
    """Without being told again."""
    with pytest.raises(StateError) as caught:
        parse_password_hash(word)
    assert not word or word not in str(caught.value) or word == "x"
