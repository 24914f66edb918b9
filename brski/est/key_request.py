"""What a client says to a server that is to make its key: a CSR whose own key does not count.

Owns that reading of a request, and the attributes that name a key to protect the answer with
(RFC 7030 §4.4.1). Makes no key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography import x509

from brski.errors import CSRMismatch, KeyNotAllowed, Malformed, SignatureInvalid, UnknownFormat
from brski.est.attributes import (
    Attribute,
    RequestedExtension,
    decode_oid,
    single_value,
)
from brski.est.csr import parse_csr, parse_unproven
from brski.pki import der
from brski.pki.signer import PublicKey
from brski.registry import (
    AES128_CBC,
    AES256_CBC,
    AES256_GCM,
    ID_AA_ASYMM_DECRYPT_KEY_ID,
    ID_AA_DECRYPT_KEY_ID,
    ID_SMIME_CAPABILITIES,
)

CIPHERS: Final = (AES256_GCM, AES256_CBC, AES128_CBC)
"""Dotted, in our order of preference."""

_SECTION: Final = "RFC 7030 §4.4.1.2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Protection:
    """How the private key is to be encrypted on its way, beneath TLS."""

    key_identifier: bytes  # of a public key of the client's, 20 octets as RFC 5280 §4.2.1.2 (1)
    cipher: str  # dotted, one of CIPHERS


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRequest:
    """A request for a key and its certificate."""

    digest: bytes  # SHA-256 of the DER
    subject: x509.Name
    extensions: tuple[RequestedExtension, ...]
    challenge_password: str | None
    own_key: PublicKey | None  # the CSR's, where its sender has proven that it holds it
    protection: Protection | None  # None: TLS is enough


def parse_key_request(data: bytes) -> KeyRequest:
    """Read a CSR as serverkeygen takes it: its key and its signature may be anything.

    Args:
        data: PKCS #10, DER.

    Raises:
        Malformed, TooLarge, UnknownFormat: as :func:`brski.est.csr.parse_csr`, but for the key and
            the signature.
        CSRMismatch: protection is asked for by a secret key, without SMIMECapabilities, or with
            none of :data:`CIPHERS`.

    RFC 7030 §4.4.1.
    """
    unproven = parse_unproven(data)
    try:
        own_key = parse_csr(data).public_key
    except (SignatureInvalid, KeyNotAllowed, UnknownFormat, Malformed):
        own_key = None
    return KeyRequest(
        digest=unproven.digest,
        subject=unproven.subject,
        extensions=unproven.extensions,
        challenge_password=unproven.challenge_password,
        own_key=own_key,
        protection=_protection(unproven.attributes),
    )


def _protection(attributes: tuple[Attribute, ...]) -> Protection | None:
    by_oid = {attribute.oid: attribute for attribute in attributes}
    if ID_AA_DECRYPT_KEY_ID in by_oid:
        raise CSRMismatch(
            "no secret key is shared with this server; name a public key of yours",
            section="RFC 7030 §4.4.1.1",
        )
    if ID_AA_ASYMM_DECRYPT_KEY_ID not in by_oid:
        return None
    value = single_value(by_oid[ID_AA_ASYMM_DECRYPT_KEY_ID])
    element = der.read_element(value)
    if element.tag != der.OCTET_STRING:
        raise Malformed("AsymmetricDecryptKeyIdentifier is no OCTET STRING", section=_SECTION)
    if ID_SMIME_CAPABILITIES not in by_oid:
        raise CSRMismatch("a key to encrypt to, and no SMIMECapabilities", section=_SECTION)
    capabilities = _capabilities(single_value(by_oid[ID_SMIME_CAPABILITIES]))
    for cipher in CIPHERS:
        if cipher in capabilities:
            return Protection(key_identifier=der.content_of(value, element), cipher=cipher)
    raise CSRMismatch(
        f"SMIMECapabilities name none of {', '.join(CIPHERS)}", section="RFC 7030 §4.4.1.2"
    )


def _capabilities(value: bytes) -> frozenset[str]:
    """The algorithms of an SMIMECapabilities value (RFC 8551 §2.5.2)."""
    root = der.read_element(value)
    listed = der.children(value, root) if root.tag == der.SEQUENCE else []
    if not listed or any(each.tag != der.SEQUENCE for each in listed):
        raise Malformed("SMIMECapabilities are no list", section="RFC 8551 §2.5.2")
    heads = [der.children(value, each)[:1] for each in listed]
    if not all(heads):
        raise Malformed("SMIMECapabilities with an empty one", section="RFC 8551 §2.5.2")
    return frozenset(decode_oid(value, head) for (head,) in heads)
