"""Wrapping to a storage key, compared with tpm2-pytss, which shares no code with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.kit.programs import require_library

require_library("tpm2_pytss", "tpm")

from tpm2_pytss import (
    TPM2_ALG,
    TPM2B_ENCRYPTED_SECRET,
    TPM2B_PRIVATE,
    TPM2B_PUBLIC,
    TPM2B_SENSITIVE,
    TPMA_OBJECT,
    TPMT_SENSITIVE,
)
from tpm2_pytss.utils import unwrap
from tpm2_pytss.utils import wrap as their_wrap

from brski.errors import KeyNotAllowed
from brski.seed.secret import Seed
from brski.seed.tpm2 import TPM2_P256, TPM2_P384
from brski.seed.tpm_object import (
    TPMObject,
    derivation_parent,
    parse_storage_key,
    signing_key,
    sized,
)
from brski.seed.tpm_wrap import WrappedObject, wrap

SEED_VALUE = bytes(range(64, 96))
STORAGE = (
    TPMA_OBJECT.FIXEDTPM
    | TPMA_OBJECT.FIXEDPARENT
    | TPMA_OBJECT.SENSITIVEDATAORIGIN
    | TPMA_OBJECT.USERWITHAUTH
    | TPMA_OBJECT.NODA
    | TPMA_OBJECT.RESTRICTED
    | TPMA_OBJECT.DECRYPT
)

OBJECTS: list[Callable[[], TPMObject]] = [
    lambda: derivation_parent(Seed(bytes(32)), TPM2_P256, SEED_VALUE),
    lambda: derivation_parent(Seed(bytes(range(128))), TPM2_P384, SEED_VALUE),
    lambda: signing_key(ec.derive_private_key(0xC0FFEE, ec.SECP256R1())),
    lambda: signing_key(ec.derive_private_key(0xC0FFEE, ec.SECP384R1())),
]
CURVES = [ec.SECP256R1(), ec.SECP384R1()]


def _storage_key(private_key: ec.EllipticCurvePrivateKey) -> TPM2B_PUBLIC:
    """What the TPM that holds *private_key* would answer to TPM2_ReadPublic."""
    pem = private_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    wide = private_key.curve.key_size == 384
    return TPM2B_PUBLIC.from_pem(
        pem,
        nameAlg=TPM2_ALG.SHA384 if wide else TPM2_ALG.SHA256,
        objectAttributes=STORAGE,
        symmetric="aes256cfb" if wide else "aes128cfb",
    )


@pytest.mark.parametrize("curve", CURVES, ids=lambda curve: curve.name)
@pytest.mark.parametrize("make", OBJECTS)
def test_the_octets_are_those_of_another_implementation(
    curve: ec.EllipticCurve,
    make: Callable[[], TPMObject],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Given the same ephemeral key, tpm2_pytss.utils.wrap gives the same three structures."""
    plain, ephemeral = make(), ec.generate_private_key(curve)
    public = _storage_key(ec.generate_private_key(curve))
    ours = wrap(plain, parse_storage_key(public.marshal()), ephemeral)

    def the_same(*_: Any, **__: Any) -> ec.EllipticCurvePrivateKey:
        return ephemeral

    monkeypatch.setattr(ec, "generate_private_key", the_same)
    _, duplicate, secret = their_wrap(
        public.publicArea,
        TPM2B_PUBLIC.unmarshal(sized(plain.public))[0],
        TPM2B_SENSITIVE.unmarshal(sized(plain.sensitive))[0],
    )
    theirs = WrappedObject(
        public=sized(plain.public),
        duplicate=duplicate.marshal(),
        encrypted_secret=secret.marshal(),
    )
    assert ours == theirs


def _unwrap(wrapped: WrappedObject, storage_key: ec.EllipticCurvePrivateKey) -> bytes:
    pem = storage_key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    sensitive = unwrap(
        _storage_key(storage_key).publicArea,
        TPMT_SENSITIVE.from_pem(pem),
        TPM2B_PUBLIC.unmarshal(wrapped.public)[0],
        TPM2B_PRIVATE.unmarshal(wrapped.duplicate)[0],
        TPM2B_ENCRYPTED_SECRET.unmarshal(wrapped.encrypted_secret)[0],
    )
    octets: bytes = sensitive.sensitiveArea.marshal()
    return octets


@pytest.mark.parametrize("make", OBJECTS)
def test_the_storage_keys_holder_unwraps_it_and_nobody_else(
    make: Callable[[], TPMObject],
) -> None:
    plain = make()
    storage_key = ec.generate_private_key(ec.SECP256R1())
    parent = parse_storage_key(_storage_key(storage_key).marshal())
    wrapped = wrap(plain, parent, ec.generate_private_key(ec.SECP256R1()))
    assert _unwrap(wrapped, storage_key) == plain.sensitive
    with pytest.raises(InvalidSignature):
        _unwrap(wrapped, ec.generate_private_key(ec.SECP256R1()))


def test_the_seed_is_not_in_what_is_wrapped() -> None:
    seed = bytes(range(32))
    storage_key = ec.generate_private_key(ec.SECP256R1())
    parent = parse_storage_key(_storage_key(storage_key).marshal())
    plain = derivation_parent(Seed(seed), TPM2_P256, SEED_VALUE)
    wrapped = wrap(plain, parent, ec.generate_private_key(ec.SECP256R1()))
    octets = wrapped.public + wrapped.duplicate + wrapped.encrypted_secret
    assert seed not in octets
    assert seed in plain.sensitive  # the control: so it would look


def test_an_ephemeral_key_on_another_curve_is_refused() -> None:
    parent = parse_storage_key(_storage_key(ec.generate_private_key(ec.SECP256R1())).marshal())
    plain = derivation_parent(Seed(bytes(32)), TPM2_P256, SEED_VALUE)
    with pytest.raises(KeyNotAllowed, match="curve"):
        wrap(plain, parent, ec.generate_private_key(ec.SECP384R1()))
