"""May this build list be made? What it says against everything that the factory remembers.

A list that contradicts itself is refused when it is opened (:mod:`brski.idevid.build_list`). Here
it is put on record, then held against batches and certificates, in one transaction: a list that is
refused leaves nothing behind (docs/factory.md).
"""

from __future__ import annotations

from typing import Final

from brski.errors import BatchRefused, SettingsError
from brski.idevid.build_list import BuildList
from oem_backend.factory.ledger.file import Ledger
from oem_backend.factory.ledger.lists import KnownList

_REPLACE: Final = "a second certificate is an entry with replace"
_ALIKE: Final = "the case of letters, 0 and O, and 1, I and L do not tell two devices apart"


def begin_list(wanted: BuildList, *, terms: bytes, idevid_issuer: bytes, ledger: Ledger) -> int:
    """Put *wanted* on record as begun, or take it up where it stopped.

    Args:
        wanted: verified, and not finished yet.
        terms: SHA-256 of what of the settings is in its certificates and bundles.
        idevid_issuer: keyIdentifier of the issuing CA, 20 octets.

    Returns:
        Its number in the ledger.

    Raises:
        BatchRefused: a generation that is not above the last; a chip of no batch, or of another
            product's; a chip or serial number that was certified before, without ``replace``; a
            re-issue that is dated no later than what it replaces; a serial number that looks like
            another one. The list is not on record then.
        SettingsError: a part of it was certified under other settings.
    """
    known = _begun_before(wanted, terms, ledger)
    try:
        with ledger.writing():
            number = _number_of(known, wanted, terms, ledger)
            _check_generation(wanted, ledger)
            _check_chips(number, wanted, ledger)
            _check_certified(number, wanted, idevid_issuer, ledger)
            _check_waiting(number, ledger)
            _check_looks(number, idevid_issuer, ledger)
    except BatchRefused:
        if known is not None:
            ledger.lists.drop(known.number)
        raise
    return number


def _begun_before(wanted: BuildList, terms: bytes, ledger: Ledger) -> KnownList | None:
    known = ledger.lists.find(wanted.digest)
    if known is None or known.terms == terms:
        return known
    if ledger.at_work.is_certified_in_part(known.number):
        raise SettingsError(
            f"build list {wanted.digest.hex()} was begun under other settings: name, keys, "
            "issuing chain, MASA URL or hardware type have changed since",
            hint="put them back, or have the list signed anew with another generation",
        )
    ledger.lists.drop(known.number)
    return None


def _number_of(known: KnownList | None, wanted: BuildList, terms: bytes, ledger: Ledger) -> int:
    if known is not None:
        return known.number
    return ledger.lists.begin(wanted.digest, wanted.header, terms, wanted.entries())


def _check_generation(wanted: BuildList, ledger: Ledger) -> None:
    header = wanted.header
    last = ledger.lists.finished_generation(header.product)
    if last is not None and header.generation <= last:
        raise BatchRefused(
            f"generation {header.generation} of {header.product!r} is not above {last}, "
            "the last one that was made"
        )


def _check_chips(number: int, wanted: BuildList, ledger: Ledger) -> None:
    stray = ledger.contradictions.entry_of_no_batch(number)
    if stray is not None:
        chip_id, serial_number = stray
        raise BatchRefused(
            f"chip {chip_id.hex()} ({serial_number}) came in no batch that was taken in"
        )
    for batch in ledger.batches.of_list(number):
        if batch.product != wanted.header.product:
            raise BatchRefused(
                f"the list is for {wanted.header.product!r}, but has chips of a batch for "
                f"{batch.product!r} ({batch.vendor_id}, sequence {batch.sequence})"
            )


def _check_certified(number: int, wanted: BuildList, issuer: bytes, ledger: Ledger) -> None:
    """docs/oem-formats.md: ``replace`` is the only way to a second certificate, for ever."""
    if known := ledger.contradictions.certified_chip(number):
        raise BatchRefused(
            f"chip {known.chip_id.hex()} ({known.serial_number}) was certified as "
            f"{known.certified_as} before",
            hint=_REPLACE,
        )
    if known := ledger.contradictions.certified_number(number, issuer):
        raise BatchRefused(
            f"serial number {known.serial_number} was certified under this issuer before, "
            f"for chip {known.certified_chip_id.hex()}",
            hint=_REPLACE,
        )
    # notBefore is all that tells two certificates of one chip, number and issuer apart
    created = int(wanted.header.created_at.timestamp())
    if known := ledger.contradictions.not_later(number, issuer, created):
        raise BatchRefused(
            f"{known.serial_number} has a certificate of the list's date or a later one",
            hint="created must be after that of the list that it replaces",
        )


def _check_waiting(number: int, ledger: Ledger) -> None:
    """docs/on-demand.md: what waits for a demand is as taken as what was certified."""
    if taken := ledger.waiting.taken(number):
        chip_id, serial_number, waiting_chip_id, waiting_number = taken
        raise BatchRefused(
            f"chip {chip_id.hex()} as {serial_number}: chip {waiting_chip_id.hex()} waits to be "
            f"certified as {waiting_number} on demand",
            hint="an entry with replace takes it off record",
        )


def _check_looks(number: int, issuer: bytes, ledger: Ledger) -> None:
    """docs/oem-formats.md: whoever reads a label must not take one device for another."""
    if alike := ledger.contradictions.alike(number):
        raise BatchRefused(f"serial numbers {alike[0]} and {alike[1]} look alike", hint=_ALIKE)
    if alike := ledger.contradictions.alike_in_use(number, issuer):
        raise BatchRefused(
            f"serial number {alike[0]} looks like {alike[1]}, which is in use under this issuer",
            hint=_ALIKE,
        )
    if alike := ledger.waiting.alike(number):
        raise BatchRefused(
            f"serial number {alike[0]} looks like {alike[1]}, which waits for a demand",
            hint=_ALIKE,
        )
