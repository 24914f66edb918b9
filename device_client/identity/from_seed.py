"""A device that holds a secret seed: the fuse file, and the identity that grows out of it.

The only module of the device that touches :mod:`brski.seed`. The key is derived at every start and
written nowhere; the generator behind it is thrown away (docs/derivation.md). The file is laid out
in docs/fuse-file.md, to the octet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from cryptography import x509

from brski.edge.atomic_file import read_file, write_atomically
from brski.edge.signers.file import check_private_mode
from brski.edge.signers.key import KeySigner
from brski.errors import KeyUnusable, PeerError, StateError
from brski.idevid.assertion import assertion_certificate
from brski.pki import cbor
from brski.pki.extensions import KEY_IDENTIFIER_OCTETS, masa_base_url
from brski.pki.keys import certificate_der, encode_spki, parse_certificate
from brski.pki.names import check_serial_number
from brski.pki.signatures import PrivateKey
from brski.registry import CERTIFICATES_LIMIT
from brski.seed.profiles import profile
from brski.seed.secret import Seed
from device_client.identity.carried import check_carried_chain

FORMAT: Final = "brski fuse v1"
FILE_LIMIT: Final = 64 * 1024
SEED_OCTETS_LIMIT: Final = 64
CHIP_ID_OCTETS_LIMIT: Final = 64
_SECTION: Final = "docs/fuse-file.md"
_NEEDED: Final = frozenset(
    {
        "format",
        "seed",
        "chip-id",
        "serial-number",
        "idevid-issuer",
        "derivation-profile",
        "voucher-anchors",
    }
)
_OPTIONAL: Final = frozenset({"masa-url", "certificates"})

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fuse:
    """What is burnt into a device; the seed shows nothing when printed."""

    seed: Seed
    chip_id: bytes  # 1 to 64 octets, as in the seed batch
    serial_number: str  # the device's
    idevid_issuer: bytes  # 20-octet keyIdentifier of the OEM's issuer
    derivation_profile: str  # such as "hmac-drbg-p256"
    voucher_anchors: tuple[x509.Certificate, ...]  # whom alone it believes vouchers
    masa_url: str | None = None  # value of a MASA-URL extension
    certificates: tuple[x509.Certificate, ...] = ()  # IDevID chain, leaf first; empty: it asserts


def make_fuse(
    seed: bytes,
    *,
    chip_id: bytes,
    serial_number: str,
    idevid_issuer: bytes,
    derivation_profile: str,
    voucher_anchors: tuple[x509.Certificate, ...],
    masa_url: str | None = None,
    certificates: tuple[x509.Certificate, ...] = (),
) -> Fuse:
    """A fuse of values that come from a person; see :class:`Fuse` for their units.

    Raises:
        StateError: a value out of its bounds.
    """
    try:
        fuse = Fuse(
            seed=Seed(seed),
            chip_id=chip_id,
            serial_number=serial_number,
            idevid_issuer=idevid_issuer,
            derivation_profile=derivation_profile,
            voucher_anchors=voucher_anchors,
            masa_url=masa_url,
            certificates=certificates,
        )
    except PeerError as err:
        raise StateError(err.reason, section=_SECTION) from err
    encode_fuse(fuse)
    return fuse


def encode_fuse(fuse: Fuse) -> bytes:
    """Write *fuse* as deterministic CBOR. The octets are secret.

    Raises:
        StateError: a value out of its bounds.

    docs/fuse-file.md.
    """
    item: dict[int | str, cbor.Encodable] = {
        "format": FORMAT,
        "seed": fuse.seed.octets,
        "chip-id": fuse.chip_id,
        "serial-number": fuse.serial_number,
        "idevid-issuer": fuse.idevid_issuer,
        "derivation-profile": fuse.derivation_profile,
        "voucher-anchors": [certificate_der(c) for c in fuse.voucher_anchors],
    }
    if fuse.masa_url is not None:
        item["masa-url"] = fuse.masa_url
    if fuse.certificates:
        item["certificates"] = [certificate_der(c) for c in fuse.certificates]
    octets = cbor.encode(item)
    parse_fuse(octets)
    return octets


def parse_fuse(octets: bytes) -> Fuse:
    """Read the content of a fuse file.

    Args:
        octets: the whole file.

    Raises:
        StateError: not deterministic CBOR, another format, a key unknown or missing, a value out
            of its bounds. The message never holds a value of the file but its format.

    docs/fuse-file.md.
    """
    try:
        item = cbor.decode(octets, max_octets=FILE_LIMIT)
    except PeerError as err:
        raise StateError(f"not a fuse file: {err.reason}", section=_SECTION) from err
    if not isinstance(item, dict) or "format" not in item:
        raise StateError("not a fuse file: no map with a format", section=_SECTION)
    if item["format"] != FORMAT:
        raise StateError(f"the fuse file's format is not {FORMAT!r}", section=_SECTION)
    names = {str(name) for name in item}
    if not _NEEDED <= names <= _NEEDED | _OPTIONAL:
        amiss = sorted(_NEEDED - names) + sorted(names - _NEEDED - _OPTIONAL)
        raise StateError(
            f"the fuse file lacks, or should not have: {', '.join(amiss)}", section=_SECTION
        )
    return Fuse(
        seed=_read(item, "seed", _seed),
        chip_id=_read(item, "chip-id", lambda v: _octets(v, 1, CHIP_ID_OCTETS_LIMIT)),
        serial_number=_read(item, "serial-number", lambda v: check_serial_number(_text(v))),
        idevid_issuer=_read(
            item,
            "idevid-issuer",
            lambda v: _octets(v, KEY_IDENTIFIER_OCTETS, KEY_IDENTIFIER_OCTETS),
        ),
        derivation_profile=_read(item, "derivation-profile", _profile_name),
        voucher_anchors=_read(item, "voucher-anchors", _certificates),
        masa_url=_read(item, "masa-url", _masa_url) if "masa-url" in item else None,
        certificates=_read(item, "certificates", _certificates) if "certificates" in item else (),
    )


def load_fuse(path: Path) -> Fuse:
    """Read a fuse file that nobody but its owner may touch.

    Raises:
        KeyUnusable: group or others may read or write it.
        FileUnusable: missing, or not a regular file.
        StateError: as :func:`parse_fuse`.
    """
    check_private_mode(path)
    try:
        return parse_fuse(read_file(path, max_octets=FILE_LIMIT))
    except StateError as err:
        raise StateError(f"{path}: {err.reason}", section=err.section) from err


def write_fuse(path: Path, fuse: Fuse, *, may_replace: bool = False) -> None:
    """Write a fuse file, mode 0600, whole or not at all.

    Raises:
        StateError: *path* exists, or a value is out of its bounds.
        Unavailable, FileUnusable: it cannot be written.
    """
    write_atomically(path, encode_fuse(fuse), mode=0o600, may_replace=may_replace)


class SeedIdentity:
    """Implements :class:`device_client.identity.port.DeviceIdentity` with a derived key.

    Args:
        fuse: what the device holds. The seed is not kept beyond the derivation.

    Raises:
        KeyUnusable: the certificates that *fuse* brings are not for the derived key, serial number
            and issuer; such a device is refused and does not assert instead.
        StateError: *fuse* cannot be derived from.

    docs/identity.md; docs/fuse-file.md.
    """

    def __init__(self, fuse: Fuse) -> None:
        self._serial_number = fuse.serial_number
        self._idevid_issuer = fuse.idevid_issuer
        self._voucher_anchors = fuse.voucher_anchors
        self._private_key = _derive(fuse)
        self._carried = bool(fuse.certificates)
        if self._carried:
            check_carried_chain(
                fuse.certificates,
                spki=encode_spki(self._private_key.public_key()),
                serial_number=fuse.serial_number,
                idevid_issuer=fuse.idevid_issuer,
            )
        self._client_chain = fuse.certificates or (_assert_identity(fuse, self._private_key),)

    @property
    def serial_number(self) -> str:
        """As the device asserts it."""
        return self._serial_number

    @property
    def idevid_issuer(self) -> bytes | None:
        """20-octet keyIdentifier of the OEM's issuer."""
        return self._idevid_issuer

    @property
    def carried(self) -> bool:
        """Whether the device holds its IDevID certificate."""
        return self._carried

    @property
    def client_chain(self) -> tuple[x509.Certificate, ...]:
        """The IDevID chain, or the one assertion certificate; leaf first."""
        return self._client_chain

    @property
    def voucher_anchors(self) -> tuple[x509.Certificate, ...]:
        """Whom alone it believes vouchers."""
        return self._voucher_anchors

    def signer(self) -> KeySigner:
        """The IDevID key. Its ECDSA nonces come from the system's generator."""
        return KeySigner(self._private_key, self._client_chain)

    def __repr__(self) -> str:
        return f"<SeedIdentity {self._serial_number}>"


