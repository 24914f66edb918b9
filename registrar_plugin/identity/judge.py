"""The gates between a certificate, a manufacturer and its records: value or exception out.

Carried and fetched certificates pass through the same functions. docs/identity.md has the order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from cryptography import x509

from brski.errors import (
    CertificateMismatch,
    ChainInvalid,
    DeviceAmbiguous,
    DeviceRevoked,
    DeviceUnknown,
    IDevIDIssuerMismatch,
    KeyMismatch,
    OnboardingError,
    PeerError,
    SerialNumberMismatch,
)
from brski.idevid.record import DeviceRecord, DeviceStatus
from brski.pki.extensions import (
    authority_key_identifier,
    idevid_issuer_of,
    key_identifier,
    may_be_a_client,
)
from brski.pki.keys import certificate_der, parse_certificate, spki_of
from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.identity.policy import Manufacturer

_ISSUER_SECTION = "RFC 8366bis §6"


@dataclass(frozen=True, slots=True, kw_only=True)
class Established:
    """A certificate that leads to a manufacturer's anchor, and whom it names; no key compared."""

    manufacturer: Manufacturer
    path: tuple[x509.Certificate, ...]  # leaf first, the anchor last
    device: DeviceKey

    @property
    def idevid(self) -> x509.Certificate:
        """The leaf."""
        return self.path[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identified:
    """An established certificate whose key is the one that was proven, with its record."""

    established: Established
    record: DeviceRecord | None  # None: carried, and the manufacturer has none of it


def judge_chain(
    manufacturer: Manufacturer,
    leaf: x509.Certificate,
    intermediates: Sequence[x509.Certificate],
    *,
    now: datetime,
) -> Established:
    """Lead *leaf* to one of *manufacturer*'s anchors and read whom it names.

    Raises:
        ChainInvalid: no path, or one out of its validity at *now*; the leaf's own is passed over
            where the manufacturer's policy says so. Or the leaf is for other uses than a client's.
        IDevIDIssuerMismatch: the AuthorityKeyIdentifier is neither of the issuer's key nor listed.
        Malformed: no serial number where this manufacturer writes it.

    RFC 8995 §5.1, §2.6.2.
    """
    path = manufacturer.anchors.validate(
        leaf, intermediates, at=now, ignore_leaf_expiry=manufacturer.ignore_idevid_expiry
    )
    if not may_be_a_client(leaf):
        raise ChainInvalid(
            "the IDevID's extended key usages do not let it be a TLS client's",
            section="RFC 5280 §4.2.1.12",
        )
    check_issuer(path, manufacturer.issuers)
    device = DeviceKey(idevid_issuer_of(leaf), manufacturer.serial_number_of(leaf))
    return Established(manufacturer=manufacturer, path=path, device=device)


def check_issuer(path: Sequence[x509.Certificate], listed: frozenset[bytes]) -> None:
    """Raise unless the leaf's AuthorityKeyIdentifier is its issuer's by key, or *listed*.

    Manufacturers write these octets themselves; all that is kept of a device is keyed by them. One
    manufacturer must not be able to name another's devices.

    Args:
        path: validated, leaf first, the anchor last.
        listed: keyIdentifiers that the settings grant to this manufacturer.

    Raises:
        IDevIDIssuerMismatch: it is neither.

    RFC 5280 §4.2.1.2 method 1; RFC 8366bis §6.
    """
    named = authority_key_identifier(path[0])
    if named is None or named in listed:
        return  # without one the leaf is named by the hash of its own, proven key
    if len(path) > 1 and key_identifier(spki_of(path[1])) == named:
        return
    raise IDevIDIssuerMismatch(
        f"AuthorityKeyIdentifier {named.hex()} is not the SHA-1 of the issuer's key",
        section=_ISSUER_SECTION,
        hint="list it under the manufacturer's issuers if its CA names keys otherwise",
    )


def judge_carried(
    manufacturers: Iterable[Manufacturer], chain: Sequence[x509.Certificate], *, now: datetime
) -> Established:
    """Find the one manufacturer whose anchors a carried chain leads to.

    Args:
        manufacturers: those with an anchor that the chain could lead to.
        chain: as the device sent it, leaf first.

    Raises:
        ChainInvalid: it leads to nobody's anchors.
        IDevIDIssuerMismatch, Malformed: as :func:`judge_chain`, for the only one it leads to.
        DeviceUnknown: its serial number is none of those that this manufacturer makes.
        DeviceAmbiguous: it leads to anchors of several manufacturers.
    """
    found: list[Established] = []
    refusals: list[OnboardingError] = []
    for manufacturer in manufacturers:
        try:
            established = judge_chain(manufacturer, chain[0], chain[1:], now=now)
            _check_numbering(established)
        except (PeerError, DeviceUnknown) as refusal:
            refusals.append(refusal)
        else:
            found.append(established)
    if len(found) > 1:
        names = ", ".join(e.manufacturer.name for e in found)
        raise DeviceAmbiguous(f"the client's chain leads to anchors of {names}")
    if found:
        return found[0]
    raise _most_telling(refusals)


def _check_numbering(established: Established) -> None:
    manufacturer, serial_number = established.manufacturer, established.device.serial_number
    if not manufacturer.may_have_numbered(serial_number, issuer_named=True):
        raise DeviceUnknown(f"{serial_number} is no serial number of {manufacturer.name}'s")


def _most_telling(refusals: Sequence[OnboardingError]) -> OnboardingError:
    """The refusal of whoever got further than the chain, else the chain's own."""
    for refusal in refusals:
        if not isinstance(refusal, ChainInvalid):
            return refusal
    if len(refusals) == 1:
        return refusals[0]
    return ChainInvalid(
        "the client's chain leads to no configured manufacturer's anchor", section="RFC 8995 §5.1"
    )


def judge_record(
    record: DeviceRecord,
    manufacturer: Manufacturer,
    *,
    serial_number: str,
    idevid_issuer: bytes | None,
    spki: bytes,
    now: datetime,
) -> Identified:
    """Judge one record that a source has for an asserted serial number, but for its status.

    Args:
        record: as the source gave it.
        serial_number: as asserted.
        idevid_issuer: as asserted (20-octet keyIdentifier), or None.
        spki: SubjectPublicKeyInfo of the proven key, DER.

    Raises:
        SerialNumberMismatch, IDevIDIssuerMismatch: the record, or its certificate, is of another
            device.
        Malformed, TooLarge: its certificates cannot be read.
        ChainInvalid: as :func:`judge_chain`.
        KeyMismatch: its key is not the proven one, to the byte.
    """
    _check_serial_number("the record", record.serial_number, serial_number)
    if idevid_issuer is not None:
        _check_same_issuer("the record", record.idevid_issuer, idevid_issuer)
    established = judge_chain(
        manufacturer,
        parse_certificate(record.certificate),
        [parse_certificate(der) for der in record.intermediates],
        now=now,
    )
    device = established.device
    _check_serial_number("the record's certificate", device.serial_number, serial_number)
    _check_same_issuer("the record's certificate", device.idevid_issuer, record.idevid_issuer)
    check_key(record, established.idevid, spki)
    return Identified(established=established, record=record)


def _check_serial_number(what: str, found: str, asserted: str) -> None:
    if found.encode() != asserted.encode():
        raise SerialNumberMismatch(
            f"{what} is of serial number {found!r}, not {asserted!r}", found=found, wanted=asserted
        )


def _check_same_issuer(what: str, found: bytes, wanted: bytes) -> None:
    if found != wanted:
        raise IDevIDIssuerMismatch(
            f"{what} is of issuer {found.hex()}, not {wanted.hex()}",
            section=_ISSUER_SECTION,
            found=found.hex(),
            wanted=wanted.hex(),
        )


def check_key(record: DeviceRecord, idevid: x509.Certificate, spki: bytes) -> None:
    """Raise unless the certificate on record, and what the record says of it, has the proven key.

    The server completes a handshake with any certificate: this is the one check that nothing skips.

    Args:
        idevid: the record's certificate.
        spki: SubjectPublicKeyInfo of the proven key, DER; compared byte for byte.

    Raises:
        KeyMismatch: it has not.
    """
    if spki_of(idevid) != spki or record.spki != spki:
        raise KeyMismatch(
            f"the proven key is not the one on record for {record.serial_number}",
            section="RFC 8995 §5.1",
            found=f"key {sha256(spki).hexdigest()}",
            wanted=f"key {sha256(record.spki).hexdigest()}",
        )


def select(found: Sequence[Identified]) -> Identified | None:
    """The one of *found* that stands, or None if there is none.

    Of several records of one manufacturer the only active one does: a re-issue revokes the old
    certificate, whose key may be the same. If none is active, one of them tells why.

    Raises:
        DeviceAmbiguous: records of several manufacturers, whatever their status, or several active
            ones: someone certified a key that is another's.
    """
    active = [i for i in found if i.record is not None and i.record.status is DeviceStatus.ACTIVE]
    manufacturers = {identified.established.manufacturer.name for identified in found}
    if len(manufacturers) > 1 or len(active) > 1:
        names = ", ".join(_owner(identified.established) for identified in found)
        raise DeviceAmbiguous(f"several records hold the proven key: {names}")
    return next(iter((*active, *found)), None)


def _owner(established: Established) -> str:
    return f"{established.manufacturer.name} ({established.device.idevid_issuer.hex()})"


def match_carried(established: Established, records: Iterable[DeviceRecord]) -> Identified:
    """Compare a carried IDevID, whose key is proven, with the manufacturer's record of that device.

    Raises:
        DeviceUnknown: there is no record, and the manufacturer's policy wants one.
        CertificateMismatch: the record has another certificate: a clone, or a CA gone astray.
        DeviceAmbiguous: there are several records.
    """
    record = record_of(established.device, records)
    if record is None:
        if established.manufacturer.require_record:
            raise DeviceUnknown(
                f"{established.manufacturer.name} has no record of {established.device}"
            )
        return Identified(established=established, record=None)
    check_certificate(record, established.idevid)
    return Identified(established=established, record=record)


def record_of(device: DeviceKey, records: Iterable[DeviceRecord]) -> DeviceRecord | None:
    """The record of *device* among *records*, which may hold namesakes of other issuers.

    Raises:
        DeviceAmbiguous: there are several of this very device.
    """
    found = [r for r in records if DeviceKey(r.idevid_issuer, r.serial_number) == device]
    if len(found) > 1:
        raise DeviceAmbiguous(f"there are {len(found)} records of {device}")
    return found[0] if found else None


def check_certificate(record: DeviceRecord, idevid: x509.Certificate) -> None:
    """Raise unless *idevid*, whose key is proven, is the certificate on record, octet for octet.

    Raises:
        CertificateMismatch: it is another.
    """
    if record.certificate != certificate_der(idevid) or record.spki != spki_of(idevid):
        raise CertificateMismatch(
            f"the certificate is not the one on record for {record.serial_number}, "
            f"though {_key_verdict(record, idevid)}",
            section="RFC 8995 §5.1",
            found=f"certificate {sha256(certificate_der(idevid)).hexdigest()}",
            wanted=f"certificate {sha256(record.certificate).hexdigest()}",
        )


def _key_verdict(record: DeviceRecord, idevid: x509.Certificate) -> str:
    same = record.spki == spki_of(idevid)
    return "its key is" if same else "it leads to the manufacturer's anchor"


def check_status(record: DeviceRecord) -> None:
    """Raise unless the manufacturer stands by the device.

    Raises:
        DeviceRevoked: the record is revoked or flagged.
    """
    if record.status is not DeviceStatus.ACTIVE:
        why = f": {record.status_reason}" if record.status_reason else ""
        raise DeviceRevoked(f"the record of {record.serial_number} is {record.status}{why}")


def check_validity(path: Sequence[x509.Certificate], *, now: datetime, ignore_leaf: bool) -> None:
    """Raise unless a path that was valid once is within its certificates' times at *now* too.

    Args:
        path: validated before, leaf first, the anchor last.
        now: aware UTC.
        ignore_leaf: pass over the leaf's own.

    Raises:
        ChainInvalid: one of them is not.

    RFC 5280 §6.1.3.
    """
    for certificate in path[1 if ignore_leaf else 0 :]:
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            raise ChainInvalid(
                f"{certificate.subject.rfc4514_string()} is not valid at {now.isoformat()}",
                section="RFC 5280 §6.1.3",
            )
