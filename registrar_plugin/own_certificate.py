"""The registrar's own certificate: what MASAs and pledges will look for in it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from cryptography import x509

from brski.errors import KeyUnusable
from brski.pki.extensions import has_extended_key_usage, subject_key_identifier
from brski.registry import ID_KP_CMC_RA, ID_KP_SERVER_AUTH

log = logging.getLogger(__name__)

_NEEDED: Final = ((ID_KP_CMC_RA, "id-kp-cmcRA"), (ID_KP_SERVER_AUTH, "id-kp-serverAuth"))


def check_own_certificate(certificate: x509.Certificate, path: Path) -> None:
    """Refuse to start with a certificate that nobody would accept; better than to hear it later.

    One without SubjectKeyIdentifier is only warned of: its domainID in audit logs is the hash of
    its key, and another with every new key.

    Args:
        path: where it was read; for messages.

    Raises:
        KeyUnusable: id-kp-cmcRA or id-kp-serverAuth is missing.

    RFC 7030 §3.6.1; RFC 8995 §5.5.4, §5.8.2.
    """
    for oid, name in _NEEDED:
        if not has_extended_key_usage(certificate, oid):
            raise KeyUnusable(
                f"the registrar's certificate in {path} lacks {name} in extendedKeyUsage",
                section="RFC 7030 §3.6.1; RFC 8995 §5.5.4",
            )
    if subject_key_identifier(certificate) is None:
        log.warning(
            "the registrar's certificate has no SubjectKeyIdentifier, so that its domainID changes "
            "with its key (RFC 8995 §5.8.2)",
            extra={"file": str(path)},
        )
