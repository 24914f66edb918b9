"""How CMS names the way by which a content key reaches its recipient, DER (RFC 5753, RFC 8017)."""

from __future__ import annotations

from typing import Final

from brski.pki import der
from brski.registry import (
    AES256_WRAP,
    DH_SINGLE_PASS_STD_DH_SHA256_KDF,
    ID_MGF1,
    ID_RSAES_OAEP,
    ID_SHA256,
)


def algorithm(oid: str, *parameters: bytes) -> bytes:
    """An AlgorithmIdentifier, DER.

    Args:
        oid: dotted.
        parameters: DER; none leaves them out.

    RFC 5280 §4.1.1.2.
    """
    return der.encode(der.SEQUENCE, der.encode_oid(oid), *parameters)


KEY_WRAP: Final = algorithm(AES256_WRAP)
KEY_AGREEMENT: Final = algorithm(DH_SINGLE_PASS_STD_DH_SHA256_KDF, KEY_WRAP)
OAEP_SHA256: Final = algorithm(
    ID_RSAES_OAEP,
    der.encode(
        der.SEQUENCE,
        der.encode(0xA0, algorithm(ID_SHA256)),
        der.encode(0xA1, algorithm(ID_MGF1, algorithm(ID_SHA256))),
    ),
)
