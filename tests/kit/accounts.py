"""Accounts of EST clients, with passwords that are cheap to verify."""

from __future__ import annotations

import base64
from pathlib import Path

from registrar_plugin.accounts.account import Account
from registrar_plugin.accounts.book import write_accounts
from registrar_plugin.accounts.scrypt import Cost, hash_password

CHEAP = Cost(ln=14, r=8, p=1)
SECRET = "correct horse"


class Seconds:
    """A monotonic clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def account(name: str = "gateway", password: str = SECRET, **names: object) -> Account:
    """An account of *password*; *names* are its DNS names and subject."""
    salt = name.encode()[:16].ljust(16, b"\0")
    return Account(name=name, password=hash_password(password, salt=salt, cost=CHEAP), **names)  # type: ignore[arg-type]  # any field


def written(folder: Path, *accounts: Account) -> Path:
    """A file of them; of one for "gateway" when none is given."""
    path = folder / "accounts"
    write_accounts(path, accounts or [account()])
    return path


def basic(user: str = "gateway", password: str = SECRET) -> str:
    """The value of an Authorization header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
