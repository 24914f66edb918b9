"""One account: its line, and the names that it entitles to."""

from __future__ import annotations

import pytest
from cryptography.x509.oid import NameOID

from brski.errors import StateError
from registrar_plugin.accounts.account import Account, parse_account
from registrar_plugin.accounts.scrypt import hash_password
from tests.kit.accounts import CHEAP

HASH = hash_password("x", salt=bytes(16), cost=CHEAP)


def account(**parts: object) -> Account:
    return Account(**{"name": "gateway", "password": HASH, **parts})  # type: ignore[arg-type]  # any


@pytest.mark.parametrize(
    ("made", "line"),
    [
        (account(), f"gateway:{HASH}"),
        (account(labels=("/", "ra")), f"gateway:{HASH}:/,ra"),
        (
            account(dns_names=("a.example.com", "b.example.com")),
            f"gateway:{HASH}::a.example.com,b.example.com",
        ),
        (
            account(subject_text="CN=Gateway 7,O=Example"),
            f"gateway:{HASH}:::CN=Gateway 7,O=Example",
        ),
        (
            account(dns_names=("a.example.com",), subject_text="CN=a:b:"),
            f"gateway:{HASH}::a.example.com:CN=a:b:",
        ),
    ],
)
def test_a_line_is_read_as_it_was_written(made: Account, line: str) -> None:
    """Every form of it."""
    assert str(made) == line
    assert parse_account(line) == made


def test_the_subject_is_the_name_unless_the_account_says_otherwise() -> None:
    """As UTF8String, which DER shows."""
    (cn,) = account().subject
    assert (cn.oid, cn.value) == (NameOID.COMMON_NAME, "gateway")
    assert account().subject.public_bytes().hex().endswith("0c07" + b"gateway".hex())
    said = account(subject_text="CN=Gateway 7,O=Example").subject
    assert said.rfc4514_string() == "CN=Gateway 7,O=Example"
    assert [part.value for part in said] == ["Example", "Gateway 7"]


def test_neither_the_hash_nor_anything_of_it_is_shown() -> None:
    assert "scrypt" not in repr(account())
    assert "hash" not in repr(account()).lower()


@pytest.mark.parametrize(
    "parts",
    [
        {"name": ""},
        {"name": "a:b"},
        {"name": "a b"},
        {"name": "a" * 65},
        {"name": "ä"},
        {"name": "a\n"},
        {"labels": ("",)},
        {"labels": ("a/b",)},
        {"labels": ("a", "a")},
        {"labels": tuple(map(str, range(33)))},
        {"dns_names": ("localhost",)},
        {"dns_names": ("A.example.com",)},
        {"dns_names": ("*.example.com",)},
        {"dns_names": ("a..example.com",)},
        {"dns_names": ("-a.example.com",)},
        {"dns_names": ("a.example.com\n",)},
        {"dns_names": ("a.example.com", "a.example.com")},
        {"dns_names": tuple(f"a{n}.example.com" for n in range(33))},
        {"dns_names": (".".join(["a" * 60] * 5),)},
        {"subject_text": "Gateway"},
        {"subject_text": "XX=a"},
        {"subject_text": "CN=a\nb"},
        {"subject_text": "CN=" + "a" * 600},
        {"subject_text": "2.5.4.5=SN-1"},  # serialNumber: a device's
        {"subject_text": "CN=a,2.5.4.46=0011223344556677"},  # dnQualifier, too
    ],
    ids=ascii,
)
def test_what_cannot_be_is_refused(parts: dict[str, object]) -> None:
    """Whoever wrote it into the file."""
    with pytest.raises(StateError):
        account(**parts)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "gateway",
        f"gateway:{HASH}:",
        f"gateway:{HASH}::",
        f"gateway:{HASH}::a.example.com:",
        f"gateway:{HASH}::a.example.com,",
        f"gateway:{HASH}:a,",
        f" gateway:{HASH}",
        f"gateway:{HASH}\r",
        "# gateway",
    ],
    ids=ascii,
)
def test_a_line_of_another_form_is_refused(line: str) -> None:
    """There is one way to write an account."""
    with pytest.raises(StateError):
        parse_account(line)


@pytest.mark.parametrize(
    ("labels", "label", "unnamed", "expected"),
    [
        ((), "", True, True),
        ((), "ra", False, False),
        (("ra",), "ra", False, True),
        (("ra",), "", True, False),
        (("/",), "", False, True),
        (("/",), "ra", True, False),
    ],
)
def test_an_account_is_for_the_labels_that_it_names(
    labels: tuple[str, ...], label: str, unnamed: bool, expected: bool
) -> None:
    """One that names none is for those that do not want it to."""
    assert account(labels=labels).may_ask_under(label, unnamed=unnamed) is expected
