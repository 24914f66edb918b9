"""What a certificate request must be and hold, as one value (RFC 8995 §5.9.2; RFC 7030 §4.5.2).

A registrar announces it with :func:`brski.est.csr_attributes.encode_csr_attributes` and holds
requests to it with :meth:`CSRRequirements.check`; a client reads it out of the server's answer.
Must not know devices: what is announced is the same for everybody who asks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa

from brski import registry
from brski.errors import CSRMismatch
from brski.est.attributes import RequestedExtension
from brski.est.csr import CSR
from brski.pki.signer import PublicKey

_CURVES: Final = {"secp256r1": registry.SECP256R1, "secp384r1": registry.SECP384R1}
_SECTION: Final = "RFC 9908 §3.2"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRequirement:
    """A kind of key; a part that is None is the client's to choose."""

    algorithm: str  # dotted: id-ecPublicKey, rsaEncryption, id-Ed25519, id-ml-dsa-65 and the like
    curve: str | None = None  # dotted
    rsa_bits: int | None = None

    def matches(self, public_key: PublicKey) -> bool:
        """Say whether *public_key* is of this kind."""
        other = _kind_of(public_key)
        return (
            self.algorithm == other.algorithm
            and self.curve in (None, other.curve)
            and self.rsa_bits in (None, other.rsa_bits)
        )

    def __str__(self) -> str:
        size = self.curve or (f"{self.rsa_bits} bits" if self.rsa_bits else "")
        return f"{self.algorithm} {size}".strip()


P256: Final = KeyRequirement(algorithm=registry.ID_EC_PUBLIC_KEY, curve=registry.SECP256R1)
P384: Final = KeyRequirement(algorithm=registry.ID_EC_PUBLIC_KEY, curve=registry.SECP384R1)
ED25519: Final = KeyRequirement(algorithm=registry.ID_ED25519)
ML_DSA_44: Final = KeyRequirement(algorithm=registry.ID_ML_DSA_44)
ML_DSA_65: Final = KeyRequirement(algorithm=registry.ID_ML_DSA_65)
ML_DSA_87: Final = KeyRequirement(algorithm=registry.ID_ML_DSA_87)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectRequirement:
    """An attribute that the subject must have; its value is the client's if None."""

    oid: str  # dotted
    value: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CSRRequirements:
    """What a request must be and hold; the empty one asks for nothing and grants no extension."""

    keys: tuple[KeyRequirement, ...] = ()  # any of these; none: any key that is accepted at all
    signature_algorithms: tuple[str, ...] = ()  # dotted, any of these; none: any that is spoken
    subject: tuple[SubjectRequirement, ...] = ()
    extensions: tuple[RequestedExtension, ...] = ()  # to the octet, criticality included
    extension_oids: tuple[str, ...] = ()  # dotted; the value is the client's
    optional_extensions: frozenset[str] = frozenset()  # dotted; may be asked for, not announced
    challenge_password: bool = False

    def check(self, csr: CSR) -> None:
        """Raise unless *csr* follows these requirements.

        An extension that is neither required nor optional is refused: whoever signs could take it
        over. What the challenge password says, and whose subject it is, is for the caller.

        Args:
            csr: as parsed; its proof of possession is verified.

        Raises:
            CSRMismatch: another key or signature algorithm, a part that is missing or has another
                value, or an extension too many.

        RFC 8995 §5.9.2; RFC 7030 §4.5.2; RFC 9908 §3.2.
        """
        self._check_key(csr)
        self._check_subject(csr.subject)
        self._check_extensions(csr)
        if self.challenge_password and csr.challenge_password is None:
            raise CSRMismatch("CSR has no challengePassword", section="RFC 7030 §4.5.2")

    def _check_key(self, csr: CSR) -> None:
        if self.keys and not any(key.matches(csr.public_key) for key in self.keys):
            wanted = " or ".join(map(str, self.keys))
            raise CSRMismatch(
                f"CSR key is {_kind_of(csr.public_key)}, wanted is {wanted}",
                section="RFC 7030 §4.5.2",
                found=str(_kind_of(csr.public_key)),
                wanted=wanted,
            )
        if self.signature_algorithms and csr.signature_algorithm not in self.signature_algorithms:
            wanted = " or ".join(self.signature_algorithms)
            raise CSRMismatch(
                f"CSR signature algorithm is {csr.signature_algorithm}, wanted is {wanted}",
                section="RFC 7030 §4.5.2",
            )

    def _check_subject(self, subject: x509.Name) -> None:
        for wanted in self.subject:
            found = subject.get_attributes_for_oid(x509.ObjectIdentifier(wanted.oid))
            if not found:
                raise CSRMismatch(f"CSR subject has no {wanted.oid}", section=_SECTION)
            values = [attribute.value for attribute in found]
            if wanted.value is not None and wanted.value not in values:
                raise CSRMismatch(
                    f"CSR subject has {wanted.oid} {values!r:.80}, wanted is {wanted.value!r}",
                    section=_SECTION,
                )

    def _check_extensions(self, csr: CSR) -> None:
        for wanted in self.extensions:
            if csr.extension(wanted.oid) != wanted:
                raise CSRMismatch(
                    f"CSR asks not for extension {wanted.oid} as announced", section=_SECTION
                )
        for oid in self.extension_oids:
            if csr.extension(oid) is None:
                raise CSRMismatch(f"CSR asks not for extension {oid}", section=_SECTION)
        known = {wanted.oid for wanted in self.extensions}
        known |= {*self.extension_oids, *self.optional_extensions}
        for extension in csr.extensions:
            if extension.oid not in known:
                raise CSRMismatch(
                    f"CSR asks for extension {extension.oid}, which nobody announced",
                    section="RFC 8995 §5.9.2",
                    found=extension.oid,
                    wanted=", ".join(sorted(known)) or "no extension",
                )


def _kind_of(public_key: PublicKey) -> KeyRequirement:
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        curve = _CURVES.get(public_key.curve.name)
        return KeyRequirement(algorithm=registry.ID_EC_PUBLIC_KEY, curve=curve)
    if isinstance(public_key, ed25519.Ed25519PublicKey):
        return ED25519
    if isinstance(public_key, rsa.RSAPublicKey):
        return KeyRequirement(algorithm=registry.RSA_ENCRYPTION, rsa_bits=public_key.key_size)
    if isinstance(public_key, mldsa.MLDSA44PublicKey):
        return ML_DSA_44
    return ML_DSA_65 if isinstance(public_key, mldsa.MLDSA65PublicKey) else ML_DSA_87
