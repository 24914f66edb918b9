"""Keys in the TPM behind the port that everything of ours signs through."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from brski.errors import KeyUnusable
from device_client.tpm import templates
from device_client.tpm.chip import Chip
from device_client.tpm.connection import TPM
from device_client.tpm.objects import Blob, Key


class OpenSigner:
    """Implements :class:`brski.pki.signer.Signer` with a key of a TPM that is open anyway."""

    def __init__(self, chip: Chip, key: Key) -> None:
        self._chip = chip
        self._key = key

    @property
    def public_key(self) -> ec.EllipticCurvePublicKey:
        """The key's public half."""
        return self._key.public_key

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """Empty."""
        return ()

    def sign(self, data: bytes) -> bytes:
        """See the port; raises what the TSS raises."""
        suite = templates.suite_of(self.public_key)
        return self._chip.sign(self._key, hashlib.new(suite.hash_name, data).digest())


class _Kept:
    """What the signers of keys that are not loaded share: the public half and the chain."""

    def __init__(
        self,
        tpm: TPM,
        public_key: ec.EllipticCurvePublicKey,
        chain: Iterable[x509.Certificate],
    ) -> None:
        self._tpm = tpm
        self._public_key = public_key
        self._chain = tuple(chain)
        if self._chain and self._chain[0].public_key() != public_key:
            raise KeyUnusable("the first certificate of the chain is for another key")

    @property
    def public_key(self) -> ec.EllipticCurvePublicKey:
        """The key's public half."""
        return self._public_key

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """As given, leaf first."""
        return self._chain

    def _sign_with(self, chip: Chip, key: Key | None, data: bytes) -> bytes:
        if key is None or key.public_key != self._public_key:
            raise KeyUnusable(
                "the TPM no longer holds this key", hint="was it cleared, or exchanged?"
            )
        return OpenSigner(chip, key).sign(data)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._public_key.curve.name}>"


class PersistentSigner(_Kept):
    """Implements :class:`brski.pki.signer.Signer` with the key at a persistent *handle*.

    The TPM is opened for each signature. ``sign`` raises KeyUnusable if the key is gone, and
    Unavailable while the TPM is taken, full or silent.
    """

    def __init__(
        self,
        tpm: TPM,
        handle: int,
        public_key: ec.EllipticCurvePublicKey,
        chain: Iterable[x509.Certificate] = (),
    ) -> None:
        super().__init__(tpm, public_key, chain)
        self._handle = handle

    def sign(self, data: bytes) -> bytes:
        """See the port."""
        with self._tpm.open() as chip:
            return self._sign_with(chip, chip.persistent_key(self._handle), data)


class BlobSigner(_Kept):
    """Implements :class:`brski.pki.signer.Signer` with a key that is kept outside of the TPM,
    encrypted by it, and loaded for each signature.

    Raises:
        KeyUnusable: *blob* is damaged, or the chain is for another key. ``sign`` raises it if the
            blob is another TPM's, and Unavailable while the TPM is taken, full or silent.
    """

    def __init__(self, tpm: TPM, blob: Blob, chain: Iterable[x509.Certificate] = ()) -> None:
        super().__init__(tpm, blob.public_key, chain)
        self._blob = blob

    def sign(self, data: bytes) -> bytes:
        """See the port."""
        with self._tpm.open() as chip, chip.loaded_key(self._blob) as key:
            return self._sign_with(chip, key, data)
