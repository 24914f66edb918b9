"""What two implementations say to a case: this project's path validation, and OpenSSL's."""

from __future__ import annotations

import base64
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from brski.errors import KeyNotAllowed, PeerError, Refused
from brski.pki import chain
from brski.pki.chain import TrustAnchors
from brski.pki.keys import parse_pem_certificates
from tests.limbo.schema import LimboCase


def read(pems: tuple[str, ...]) -> tuple[x509.Certificate, ...]:
    """The certificates, each through the gate of :func:`brski.pki.keys.parse_certificate`."""
    return tuple(c for pem in pems for c in parse_pem_certificates(pem.encode("ascii")))


def pem_octets(pem: str) -> bytes:
    """The DER in one PEM block, whatever it is worth."""
    return base64.b64decode("".join(pem.split("\n")[1:-2]), validate=True)


def ours(case: LimboCase) -> str:
    """Why :class:`TrustAnchors` refuses; empty if it does not.

    Raises:
        Exception: whatever is not the refusal of a peer, or of an anchor.
    """
    at = case.at or datetime.now(UTC)
    try:
        anchors = TrustAnchors(read(case.trusted))
        anchors.validate(read((case.peer,))[0], read(case.intermediates), at=at)
    except (PeerError, Refused, KeyNotAllowed) as err:
        return err.reason
    return ""


def both(case: LimboCase, patch: pytest.MonkeyPatch) -> tuple[str, str]:
    """What :func:`ours` says by the library's verifier where that can judge, and by our own walk.

    Which of them judges a path depends on keys, clocks and what has verified before, so they must
    say the same.
    """
    patch.setattr(chain, "is_known", lambda _: False)
    by_the_verifier = ours(case)
    patch.setattr(chain, "is_known", lambda _: True)
    return by_the_verifier, ours(case)


def openssl(program: str, case: LimboCase, folder: Path) -> str:
    """What ``openssl verify`` complains of; empty if it does not.

    Args:
        program: path of the executable.
        case: its extended key usages are not asked for.
        folder: for the certificates.
    """
    files = {"anchors": case.trusted, "leaf": (case.peer,), "others": case.intermediates}
    for name, pems in files.items():
        (folder / f"{name}.pem").write_text("".join(pems), "ascii")
    at = case.at or datetime.now(UTC)
    command = [program, "verify", "-no-CApath", "-no-CAstore", "-partial_chain", "-policy_check"]
    command += ["-CAfile", "anchors.pem", "-attime", str(int(at.timestamp()))]
    command += ["-verify_depth", str(chain.INTERMEDIATES_LIMIT), "-auth_level", "2"]
    if case.intermediates:
        command += ["-untrusted", "others.pem"]
    done = subprocess.run(
        [*command, "leaf.pem"], cwd=folder, capture_output=True, text=True, check=False, timeout=30
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr or "refused"
