"""An open TPM: the few things that a device asks of it.

What is loaded is flushed when its block ends. Most errors of the TSS leave as they are, and are
translated where the TPM was opened (:mod:`device_client.tpm.connection`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from tpm2_pytss import (
    ESAPI,
    ESYS_TR,
    TPM2_ALG,
    TPM2_CAP,
    TPM2_RH,
    TPM2_ST,
    TPM2B_DATA,
    TPM2B_DIGEST,
    TPM2B_ENCRYPTED_SECRET,
    TPM2B_PRIVATE,
    TPM2B_SENSITIVE_CREATE,
    TPM2B_TEMPLATE,
    TPMT_SIG_SCHEME,
    TPMT_SYM_DEF_OBJECT,
    TPMT_TK_HASHCHECK,
)

from brski.errors import KeyUnusable
from device_client.tpm import templates
from device_client.tpm.answers import deriving, importing
from device_client.tpm.objects import Blob, Key, parse_public, unmarshalled
from device_client.tpm.templates import Suite
from device_client.tpm.wrapped import Wrapped

STORAGE_KEY_HANDLE: Final = 0x81000001  # where provisioned platforms keep their SRK
_TRANSIENT_FIRST: Final = 0x80000000
_MOST_HANDLES: Final = 16


class Chip:
    """Made by :meth:`device_client.tpm.connection.TPM.open`, for the length of its block."""

    def __init__(self, esapi: ESAPI) -> None:
        self._esapi = esapi

    def sweep(self) -> None:
        """Flush what a killed process of ours left loaded, where no resource manager did."""
        for handle in self._handles(_TRANSIENT_FIRST, _MOST_HANDLES):
            found = self._esapi.tr_from_tpmpublic(handle)
            public, _, _ = self._esapi.read_public(found)
            if templates.is_ours(public):
                self._esapi.flush_context(found)
            else:
                self._esapi.tr_close(found)

    def persistent_key(self, handle: int) -> Key | None:
        """The object at a persistent *handle*, or None."""
        if handle not in self._handles(handle, 1):
            return None
        found = self._esapi.tr_from_tpmpublic(handle)
        public, _, _ = self._esapi.read_public(found)
        return Key(handle=found, public=public)

    def storage_key_public(self) -> bytes:
        """The storage key's TPM2B_PUBLIC, for whoever wraps something to it."""
        with self._storage_key() as parent:
            public, _, _ = self._esapi.read_public(parent)
        octets: bytes = public.marshal()
        return octets

    @contextmanager
    def derived_key(self, wrapped_seed: Wrapped, suite: Suite, chip_id: bytes) -> Iterator[Key]:
        """Import a derivation parent, derive the IDevID key below it, evict the parent.

        Raises:
            DerivationRefused: this TPM derives no ECC keys.
            KeyUnusable: the seed was not wrapped to this TPM's storage key.
        """
        template = templates.derived_key_template(suite, chip_id)
        with self.imported_key(wrapped_seed) as parent, deriving():
            key = self._create_loaded(parent.handle, template)
        try:
            yield key
        finally:
            self._esapi.flush_context(key.handle)

    @contextmanager
    def imported_key(self, wrapped: Wrapped) -> Iterator[Key]:
        """Import and load an object that was wrapped to the storage key.

        Raises:
            KeyUnusable: it was wrapped to another storage key, or is damaged.
            DerivationRefused: a derivation parent, and the TPM knows no such objects.
        """
        public = parse_public(wrapped.public)
        with self._storage_key() as parent, importing(public):
            private = self._esapi.import_(
                parent,
                TPM2B_DATA(),
                public,
                unmarshalled(TPM2B_PRIVATE, wrapped.duplicate),
                unmarshalled(TPM2B_ENCRYPTED_SECRET, wrapped.encrypted_secret),
                TPMT_SYM_DEF_OBJECT(algorithm=TPM2_ALG.NULL),
            )
            handle = self._esapi.load(parent, private, public)
        try:
            yield Key(handle=handle, public=public)
        finally:
            self._esapi.flush_context(handle)

    def persist(self, key: Key, handle: int) -> None:
        """Keep a loaded *key* at a persistent *handle* of the owner hierarchy that is free."""
        kept = self._esapi.evict_control(ESYS_TR.OWNER, key.handle, handle)
        self._esapi.tr_close(kept)

    def evict(self, handle: int) -> None:
        """Remove the object at a persistent *handle*, if there is one."""
        found = self.persistent_key(handle)
        if found is not None:
            self._esapi.evict_control(ESYS_TR.OWNER, found.handle, handle)

    def create_key(self, suite: Suite) -> Blob:
        """Let the TPM's own generator make a signing key that cannot leave this TPM."""
        template = templates.fresh_key_public(suite)
        with self._storage_key() as parent:
            private, public, *_ = self._esapi.create(parent, TPM2B_SENSITIVE_CREATE(), template)
        return Blob(public=public.marshal(), private=private.marshal())

    @contextmanager
    def loaded_key(self, blob: Blob) -> Iterator[Key]:
        """Load a key that :meth:`create_key` made.

        Raises:
            KeyUnusable: it is another TPM's, damaged, or one that may leave its TPM.
        """
        public = parse_public(blob.public)
        if not templates.is_fresh(public) or not templates.may_only_sign(public):
            raise KeyUnusable("the key that is kept was not made in the TPM to stay there")
        with self._storage_key() as parent, importing(public):
            handle = self._esapi.load(parent, unmarshalled(TPM2B_PRIVATE, blob.private), public)
        try:
            yield Key(handle=handle, public=public)
        finally:
            self._esapi.flush_context(handle)

    def sign(self, key: Key, digest: bytes) -> bytes:
        """Sign *digest*, which the caller made with the hash of the key's curve.

        Returns:
            DER ECDSA-Sig-Value.
        """
        ticket = TPMT_TK_HASHCHECK(
            tag=TPM2_ST.HASHCHECK, hierarchy=TPM2_RH.NULL, digest=TPM2B_DIGEST()
        )
        scheme = TPMT_SIG_SCHEME(scheme=TPM2_ALG.NULL)  # the key's own: ECDSA
        made = self._esapi.sign(key.handle, TPM2B_DIGEST(digest), scheme, ticket)
        pair = made.signature.ecdsa
        return encode_dss_signature(_integer(pair.signatureR), _integer(pair.signatureS))

    @contextmanager
    def _storage_key(self) -> Iterator[ESYS_TR]:
        """The storage key: the one that platform provisioning left, or made anew, which gives
        the same.
        """
        kept = self.persistent_key(STORAGE_KEY_HANDLE)
        if kept is not None and templates.is_storage_key(kept.public):
            yield kept.handle
            return
        made, *_ = self._esapi.create_primary(
            TPM2B_SENSITIVE_CREATE(), templates.storage_key_public(), ESYS_TR.OWNER
        )
        try:
            yield made
        finally:
            self._esapi.flush_context(made)

    def _create_loaded(self, parent: ESYS_TR, template: TPM2B_TEMPLATE) -> Key:
        handle, _, public = self._esapi.create_loaded(parent, TPM2B_SENSITIVE_CREATE(), template)
        return Key(handle=handle, public=public)

    def _handles(self, first: int, most: int) -> tuple[int, ...]:
        _, found = self._esapi.get_capability(TPM2_CAP.HANDLES, first, most)
        kind = first >> 24
        return tuple(int(each) for each in found.data.handles if int(each) >> 24 == kind)


def _integer(octets: Any) -> int:
    return int.from_bytes(bytes(octets), "big")
