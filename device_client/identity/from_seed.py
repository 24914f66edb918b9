"""A device that holds a secret seed: the fuse file, and the identity that grows out of it.

With :mod:`device_client.secret_cli` all that touches :mod:`brski.seed` here. The key is derived at
every start and written nowhere; the generator behind it is thrown away (docs/derivation.md). The
file is laid out in docs/fuse-file.md, to the octet.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from cryptography import x509

from brski.edge.atomic_file import write_atomically
from brski.edge.signers.key import KeySigner
from brski.errors import KeyUnusable, PeerError, StateError
from brski.idevid.assertion import assertion_certificate
from brski.pki.keys import encode_spki
from brski.pki.signatures import PrivateKey
from brski.seed.profiles import profile
from brski.seed.secret import Seed
from device_client.identity.carried import check_carried_chain
from device_client.identity.facts import (
    Facts,
    Fields,
    FileKind,
    encode_facts,
    load_owned,
    octets_of,
)

FORMAT: Final = "brski fuse v1"
SEED_OCTETS_LIMIT: Final = 64
_SECTION: Final = "docs/fuse-file.md"
_KIND: Final = FileKind(
    name="fuse file",
    format=FORMAT,
    needed=frozenset({"seed"}),
    optional=frozenset(),
    section=_SECTION,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fuse(Facts):
    """What is burnt into a device; the seed shows nothing when printed."""

    seed: Seed


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
    octets = encode_facts(fuse, _KIND, seed=fuse.seed.octets)
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
    item = Fields(octets, _KIND)
    facts = item.facts(profile)
    return Fuse(
        **{each.name: getattr(facts, each.name) for each in fields(Facts)},
        seed=item.read("seed", lambda value: Seed(octets_of(value, 1, SEED_OCTETS_LIMIT))),
    )


def load_fuse(path: Path) -> Fuse:
    """Read a fuse file that nobody but its owner may touch.

    Raises:
        KeyUnusable: group or others may read or write it.
        FileUnusable: missing, or not a regular file.
        StateError: as :func:`parse_fuse`.
    """
    return load_owned(path, parse_fuse)


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
