"""``openssl verify`` over the same tables: a second opinion on each path."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from brski.pki import chain
from tests.kit.programs import require_program
from tests.unit.pki.bad_chains import BAD, BAD_AT_THE_TIME
from tests.unit.pki.chain_cases import KINDS
from tests.unit.pki.good_chains import GOOD

OPENSSL_DIFFERS = {
    "many self-issued certificates beside": "openssl does not try a second certificate of one CA",
    "cross-signed": "openssl does not try a second certificate of one CA",
    "two roots of one name, no identifiers": "openssl does not try a second root of one name",
    "in the last second": "openssl ends validity one second earlier",
    "in the last fraction of the last second": "openssl ends validity one second earlier",
    "keyCertSign on a leaf": "openssl says so with -x509_strict alone, which demands much else",
    "keyCertSign on a leaf without basic constraints": "likewise",
    "root without a name": "openssl takes it",
    "critical policy constraints of the root": "an anchor's do not count to openssl",
    "path length passed by a self-issued certificate": "openssl counts as RFC 5280 §4.2.1.9",
    "leaf of a weak key": "openssl verify has no key policy at its default level",
    "leaf of P-521": "our key policy",
    "CA of a weak key": "openssl verify has no key policy at its default level",
    "CA of P-521": "our key policy",
    "name constraints": "openssl obeys them, we refuse them",
    "critical name constraints": "openssl obeys them, we refuse them",
    "in the year 9999": "beyond the end of some platforms' time",
    "CA without basic constraints": "openssl takes a CA by its key usage alone",
    "root without basic constraints": "openssl takes a CA by its key usage alone",
    "ML-DSA-87 leaf": "openssl has ML-DSA from 3.5 on",
}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.startswith("ML-DSA")])
@pytest.mark.parametrize("name", sorted({*GOOD, *BAD, *BAD_AT_THE_TIME} - {*OPENSSL_DIFFERS}))
def test_openssl_agrees(name: str, kind: str, tmp_path: Path) -> None:
    """``openssl verify`` at the same time with the same certificates, where it has an opinion."""
    openssl = require_program("openssl", "openssl")
    case = {**GOOD, **BAD, **BAD_AT_THE_TIME}[name](kind)
    files = {
        "anchors": case.anchors,
        "leaf": [case.leaf.certificate],
        "others": case.intermediates,
    }
    for file, certificates in files.items():
        pem = b"".join(c.public_bytes(Encoding.PEM) for c in certificates)
        (tmp_path / f"{file}.pem").write_bytes(pem)
    command = [openssl, "verify", "-no-CApath", "-no-CAstore", "-partial_chain", "-policy_check"]
    command += ["-CAfile", "anchors.pem", "-attime", str(int(case.at.timestamp()))]
    command += ["-verify_depth", str(chain.INTERMEDIATES_LIMIT)]
    if case.intermediates:
        command += ["-untrusted", "others.pem"]
    result = subprocess.run(
        [*command, "leaf.pem"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (result.returncode == 0) == (name in GOOD), result.stdout + result.stderr
