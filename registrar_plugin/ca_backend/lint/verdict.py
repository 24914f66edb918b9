"""How the lint says no."""

from __future__ import annotations

from typing import NoReturn

from brski.errors import CertificateUnsound


def unsound(what: str, section: str) -> NoReturn:
    """Raise the one error of the lint.

    Args:
        what: the field, and what is wrong with it.
        section: of RFC 5280, such as ``"4.1.2.2"``.

    Raises:
        CertificateUnsound: always.
    """
    raise CertificateUnsound(f"not signed: {what}", section=f"RFC 5280 §{section}")
