"""Keys in a PKCS#11 token, with SoftHSM: what it does, and how it fails."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pkcs11
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pkcs11 import Attribute, ObjectClass
from pkcs11 import exceptions as said

from brski.edge.adapters import open_adapter
from brski.edge.signers.file import write_chain, write_private_key
from brski.edge.signers.key import KeySigner
from brski.edge.signers.pkcs11 import ALGORITHMS, Token, TokenAddress
from brski.edge.signers.token_signer import PROBE, TokenKeys, TokenSigner
from brski.errors import FileUnusable, KeyUnusable, SettingsError, StateError, Unavailable
from brski.idevid.ca_certificate import build_ca_certificate
from brski.pki import signatures
from brski.pki.signer import Signer
from tests.kit import pki
from tests.kit.programs import require_program
from tests.kit.softhsm import SoftHSM, softhsm

__all__ = ["softhsm"]


def certificate_of(signer: Signer) -> x509.Certificate:
    return build_ca_certificate(
        "Example Root CA",
        signer.public_key,
        signer,
        path_length=0,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        cert_serial=bytes(20),
    )


def make_signer(address: TokenAddress, algorithm: str = "P-256") -> tuple[Token, TokenSigner]:
    """A key of its own in the token, and its certificate around it."""
    token = Token(address, writable=True)
    made = TokenKeys(token).make("issuing", algorithm)
    return token, TokenSigner(token, "issuing", [certificate_of(made)])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_key_is_made_in_the_token_and_signs_there(softhsm: SoftHSM, algorithm: str) -> None:
    """What the port promises, judged by the code that judges our peers."""
    token, signer = make_signer(softhsm.make_token(), algorithm)
    with token:
        signature = signer.sign(b"data")
    signatures.verify(signer.public_key, signature, b"data", what="test")
    assert len(signer.chain) == 1
    assert "issuing" in repr(signer)


@pytest.mark.parametrize("algorithm", ["P-256", "P-384"])
def test_openssl_verifies_its_certificate(softhsm: SoftHSM, tmp_path: Path, algorithm: str) -> None:
    """Another implementation reads what the token signed."""
    openssl = require_program("openssl", "openssl")
    token, signer = make_signer(softhsm.make_token(), algorithm)
    write_chain(tmp_path / "root.pem", signer.chain)
    token.close()
    subprocess.run(
        [openssl, "verify", "-x509_strict", "-check_ss_sig", "-CAfile", "root.pem", "root.pem"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_key_cannot_be_taken_out(softhsm: SoftHSM, algorithm: str) -> None:
    """Sensitive, not extractable: neither its value nor a lower guard is to be had."""
    address = softhsm.make_token()
    make_signer(address, algorithm)[0].close()
    with (
        pkcs11.lib(str(softhsm.module))
        .get_token(token_label="oem")
        .open(user_pin=address.pin_file.read_text().strip()) as session
    ):
        key = session.get_key(object_class=ObjectClass.PRIVATE_KEY, label="issuing")
        assert key[Attribute.SENSITIVE]
        assert not key[Attribute.EXTRACTABLE]
        with pytest.raises(said.AttributeSensitive):
            _ = key[Attribute.VALUE]


def test_tls_goes_on_beside_a_token(softhsm: SoftHSM) -> None:
    """SoftHSM leaves errors in a queue that it shares with ssl; the adapter takes them away."""
    token, signer = make_signer(softhsm.make_token())
    anchor = signer.chain[0].public_bytes(Encoding.DER)
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=anchor)
    token.close()
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=anchor)


def test_it_is_the_kind_pkcs11_of_the_settings(softhsm: SoftHSM, tmp_path: Path) -> None:
    """Found by entry point; relative paths count from the settings file."""
    token, signer = make_signer(softhsm.make_token())
    token.close()
    write_chain(tmp_path / "chain.pem", signer.chain)
    table = {
        "kind": "pkcs11",
        "chain": "chain.pem",
        "module": str(softhsm.module),
        "token": "oem",
        "label": "issuing",
        "pin_file": "softhsm/oem.pin",
    }
    opened = open_adapter("brski.signer", table, source=tmp_path / "f.toml", where="issuing")
    signatures.verify(signer.public_key, opened.sign(b"x"), b"x", what="test")
    with pytest.raises(SettingsError, match="slot: unknown key"):
        open_adapter(
            "brski.signer", table | {"slot": 1}, source=tmp_path / "f.toml", where="issuing"
        )


def test_and_file_is_the_other(tmp_path: Path) -> None:
    """Deterministic, as a factory needs it."""
    key = pki.make_key()
    write_private_key(tmp_path / "a.key", key)
    write_chain(tmp_path / "a.pem", [certificate_of(KeySigner(key))])
    table = {"kind": "file", "key": "a.key", "chain": "a.pem"}
    opened = open_adapter("brski.signer", table, source=tmp_path / "f.toml", where="issuing")
    assert opened.sign(b"x") == opened.sign(b"x")
    with pytest.raises(SettingsError, match=r"kind is 'hsm'; installed are file, pkcs11"):
        open_adapter(
            "brski.signer", table | {"kind": "hsm"}, source=tmp_path / "f.toml", where="issuing"
        )


# -- how it fails


def test_a_key_of_this_label_is_not_made_twice(softhsm: SoftHSM) -> None:
    token, _ = make_signer(softhsm.make_token())
    with token:
        made = TokenKeys(token)
        made.check_free(["root"])  # the nearest acceptance
        for refused in (
            lambda: made.make("issuing", "P-256"),
            lambda: made.check_free(["issuing"]),
        ):
            with pytest.raises(StateError, match="has a key 'issuing' already"):
                refused()


def test_only_the_algorithms_of_tokens_are_made(softhsm: SoftHSM) -> None:
    with (
        Token(softhsm.make_token(), writable=True) as token,
        pytest.raises(SettingsError, match="no token makes a key for ML-DSA-65"),
    ):
        TokenKeys(token).make("issuing", "ML-DSA-65")


def test_a_wrong_pin_is_tried_once(softhsm: SoftHSM) -> None:
    """And then said; the right one still works."""
    address = softhsm.make_token()
    right = address.pin_file.read_text()
    address.pin_file.write_text("0000")
    with pytest.raises(KeyUnusable, match="refuses the PIN") as refused:
        Token(address)
    assert "0000" not in str(refused.value)
    address.pin_file.write_text(right)
    Token(address).close()


@pytest.mark.parametrize(
    ("octets", "mode", "why"),
    [
        (b"", 0o600, "holds no PIN"),
        (b"\n", 0o600, "holds no PIN"),
        (b"\xff", 0o600, "not UTF-8"),
        (b"482915", 0o640, "mode 0640"),
    ],
)
def test_a_pin_file_that_is_none(softhsm: SoftHSM, octets: bytes, mode: int, why: str) -> None:
    address = softhsm.make_token()
    address.pin_file.write_bytes(octets)
    address.pin_file.chmod(mode)
    with pytest.raises(KeyUnusable, match=why):
        Token(address)


def test_no_pin_file_no_session(softhsm: SoftHSM) -> None:
    with pytest.raises(FileUnusable):
        Token(replace(softhsm.make_token(), pin_file=softhsm.folder / "nowhere"))


@pytest.mark.parametrize(
    ("error", "kind", "why"),
    [
        (said.PinLocked, KeyUnusable, "its PIN is locked"),
        (said.PinExpired, KeyUnusable, "its PIN has expired"),
        (said.UserPinNotInitialized, KeyUnusable, "its PIN was never set"),
        (said.DeviceRemoved, Unavailable, "its session is lost"),
        (said.SessionHandleInvalid, Unavailable, "its session is lost"),
        (said.TokenNotRecognised, KeyUnusable, "TokenNotRecognised"),
    ],
)
def test_what_softhsm_never_says(
    softhsm: SoftHSM,
    monkeypatch: pytest.MonkeyPatch,
    error: type[Exception],
    kind: type[Exception],
    why: str,
) -> None:
    """SoftHSM locks no PIN; another token would."""
    address = softhsm.make_token()

    class Locked:
        def get_token(self, **_: object) -> object:
            raise error

    monkeypatch.setattr(pkcs11, "lib", lambda _: Locked())
    with pytest.raises(kind, match=why):
        Token(address)


def test_no_such_token(softhsm: SoftHSM) -> None:
    """It may be put back: try again."""
    address = softhsm.make_token()
    with pytest.raises(Unavailable, match="'other' is not there"):
        Token(replace(address, token="other"))


def test_two_tokens_of_one_label(softhsm: SoftHSM) -> None:
    softhsm.make_token()
    with pytest.raises(KeyUnusable, match="several tokens of this label"):
        Token(softhsm.make_token())


@pytest.mark.parametrize("content", [b"", b"no library"])
def test_a_module_that_is_none(softhsm: SoftHSM, tmp_path: Path, content: bytes) -> None:
    module = tmp_path / "module.so"
    module.write_bytes(content)
    with pytest.raises(KeyUnusable, match="cannot be loaded"):
        Token(replace(softhsm.make_token(), module=module))


def test_a_token_that_was_taken_out_in_the_middle(softhsm: SoftHSM) -> None:
    """Its session is lost: a typed error, and no signature."""
    _, signer = make_signer(softhsm.make_token())
    softhsm.remove_tokens()
    with pytest.raises(Unavailable, match="its session is lost"):
        signer.sign(b"data")


def test_two_keys_with_one_label(softhsm: SoftHSM) -> None:
    """Which of them is meant is not guessed."""
    address = softhsm.make_token()
    token, signer = make_signer(address)
    token.close()
    add_key_pair(softhsm, "issuing")
    with Token(address) as opened:
        with pytest.raises(KeyUnusable, match="several such keys") as kept:
            TokenSigner(opened, "issuing", signer.chain)
        # the search has ended, whoever keeps the error and with it what was on the way
        assert opened.has_key("issuing")
        assert not opened.has_key("other")
        assert kept.value.reason


def test_no_key_of_this_label(softhsm: SoftHSM) -> None:
    token, signer = make_signer(softhsm.make_token())
    with token, pytest.raises(KeyUnusable, match="no such key"):
        TokenSigner(token, "other", signer.chain)


@pytest.mark.parametrize(
    ("algorithm", "why"),
    [("P-256", "is not the key of its certificate"), ("P-384", "of another kind")],
)
def test_a_certificate_of_another_key(softhsm: SoftHSM, algorithm: str, why: str) -> None:
    """The probe is signed by the token and verified under the certificate's key."""
    token, signer = make_signer(softhsm.make_token())
    with token:
        other = TokenKeys(token).make("other", algorithm)
        TokenSigner(token, "issuing", signer.chain)  # the nearest acceptance
        with pytest.raises(KeyUnusable, match=why):
            TokenSigner(token, "issuing", [certificate_of(other)])


