"""Private keys and fuse files: recognised, so that nothing of them is shown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from brski.errors import Refused
from brski.pki import der
from brski_lab.inspecting.asn1 import Node
from brski_lab.inspecting.asn1_values import dotted, integer
from brski_lab.inspecting.content import Content

_PBE: Final = ("1.2.840.113549.1.5.", "1.2.840.113549.1.12.")  # PKCS #5, PKCS #12
_OUR_FORMATS: Final = "brski "  # how "format" of a device's own files begins
_JWK_SECRETS: Final = ("d", "k")


class SecretNotShown(Refused):
    """A file that holds a secret was to be shown."""


def check_no_secret(contents: Iterable[Content]) -> None:
    """Raise if one of *contents* is, or seems to be, a secret.

    Raises:
        SecretNotShown: a private key in PEM, DER or JWK, a PKCS #12 file, or a file that a device
            keeps for itself.
    """
    for content in contents:
        what = _secret(content)
        if what:
            raise SecretNotShown(f"this is {what}: nothing of it is shown")


def _secret(content: Content) -> str:
    if "PRIVATE KEY" in content.label:
        return "a private key"
    if _is_devices_own(content):
        return "a file with a device's secret"
    root = content.asn1.root
    if root is not None and root.tag == der.SEQUENCE and _is_private_key(root):
        return "a private key"
    if "kty" in content.members and any(name in content.members for name in _JWK_SECRETS):
        return "a private key"
    return ""


def _is_devices_own(content: Content) -> bool:
    item = content.cbor
    if not isinstance(item, dict):
        return False
    kind = item.get("format")
    return "seed" in item or (isinstance(kind, str) and kind.startswith(_OUR_FORMATS))


def _is_private_key(root: Node) -> bool:
    tags = [node.tag for node in root.children]
    version = integer(root.child(0, der.INTEGER))
    if tags[:3] == [der.INTEGER, der.SEQUENCE, der.OCTET_STRING]:  # PKCS #8
        return True
    if tags[:2] == [der.INTEGER, der.OCTET_STRING] and version == 1:  # SEC 1
        return True
    if tags[:2] == [der.INTEGER, der.SEQUENCE] and version == 3:  # PKCS #12
        return True
    if len(tags) > 3 and set(tags[:4]) == {der.INTEGER} and version in (0, 1):  # PKCS #1
        return True
    encryption = dotted((root.child(0, der.SEQUENCE) or root).child(0))
    return tags[:2] == [der.SEQUENCE, der.OCTET_STRING] and encryption.startswith(_PBE)
