"""Keys made by a server: what a client asks for, how openssl opens what comes (RFC 7030 §4.4).

Nothing of ours opens an answer here: the standard library's MIME parser takes it apart, ``openssl
cms`` decrypts and verifies it, ``openssl pkey`` reads the key.
"""

from __future__ import annotations

import email
from dataclasses import dataclass
from email.message import Message

from cryptography import x509

from brski import registry
from brski.est.certs_only import decode_certs_only
from brski.pki import der
from brski.pki.keys import certificate_der
from tests.kit import est
from tests.kit.openssl import OpenSSL


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The two of a good answer."""

    key_type: str
    key: bytes  # DER
    certificate: x509.Certificate


def take_apart(content_type: str, body: bytes) -> Parts:
    """An answer of serverkeygen, by the standard library's MIME parser."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    message = email.message_from_bytes(head + body)
    assert message.get_content_type() == "multipart/mixed"
    _, key, certificate = message.walk()
    assert certificate["Content-Type"] == "application/pkcs7-mime; smime-type=certs-only"
    (issued,) = decode_certs_only(octets_of(certificate))
    return Parts(key_type=key["Content-Type"], key=octets_of(key), certificate=issued)


def octets_of(part: Message) -> bytes:
    octets = part.get_payload(decode=True)
    assert isinstance(octets, bytes)
    return octets


def encrypted_to(identifier: bytes) -> bytes:
    """AsymmetricDecryptKeyIdentifier, an attribute in DER (RFC 7030 §4.4.1.2)."""
    value = der.encode(der.OCTET_STRING, identifier)
    return est.attribute(registry.ID_AA_ASYMM_DECRYPT_KEY_ID, value)


def capable_of(*oids: str) -> bytes:
    """SMIMECapabilities, an attribute in DER (RFC 8551 §2.5.2)."""
    listed = (der.encode(der.SEQUENCE, der.encode_oid(oid)) for oid in oids)
    return est.attribute(registry.ID_SMIME_CAPABILITIES, der.encode(der.SEQUENCE, *listed))


async def opened(openssl: OpenSSL, sealed: bytes) -> bytes:
    """PrivateKeyInfo (DER) out of an encrypted key: cms -decrypt with the private key in "own.key",
    cms -verify up to "root.pem", both in the folder.
    """
    folder = openssl.folder
    (folder / "sealed").write_bytes(sealed)
    await openssl(
        *("cms", "-decrypt", "-inform", "DER", "-in", "sealed"),
        *("-inkey", "own.key", "-binary", "-out", "signed"),
    )
    signed_data = der.encode(0xA0, (folder / "signed").read_bytes())
    content_info = der.encode(der.SEQUENCE, der.encode_oid(registry.ID_SIGNED_DATA), signed_data)
    (folder / "signed.cms").write_bytes(content_info)
    await openssl(
        *("cms", "-verify", "-inform", "DER", "-in", "signed.cms", "-binary"),
        *("-CAfile", "root.pem", "-purpose", "any", "-no_check_time", "-out", "package"),
    )
    package = (folder / "package").read_bytes()
    (key,) = der.children(package, der.read_element(package))
    return der.octets_of(package, key)


async def same_key(openssl: OpenSSL, pkcs8: bytes, certificate: x509.Certificate) -> bool:
    """Whether openssl finds the same public key in both."""
    (openssl.folder / "made.key").write_bytes(pkcs8)
    (openssl.folder / "made.crt").write_bytes(certificate_der(certificate))
    key = await openssl("pkey", "-inform", "DER", "-in", "made.key", "-pubout")
    certified = await openssl("x509", "-inform", "DER", "-in", "made.crt", "-noout", "-pubkey")
    return key == certified