def _derive(fuse: Fuse) -> PrivateKey:
    try:
        return profile(fuse.derivation_profile).derive(fuse.seed, fuse.chip_id)
    except PeerError as err:
        raise StateError(f"no key from this fuse: {err.reason}", section=_SECTION) from err


def _assert_identity(fuse: Fuse, private_key: PrivateKey) -> x509.Certificate:
    try:
        return assertion_certificate(
            KeySigner(private_key, deterministic=True),
            fuse.serial_number,
            idevid_issuer=fuse.idevid_issuer,
            masa_url=fuse.masa_url,
        )
    except PeerError as err:
        raise KeyUnusable(f"no assertion certificate: {err.reason}", section=_SECTION) from err


# -- the values of the map


def _read(item: Mapping[int | str, cbor.Item], name: str, read: Callable[[cbor.Item], T]) -> T:
    try:
        return read(item[name])
    except PeerError as err:
        raise StateError(f"{name} of the fuse file: {err.reason}", section=_SECTION) from err
    except ValueError as err:
        raise StateError(f"{name} of the fuse file: {err}", section=_SECTION) from err


def _octets(value: cbor.Item, least: int, most: int) -> bytes:
    if not isinstance(value, bytes) or not least <= len(value) <= most:
        raise ValueError(f"not {least} to {most} octets" if least < most else f"not {least} octets")
    return value


def _seed(value: cbor.Item) -> Seed:
    return Seed(_octets(value, 1, SEED_OCTETS_LIMIT))


def _text(value: cbor.Item) -> str:
    if not isinstance(value, str):
        raise ValueError("not text")  # noqa: TRY004 - of the file, not of the call
    return value


def _profile_name(value: cbor.Item) -> str:
    return profile(_text(value)).name


def _masa_url(value: cbor.Item) -> str:
    masa_base_url(_text(value))
    return _text(value)


def _certificates(value: cbor.Item) -> tuple[x509.Certificate, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= CERTIFICATES_LIMIT:
        raise ValueError(f"not 1 to {CERTIFICATES_LIMIT} certificates")
    return tuple(parse_certificate(_octets(c, 1, FILE_LIMIT)) for c in value)
