"""EST clients that are no devices, as the journal keeps them (docs/est.md).

State is keyed by idevid-issuer and serial number. Such a client has neither: a value that stands
for its kind takes the one's place, its name the other's.
"""

from __future__ import annotations

import hashlib
from typing import Final

from registrar_plugin.identity.model import DeviceKey

BRSKI: Final = "brski"  # devices
PASSWORD: Final = "password"  # noqa: S105 - a kind of client
CERTIFICATE: Final = "certificate"
RA: Final = "ra"
NO_DEVICES: Final = (PASSWORD, CERTIFICATE, RA)
NAMED_APART: Final = (CERTIFICATE, RA)  # by names with a colon: who vouches for them, and theirs
RA_KINDS: Final = (PASSWORD, CERTIFICATE)  # that a registration authority's own certificate is of
KINDS: Final = (BRSKI, *NO_DEVICES)

_VERSION: Final = b"brski est client v1\0"
_KEY_IDENTIFIER_OCTETS: Final = 20


def client_issuer(kind: str) -> bytes:
    """What stands in an idevid-issuer's place: the first 20 octets of
    SHA-256("brski est client v1" ‖ 00 ‖ *kind*).

    A manufacturer's is proven by the hash of its key, or listed by the operator, which the settings
    refuse for these values: none can have it.

    Args:
        kind: one of :data:`NO_DEVICES`, ASCII.
    """
    return hashlib.sha256(_VERSION + kind.encode("ascii")).digest()[:_KEY_IDENTIFIER_OCTETS]


_KIND_OF: Final = {client_issuer(kind): kind for kind in NO_DEVICES}
RESERVED: Final = frozenset(_KIND_OF)
"""What no manufacturer may be said to have for an idevid-issuer."""


def client_key(kind: str, name: str) -> DeviceKey:
    """What all state of the client *name* is keyed by.

    Args:
        kind: one of :data:`NO_DEVICES`.
        name: 1 to 64 characters of those that a serial number may have, so that commands, URLs and
            logs take it (:func:`brski.pki.names.check_serial_number`).
    """
    return DeviceKey(client_issuer(kind), name)


def client_kind(device: DeviceKey) -> str | None:
    """The kind of an EST client that is no device; None for a device."""
    return _KIND_OF.get(device.idevid_issuer)
