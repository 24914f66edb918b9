"""Public areas of the objects that a device makes in its TPM; docs/tpm.md has them in tables."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from tpm2_pytss import (
    TPM2_ALG,
    TPM2_ECC,
    TPM2B_ECC_PARAMETER,
    TPM2B_PUBLIC,
    TPM2B_TEMPLATE,
    TPMA_OBJECT,
    TPMS_ECC_PARMS,
    TPMS_ECC_POINT,
    TPMS_SCHEME_HASH,
    TPMT_ECC_SCHEME,
    TPMT_KDF_SCHEME,
    TPMT_PUBLIC,
    TPMT_SYM_DEF_OBJECT,
    TPMU_ASYM_SCHEME,
    TPMU_PUBLIC_ID,
    TPMU_PUBLIC_PARMS,
    TPMU_SYM_KEY_BITS,
    TPMU_SYM_MODE,
)

from brski.errors import KeyUnusable

LABEL: Final = b"IDevID"  # of the derivation; docs/derivation.md
_DERIVED: Final = TPMA_OBJECT.FIXEDPARENT | TPMA_OBJECT.USERWITHAUTH | TPMA_OBJECT.NODA
_FRESH: Final = _DERIVED | TPMA_OBJECT.FIXEDTPM | TPMA_OBJECT.SENSITIVEDATAORIGIN
_SIGN: Final = TPMA_OBJECT.SIGN_ENCRYPT
_STORE: Final = TPMA_OBJECT.RESTRICTED | TPMA_OBJECT.DECRYPT
_IMPORTED: Final = TPMA_OBJECT.USERWITHAUTH | TPMA_OBJECT.NODA | _SIGN
_PARENT: Final = TPMA_OBJECT.USERWITHAUTH | TPMA_OBJECT.NODA | _STORE
_EMPTY_UNIQUE: Final = bytes(4)  # an ECC point of two empty coordinates, marshalled


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A curve that a TPM signs on, and the hash that goes with it."""

    curve: ec.EllipticCurve
    curve_id: int  # TPM_ECC_CURVE
    hash_id: int  # TPM_ALG_ID
    hash_name: str  # as hashlib calls it


P256: Final = Suite(
    curve=ec.SECP256R1(),
    curve_id=TPM2_ECC.NIST_P256,
    hash_id=TPM2_ALG.SHA256,
    hash_name="sha256",
)
P384: Final = Suite(
    curve=ec.SECP384R1(),
    curve_id=TPM2_ECC.NIST_P384,
    hash_id=TPM2_ALG.SHA384,
    hash_name="sha384",
)
PROFILES: Final[Mapping[str, Suite]] = MappingProxyType({"tpm2-p256": P256, "tpm2-p384": P384})


def storage_key_public() -> TPM2B_PUBLIC:
    """The template of the storage key (SRK)."""
    symmetric = TPMT_SYM_DEF_OBJECT(
        algorithm=TPM2_ALG.AES,
        keyBits=TPMU_SYM_KEY_BITS(aes=128),
        mode=TPMU_SYM_MODE(aes=TPM2_ALG.CFB),
    )
    return _ecc_public(_FRESH | _STORE, P256, symmetric, TPMT_ECC_SCHEME(scheme=TPM2_ALG.NULL))


def fresh_key_public(suite: Suite) -> TPM2B_PUBLIC:
    """The template of a signing key that the TPM's generator makes and the TPM never lets out."""
    return _signing_public(_FRESH | _SIGN, suite)


def derived_key_template(suite: Suite, chip_id: bytes) -> TPM2B_TEMPLATE:
    """The template of the IDevID key: in place of a unique value, label and context."""
    public = _signing_public(_DERIVED | _SIGN, suite).publicArea.marshal()
    context = hashlib.sha256(chip_id).digest()
    derive = b"".join(len(part).to_bytes(2, "big") + part for part in (LABEL, context))
    return TPM2B_TEMPLATE(public.removesuffix(_EMPTY_UNIQUE) + derive)


