"""Values of ASN.1 elements as text: identifiers, strings, times, names, algorithms, keys."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from brski import registry
from brski.pki import der
from brski_lab.inspecting.asn1 import Node, outline
from brski_lab.inspecting.description import Facts, Finding, shown

SHA1_WITH_RSA: Final = "1.2.840.113549.1.1.5"
ECDSA_WITH_SHA1: Final = "1.2.840.10045.4.1"

_NAMES: Final = {
    registry.ID_DATA: "id-data",
    registry.ID_SIGNED_DATA: "id-signedData",
    registry.ID_AUTH_ENVELOPED_DATA: "id-ct-authEnvelopedData",
    registry.ID_CT_ANIMA_JSON_VOUCHER: "id-ct-animaJSONVoucher",
    registry.ID_CONTENT_TYPE: "contentType",
    registry.ID_MESSAGE_DIGEST: "messageDigest",
    registry.ID_SIGNING_TIME: "signingTime",
    "1.2.840.113549.1.9.15": "smimeCapabilities",
    "1.2.840.113549.1.9.52": "cmsAlgorithmProtect",
    registry.ID_CHALLENGE_PASSWORD: "challengePassword",
    registry.ID_EXTENSION_REQUEST: "extensionRequest",
    registry.ID_CSR_TEMPLATE: "csrTemplate",
    registry.ID_EXTENSION_TEMPLATE: "extensionTemplate",
    "2.5.4.3": "CN",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.12": "title",
    "2.5.4.46": "dnQualifier",
    "1.2.840.113549.1.9.1": "emailAddress",
    "0.9.2342.19200300.100.1.25": "DC",
    registry.ID_CE_SUBJECT_KEY_IDENTIFIER: "subjectKeyIdentifier",
    registry.ID_CE_KEY_USAGE: "keyUsage",
    registry.ID_CE_SUBJECT_ALT_NAME: "subjectAltName",
    "2.5.29.18": "issuerAltName",
    registry.ID_CE_BASIC_CONSTRAINTS: "basicConstraints",
    "2.5.29.30": "nameConstraints",
    registry.ID_CE_CRL_DISTRIBUTION_POINTS: "cRLDistributionPoints",
    "2.5.29.32": "certificatePolicies",
    registry.ID_CE_AUTHORITY_KEY_IDENTIFIER: "authorityKeyIdentifier",
    registry.ID_CE_EXT_KEY_USAGE: "extKeyUsage",
    "1.3.6.1.5.5.7.1.1": "authorityInfoAccess",
    registry.ID_PE_MASA_URL: "id-pe-masa-url",
    registry.ID_KP_SERVER_AUTH: "id-kp-serverAuth",
    registry.ID_KP_CLIENT_AUTH: "id-kp-clientAuth",
    "1.3.6.1.5.5.7.3.27": "id-kp-cmcCA",
    registry.ID_KP_CMC_RA: "id-kp-cmcRA",
    registry.ANY_EXTENDED_KEY_USAGE: "anyExtendedKeyUsage",
    registry.ID_ON_HARDWARE_MODULE_NAME: "hardwareModuleName",
    registry.ID_EC_PUBLIC_KEY: "id-ecPublicKey",
    registry.SECP256R1: "P-256",
    registry.SECP384R1: "P-384",
    "1.3.132.0.35": "P-521",
    "1.3.132.0.10": "secp256k1",
    registry.RSA_ENCRYPTION: "rsaEncryption",
    registry.ID_ED25519: "Ed25519",
    registry.ID_ML_DSA_44: "ML-DSA-44",
    registry.ID_ML_DSA_65: "ML-DSA-65",
    registry.ID_ML_DSA_87: "ML-DSA-87",
    registry.ECDSA_WITH_SHA256: "ecdsa-with-SHA256",
    registry.ECDSA_WITH_SHA384: "ecdsa-with-SHA384",
    registry.ECDSA_WITH_SHA512: "ecdsa-with-SHA512",
    ECDSA_WITH_SHA1: "ecdsa-with-SHA1",
    registry.SHA256_WITH_RSA: "sha256WithRSAEncryption",
    registry.SHA384_WITH_RSA: "sha384WithRSAEncryption",
    registry.SHA512_WITH_RSA: "sha512WithRSAEncryption",
    SHA1_WITH_RSA: "sha1WithRSAEncryption",
    "1.3.14.3.2.26": "SHA-1",
    registry.ID_SHA256: "SHA-256",
    registry.ID_SHA384: "SHA-384",
    registry.ID_SHA512: "SHA-512",
}
_UTC_TIME: Final = 0x17
_GENERALIZED_TIME: Final = 0x18
_BMP_STRING: Final = 0x1E
_UNIVERSAL_STRING: Final = 0x1C
_BIT_STRING: Final = 0x03
_MOST_OID_OCTETS: Final = 64
_MOST_HEX_OCTETS: Final = 64


def dotted(node: Node | None) -> str:
    """The object identifier in *node*; empty if there is none."""
    if node is None or node.tag != der.OBJECT_IDENTIFIER or len(node.value) > _MOST_OID_OCTETS:
        return ""
    arcs = list(_arcs(node.value))
    if not arcs:
        return ""
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, [first, arcs[0] - 40 * first, *arcs[1:]]))


def _arcs(content: bytes) -> Iterator[int]:
    arc = 0
    for octet in content:
        arc = arc << 7 | octet & 0x7F
        if not octet & 0x80:
            yield arc
            arc = 0


def named(oid: str) -> str:
    """*oid* by its usual name, or as it is."""
    return _NAMES.get(oid, oid or "?")


def hexed(octets: bytes) -> str:
    """*octets* in hex, cut if there are many."""
    if len(octets) <= _MOST_HEX_OCTETS:
        return octets.hex()
    return f"{octets[:_MOST_HEX_OCTETS].hex()}… ({len(octets)} octets)"


def integer(node: Node | None) -> int | None:
    """The INTEGER in *node*, if it is one of no more than 64 octets."""
    if node is None or node.tag != der.INTEGER or not 0 < len(node.value) <= _MOST_HEX_OCTETS:
        return None
    return int.from_bytes(node.value, "big", signed=True)


def text(node: Node) -> str:
    """The text of a string type."""
    if node.tag == _BMP_STRING:
        return shown(node.value.decode("utf-16-be", errors="replace"))
    if node.tag == _UNIVERSAL_STRING:
        return shown(node.value.decode("utf-32-be", errors="replace"))
    return shown(node.value.decode("utf-8", errors="replace"))


def moment(node: Node | None) -> datetime | None:
    """The time in *node*, aware UTC; None if it is none that RFC 5280 allows."""
    if node is None or node.tag not in (_UTC_TIME, _GENERALIZED_TIME):
        return None
    digits = node.value.decode("ascii", errors="replace")
    if node.tag == _UTC_TIME:
        digits = ("19" if digits >= "50" else "20") + digits
    try:
        return datetime.strptime(digits, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None


def time_text(node: Node | None) -> str:
    """The time in *node* as RFC 3339, or as it stands."""
    if node is None:
        return "?"
    when = moment(node)
    return when.isoformat().replace("+00:00", "Z") if when else shown(ascii(node.value))


def distinguished_name(node: Node | None) -> str:
    """A Name in one line, in the order of the certificate; empty if it has no parts."""
    if node is None:
        return "?"
    parts = []
    for relative in node.children:
        for pair in relative.children:
            value = pair.child(1)
            shown_value = text(value) if value is not None else "?"
            parts.append(f"{named(dotted(pair.child(0)))}={shown_value}")
    return ", ".join(parts)


def name_values(node: Node | None, oid: str) -> list[Node]:
    """The values of the attributes of type *oid* in a Name."""
    if node is None:
        return []
    pairs = (pair for relative in node.children for pair in relative.children)
    values = (pair.child(1) for pair in pairs if dotted(pair.child(0)) == oid)
    return [value for value in values if value is not None]


def algorithm(node: Node | None) -> str:
    """An AlgorithmIdentifier by name, with its curve where it has one."""
    if node is None:
        return "?"
    name, parameters = named(dotted(node.child(0))), node.child(1)
    oid = dotted(parameters)
    return f"{name}, {named(oid)}" if oid else name


def public_key(node: Node | None) -> tuple[Facts, list[Finding]]:
    """A SubjectPublicKeyInfo: algorithm, size, and the hash by which these programs know it."""
    if node is None:
        return {"algorithm": "?"}, []
    facts: Facts = {
        "algorithm": algorithm(node.child(0)),
        "SHA-256 of SubjectPublicKeyInfo": hashlib.sha256(node.octets).hexdigest(),
    }
    bits = rsa_bits(node)
    if bits is None:
        return facts, []
    facts["bits"] = bits
    if bits < 2048:
        return facts, [
            Finding(text=f"RSA key of {bits} bits, 2048 are the least", section="docs/voucher.md")
        ]
    return facts, []


def rsa_bits(node: Node) -> int | None:
    """The size of an RSA key's modulus; None for other keys."""
    key = node.child(1, _BIT_STRING)
    if dotted((node.child(0) or node).child(0)) != registry.RSA_ENCRYPTION or key is None:
        return None
    root = outline(key.value[1:]).root
    modulus = None if root is None else root.child(0, der.INTEGER)
    return None if modulus is None else int.from_bytes(modulus.value, "big").bit_length()
