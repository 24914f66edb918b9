"""Puts the keepers of revocation lists together, for the registrar and for its commands."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from datetime import timedelta

from brski.errors import SettingsError
from registrar_plugin.ca_backend.crl_settings import CRLSettings
from registrar_plugin.ca_backend.port import CABackend, CRLSigner
from registrar_plugin.clerk import Clerk
from registrar_plugin.revocation.file import ListFile
from registrar_plugin.revocation.keeper import CRLKeeper, CRLPolicy
from registrar_plugin.revocation.web import PublishedList
from registrar_plugin.settings import RegistrarSettings
from registrar_plugin.store.sqlite import SQLiteJournal
from registrar_plugin.store.sqlite_crls import SQLiteRevocationLists
from registrar_plugin.store.sqlite_entries import SQLiteListEntries

log = logging.getLogger(__name__)


def open_lists(
    settings: RegistrarSettings,
    *,
    ca: CABackend,
    profile_cas: Mapping[str, CABackend],
    journal: SQLiteJournal,
    clerk: Clerk,
) -> dict[str, PublishedList]:
    """What is published, by name; errors as :func:`open_keeper`. Profiles whose certificates are in
    no list are warned of.

    Args:
        ca: of ``[ca]``.
        profile_cas: the CAs of profiles that have one of their own, by label.

    Raises:
        SettingsError: two lists of one CA.
    """
    opened: dict[str, PublishedList] = {}
    whose: dict[bytes, str] = {}
    for label, each in settings.lists().items():
        name = list_name(label)
        whom = ca if label is None else profile_cas[label]
        keeper = open_keeper(each, ca=whom, journal=journal, clerk=clerk)
        if keeper.scope in whose:
            raise SettingsError(f"{name} and {whose[keeper.scope]} are lists of one CA")
        whose[keeper.scope] = name
        opened[name] = PublishedList(path=each.path, listen=each.listen, keeper=keeper)
    if opened:
        _warn_of_unlisted(profile_cas, whose)
    return opened


def list_name(label: str | None) -> str:
    """As messages and checks have it: ``crl`` for the CA of ``[ca]``, with its label for a
    profile's.
    """
    return "crl" if label is None else f"crl {label or '(no label)'}"


def _warn_of_unlisted(profile_cas: Mapping[str, CABackend], listed: Collection[bytes]) -> None:
    for label, ca in profile_cas.items():
        if not isinstance(ca, CRLSigner) or ca.crl_issuer.scope not in listed:
            log.warning(
                "certificates of a profile's own CA are in no revocation list of this registrar",
                extra={"label": label},
            )


def open_keeper(
    settings: CRLSettings, *, ca: CABackend, journal: SQLiteJournal, clerk: Clerk
) -> CRLKeeper:
    """A keeper of *ca*'s lists, as the table ``[crl]`` wants them.

    Raises:
        SettingsError: that kind of CA signs no lists here.
        KeyUnusable: it may not.
    """
    if not isinstance(ca, CRLSigner):
        raise SettingsError("crl is for a CA that signs its lists here", hint="remove the table")
    return CRLKeeper(
        ca=ca,
        entries=SQLiteListEntries(journal.writer),
        lists=SQLiteRevocationLists(journal.writer),
        clerk=clerk,
        policy=CRLPolicy(
            validity=timedelta(hours=settings.validity_h), superseded=settings.superseded
        ),
        place=None if settings.file is None else ListFile(settings.file),
    )
