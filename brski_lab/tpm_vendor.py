"""The silicon vendor's step for a chip that is a TPM: the seed, wrapped to its storage key.

Software alone: a vendor needs neither TPM nor TSS but for reading the storage key (docs/tpm.md).
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import fields

from cryptography.hazmat.primitives.asymmetric import ec

from brski.errors import UnknownFormat
from brski.pki.keys import encode_spki
from brski.seed.profiles import profile
from brski.seed.tpm2 import TPM2Profile
from brski.seed.tpm_object import (
    SEED_VALUE_OCTETS,
    StorageKey,
    TPMObject,
    derivation_parent,
    parse_storage_key,
    signing_key,
)
from brski.seed.tpm_wrap import wrap
from device_client.identity.facts import Facts
from device_client.identity.from_seed import Fuse
from device_client.identity.tpm_file import TPMDevice
from device_client.tpm.wrapped import Wrapped


def wrap_for_tpm(fuse: Fuse, storage_key: bytes, *, with_key: bool = False) -> TPMDevice:
    """What goes onto the device instead of *fuse*: the same facts, the seed for its TPM alone.

    Args:
        storage_key: TPM2B_PUBLIC, read from the TPM in the vendor's hands.
        with_key: wrap the derived key as well, for a TPM that refuses to derive it.

    Raises:
        UnknownFormat: the fuse's profile is none that a TPM derives.
        KeyNotAllowed, Malformed: *storage_key* is none that a seed may be wrapped to.

    docs/tpm.md.
    """
    chosen = profile(fuse.derivation_profile)
    if not isinstance(chosen, TPM2Profile):
        raise UnknownFormat(f"no TPM derives keys by {chosen.name}", hint="tpm2-p256, tpm2-p384")
    parent = parse_storage_key(storage_key)
    key = chosen.derive(fuse.seed, fuse.chip_id)
    holder = derivation_parent(fuse.seed, chosen, secrets.token_bytes(SEED_VALUE_OCTETS))
    return TPMDevice(
        **{each.name: getattr(fuse, each.name) for each in fields(Facts)},
        spki_sha256=hashlib.sha256(encode_spki(key.public_key())).digest(),
        wrapped_seed=_wrapped(holder, parent),
        wrapped_key=_wrapped(signing_key(key), parent) if with_key else None,
    )


def _wrapped(plain: TPMObject, storage_key: StorageKey) -> Wrapped:
    made = wrap(plain, storage_key, ec.generate_private_key(storage_key.public_key.curve))
    return Wrapped(
        public=made.public, duplicate=made.duplicate, encrypted_secret=made.encrypted_secret
    )
