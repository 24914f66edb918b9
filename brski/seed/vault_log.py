"""A vault's header, its heads, and the log of its uses, as octets (docs/vault.md).

A head says what is in a vault; each names the one before it by its MAC. All of it is public, and
verified with no key but for the MACs.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from brski.errors import Malformed, StateError
from brski.pki import cbor
from brski.seed.vault import ID_OCTETS, Stretching

NO_DIGEST: Final = bytes(32)  # the log digest before the first entry
MOST_TEXT: Final = 200  # characters of an operator, a subject or a reason

_LABELS: Final = {
    "header": "brski vault v1",
    "head": "brski vault head v1",
    "entry": "brski vault use v1",
}


class Kind(enum.StrEnum):
    """Where a vault's key comes from."""

    FILE = "file"
    PASSPHRASE = "passphrase"  # noqa: S105 - a kind, not one
    PKCS11 = "pkcs11"


class Action(enum.StrEnum):
    """What a vault was used for."""

    SEAL = "seal"
    DERIVE = "derive"
    SECRET = "secret"  # noqa: S105 - a use, not one
    CHECK = "check"
    DESTROY = "destroy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a vault is for ever."""

    vault_id: bytes  # 16 octets
    kind: Kind
    stretching: Stretching | None = None  # of a passphrase

    def encode(self) -> bytes:
        """Deterministic CBOR."""
        s = self.stretching
        how: cbor.Encodable = None if s is None else [s.salt, s.log2_n, s.r, s.p]
        return cbor.encode([_LABELS["header"], self.vault_id, self.kind.value, how])

    @classmethod
    def parse(cls, octets: bytes) -> Header:
        """Read what :meth:`encode` wrote; it is believed once its MAC is verified.

        Raises:
            StateError: something else, or scrypt parameters that are not accepted.
        """
        match _decode(octets, "header"):
            case [_, bytes() as vault_id, str() as kind, None] if len(vault_id) == ID_OCTETS:
                return cls(vault_id=vault_id, kind=_kind(kind))
            case [_, bytes() as vault_id, "passphrase", [bytes() as salt, int(n), int(r), int(p)]]:
                stretching = Stretching(salt=salt, log2_n=n, r=r, p=p)
                return cls(vault_id=vault_id, kind=Kind.PASSPHRASE, stretching=stretching)
        raise StateError("the header of the vault was altered")


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What is in a vault after so many changes."""

    vault_id: bytes
    counter: int
    previous: bytes  # mac of the head before; empty at 0
    records: int
    chunks: int
    index_digest: bytes  # SHA-256 over all chunk digests
    entries: int
    log_digest: bytes

    def encode(self) -> bytes:
        """Deterministic CBOR: what the MAC is over."""
        return cbor.encode(
            [
                *(_LABELS["head"], self.vault_id, self.counter, self.previous),
                *(self.records, self.chunks, self.index_digest, self.entries, self.log_digest),
            ]
        )

    @classmethod
    def parse(cls, octets: bytes) -> Head:
        """Read what :meth:`encode` wrote; it is believed once its MAC is verified.

        Raises:
            StateError: something else.
        """
        items = _decode(octets, "head")
        try:
            _, vault_id, counter, previous, records, chunks, index, entries, log = items
            return cls(
                vault_id=_octets(vault_id),
                counter=_number(counter),
                previous=_octets(previous),
                records=_number(records),
                chunks=_number(chunks),
                index_digest=_octets(index),
                entries=_number(entries),
                log_digest=_octets(log),
            )
        except (ValueError, TypeError) as err:
            raise StateError("the head of the vault was altered") from err


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One entry of the log.

    Raises:
        Malformed: a text that is empty, too long, or has control characters.
    """

    at: int  # seconds since 1970
    operator: str
    action: Action
    subject: str  # what was used: a batch, a chip, a build list, a purpose
    reason: str
    records: int  # how many seeds it is about

    def __post_init__(self) -> None:
        for name in ("operator", "subject", "reason"):
            text: str = getattr(self, name)
            if not 1 <= len(text) <= MOST_TEXT or not text.isprintable():
                raise Malformed(f"{name} has not 1 to {MOST_TEXT} printable characters")

    def encode(self, number: int) -> bytes:
        """Deterministic CBOR; *number* counts from 1."""
        return cbor.encode(
            [
                *(_LABELS["entry"], number, self.at, self.operator, self.action.value),
                *(self.subject, self.reason, self.records),
            ]
        )

    @classmethod
    def parse(cls, octets: bytes) -> tuple[int, Use]:
        """Number and entry that :meth:`encode` wrote.

        Raises:
            StateError: something else.
        """
        items = _decode(octets, "entry")
        try:
            _, number, at, operator, action, subject, reason, records = items
            return _number(number), cls(
                at=_number(at),
                operator=_text(operator),
                action=Action(_text(action)),
                subject=_text(subject),
                reason=_text(reason),
                records=_number(records),
            )
        except (ValueError, TypeError, Malformed) as err:
            raise StateError("an entry of the vault's log was altered") from err


def log_digest(before: bytes, entry: bytes) -> bytes:
    """The digest of a log that *entry* was added to."""
    return hashlib.sha256(before + entry).digest()


def index_digest(chunk_digests: Iterable[bytes]) -> bytes:
    """What a head says of all chunks, ordered by batch and number."""
    return hashlib.sha256(b"".join(chunk_digests)).digest()


def check_successor(head: Head, before: Head, before_mac: bytes) -> None:
    """Raise unless *head* is one change after *before*.

    Raises:
        StateError: it is not.
    """
    if (
        head.vault_id != before.vault_id
        or head.counter != before.counter + 1
        or head.previous != before_mac
        or head.entries != before.entries + 1
    ):
        raise StateError("a head of the vault does not follow the one before it")


def _decode(octets: bytes, what: str) -> list[cbor.Item]:
    try:
        items = cbor.decode(octets)
    except Malformed as err:
        raise StateError(f"the {what} of the vault was altered") from err
    if not isinstance(items, list) or not items or items[0] != _LABELS[what]:
        raise StateError(f"the {what} of the vault was altered")
    return items


def _kind(text: str) -> Kind:
    try:
        return Kind(text)
    except ValueError as err:
        raise StateError("the header of the vault was altered") from err


def _octets(item: cbor.Item) -> bytes:
    if not isinstance(item, bytes):
        raise TypeError("not octets")
    return item


def _number(item: cbor.Item) -> int:
    if not isinstance(item, int) or isinstance(item, bool) or item < 0:
        raise TypeError("not a number")
    return item


def _text(item: cbor.Item) -> str:
    if not isinstance(item, str):
        raise TypeError("not text")
    return item
