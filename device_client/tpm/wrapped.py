"""What a vendor hands over for a TPM; the one module of this folder that needs no TSS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PROFILE_NAMES: Final = ("tpm2-p256", "tpm2-p384")  # derivation profiles that a TPM can do


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrapped:
    """An object that only the TPM of one storage key can import; sizes included."""

    public: bytes  # TPM2B_PUBLIC
    duplicate: bytes  # TPM2B_PRIVATE
    encrypted_secret: bytes  # TPM2B_ENCRYPTED_SECRET