def test_a_key_of_no_kind_that_we_sign_with(softhsm: SoftHSM) -> None:
    address = softhsm.make_token()
    add_key_pair(softhsm, "issuing", pkcs11.KeyType.RSA)
    with Token(address) as token, pytest.raises(KeyUnusable, match="no kind that we sign with"):
        TokenSigner(token, "issuing")


def test_the_probe_is_nothing_that_is_signed_in_earnest() -> None:
    """A TBSCertificate begins with 30; a COSE structure with 84."""
    assert PROBE[0] not in (0x30, 0x84)


def add_key_pair(
    softhsm: SoftHSM, label: str, kind: pkcs11.KeyType = pkcs11.KeyType.EC
) -> Sequence[object]:
    """As another program would make it, whatever is there."""
    token = pkcs11.lib(str(softhsm.module)).get_token(token_label="oem")
    pin = (softhsm.folder / "oem.pin").read_text().strip()
    with token.open(rw=True, user_pin=pin) as session:
        if kind is pkcs11.KeyType.RSA:
            return session.generate_keypair(kind, 2048, store=True, label=label)
        oid = bytes.fromhex("06082a8648ce3d030107")
        curve = session.create_domain_parameters(kind, {Attribute.EC_PARAMS: oid}, local=True)
        return curve.generate_keypair(store=True, label=label)
