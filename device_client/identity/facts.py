"""What a device is told of itself beside its secret, and the strict map that its file is.

The map is deterministic CBOR with text keys; a fuse file and a TPM's device file differ by the
secret alone (docs/fuse-file.md, docs/tpm.md). Nothing here knows a seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from cryptography import x509

from brski.edge.atomic_file import read_file
from brski.edge.signers.file import check_private_mode
from brski.errors import PeerError, StateError
from brski.pki import cbor
from brski.pki.extensions import KEY_IDENTIFIER_OCTETS, masa_base_url
from brski.pki.keys import certificate_der, parse_certificate
from brski.pki.names import check_serial_number
from brski.registry import CERTIFICATES_LIMIT

FILE_LIMIT: Final = 64 * 1024
CHIP_ID_OCTETS_LIMIT: Final = 64
NEEDED: Final = frozenset(
    {"chip-id", "serial-number", "idevid-issuer", "derivation-profile", "voucher-anchors"}
)
OPTIONAL: Final = frozenset({"masa-url", "certificates"})

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All public."""

    chip_id: bytes  # 1 to 64 octets, as in the seed batch
    serial_number: str  # the device's
    idevid_issuer: bytes  # 20-octet keyIdentifier of the OEM's issuer
    derivation_profile: str  # such as "hmac-drbg-p256"
    voucher_anchors: tuple[x509.Certificate, ...]  # whom alone it believes vouchers
    masa_url: str | None = None  # value of a MASA-URL extension
    certificates: tuple[x509.Certificate, ...] = ()  # IDevID chain, leaf first; empty: it asserts


@dataclass(frozen=True, slots=True, kw_only=True)
class FileKind:
    """One kind of file that holds :class:`Facts` and more."""

    name: str  # for messages: "fuse file"
    format: str  # value of its "format"
    needed: frozenset[str]  # beside "format" and the facts
    optional: frozenset[str]
    section: str  # its page


class Fields:
    """The map of one file.

    Args:
        octets: the whole file.
        kind: what it has to be.

    Raises:
        StateError: not deterministic CBOR, another format, a key unknown or missing. No message
            holds a value of the file.
    """

    def __init__(self, octets: bytes, kind: FileKind) -> None:
        self._kind = kind
        try:
            item = cbor.decode(octets, max_octets=FILE_LIMIT)
        except PeerError as err:
            raise self._refused(f"not a {kind.name}: {err.reason}") from err
        if not isinstance(item, dict) or "format" not in item:
            raise self._refused(f"not a {kind.name}: no map with a format")
        if item["format"] != kind.format:
            raise self._refused(f"the {kind.name}'s format is not {kind.format!r}")
        names = {str(name) for name in item} - {"format"}
        needed, optional = kind.needed | NEEDED, kind.optional | OPTIONAL
        if not needed <= names <= needed | optional:
            amiss = sorted(needed - names) + sorted(names - needed - optional)
            raise self._refused(f"the {kind.name} lacks, or should not have: {', '.join(amiss)}")
        self._item = item

    def read(self, name: str, read: Callable[[cbor.Item], T]) -> T:
        """The value called *name*, as *read* makes it of what stands there.

        Raises:
            StateError: *read* refused it.
        """
        try:
            return read(self._item[name])
        except PeerError as err:
            raise self._refused(f"{name} of the {self._kind.name}: {err.reason}") from err
        except ValueError as err:
            raise self._refused(f"{name} of the {self._kind.name}: {err}") from err

    def read_if_there(self, name: str, read: Callable[[cbor.Item], T]) -> T | None:
        """As :meth:`read`; None where there is no such value."""
        return self.read(name, read) if name in self._item else None

    def facts(self, check_profile: Callable[[str], object]) -> Facts:
        """The facts; *check_profile* raises for a derivation profile that the device has not.

        Raises:
            StateError: one is out of its bounds.
        """
        return Facts(
            chip_id=self.read("chip-id", lambda v: octets_of(v, 1, CHIP_ID_OCTETS_LIMIT)),
            serial_number=self.read("serial-number", lambda v: check_serial_number(text_of(v))),
            idevid_issuer=self.read(
                "idevid-issuer",
                lambda v: octets_of(v, KEY_IDENTIFIER_OCTETS, KEY_IDENTIFIER_OCTETS),
            ),
            derivation_profile=self.read(
                "derivation-profile", lambda v: _checked(text_of(v), check_profile)
            ),
            voucher_anchors=self.read("voucher-anchors", certificates_of),
            masa_url=self.read_if_there("masa-url", lambda v: _checked(text_of(v), masa_base_url)),
            certificates=self.read_if_there("certificates", certificates_of) or (),
        )

    def _refused(self, reason: str) -> StateError:
        return StateError(reason, section=self._kind.section)


def encode_facts(facts: Facts, kind: FileKind, **more: cbor.Encodable) -> bytes:
    """Write *facts* and what else the file holds, by name with ``_`` for ``-``; None is left out.

    Not checked: the caller reads it again.
    """
    item: dict[int | str, cbor.Encodable] = {
        "format": kind.format,
        "chip-id": facts.chip_id,
        "serial-number": facts.serial_number,
        "idevid-issuer": facts.idevid_issuer,
        "derivation-profile": facts.derivation_profile,
        "voucher-anchors": [certificate_der(c) for c in facts.voucher_anchors],
        "masa-url": facts.masa_url,
        "certificates": [certificate_der(c) for c in facts.certificates] or None,
        **{name.replace("_", "-"): value for name, value in more.items()},
    }
    return cbor.encode({name: value for name, value in item.items() if value is not None})


def octets_of(value: cbor.Item, least: int, most: int) -> bytes:
    """*value*, which has to be a byte string of *least* to *most* octets.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(value, bytes) or not least <= len(value) <= most:
        raise ValueError(f"not {least} to {most} octets" if least < most else f"not {least} octets")
    return value


def text_of(value: cbor.Item) -> str:
    """*value*, which has to be text.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(value, str):
        raise ValueError("not text")  # noqa: TRY004 - of the file, not of the call
    return value


def _checked(text: str, check: Callable[[str], object]) -> str:
    check(text)
    return text


def certificates_of(value: cbor.Item) -> tuple[x509.Certificate, ...]:
    """*value*, which has to be one to eight certificates, DER.

    Raises:
        ValueError: it is not a list of so many.
        Malformed: one of them is no certificate.
    """
    if not isinstance(value, list) or not 1 <= len(value) <= CERTIFICATES_LIMIT:
        raise ValueError(f"not 1 to {CERTIFICATES_LIMIT} certificates")
    return tuple(parse_certificate(octets_of(c, 1, FILE_LIMIT)) for c in value)


def load_owned(path: Path, parse: Callable[[bytes], T]) -> T:
    """Read a device's file, which nobody but its owner may touch.

    Args:
        parse: of its octets.

    Raises:
        KeyUnusable: group or others may read or write it.
        FileUnusable: missing, or not a regular file.
        StateError: as *parse*, with the path.
    """
    check_private_mode(path)
    try:
        return parse(read_file(path, max_octets=FILE_LIMIT))
    except StateError as err:
        raise StateError(f"{path}: {err.reason}", section=err.section) from err