def public_key_of(public: TPM2B_PUBLIC) -> ec.EllipticCurvePublicKey:
    """The public key of an ECC object.

    Raises:
        KeyUnusable: it is none on P-256 or P-384.
    """
    area = public.publicArea
    if area.type == TPM2_ALG.ECC:
        for suite in (P256, P384):
            if area.parameters.eccDetail.curveID == suite.curve_id:
                return _point(suite, area.unique.ecc)
    raise KeyUnusable("the TPM's object is no key on P-256 or P-384")


def suite_of(public_key: ec.EllipticCurvePublicKey) -> Suite:
    """The suite of a key from :func:`public_key_of`."""
    return P256 if isinstance(public_key.curve, ec.SECP256R1) else P384


def may_only_sign(public: TPM2B_PUBLIC) -> bool:
    """Whether the object signs what it is given, and does nothing else."""
    attributes = public.publicArea.objectAttributes
    return bool(attributes & _SIGN) and not attributes & _STORE


def is_fresh(public: TPM2B_PUBLIC) -> bool:
    """Whether the TPM's own generator made the key, and it can never leave the TPM."""
    return bool(public.publicArea.objectAttributes & _FRESH == _FRESH)


def is_storage_key(public: TPM2B_PUBLIC) -> bool:
    """Whether the object is what the storage key's template gives, so far as can be seen."""
    template: bytes = storage_key_public().publicArea.marshal()
    found: bytes = public.publicArea.marshal()
    return found.startswith(template.removesuffix(_EMPTY_UNIQUE))


def is_ours(public: TPM2B_PUBLIC) -> bool:
    """Whether this program could have loaded the object: its attributes are one of our sets."""
    area = public.publicArea
    known = {
        TPM2_ALG.KEYEDHASH: {_PARENT},
        TPM2_ALG.ECC: {_FRESH | _STORE, _FRESH | _SIGN, _DERIVED | _SIGN, _IMPORTED},
    }
    return len(area.authPolicy) == 0 and area.objectAttributes in known.get(area.type, ())


def _signing_public(attributes: TPMA_OBJECT, suite: Suite) -> TPM2B_PUBLIC:
    scheme = TPMT_ECC_SCHEME(
        scheme=TPM2_ALG.ECDSA,
        details=TPMU_ASYM_SCHEME(ecdsa=TPMS_SCHEME_HASH(hashAlg=suite.hash_id)),
    )
    return _ecc_public(attributes, suite, TPMT_SYM_DEF_OBJECT(algorithm=TPM2_ALG.NULL), scheme)


def _ecc_public(
    attributes: TPMA_OBJECT,
    suite: Suite,
    symmetric: TPMT_SYM_DEF_OBJECT,
    scheme: TPMT_ECC_SCHEME,
) -> TPM2B_PUBLIC:
    details = TPMS_ECC_PARMS(
        symmetric=symmetric,
        scheme=scheme,
        curveID=suite.curve_id,
        kdf=TPMT_KDF_SCHEME(scheme=TPM2_ALG.NULL),
    )
    return TPM2B_PUBLIC(
        TPMT_PUBLIC(
            type=TPM2_ALG.ECC,
            nameAlg=TPM2_ALG.SHA256,
            objectAttributes=attributes,
            parameters=TPMU_PUBLIC_PARMS(eccDetail=details),
            unique=TPMU_PUBLIC_ID(
                ecc=TPMS_ECC_POINT(x=TPM2B_ECC_PARAMETER(), y=TPM2B_ECC_PARAMETER())
            ),
        )
    )


def _point(suite: Suite, point: TPMS_ECC_POINT) -> ec.EllipticCurvePublicKey:
    numbers = ec.EllipticCurvePublicNumbers(
        int.from_bytes(bytes(point.x), "big"), int.from_bytes(bytes(point.y), "big"), suite.curve
    )
    try:
        return numbers.public_key()
    except ValueError as err:
        raise KeyUnusable("the TPM's public key is not on its curve") from err
