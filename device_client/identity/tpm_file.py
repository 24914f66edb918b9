"""The device file of a TPM: public facts, and until the first boot a wrapped seed.

docs/tpm.md has it to the octet.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from cryptography import x509

from brski.edge.atomic_file import write_atomically
from brski.errors import StateError
from brski.pki import cbor
from brski.pki.keys import certificate_der, parse_certificate
from device_client.identity.facts import (
    FILE_LIMIT,
    Facts,
    Fields,
    FileKind,
    encode_facts,
    load_owned,
    octets_of,
)
from device_client.tpm.wrapped import PROFILE_NAMES, Wrapped

_KIND: Final = FileKind(
    name="TPM's device file",
    format="brski tpm v1",
    needed=frozenset({"spki-sha256"}),
    optional=frozenset({"wrapped-seed", "wrapped-key", "assertion"}),
    section="docs/tpm.md",
)
_DIGEST_OCTETS: Final = 32
_PART_OCTETS_LIMIT: Final = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class TPMDevice(Facts):
    """What a device with a TPM knows of itself."""

    spki_sha256: bytes  # of the derived key's SubjectPublicKeyInfo, as the vendor announced it
    wrapped_seed: Wrapped | None = None  # until the first boot
    wrapped_key: Wrapped | None = None  # likewise; for a TPM that refuses to derive
    assertion: x509.Certificate | None = None  # from the first boot on, where it asserts

    def __post_init__(self) -> None:
        if self.certificates and self.assertion is not None:
            raise StateError(
                "a device carries its IDevID or asserts, not both", section=_KIND.section
            )


def encode_device(device: TPMDevice) -> bytes:
    """Write *device* as deterministic CBOR.

    Raises:
        StateError: a value out of its bounds.
    """
    assertion = device.assertion
    octets = encode_facts(
        device,
        _KIND,
        spki_sha256=device.spki_sha256,
        wrapped_seed=_parts(device.wrapped_seed),
        wrapped_key=_parts(device.wrapped_key),
        assertion=None if assertion is None else certificate_der(assertion),
    )
    parse_device(octets)
    return octets


def parse_device(octets: bytes) -> TPMDevice:
    """Read the content of a device file.

    Raises:
        StateError: not deterministic CBOR, another format, a key unknown or missing, a value out
            of its bounds, a profile that no TPM derives.
    """
    item = Fields(octets, _KIND)
    facts = item.facts(_check_profile)
    return TPMDevice(
        **{each.name: getattr(facts, each.name) for each in fields(Facts)},
        spki_sha256=item.read(
            "spki-sha256", lambda value: octets_of(value, _DIGEST_OCTETS, _DIGEST_OCTETS)
        ),
        wrapped_seed=item.read_if_there("wrapped-seed", _wrapped),
        wrapped_key=item.read_if_there("wrapped-key", _wrapped),
        assertion=item.read_if_there(
            "assertion", lambda value: parse_certificate(octets_of(value, 1, FILE_LIMIT))
        ),
    )


def load_device(path: Path) -> TPMDevice:
    """Read a device file that nobody but its owner may touch.

    Raises:
        KeyUnusable: group or others may read or write it.
        FileUnusable: missing, or not a regular file.
        StateError: as :func:`parse_device`.
    """
    return load_owned(path, parse_device)


def write_device(path: Path, device: TPMDevice, *, may_replace: bool = False) -> None:
    """Write a device file, mode 0600, whole or not at all.

    Raises:
        StateError: *path* exists, or a value is out of its bounds.
        Unavailable, FileUnusable: it cannot be written.
    """
    write_atomically(path, encode_device(device), mode=0o600, may_replace=may_replace)


def _check_profile(name: str) -> None:
    if name not in PROFILE_NAMES:
        raise ValueError(f"{name!r} is not one of {', '.join(PROFILE_NAMES)}")


def _parts(wrapped: Wrapped | None) -> list[bytes] | None:
    if wrapped is None:
        return None
    return [wrapped.public, wrapped.duplicate, wrapped.encrypted_secret]


def _wrapped(value: cbor.Item) -> Wrapped:
    if not isinstance(value, list) or len(value) != 3:
        raise ValueError("not three parts")
    public, duplicate, secret = (octets_of(part, 2, _PART_OCTETS_LIMIT) for part in value)
    return Wrapped(public=public, duplicate=duplicate, encrypted_secret=secret)
