"""HTTP Basic and Digest as a client says them, against the examples of RFC 7616 and RFC 7617."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brski.edge.http.authentication import (
    Challenge,
    Password,
    basic,
    digest,
    load_password,
    parse_challenge,
)
from brski.errors import KeyUnusable, SettingsError, UnexpectedResponse

# RFC 7616 §3.9.1
MUFASA = Password(user="Mufasa", secret="Circle of Life")
NONCE = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
OPAQUE = "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"
OFFERED = f'realm="http-auth@example.org", qop="auth, auth-int", nonce="{NONCE}", opaque="{OPAQUE}"'
BOTH = f"Digest {OFFERED}, algorithm=SHA-256, Digest {OFFERED}, algorithm=MD5"


def test_basic_is_the_rfcs_example() -> None:
    """RFC 7617 §2."""
    said = basic(Password(user="Aladdin", secret="open sesame"))
    assert said == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
    ],
)
def test_digest_is_the_rfcs_example(algorithm: str, response: str) -> None:
    """RFC 7616 §3.9.1, both algorithms."""
    challenge = parse_challenge(f"Digest {OFFERED}, algorithm={algorithm}")
    said = digest(MUFASA, challenge, method="GET", target="/dir/index.html", count=1, cnonce=CNONCE)
    assert f'response="{response}"' in said
    assert f'opaque="{OPAQUE}"' in said
    assert "nc=00000001" in said
    assert MUFASA.secret not in said


def test_the_stronger_of_two_is_answered() -> None:
    """In whatever order they come, with others between."""
    assert parse_challenge(BOTH).algorithm == "SHA-256"
    swapped = f'Basic realm="x", Digest {OFFERED}, Digest {OFFERED}, algorithm=sha-256'
    assert parse_challenge(swapped) == Challenge(
        realm="http-auth@example.org", nonce=NONCE, algorithm="SHA-256", opaque=OPAQUE
    )


@pytest.mark.parametrize(
    "value",
    [
        "",
        'Basic realm="x"',
        f'Digest realm="x", nonce="{NONCE}"',  # without qop, as of RFC 2069
        f'Digest realm="x", qop="auth-int", nonce="{NONCE}"',
        f'Digest realm="x", qop=auth, nonce="{NONCE}", algorithm=SHA-512-256',
        f'Digest realm="x", qop=auth, nonce="{NONCE}", algorithm=MD5-sess',
        'Digest realm="x", qop=auth, nonce=""',
        'Digest realm="a\\"b", qop=auth, nonce="n"',  # would end the quotes of our own field
        "Digest " + "x" * 5000,
    ],
)
def test_what_cannot_be_answered_is_not(value: str) -> None:
    with pytest.raises(UnexpectedResponse):
        parse_challenge(value)


@given(st.text(alphabet=st.characters(max_codepoint=255), max_size=200))
def test_a_servers_words_never_leave_their_quotes(text: str) -> None:
    """Whatever a challenge holds, what is said back is one field of quoted texts."""
    try:
        challenge = parse_challenge(f'Digest qop=auth, nonce="n", realm="{text}')
    except UnexpectedResponse:
        return
    said = digest(MUFASA, challenge, method="GET", target="/", count=1, cnonce="c")
    assert said.isprintable()
    assert said.count('"') % 2 == 0


def test_a_password_is_one_line_of_a_private_file(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("secret with blanks \n")
    path.chmod(0o640)
    with pytest.raises(KeyUnusable):
        load_password("user", path)
    path.chmod(0o600)
    password = load_password("user", path)
    assert password.secret == "secret with blanks "
    assert "secret" not in repr(password)
    for text in ("", "\n", "two\nlines\n", "x" * 1025):
        path.write_text(text)
        with pytest.raises(SettingsError) as refused:
            load_password("user", path)
        assert "two" not in str(refused.value)


@pytest.mark.parametrize("user", ["", "a:b", 'a"b', "a\\b", "a\nb", "ä"])
def test_a_name_that_would_be_misread_is_refused(user: str) -> None:
    with pytest.raises(SettingsError):
        Password(user=user, secret="x")
