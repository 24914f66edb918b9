"""Files for a verdict: one message, or certificates, in DER or in armor."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cryptography import x509

from brski.edge.atomic_file import read_file
from brski.errors import FileUnusable, OnboardingError
from brski.pki.keys import parse_certificate
from brski.registry import BODY_LIMIT
from brski_lab.inspecting.armor import unwrap
from brski_lab.inspecting.content import Content
from brski_lab.inspecting.secret import check_no_secret

MOST_FILE_OCTETS: Final = 4 * BODY_LIMIT  # a message in hex with line feeds is less


def load_message(path: Path) -> bytes:
    """Read one message: DER, or that in PEM, base64 or hex.

    Raises:
        FileUnusable: it cannot be read, or holds several things.
        SecretNotShown: it is a private key.
    """
    contents = _contents(path)
    if len(contents) != 1:
        raise FileUnusable(f"{path} holds {len(contents)} things, one message is wanted")
    return contents[0].octets


def load_certificates(path: Path) -> tuple[x509.Certificate, ...]:
    """Read certificates, in the order of the file.

    Raises:
        FileUnusable: it cannot be read, or holds something else.
        SecretNotShown: there is a private key in it.
    """
    contents = _contents(path)
    try:
        return tuple(parse_certificate(content.octets) for content in contents)
    except OnboardingError as err:
        raise FileUnusable(f"{path}: {err.reason}") from err


def _contents(path: Path) -> tuple[Content, ...]:
    octets = read_file(path, max_octets=MOST_FILE_OCTETS)
    contents = unwrap(octets, size=len(octets)).contents
    check_no_secret(contents)
    return contents
