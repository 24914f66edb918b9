"""HTTP Basic for registrars that have no certificate to show (RFC 7617; RFC 8995 §5.4)."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from brski.edge.atomic_file import read_file
from brski.edge.signers.file import check_private_mode
from brski.errors import FileUnusable, NotAuthenticated
from brski.http_basic import parse_basic

_FILE_LIMIT: Final = 1024
_SECTION: Final = "RFC 7617 §2; RFC 8995 §5.4"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One user name, and whose registrars use it."""

    customer: str
    password: bytes = field(repr=False)


class Passwords:
    """Says which customer a user name and its password stand for.

    Args:
        accounts: by user name.
    """

    def __init__(self, accounts: Mapping[str, Account]) -> None:
        self._accounts = accounts

    def customer_of(self, authorization: str) -> str:
        """The customer whose credentials stand in an ``Authorization`` header.

        Takes as long for an unknown user as for a wrong password.

        Raises:
            NotAuthenticated: another scheme, malformed, or wrong.
        """
        said = parse_basic(authorization)
        account = self._accounts.get(said.user)
        expected = account.password if account is not None else b"\0"
        if not hmac.compare_digest(said.password.encode(), expected) or account is None:
            raise NotAuthenticated("user name or password is wrong", section=_SECTION)
        return account.customer


def load_password(path: Path) -> bytes:
    """Read a password: one line of UTF-8 in a file of mode 0600.

    Raises:
        KeyUnusable: others may read the file.
        FileUnusable: it is missing, empty, or holds more than one line.
        Unavailable: the disk fails.
    """
    check_private_mode(path)
    line = read_file(path, max_octets=_FILE_LIMIT).rstrip(b"\r\n")
    if not line or b"\n" in line:
        raise FileUnusable(f"{path} does not hold one line, the password")
    return line
