"""Public keys straight from the system's libcrypto, where there is one: half the time of a key.

``cryptography`` makes a whole private key object of a scalar, checks it, and encodes its public
half anew. A factory needs the point alone. Without a usable libcrypto, or for another curve, the
plain path of :mod:`oem_backend.factory.work` gives the same octets.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec

from brski.errors import LocalError
from brski.pki.keys import encode_spki

NAMES: Final = ("libcrypto.so.3", "libcrypto.3.dylib")

_P256: Final = 415  # NID_X9_62_prime256v1
_UNCOMPRESSED: Final = 4
_SCALAR_OCTETS: Final = 32
_POINT_OCTETS: Final = 65
_CONSTANT_TIME: Final = 4  # BN_FLG_CONSTTIME
_POINTER: Final = ctypes.c_void_p
_FUNCTIONS: Final[dict[str, tuple[Any, ...]]] = {
    # name: what it returns, then what it takes
    "EC_GROUP_new_by_curve_name": (_POINTER, ctypes.c_int),
    "EC_POINT_new": (_POINTER, _POINTER),
    "BN_secure_new": (_POINTER,),
    "BN_CTX_secure_new": (_POINTER,),
    "BN_set_flags": (None, _POINTER, ctypes.c_int),
    "BN_bin2bn": (_POINTER, ctypes.c_char_p, ctypes.c_int, _POINTER),
    "BN_clear": (None, _POINTER),
    "EC_POINT_mul": (ctypes.c_int, *(_POINTER,) * 6),
    "EC_POINT_point2oct": (
        ctypes.c_size_t,
        *(_POINTER, _POINTER, ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, _POINTER),
    ),
}


class Points:
    """Multiplies the generator of P-256; for one thread.

    Args:
        library: libcrypto 3.

    Raises:
        OSError: it lacks a function, or does not multiply as it should.
    """

    def __init__(self, library: ctypes.PyDLL) -> None:
        for name, (returned, *taken) in _FUNCTIONS.items():
            function = getattr(library, name, None)
            if function is None:
                raise OSError(f"libcrypto without {name}")
            function.restype, function.argtypes = returned, taken
        self._library = library
        self._group = library.EC_GROUP_new_by_curve_name(_P256)
        self._point = library.EC_POINT_new(self._group)
        self._scalar = library.BN_secure_new()
        self._context = library.BN_CTX_secure_new()
        if not all((self._group, self._point, self._scalar, self._context)):
            raise OSError("libcrypto has no memory or no P-256")
        library.BN_set_flags(self._scalar, _CONSTANT_TIME)
        self._octets = ctypes.create_string_buffer(_POINT_OCTETS)
        if self.spki(1) != _SPKI_OF_ONE:
            raise OSError("libcrypto does not multiply as it should")

    def spki(self, scalar: int) -> bytes:
        """The SubjectPublicKeyInfo of the private key *scalar*, DER, point uncompressed.

        Args:
            scalar: from 1 to the order less one; cleared from the library's memory afterwards.

        Raises:
            LocalError: the library failed.

        RFC 5480 §2.
        """
        library = self._library
        library.BN_bin2bn(scalar.to_bytes(_SCALAR_OCTETS, "big"), _SCALAR_OCTETS, self._scalar)
        done = library.EC_POINT_mul(
            self._group, self._point, self._scalar, None, None, self._context
        ) and library.EC_POINT_point2oct(
            *(self._group, self._point, _UNCOMPRESSED, self._octets, _POINT_OCTETS, self._context)
        )
        library.BN_clear(self._scalar)
        if done != _POINT_OCTETS:
            raise LocalError("libcrypto could not multiply a point")
        return _HEAD + self._octets.raw


@lru_cache(maxsize=1)
def find_points() -> Points | None:
    """The system's libcrypto, or None where there is none that does."""
    for name in NAMES:
        with suppress(OSError):
            return Points(ctypes.PyDLL(name))  # keeps the lock: a worker has one thread
    return None


_SPKI_OF_ONE: Final = encode_spki(ec.derive_private_key(1, ec.SECP256R1()).public_key())
_HEAD: Final = _SPKI_OF_ONE[:-_POINT_OCTETS]
