"""Customers as their files have them; revocation lists that are replaced are read again."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from cryptography import x509

from brski.edge.atomic_file import read_file
from brski.edge.signers.file import load_chain
from brski.errors import FileUnusable, OnboardingError
from brski.pki.chain import TrustAnchors
from masa_stub.customers import Customer
from masa_stub.settings import CustomerSettings

log = logging.getLogger(__name__)

_Mark: TypeAlias = tuple[int, int, int]


class CustomerFiles:
    """All customers, each time as the lists on the disk are then.

    A list that cannot be read any more leaves the one before it standing, until that ends.

    Raises:
        FileUnusable, KeyUnusable: a file cannot be used at the start.
    """

    def __init__(self, settings: Sequence[CustomerSettings]) -> None:
        self._settings = settings
        self._marks = [_marks(each.crls) for each in settings]
        self._customers = [load_customer(each) for each in settings]

    def __iter__(self) -> Iterator[Customer]:
        for place, settings in enumerate(self._settings):
            marks = _marks(settings.crls)
            if marks != self._marks[place]:
                self._marks[place] = marks
                self._read_again(place)
        return iter(self._customers)

    def _read_again(self, place: int) -> None:
        settings = self._settings[place]
        try:
            crls = tuple(load_crl(path) for path in settings.crls)
        except OnboardingError as err:
            facts = {"customer": settings.name, "reason": str(err)}
            log.error("revocation list not read", extra=facts)  # noqa: TRY400 - one line says all
            return
        self._customers[place] = replace(self._customers[place], crls=crls)
        log.info("revocation lists read again", extra={"customer": settings.name})


def _marks(paths: Sequence[Path]) -> list[_Mark | None]:
    return [_mark(path) for path in paths]


def _mark(path: Path) -> _Mark | None:
    """What changes when a file is replaced; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def load_customer(settings: CustomerSettings) -> Customer:
    """Read the anchors and revocation lists of one customer.

    Raises:
        FileUnusable, KeyUnusable: a file cannot be used.
    """
    anchors = settings.anchors
    return Customer(
        name=settings.name,
        anchors=None if anchors is None else TrustAnchors(load_chain(anchors)),
        crls=tuple(load_crl(path) for path in settings.crls),
    )


def load_crl(path: Path) -> x509.CertificateRevocationList:
    """Read a revocation list, PEM or DER.

    Raises:
        FileUnusable: it is none.
    """
    octets = read_file(path)
    is_pem = octets.lstrip().startswith(b"-----BEGIN")
    read = x509.load_pem_x509_crl if is_pem else x509.load_der_x509_crl
    try:
        return read(octets)
    except ValueError as err:
        raise FileUnusable(f"{path} is no certificate revocation list") from err
