"""A TPM's key at rest: ``TSS2 PRIVATE KEY`` in PEM, as tpm2-openssl and tpm2-pytss read it.

::

    TPMKey ::= SEQUENCE {
        type       OBJECT IDENTIFIER,           -- 2.23.133.10.1.3, a loadable key
        emptyAuth  [0] EXPLICIT BOOLEAN,        -- TRUE
        parent     INTEGER,                     -- 0x40000001: the owner hierarchy's storage key
        pubkey     OCTET STRING,                -- TPM2B_PUBLIC
        privkey    OCTET STRING }               -- TPM2B_PRIVATE

Only what :func:`encode_blob` writes is read again, to the octet.
"""

from __future__ import annotations

import base64
import binascii
import textwrap
from typing import Final

from brski.errors import Malformed, StateError, TooLarge
from brski.pki import der
from device_client.tpm.objects import Blob

_BEGIN: Final = b"-----BEGIN TSS2 PRIVATE KEY-----\n"
_END: Final = b"-----END TSS2 PRIVATE KEY-----\n"
_EXPLICIT_0: Final = 0xA0
_OWNER: Final = 0x40000001
_HEAD: Final = (
    der.encode_oid("2.23.133.10.1.3"),
    der.encode(_EXPLICIT_0, der.encode(der.BOOLEAN, b"\xff")),
    der.encode_integer(_OWNER),
)


def encode_blob(blob: Blob) -> bytes:
    """*blob* in PEM."""
    octets = der.encode(
        der.SEQUENCE,
        *_HEAD,
        der.encode(der.OCTET_STRING, blob.public),
        der.encode(der.OCTET_STRING, blob.private),
    )
    lines = textwrap.wrap(base64.b64encode(octets).decode("ascii"), 64)
    return _BEGIN + "".join(f"{line}\n" for line in lines).encode("ascii") + _END


def decode_blob(pem: bytes) -> Blob:
    """The blob in what :func:`encode_blob` wrote; what is in it is the TPM's to judge.

    Raises:
        StateError: other octets.
    """
    try:
        body = pem.removeprefix(_BEGIN).removesuffix(_END)
        octets = base64.b64decode(body)
        der.check_der(octets)
        *_, public, private = der.children(octets, der.read_element(octets))
        blob = Blob(public=der.content_of(octets, public), private=der.content_of(octets, private))
    except (binascii.Error, ValueError, Malformed, TooLarge) as err:
        raise _not_ours() from err
    if encode_blob(blob) != pem:
        raise _not_ours()
    return blob


def _not_ours() -> StateError:
    return StateError("not a TSS2 PRIVATE KEY as this program writes it")
