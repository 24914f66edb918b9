"""Extended key usages as the settings name them."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator

from brski.registry import (
    ANY_EXTENDED_KEY_USAGE,
    ID_KP_CLIENT_AUTH,
    ID_KP_CMC_RA,
    ID_KP_SERVER_AUTH,
)

PURPOSES: Final = {
    "clientAuth": ID_KP_CLIENT_AUTH,
    "serverAuth": ID_KP_SERVER_AUTH,
    "cmcRA": ID_KP_CMC_RA,
}
_OID: Final = re.compile(r"[0-2](?:\.(?:0|[1-9][0-9]{0,18})){1,20}\Z")


def _purpose(name: str) -> str:
    if name not in PURPOSES and not _OID.match(name):
        raise ValueError(f"{name!r} is neither {' nor '.join(PURPOSES)} nor a dotted OID")
    if name == ANY_EXTENDED_KEY_USAGE:
        raise ValueError("anyExtendedKeyUsage allows every purpose; name those that are meant")
    return name


Purpose = Annotated[str, AfterValidator(_purpose)]
"""One of :data:`PURPOSES`, or a dotted object identifier."""


def dotted(purpose: str) -> str:
    """The object identifier of a :data:`Purpose`."""
    return PURPOSES.get(purpose, purpose)
