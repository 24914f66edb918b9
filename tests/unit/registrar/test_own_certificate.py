"""What the registrar asks of its own certificate before it starts."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from brski.errors import KeyUnusable
from brski.pki.extensions import domain_id
from brski.pki.keys import spki_sha256
from registrar_plugin.own_certificate import check_own_certificate
from tests.kit import pki

PATH = Path("registrar-chain.pem")
OWNER = pki.make_pki("Example Owner")


@pytest.mark.requirement("REG-25")
def test_a_sound_one_passes_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        check_own_certificate(pki.make_registrar(OWNER).certificate, PATH)
    assert not caplog.records


@pytest.mark.requirement("REG-25")
@pytest.mark.parametrize("missing", pki.REGISTRAR_EKUS[:2])
def test_without_its_usages_the_registrar_does_not_start(missing: str) -> None:
    """No MASA would give it a voucher, no pledge would believe it."""
    ekus = [oid for oid in pki.REGISTRAR_EKUS if oid != missing]
    with pytest.raises(KeyUnusable, match="lacks id-kp-"):
        check_own_certificate(pki.make_registrar(OWNER, ekus=ekus).certificate, PATH)


@pytest.mark.requirement("REG-26")
def test_without_a_key_identifier_it_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """Its domainID is the hash of its key then, and another after the key is changed."""
    bare = pki.make_registrar(OWNER, ski=False).certificate
    with caplog.at_level(logging.WARNING):
        check_own_certificate(bare, PATH)
    assert "SubjectKeyIdentifier" in caplog.records[0].getMessage()
    assert domain_id(bare) == spki_sha256(bare)
