"""Writing down a sale: what the command line and the management listener both do."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from brski.errors import LocalError, Malformed
from brski.pki import strict_json
from brski.pki.extensions import KEY_IDENTIFIER_OCTETS
from brski.pki.keys import parse_pem_certificates, spki_sha256
from brski.pki.names import check_serial_number
from masa_stub.ownership import BuyerKind, Sale
from masa_stub.port import DeviceRecords

_MEMBERS: Final = frozenset(
    {"serial_number", "idevid_issuer", "certificate", "at", *(kind.value for kind in BuyerKind)}
)
_HEX_OCTETS = {BuyerKind.KEY: (32,), BuyerKind.DOMAIN_ID: (20, 32)}


async def sale_of(
    records: DeviceRecords,
    serial_number: str,
    idevid_issuer: str | None,
    kind: BuyerKind,
    buyer: str,
    *,
    at: datetime,
) -> Sale:
    """Make the line that says who owns a device from now on.

    Args:
        records: tell the issuer of a serial number; a device that is not on record yet needs one.
        idevid_issuer: keyIdentifier, 40 hex digits; None where the serial number is enough.
        buyer: what *kind* says; empty for nobody and anybody.
        at: aware UTC.

    Raises:
        LocalError: the buyer is not of that kind, or the device is not told apart.
        Malformed: no serial number.
    """
    check_serial_number(serial_number)
    issuer = _key_identifier(idevid_issuer) if idevid_issuer else None
    if issuer is None:
        issuer = await _only_issuer(records, serial_number)
    return Sale(
        at=at,
        idevid_issuer=issuer,
        serial_number=serial_number,
        kind=kind,
        buyer=_checked(kind, buyer),
    )


async def parse_sale(records: DeviceRecords, octets: bytes, *, at: datetime) -> Sale:
    """Read a sale from JSON, as :func:`sale_document` writes it.

    Args:
        records: as for :func:`sale_of`.
        octets: an object of strings: ``serial_number``, ``idevid_issuer`` where needed, and one
            buyer, by its kind or as ``certificate`` (PEM). ``at`` does not count.
        at: aware UTC.

    Raises:
        Malformed, TooLarge: no such object.
        LocalError: as :func:`sale_of`.
    """
    asked = _members(octets)
    kind, buyer = _buyer(asked)
    serial_number, issuer = asked.get("serial_number", ""), asked.get("idevid_issuer")
    return await sale_of(records, serial_number, issuer, kind, buyer, at=at)


def key_of_certificate(pem: bytes) -> str:
    """The buyer of kind ``spki-sha256`` that the first certificate in *pem* stands for.

    Raises:
        Malformed: there is none.
    """
    return spki_sha256(parse_pem_certificates(pem)[0]).hex()


async def _only_issuer(records: DeviceRecords, serial_number: str) -> bytes:
    issuers = sorted({r.idevid_issuer for r in await records.find(None, serial_number)})
    if not issuers:
        raise LocalError(
            f"no device {serial_number} is on record",
            hint="name its issuer's keyIdentifier to write down the sale all the same",
        )
    if len(issuers) > 1:
        listed = ", ".join(issuer.hex() for issuer in issuers)
        raise LocalError(
            f"{len(issuers)} devices have the serial number {serial_number}",
            hint=f"name one of the issuers: {listed}",
        )
    return issuers[0]


def _key_identifier(text: str) -> bytes:
    issuer = _octets(text, "issuer")
    if len(issuer) != KEY_IDENTIFIER_OCTETS:
        raise LocalError(f"the issuer's keyIdentifier has {len(issuer)} octets, not 20")
    return issuer


def _checked(kind: BuyerKind, buyer: str) -> str:
    if kind in (BuyerKind.NOBODY, BuyerKind.ANYBODY):
        if buyer:
            raise LocalError(f"{kind.value} has no name")
        return ""
    if kind is BuyerKind.CUSTOMER:
        if not buyer or len(buyer) > 64:
            raise LocalError("the customer's name is missing, or too long")
        return buyer
    octets = _octets(buyer, kind.value)
    if len(octets) not in _HEX_OCTETS[kind]:
        raise LocalError(f"{kind.value} of {len(octets)} octets")
    return octets.hex()


def _octets(text: str, what: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as err:
        raise LocalError(f"{what} {text[:80]!a} is not hexadecimal") from err


def sale_document(sale: Sale) -> dict[str, Any]:
    """*sale* as JSON has it, here and on the command line."""
    return {
        "at": sale.at.isoformat(),
        "serial_number": sale.serial_number,
        "idevid_issuer": sale.idevid_issuer.hex(),
        sale.kind.value: sale.buyer,
    }


def _members(body: bytes) -> dict[str, str]:
    document = strict_json.loads(body)
    if not isinstance(document, dict) or not all(isinstance(v, str) for v in document.values()):
        raise Malformed("a sale is a JSON object of strings")
    unknown = sorted(document.keys() - _MEMBERS)
    if unknown:
        raise Malformed(f"a sale has no member {unknown[0]!a}")
    return document


def _buyer(asked: Mapping[str, str]) -> tuple[BuyerKind, str]:
    named = [kind for kind in BuyerKind if kind.value in asked]
    if "certificate" in asked and not named:
        return BuyerKind.KEY, key_of_certificate(asked["certificate"].encode())
    if len(named) != 1 or "certificate" in asked:
        raise LocalError("a sale names one buyer")
    return named[0], asked[named[0].value]
