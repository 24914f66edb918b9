"""SID-encoded voucher documents: CBOR keys back to the leaves' names (RFC 9254; RFC 8366bis).

A leaf's key is its SID less the container's; the numbers are those of the modules' revision
2025-12-18.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Final

from brski.voucher.model import Assertion
from brski.voucher.yang_json import REQUEST_TOP, VOUCHER_TOP

_SHARED: Final = (
    *("assertion", "created-on", "domain-cert-revocation-checks", "expires-on", "idevid-issuer"),
    *("last-renewal-date", "nonce", "pinned-domain-cert"),
)
_VOUCHER: Final = (
    *_SHARED,
    *("pinned-domain-pubk", "pinned-domain-pubk-sha256", "serial-number"),
    *("additional-configuration-url", "est-domain", "manufacturer-proprietary", "extensions"),
)
_REQUEST: Final = (
    *_SHARED,
    *("prior-signed-voucher-request", "proximity-registrar-cert"),
    *("proximity-registrar-pubk-sha256", "proximity-registrar-pubk", "serial-number"),
    *("agent-provided-proximity-registrar-cert", "agent-sign-cert", "agent-signed-data"),
    *("pinned-domain-pubk", "pinned-domain-pubk-sha256", "additional-configuration-url"),
    *("est-domain", "extensions", "manufacturer-proprietary"),
)
_CONTAINERS: Final[Mapping[int, tuple[str, tuple[str, ...]]]] = {
    2451: (VOUCHER_TOP, _VOUCHER),
    2501: (REQUEST_TOP, _REQUEST),
}
_ASSERTIONS: Final = tuple(Assertion)  # in the order of their numbers


def as_json(item: object) -> bytes | None:
    """Return the JSON document that says what *item* says; None if it is no such document.

    Keys that are not known keep their number as name.
    """
    if not isinstance(item, dict) or len(item) != 1:
        return None
    ((container, leaves),) = item.items()
    if container not in _CONTAINERS or not isinstance(leaves, dict):
        return None
    top, names = _CONTAINERS[container]
    body = {_name(key, names): _value(_name(key, names), value) for key, value in leaves.items()}
    return json.dumps({top: body}).encode()


def _name(key: object, names: tuple[str, ...]) -> str:
    if type(key) is int and 1 <= key <= len(names):
        return names[key - 1]
    return str(key)


def _value(name: str, value: object) -> object:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if name == "assertion" and type(value) is int and 0 <= value < len(_ASSERTIONS):
        return _ASSERTIONS[value]
    if isinstance(value, list):
        return [str(each) for each in value]
    return str(value) if isinstance(value, dict) else value
