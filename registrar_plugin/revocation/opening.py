"""Puts the keeper of the revocation list together, for the registrar and for its commands."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from brski.edge.atomic_file import write_atomically
from brski.errors import SettingsError
from registrar_plugin.ca_backend.port import CABackend, CRLSigner
from registrar_plugin.clerk import Clerk
from registrar_plugin.revocation.keeper import CRLKeeper, CRLPolicy
from registrar_plugin.revocation.web import PublishedList
from registrar_plugin.settings import CRLSettings
from registrar_plugin.store.sqlite import SQLiteJournal
from registrar_plugin.store.sqlite_crls import SQLiteRevocationLists
from registrar_plugin.store.sqlite_entries import SQLiteListEntries

_PEM: Final = ".pem"


def open_list(
    settings: CRLSettings | None, *, ca: CABackend, journal: SQLiteJournal, clerk: Clerk
) -> PublishedList | None:
    """What is published, if anything; errors as :func:`open_keeper`."""
    if settings is None:
        return None
    keeper = open_keeper(settings, ca=ca, journal=journal, clerk=clerk)
    return PublishedList(path=settings.path, listen=settings.listen, keeper=keeper)


def open_keeper(
    settings: CRLSettings, *, ca: CABackend, journal: SQLiteJournal, clerk: Clerk
) -> CRLKeeper:
    """A keeper of *ca*'s lists, as the table ``[crl]`` wants them.

    Raises:
        SettingsError: that kind of CA signs no lists here.
        KeyUnusable: it may not.
    """
    if not isinstance(ca, CRLSigner):
        raise SettingsError("[crl] is for a CA that signs its lists here", hint="remove the table")
    _ = ca.crl_issuer  # better said now than at the first revocation
    return CRLKeeper(
        ca=ca,
        entries=SQLiteListEntries(journal.writer),
        lists=SQLiteRevocationLists(journal.writer),
        clerk=clerk,
        policy=CRLPolicy(
            validity=timedelta(hours=settings.validity_h), superseded=settings.superseded
        ),
        publish=_into(settings.file),
    )


def _into(path: Path | None) -> Callable[[bytes], Awaitable[None]] | None:
    return None if path is None else partial(_write_aside, path)


async def _write_aside(path: Path, octets: bytes) -> None:
    await asyncio.to_thread(write_crl, path, octets)


def write_crl(path: Path, octets: bytes) -> None:
    """Put a list where a web server finds it: PEM if the name ends so, else DER.

    Raises:
        Unavailable, FileUnusable: as :func:`brski.edge.atomic_file.write_atomically`.
    """
    if path.suffix == _PEM:
        octets = x509.load_der_x509_crl(octets).public_bytes(Encoding.PEM)
    write_atomically(path, octets, mode=0o644)
