"""One algorithm for each key: the key dictates it, no message may choose.

X.509, CMS and CSR encodings; COSE has its own in :mod:`brski.pki.cose`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, padding, rsa

from brski import registry
from brski.errors import SignatureInvalid
from brski.pki import der, effort
from brski.pki.keys import check_public_key
from brski.pki.signer import PublicKey, Signer

MLDSAPrivateKey: TypeAlias = (
    mldsa.MLDSA44PrivateKey | mldsa.MLDSA65PrivateKey | mldsa.MLDSA87PrivateKey
)
ClassicPrivateKey: TypeAlias = (
    ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
)
PrivateKey: TypeAlias = ClassicPrivateKey | MLDSAPrivateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class _Suite:
    signature_algorithm: bytes  # AlgorithmIdentifier, DER
    digest_oid: str  # of the CMS message-digest attribute
    digest_name: str  # the same, as hashlib calls it


_P256: Final = _Suite(
    signature_algorithm=der.encode(der.SEQUENCE, der.encode_oid(registry.ECDSA_WITH_SHA256)),
    digest_oid=registry.ID_SHA256,
    digest_name="sha256",
)
_P384: Final = _Suite(
    signature_algorithm=der.encode(der.SEQUENCE, der.encode_oid(registry.ECDSA_WITH_SHA384)),
    digest_oid=registry.ID_SHA384,
    digest_name="sha384",
)
_ED25519: Final = _Suite(
    signature_algorithm=der.encode(der.SEQUENCE, der.encode_oid(registry.ID_ED25519)),
    digest_oid=registry.ID_SHA512,  # RFC 8419 §3.1
    digest_name="sha512",
)
_RSA: Final = _Suite(
    signature_algorithm=der.encode(
        der.SEQUENCE, der.encode_oid(registry.SHA256_WITH_RSA), der.encode(der.NULL)
    ),
    digest_oid=registry.ID_SHA256,
    digest_name="sha256",
)
_MLDSA_44, _MLDSA_65, _MLDSA_87 = (
    _Suite(
        signature_algorithm=der.encode(der.SEQUENCE, der.encode_oid(oid)),
        digest_oid=registry.ID_SHA512,  # RFC 9882 §3.3
        digest_name="sha512",
    )
    for oid in (registry.ID_ML_DSA_44, registry.ID_ML_DSA_65, registry.ID_ML_DSA_87)
)
_ECDSA: Final[dict[type[ec.EllipticCurve], ec.ECDSA]] = {
    ec.SECP256R1: ec.ECDSA(hashes.SHA256()),
    ec.SECP384R1: ec.ECDSA(hashes.SHA384()),
}
_ECDSA_DETERMINISTIC: Final[dict[type[ec.EllipticCurve], ec.ECDSA]] = {
    ec.SECP256R1: ec.ECDSA(hashes.SHA256(), deterministic_signing=True),
    ec.SECP384R1: ec.ECDSA(hashes.SHA384(), deterministic_signing=True),
}
_PKCS1: Final = padding.PKCS1v15()
_SHA256: Final = hashes.SHA256()


def _suite(public_key: PublicKey) -> _Suite:
    key = check_public_key(public_key)
    if isinstance(key, ec.EllipticCurvePublicKey):
        return _P256 if isinstance(key.curve, ec.SECP256R1) else _P384
    if isinstance(key, ed25519.Ed25519PublicKey):
        return _ED25519
    if isinstance(key, rsa.RSAPublicKey):
        return _RSA
    if isinstance(key, mldsa.MLDSA44PublicKey):
        return _MLDSA_44
    return _MLDSA_65 if isinstance(key, mldsa.MLDSA65PublicKey) else _MLDSA_87


def signature_algorithm(public_key: PublicKey) -> bytes:
    """The AlgorithmIdentifier of every signature under *public_key*, DER.

    ecdsa-with-SHA256 for P-256, ecdsa-with-SHA384 for P-384, Ed25519, sha256WithRSAEncryption for
    RSA, and ML-DSA of the key's parameter set, pure and with an empty context.

    Raises:
        KeyNotAllowed: see :func:`brski.pki.keys.check_public_key`.

    RFC 5758 §3.2; RFC 8410 §3; RFC 4055 §5; RFC 9881 §3.
    """
    return _suite(public_key).signature_algorithm


def digest_algorithm(public_key: PublicKey) -> tuple[str, str]:
    """The digest that goes with *public_key* in CMS: object identifier and hashlib name.

    Raises:
        KeyNotAllowed: see :func:`brski.pki.keys.check_public_key`.

    RFC 5754 §2; RFC 8419 §3.1; RFC 9882 §3.3.
    """
    suite = _suite(public_key)
    return suite.digest_oid, suite.digest_name


def public_key_of(signer: Signer) -> PublicKey:
    """The public half of the signer's key, known to be of an accepted kind.

    Raises:
        KeyNotAllowed: see :func:`brski.pki.keys.check_public_key`.
    """
    return check_public_key(signer.public_key)


def verify(public_key: PublicKey, signature: bytes, data: bytes, *, what: str) -> None:
    """Raise unless *signature* over *data* was made with the key and its one algorithm.

    Args:
        public_key: checked here; may come straight from a certificate.
        signature: DER ECDSA-Sig-Value, raw octets for Ed25519 and ML-DSA, PKCS #1 v1.5 for RSA.
        data: what was signed, whole.
        what: the signed thing, for the message: ``"voucher-request"``.

    Raises:
        SignatureInvalid: it was not.
        KeyNotAllowed: see :func:`brski.pki.keys.check_public_key`.
        TooLarge: one verification too many for this message (:mod:`brski.pki.effort`).

    RFC 5652 §5.6; RFC 5280 §4.1.1.3.
    """
    key = check_public_key(public_key)
    effort.spend()
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, data, _ECDSA[type(key.curve)])
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, data, _PKCS1, _SHA256)
        else:
            key.verify(signature, data)
    except InvalidSignature as err:
        raise SignatureInvalid(f"signature of the {what} does not verify") from err


def sign(private_key: PrivateKey, data: bytes, *, deterministic: bool = False) -> bytes:
    """Sign *data* with the algorithm that the key dictates.

    Args:
        private_key: in process; a token signs for itself.
        data: to be signed, whole.
        deterministic: for ECDSA, draw the nonce from key and message (RFC 6979), so that the same
            input gives the same octets; Ed25519 and RSA always do. ML-DSA never does here: the
            library offers its hedged variant alone (FIPS 204 §3.4).

    Returns:
        As :meth:`brski.pki.signer.Signer.sign`.

    Raises:
        KeyNotAllowed: see :func:`brski.pki.keys.check_public_key`.

    RFC 6979 §3.2.
    """
    return signing_with(private_key, deterministic=deterministic)(data)


def signing_with(
    private_key: PrivateKey, *, deterministic: bool = False
) -> Callable[[bytes], bytes]:
    """:func:`sign` with this key, its algorithm looked up once.

    Raises:
        KeyNotAllowed: see :func:`brski.pki.keys.check_public_key`.
    """
    check_public_key(private_key.public_key())
    if isinstance(private_key, ec.EllipticCurvePrivateKey):
        algorithms = _ECDSA_DETERMINISTIC if deterministic else _ECDSA
        algorithm = algorithms[type(private_key.curve)]
        return partial(_sign_ecdsa, private_key, algorithm)
    if isinstance(private_key, rsa.RSAPrivateKey):
        return partial(_sign_rsa, private_key)
    return private_key.sign


def _sign_ecdsa(key: ec.EllipticCurvePrivateKey, algorithm: ec.ECDSA, data: bytes) -> bytes:
    return key.sign(data, algorithm)


def _sign_rsa(key: rsa.RSAPrivateKey, data: bytes) -> bytes:
    return key.sign(data, _PKCS1, _SHA256)
