"""DER that the embedded CA's certificates and revocation lists share, laid out by hand.

The octets are what the journal keeps before a signature, so nothing here leaves them to a builder.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from brski.idevid.certificate import encode_extension
from brski.pki import der
from brski.registry import ID_CE_CRL_DISTRIBUTION_POINTS

VERSION_3: Final = der.encode(0xA0, der.encode_integer(2))  # RFC 5280 §4.1.2.1
_FIRST_GENERALIZED_YEAR: Final = 2050


def encode_time(moment: datetime) -> bytes:
    """UTCTime until 2049, GeneralizedTime from 2050 on; fractions of a second are cut off.

    Args:
        moment: aware.

    RFC 5280 §4.1.2.5, §5.1.2.4.
    """
    utc = moment.astimezone(UTC)
    if utc.year < _FIRST_GENERALIZED_YEAR:
        return der.encode(der.UTC_TIME, utc.strftime("%y%m%d%H%M%SZ").encode())
    return der.encode(der.GENERALIZED_TIME, utc.strftime("%Y%m%d%H%M%SZ").encode())


def encode_distribution_point(url: str) -> bytes:
    """The extension that says where the revocation list of this certificate's issuer is.

    Args:
        url: ASCII, http.

    RFC 5280 §4.2.1.13.
    """
    name = der.encode(0xA0, der.encode(0xA0, der.encode(0x86, url.encode("ascii"))))
    return encode_extension(
        ID_CE_CRL_DISTRIBUTION_POINTS, der.encode(der.SEQUENCE, der.encode(der.SEQUENCE, name))
    )
