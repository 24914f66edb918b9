"""The one switch between what the standards say and what published samples look like.

Each program has it in its settings, and passes it to the serialization that it opens messages with.
It changes nothing of what is written.
"""

from __future__ import annotations

import enum


class Interoperability(enum.StrEnum):
    """How closely messages must keep to the standards; docs/voucher.md tells what it costs."""

    STRICT = "strict"
    PUBLISHED_SAMPLES = "published-samples"
    """As in RFC 8995 Appendix C and the examples of RFC 8366bis: the content type may be id-data,
    the CMSVersion of SignedData 1, and a nonce base64url with or without padding."""
