"""brski-registrar est-password: the accounts of EST clients that are no devices (docs/est.md)."""

from __future__ import annotations

import getpass
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import typer

from brski.edge.cli import print_json, printable
from brski.edge.only_one import only_one
from brski.errors import FileUnusable, SettingsError
from registrar_plugin.accounts.account import Account
from registrar_plugin.accounts.book import read_accounts, write_accounts
from registrar_plugin.accounts.scrypt import SALT_OCTETS, hash_password
from registrar_plugin.cli_common import PROGRAM, AsJSON

_LEAST: Final = 8  # characters, NIST SP 800-63B §5.1.1.2
_MOST: Final = 256  # characters; with a name of 64 they fit into one header

app = typer.Typer(
    help="Accounts of EST clients that say a user name and password.", no_args_is_help=True
)

AccountFile = Annotated[Path, typer.Option("--file", "-f", help="password_file of [est].")]
Name = Annotated[str, typer.Argument(help="The user name, 1 to 64 of A-Z a-z 0-9 . _ -")]


@app.command(name="set")
def set_password(
    name: Name,
    file: AccountFile,
    label: Annotated[
        list[str] | None,
        typer.Option(
            help='An EST label that it may use, / for the paths without; may be repeated; "" all.'
        ),
    ] = None,
    dns: Annotated[
        list[str] | None,
        typer.Option(help='A DNS name that its certificates have, too; may be repeated; "" none.'),
    ] = None,
    subject: Annotated[
        str | None, typer.Option(help='Instead of CN=NAME, as RFC 4514 writes it; "" for CN=NAME.')
    ] = None,
    as_json: AsJSON = False,
) -> None:
    """Make an account, or give it another password; asked for, or one line on standard input.

    An account that is there keeps its names and labels unless others are said. A registrar that
    runs sees the change within a second or two.
    """
    password = _password()
    with _edited(file) as accounts:
        hashed = hash_password(password, salt=secrets.token_bytes(SALT_OCTETS))
        former = accounts.get(name)
        account = Account(name=name, password=hashed)
        if former is not None:
            account = replace(former, password=hashed)
        if label is not None:
            account = replace(account, labels=tuple(filter(None, label)))
        if dns is not None:
            account = replace(account, dns_names=tuple(filter(None, dns)))
        if subject is not None:
            account = replace(account, subject_text=subject)
        accounts[name] = account
    _tell(account, "made" if former is None else "changed", as_json=as_json)


@app.command()
def remove(name: Name, file: AccountFile, as_json: AsJSON = False) -> None:
    """Take an account away; its certificates stay good and are not renewed (see revoke)."""
    with _edited(file) as accounts:
        account = accounts.pop(name, None)
        if account is None:
            raise FileUnusable(f"{file} has no account {name[:80]}")
    _tell(account, "removed", as_json=as_json)


@app.command(name="list")
def list_accounts(file: AccountFile, as_json: AsJSON = False) -> None:
    """Every account, with the names that its certificates have."""
    accounts = read_accounts(file)
    if as_json:
        print_json({"accounts": [_document(account) for account in accounts.values()]})
        return
    for account in accounts.values():
        typer.echo(printable(f"{account.name:24} {' '.join(_names(account))}"))


@contextmanager
def _edited(file: Path) -> Iterator[dict[str, Account]]:
    """The accounts of *file*, to be changed and written; by one command at a time."""
    with only_one(file.with_name(f".{file.name}.lock"), what="edits these accounts"):
        accounts = read_accounts(file) if file.exists() else {}
        yield accounts
        write_accounts(file, accounts.values())


def _password() -> str:
    """From the terminal, twice, or a line of standard input; never from the arguments.

    Raises:
        SettingsError: too short, too long, not printable, or two that differ.
    """
    if sys.stdin.isatty():
        password = getpass.getpass("Password: ")
        if getpass.getpass("Once more: ") != password:
            raise SettingsError("the two passwords differ")
    else:
        password = sys.stdin.readline().removesuffix("\n").removesuffix("\r")
    if not _LEAST <= len(password) <= _MOST or not password.isprintable():
        raise SettingsError(
            f"a password is one line of {_LEAST} to {_MOST} printable characters",
            hint=f"head -c 18 /dev/urandom | base64 | {PROGRAM} est-password set ...",
        )
    return password


def _names(account: Account) -> list[str]:
    under = [f"[{' '.join(account.labels)}]"] if account.labels else []
    return [account.subject.rfc4514_string(), *account.dns_names, *under]


def _document(account: Account) -> dict[str, object]:
    return {
        "name": account.name,
        "subject": account.subject.rfc4514_string(),
        "dns_names": list(account.dns_names),
        "labels": list(account.labels),
    }


def _tell(account: Account, done: str, *, as_json: bool) -> None:
    if as_json:
        print_json({**_document(account), "done": done})
    else:
        typer.echo(printable(f"{account.name}: {done} ({', '.join(_names(account))})"))
