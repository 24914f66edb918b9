"""The OEM's PKI with every kind of CA key, and the IDevIDs that come out under it."""

from __future__ import annotations

import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from brski.edge.adapters import open_adapter
from brski.edge.signers.file import load_chain, write_chain
from brski.edge.signers.pkcs11 import ALGORITHMS as TOKEN_ALGORITHMS
from brski.edge.signers.public_key import load_public_key
from brski.errors import ChainInvalid, KeyUnusable, SettingsError, StateError, Unavailable
from brski.idevid.ca_certificate import build_ca_certificate
from brski.pki.chain import TrustAnchors
from brski.pki.keys import certificate_der, parse_certificate
from oem_backend.database.loader import load_bundle
from oem_backend.factory.found import TokenPlace
from oem_backend.factory.pki import ALGORITHMS, ISSUING
from tests.kit import factory, pki
from tests.kit.factory import CREATED, FactoryKit
from tests.kit.programs import require_program
from tests.kit.softhsm import SoftHSM, softhsm

__all__ = ["softhsm"]

KINDS = [
    *(("file", algorithm) for algorithm in ALGORITHMS),
    *(("pkcs11", algorithm) for algorithm in TOKEN_ALGORITHMS),
]
ML_DSA_ALGORITHMS = {  # AlgorithmIdentifier without parameters, RFC 9881 §3
    "ML-DSA-44": bytes.fromhex("300b0609608648016503040311"),
    "ML-DSA-65": bytes.fromhex("300b0609608648016503040312"),
    "ML-DSA-87": bytes.fromhex("300b0609608648016503040313"),
}
DETERMINISTIC = {("file", "P-256"), ("file", "P-384"), ("file", "Ed25519"), ("pkcs11", "Ed25519")}


def token_place(softhsm: SoftHSM) -> TokenPlace:
    address = softhsm.make_token()
    table = {
        "kind": "pkcs11",
        "module": str(address.module),
        "token": address.token,
        "pin_file": str(address.pin_file),
    }
    keys = open_adapter("brski.signing_keys", table, source=Path(), where="test")
    return TokenPlace(keys=keys, table=table | {"label": ISSUING})


@pytest.fixture(params=KINDS, ids="-".join)
def kind(request: pytest.FixtureRequest) -> tuple[str, str]:
    found: tuple[str, str] = request.param
    return found


@pytest.fixture
def kit(request: pytest.FixtureRequest, tmp_path: Path, kind: tuple[str, str]) -> FactoryKit:
    place, algorithm = kind
    if place == "file":
        return factory.found(tmp_path, algorithm=algorithm)
    token = token_place(request.getfixturevalue("softhsm"))
    return factory.found(tmp_path, algorithm=algorithm, token=token)


def made(kit: FactoryKit, count: int = 3) -> list[x509.Certificate]:
    """The IDevIDs of a first batch."""
    records = factory.chips(count)
    kit.take(kit.batch(records)[0])
    kit.make(kit.build_list(factory.serials(records)))
    return [parse_certificate(record.certificate) for record in kit.records()]


@pytest.mark.requirement("OEM-15")
def test_its_idevids_lead_to_its_root(kit: FactoryKit) -> None:
    """For both path validators; and under another root they do not."""
    chain = load_chain(kit.folder / "issuing-chain.pem")
    for idevid in made(kit):
        path = TrustAnchors(chain[-1:]).validate(idevid, chain[:-1], at=CREATED)
        assert path == (idevid, *chain)
        anchors = TrustAnchors(chain[-1:])
        assert anchors.validate_without_clock(idevid, chain[:-1]) == (idevid, *chain)
        with pytest.raises(ChainInvalid, match="no anchor"):
            TrustAnchors([pki.make_root().certificate]).validate(idevid, chain[:-1], at=CREATED)


def test_another_implementation_verifies_its_idevids(
    kit: FactoryKit, kind: tuple[str, str]
) -> None:
    """openssl, strictly; OpenSSL before 3.5 has no ML-DSA: there the library's own verification."""
    idevid, *_ = made(kit)
    if kind[1] in ML_DSA_ALGORITHMS:
        for certificate, issuer in pairwise(
            (idevid, *load_chain(kit.folder / "issuing-chain.pem"))
        ):
            certificate.verify_directly_issued_by(issuer)
            assert certificate_der(certificate).count(ML_DSA_ALGORITHMS[kind[1]]) >= 2
        return
    openssl = require_program("openssl", "openssl")
    write_chain(kit.folder / "idevid.pem", [idevid])
    command = [
        *(openssl, "verify", "-x509_strict", "-check_ss_sig", "-CAfile", "root.pem"),
        *("-untrusted", "issuing-chain.pem", "idevid.pem"),
    ]
    done = subprocess.run(command, cwd=kit.folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "idevid.pem: OK\n"), done.stderr


def test_made_again_the_octets_before_the_signature_are_the_same(
    kit: FactoryKit, kind: tuple[str, str]
) -> None:
    """Those of the signature, too, where the key is in a file, or the algorithm has no nonce."""
    first = made(kit)
    kit.store.rename(kit.folder / "former store")
    second = made(kit)
    assert [c.tbs_certificate_bytes for c in first] == [c.tbs_certificate_bytes for c in second]
    same = [certificate_der(c) for c in first] == [certificate_der(c) for c in second]
    assert same == (kind in DETERMINISTIC)


def test_a_finished_list_is_handed_out_with_the_octets_on_record(kit: FactoryKit) -> None:
    """Nothing is signed a second time, whatever the signer would come to."""
    first = made(kit)
    records = factory.chips(3)
    report = kit.make(kit.build_list(factory.serials(records)), "again")
    assert report.repeated
    assert (kit.folder / "again").read_bytes() == (kit.folder / "bundle").read_bytes()
    assert [certificate_der(c) for c in first] == [r.certificate for r in kit.records("again")]


