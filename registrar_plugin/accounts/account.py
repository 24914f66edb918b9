"""One account of an EST client that is no device: a line of text, and what it entitles to.

``NAME:HASH[:LABEL,...[:DNS-NAME,...[:SUBJECT]]]``; docs/est.md has the rules.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from brski.errors import StateError
from registrar_plugin.accounts.scrypt import PasswordHash, parse_password_hash

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DNS_NAME: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})+\Z")
_EST_LABEL: Final = re.compile(r"(?:/|[A-Za-z0-9._~-]{1,64})\Z")
_MOST_LABELS: Final = 32
_MOST_DNS_NAMES: Final = 32
_SUBJECT_CHARACTERS: Final = 512
_DEVICES_OWN: Final = (NameOID.SERIAL_NUMBER, NameOID.DN_QUALIFIER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A name, what is kept of its password, and the names that its certificates have.

    Raises:
        StateError: one of them cannot be.
    """

    name: str
    password: PasswordHash = field(repr=False)
    labels: tuple[str, ...] = ()  # EST's, "/" for the paths without; none: see may_ask_under
    dns_names: tuple[str, ...] = ()
    subject_text: str = ""  # RFC 4514; empty: CN = the name

    def __post_init__(self) -> None:
        if not _NAME.match(self.name):
            raise StateError(f"{self.name[:80]!r} is not 1 to 64 of A-Z a-z 0-9 . _ -")
        if len(set(self.labels)) != len(self.labels) or len(self.labels) > _MOST_LABELS:
            raise StateError(f"labels are at most {_MOST_LABELS}, each once")
        for label in self.labels:
            if not _EST_LABEL.match(label):
                raise StateError(f"{label[:80]!r} is neither an EST label nor / for none")
        _check_dns_names(self.dns_names)
        _ = self.subject

    def __str__(self) -> str:
        lists = ",".join(self.labels), ",".join(self.dns_names)
        parts = [self.name, str(self.password), *lists, self.subject_text]
        while not parts[-1]:
            parts.pop()
        return ":".join(parts)

    def may_ask_under(self, label: str, *, unnamed: bool) -> bool:
        """Whether it is meant for the EST *label*, empty for the paths without.

        Args:
            unnamed: what holds of an account that names no label.
        """
        return (label or "/") in self.labels if self.labels else unnamed

    @property
    def subject(self) -> x509.Name:
        """Of its certificates; UTF8String.

        Raises:
            StateError: what stands in the account is no name, or could be a device's.
        """
        if not self.subject_text:
            return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])
        return _subject(self.subject_text)


def parse_account(line: str) -> Account:
    """Read a line, without its end.

    Raises:
        StateError: it is none; the error does not hold it.
    """
    name, _, rest = line.partition(":")
    word, _, rest = rest.partition(":")
    labels, _, rest = rest.partition(":")
    dns_names, _, subject = rest.partition(":")
    account = Account(
        name=name,
        password=parse_password_hash(word),
        labels=tuple(labels.split(",")) if labels else (),
        dns_names=tuple(dns_names.split(",")) if dns_names else (),
        subject_text=subject,
    )
    if str(account) != line:
        raise StateError("an account with more than its line may hold")
    return account


def _check_dns_names(names: Sequence[str]) -> None:
    if len(names) > _MOST_DNS_NAMES or len(set(names)) != len(names):
        raise StateError(f"DNS names are at most {_MOST_DNS_NAMES}, each once")
    for name in names:
        if not _DNS_NAME.match(name):
            raise StateError(f"{name[:80]!r} is no DNS name of two labels or more in lower case")


def _subject(text: str) -> x509.Name:
    try:
        name = x509.Name.from_rfc4514_string(text)
    except ValueError as err:
        raise StateError(f"{text[:80]!r} is no name as RFC 4514 writes it") from err
    if len(text) > _SUBJECT_CHARACTERS or not text.isprintable() or not list(name):
        raise StateError("a subject is 1 to 512 printable characters")
    if any(name.get_attributes_for_oid(oid) for oid in _DEVICES_OWN):
        raise StateError("a subject with serialNumber or dnQualifier could be a device's")
    return name
