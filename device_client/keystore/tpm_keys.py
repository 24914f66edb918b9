"""LDevID keys that a TPM's own generator makes, and that never leave it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from cryptography import x509

from brski import registry
from brski.errors import UnknownFormat
from brski.est.requirements import KeyRequirement
from device_client.tpm.blob_file import decode_blob, encode_blob
from device_client.tpm.connection import TPM
from device_client.tpm.signers import BlobSigner
from device_client.tpm.templates import P256, P384, Suite

_SUITES: Final[Mapping[str | None, Suite]] = MappingProxyType(
    {registry.SECP256R1: P256, registry.SECP384R1: P384}
)


class TPMKeys:
    """Implements :class:`device_client.keystore.ldevid_keys.LDevIDKeys`; a reference is the key as
    the TPM gave it out, encrypted under its storage key: ``TSS2 PRIVATE KEY`` in PEM, as
    tpm2-openssl reads it. It is of no use without that TPM.
    """

    def __init__(self, tpm: TPM) -> None:
        self._tpm = tpm

    def make(self, kind: KeyRequirement) -> bytes:
        """See the port. P-256 and P-384; fixedTPM, and no other use than signing."""
        suite = _SUITES.get(kind.curve)
        if suite is None:
            raise UnknownFormat(f"the TPM of this device makes no key of {kind}")
        with self._tpm.open() as chip:
            return encode_blob(chip.create_key(suite))

    def signer(self, reference: bytes, chain: Sequence[x509.Certificate] = ()) -> BlobSigner:
        """See the port. The TPM is asked when the first signature is."""
        return BlobSigner(self._tpm, decode_blob(reference), chain)