def test_the_database_takes_its_bundles(kit: FactoryKit) -> None:
    """Every certificate is validated to the CAs above it when it is loaded."""
    made(kit)
    factories = {"factory-1": load_public_key(kit.folder / "bundle.pub")}
    with (kit.folder / "bundle").open("rb") as file:
        report = load_bundle(kit.folder / "oem.db", file, factories, now=CREATED)
    assert report.added == 3


@pytest.mark.parametrize("levels", [2, 3])
def test_in_a_token_no_key_file_is_made(softhsm: SoftHSM, tmp_path: Path, levels: int) -> None:
    """The settings name the token in place of a file; what the CAs say is the same."""
    kit = factory.found(tmp_path, levels=levels, token=token_place(softhsm))
    assert not list(tmp_path.glob("root.key")) + list(tmp_path.glob("issuing.key"))
    chain = load_chain(tmp_path / "issuing-chain.pem")
    assert [c.subject.rfc4514_string() for c in chain] == [
        *(["CN=Example OEM Issuing CA"] if levels == 3 else []),
        "CN=Example OEM Root CA",
    ]
    assert made(kit)


def test_a_token_that_has_a_ca_already_is_left_alone(softhsm: SoftHSM, tmp_path: Path) -> None:
    """Also if only the second of the two keys is there; and nothing is made in files."""
    place = token_place(softhsm)
    place.keys.make(ISSUING, "P-256")
    with pytest.raises(StateError, match="has a key 'issuing' already"):
        factory.found(tmp_path / "oem", token=place)
    assert list((tmp_path / "oem").iterdir()) == []
    place.keys.check_free(["root"])


def test_a_run_whose_token_is_taken_out_goes_on_where_it_stopped(
    softhsm: SoftHSM, tmp_path: Path
) -> None:
    """Try again, it says; what was on record is not signed anew."""
    kit = factory.found(tmp_path, token=token_place(softhsm))
    records = factory.chips(6)
    kit.take(kit.batch(records, records_a_chunk=3)[0])
    built = kit.build_list(factory.serials(records))
    line = kit.line
    signed: list[bytes] = []
    genuine = type(line.issuing).sign

    def sign(self: object, data: bytes) -> bytes:
        if len(signed) == 4:
            (kit.folder / "softhsm" / "tokens").rename(kit.folder / "away")
            (kit.folder / "softhsm" / "tokens").mkdir()
        signed.append(data)
        return genuine(self, data)  # type: ignore[arg-type]  # itself

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(line.issuing), "sign", sign)
        with pytest.raises(Unavailable, match="its session is lost"):
            kit.make(built, line=line)
    (kit.folder / "softhsm" / "tokens").rmdir()
    (kit.folder / "away").rename(kit.folder / "softhsm" / "tokens")
    del line
    softhsm.forget()
    report = kit.make(built)
    assert (report.certified, len(kit.records())) == (3, 6)


def test_the_settings_name_one_key_in_one_way(tmp_path: Path) -> None:
    """A file or a table; both, or neither, is a fault of the file."""
    kit = factory.found(tmp_path)
    text = kit.settings.read_text()
    table = '\n[factory.issuing]\nkind = "file"\nkey = "issuing.key"\n'
    kit.settings.write_text(text + table)
    with pytest.raises(SettingsError, match="either issuing_key or a table issuing"):
        _ = kit.line
    kit.settings.write_text(text.replace('issuing_key = "issuing.key"\n', ""))
    with pytest.raises(SettingsError, match="either issuing_key or a table issuing"):
        _ = kit.line
    kit.settings.write_text(text.replace('issuing_key = "issuing.key"\n', "") + table)
    assert kit.line.issuing.chain == load_chain(tmp_path / "issuing-chain.pem")


def test_a_ca_certificate_is_signed_by_its_issuer_alone() -> None:
    """A signer with another key than the issuer's makes nothing."""
    above, other = pki.make_root(), pki.make_root("Another")
    facts: dict[str, Any] = {"path_length": 0, "created_at": CREATED, "cert_serial": b"\xff" * 20}
    key = pki.make_key().public_key()
    sound = build_ca_certificate(
        "Example Issuing CA", key, above.signer, issuer=above.certificate, **facts
    )
    sound.verify_directly_issued_by(above.certificate)
    assert sound.serial_number.to_bytes(20, "big") == b"\x7f" + b"\xff" * 19
    assert sound.fingerprint(hashes.SHA256())
    for signer, issuer in ((other.signer, above.certificate), (above.signer, None)):
        with pytest.raises(SettingsError, match="is not the issuer's"):
            build_ca_certificate("Example", key, signer, issuer=issuer, **facts)
    for title in ("", "x" * 65, "two\nlines"):
        with pytest.raises(SettingsError, match="1 to 64"):
            build_ca_certificate(title, key, above.signer, issuer=above.certificate, **facts)
    with pytest.raises(SettingsError, match="20 octets"):
        build_ca_certificate(
            "Example", key, above.signer, issuer=above.certificate, **(facts | {"cert_serial": b""})
        )


def test_the_certificate_of_another_token_is_refused(softhsm: SoftHSM, tmp_path: Path) -> None:
    """A chain that was mixed up shows when the factory starts, before anything is certified."""
    kit = factory.found(tmp_path / "oem", token=token_place(softhsm))
    other = factory.found(tmp_path / "other")
    assert kit.line.issuing.chain
    (kit.folder / "issuing-chain.pem").write_bytes(
        (other.folder / "issuing-chain.pem").read_bytes()
    )
    with pytest.raises(KeyUnusable, match="is not the key of its certificate"):
        _ = kit.line
