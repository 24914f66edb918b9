"""The keystore in files: what belongs together changes together, also when the power fails."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from brski import registry
from brski.errors import OnboardingError, StateError, Unavailable, UnknownFormat
from brski.est.csr import build_csr, parse_csr
from brski.est.requirements import ED25519, P256, P384, KeyRequirement
from brski.pki import names
from brski.pki.keys import encode_spki
from brski.pki.signatures import PrivateKey
from device_client.keystore.files import FileKeystore
from device_client.keystore.keys import FileKeys, generate_key
from device_client.keystore.port import Purpose, Stored
from device_client.pledge.origin import Origin
from device_client.pledge.states import DomainCertificates, Enrollment, Phase, Renewal
from tests.kit import pki

RSA_2048 = KeyRequirement(algorithm=registry.RSA_ENCRYPTION, rsa_bits=2048)
SUBJECT = names.idevid_subject(pki.SERIAL_NUMBER)
PURPOSE = Purpose(device=bytes(32), domain=b"d" * 32, wanted=b"w" * 32)
KEY = pki.make_key()
CA = pki.make_ca("Owner CA", pki.make_root("Owner Root"))
LDEVID = pki.certify(SUBJECT, issuer=CA, key=KEY)
ENROLLMENT = Enrollment(
    origin=Origin("192.0.2.7", 8443),
    ldevid_chain=(LDEVID.certificate, CA.certificate),
    domain=DomainCertificates(anchors=(CA.root,), certificates=(CA.certificate, CA.root)),
    pinned_domain_cert=CA.root,
)


NEXT_KEY = pki.make_key()
RENEWED = replace(
    ENROLLMENT,
    ldevid_chain=(pki.certify(SUBJECT, issuer=CA, key=NEXT_KEY).certificate, CA.certificate),
)


class Keys(FileKeys):
    """Makes the keys that a test has made before."""

    def __init__(self) -> None:
        self.next = KEY

    def make(self, kind: KeyRequirement) -> bytes:
        return self.next.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )


KEYS = Keys()


def ask(store: FileKeystore, purpose: Purpose = PURPOSE, key: PrivateKey = KEY) -> bytes:
    KEYS.next = key
    return store.request_for(
        purpose, kind=P256, build_csr=lambda signer: build_csr(signer, SUBJECT)
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FileKeystore]:
    store = FileKeystore(tmp_path / "keystore", KEYS)
    with store.exclusive():
        yield store


def files_of(store: FileKeystore) -> dict[str, Path]:
    return {path.name: path for path in (store.directory / "current").iterdir()}


def test_a_new_device_is_in_the_factory_state(store: FileKeystore, tmp_path: Path) -> None:
    """Also where there is no folder at all."""
    assert store.load() == Stored(phase=Phase.FACTORY)
    assert FileKeystore(tmp_path / "none").load() == Stored(phase=Phase.FACTORY)
    with pytest.raises(StateError, match="no LDevID"):
        store.ldevid()


def test_csr_and_key_come_together(store: FileKeystore) -> None:
    """What is kept is the CSR, and the key that it was signed with."""
    csr = ask(store)
    assert store.load() == Stored(phase=Phase.FACTORY, device=PURPOSE.device, csr=csr)
    assert parse_csr(csr).spki == encode_spki(KEY.public_key())
    assert set(files_of(store)) == {"state.json", "ldevid-key.pem", "csr.der"}


def test_the_same_purpose_brings_the_same_octets(store: FileKeystore) -> None:
    """After a crash the pledge posts what it posted before: no second key, no second CSR."""
    csr = ask(store)
    again = FileKeystore(store.directory, KEYS)
    assert ask(again, key=pki.make_key()) == csr


@pytest.mark.parametrize("part", ["device", "domain", "wanted"])
def test_another_purpose_brings_another_key(store: FileKeystore, part: str) -> None:
    """Another domain never sees the key that was made for the first."""
    csr = ask(store)
    other_key = pki.make_key()
    other = ask(store, replace(PURPOSE, **{part: b"x" * 32}), other_key)
    assert other != csr
    assert parse_csr(other).spki == encode_spki(other_key.public_key())
    assert store.load().csr == other


def test_enrollment_is_kept_whole(store: FileKeystore) -> None:
    """LDevID, key and anchors, until it is reported and after."""
    ask(store)
    store.keep_enrollment(ENROLLMENT)
    kept = Stored(phase=Phase.UNREPORTED, device=PURPOSE.device, enrollment=ENROLLMENT)
    assert store.load() == kept
    ldevid = store.ldevid()
    assert ldevid.chain == ENROLLMENT.ldevid_chain
    assert encode_spki(ldevid.public_key) == encode_spki(KEY.public_key())
    assert "csr.der" not in files_of(store)
    store.keep_reported()
    assert store.load() == replace(kept, phase=Phase.ENROLLED)
    store.keep_reported()
    assert store.load().phase is Phase.ENROLLED


def test_an_ldevid_for_another_key_is_refused(store: FileKeystore) -> None:
    """Nothing changes then."""
    csr = ask(store, key=pki.make_key())
    with pytest.raises(StateError, match="not for the key"):
        store.keep_enrollment(ENROLLMENT)
    assert store.load().csr == csr


def test_steps_out_of_order_are_refused(store: FileKeystore) -> None:
    """No LDevID without a CSR, no report without an LDevID, no CSR over an LDevID."""
    with pytest.raises(StateError, match="without a CSR"):
        store.keep_enrollment(ENROLLMENT)
    with pytest.raises(StateError, match="no LDevID"):
        store.keep_reported()
    ask(store)
    with pytest.raises(StateError, match="no LDevID"):
        store.keep_reported()
    store.keep_enrollment(ENROLLMENT)
    for change in (lambda: ask(store), lambda: store.keep_enrollment(ENROLLMENT)):
        with pytest.raises(StateError, match="already"):
            change()


def test_files_are_private(store: FileKeystore) -> None:
    """Folders 0700, files 0600, whatever the umask is."""
    mask = os.umask(0)
    try:
        ask(store)
        store.keep_enrollment(ENROLLMENT)
    finally:
        os.umask(mask)
    for path in files_of(store).values():
        assert path.stat().st_mode & 0o777 == 0o600
    assert (store.directory / "current").resolve().stat().st_mode & 0o777 == 0o700


def test_one_process_at_a_time(store: FileKeystore) -> None:
    """A device that is being configured does not start another bootstrap."""
    other = FileKeystore(store.directory, KEYS)
    with pytest.raises(StateError, match="another process"), other.exclusive():
        pass
    with pytest.raises(StateError, match="another process"):
        other.reset()


@pytest.mark.requirement("PL-1", "PL-32")
def test_reset_returns_to_the_factory_state(tmp_path: Path) -> None:
    """No key, no certificate and no anchor stays behind."""
    store = FileKeystore(tmp_path / "keystore", KEYS)
    with store.exclusive():
        ask(store)
        store.keep_enrollment(ENROLLMENT)
    store.reset()
    assert store.load() == Stored(phase=Phase.FACTORY)
    left = [p.name for p in store.directory.rglob("*") if p.is_file()]
    assert left == ["lock"]


@pytest.mark.parametrize("pending", [False, True], ids=["enrolled", "being renewed"])
def test_reset_overwrites_keys(tmp_path: Path, pending: bool) -> None:
    """Whoever reads the disk's former blocks through another name finds nothing."""
    store = FileKeystore(tmp_path / "keystore", KEYS)
    with store.exclusive():
        ask(store)
        store.keep_enrollment(ENROLLMENT)
        if pending:
            renew(store, Renewal.FRESH_KEY)
    names = ["ldevid-key.pem", "next-ldevid-key.pem"][: 1 + pending]
    for name in names:
        os.link(files_of(store)[name], tmp_path / name)
        assert b"PRIVATE KEY" in (tmp_path / name).read_bytes()
    store.reset()
    for name in names:
        assert set((tmp_path / name).read_bytes()) == {0}


def test_a_reset_that_is_cut_off_is_finished_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every system call: the device is enrolled still, or in the factory state; and in the
    factory state no key survives the next start.
    """
    step = 0
    phases: list[Phase] = []
    while not phases or step < phases.count(Phase.UNREPORTED) + 8:
        store = FileKeystore(tmp_path / f"{step}", KEYS)
        with store.exclusive():
            ask(store)
            store.keep_enrollment(ENROLLMENT)
        with power_failing_at(step, monkeypatch), suppress(Crash):
            store.reset()
        phases.append(store.load().phase)
        with store.exclusive():
            kept = list(store.directory.rglob("*key.pem"))
            assert len(kept) == (phases[-1] is Phase.UNREPORTED)
        step += 1
    assert phases == sorted(phases, key=lambda phase: phase is Phase.FACTORY)
    assert set(phases) == {Phase.UNREPORTED, Phase.FACTORY}


# -- renewal


def renew(
    store: FileKeystore, renewal: Renewal, purpose: Purpose = PURPOSE, key: PrivateKey = KEY
) -> bytes:
    KEYS.next = key
    return store.renewal_request(
        purpose, renewal, kind=P256, build_csr=lambda signer: build_csr(signer, SUBJECT)
    )


@pytest.fixture
def enrolled(store: FileKeystore) -> FileKeystore:
    ask(store)
    store.keep_enrollment(ENROLLMENT)
    store.keep_reported()
    return store


@pytest.mark.parametrize("renewal", Renewal)
def test_a_renewal_leaves_everything_until_it_is_kept(
    enrolled: FileKeystore, renewal: Renewal
) -> None:
    """The LDevID stays usable; then all is replaced at once, and is to be reported."""
    before = enrolled.load()
    fresh = pki.make_key()
    csr = renew(enrolled, renewal, key=fresh)
    assert enrolled.load() == replace(before, renewal=renewal)
    assert enrolled.ldevid().chain == ENROLLMENT.ldevid_chain
    signed = fresh if renewal is Renewal.FRESH_KEY else KEY
    assert parse_csr(csr).spki == encode_spki(signed.public_key())
    renewed = pki.certify(SUBJECT, issuer=CA, key=signed, not_after=pki.AFTER)
    after = replace(ENROLLMENT, ldevid_chain=(renewed.certificate, CA.certificate))
    enrolled.keep_renewal(after)
    assert enrolled.load() == Stored(
        phase=Phase.UNREPORTED, device=PURPOSE.device, enrollment=after
    )
    assert enrolled.ldevid().chain == after.ldevid_chain
    assert not {name for name in files_of(enrolled) if name.startswith("next-")}


def test_the_same_renewal_brings_the_same_octets(enrolled: FileKeystore) -> None:
    """Another purpose, or the other kind of renewal, brings others."""
    first = renew(enrolled, Renewal.FRESH_KEY)
    assert renew(enrolled, Renewal.FRESH_KEY, key=pki.make_key()) == first
    enrolled.keep_reported()
    assert renew(enrolled, Renewal.FRESH_KEY, key=pki.make_key()) == first
    wanted = replace(PURPOSE, wanted=b"x" * 32)
    other_key = pki.make_key()
    assert parse_csr(renew(enrolled, Renewal.FRESH_KEY, wanted, other_key)).spki == encode_spki(
        other_key.public_key()
    )
    renew(enrolled, Renewal.SAME_KEY, wanted)
    assert "next-ldevid-key.pem" not in files_of(enrolled)


@pytest.mark.parametrize("name", ["next-ldevid-key.pem", "next-csr.der"])
@pytest.mark.parametrize("damaged", [None, b"", b"damaged", "cut", "another"])
def test_a_renewal_whose_key_is_damaged_begins_anew(
    enrolled: FileKeystore, name: str, damaged: Any
) -> None:
    """A CSR that goes out without its key would cost the LDevID that is there."""
    csr = renew(enrolled, Renewal.FRESH_KEY, key=NEXT_KEY)
    whole = files_of(enrolled)[name].read_bytes()
    others = {"cut": whole[:-40], "another": FileKeys().make(P256)}
    damage(enrolled, name, others[damaged] if isinstance(damaged, str) else damaged)
    assert enrolled.ldevid().chain == ENROLLMENT.ldevid_chain
    fresh = pki.make_key()
    again = renew(enrolled, Renewal.FRESH_KEY, key=fresh)
    assert again != csr
    assert parse_csr(again).spki == encode_spki(fresh.public_key())


def test_a_key_of_no_kind_that_we_know_is_told(enrolled: FileKeystore) -> None:
    """As damage, and not by the library's own error."""
    pem = files_of(enrolled)["ldevid-key.pem"].read_bytes()
    octets = bytearray(base64.b64decode(b"".join(pem.splitlines()[1:-1])))
    octets[octets.index(bytes.fromhex("2a8648ce3d0201")) + 5] ^= 1
    lines = pem.splitlines(keepends=True)
    body = base64.encodebytes(bytes(octets))
    damage(enrolled, "ldevid-key.pem", lines[0] + body + lines[-1])
    with pytest.raises(StateError, match="not a private key"):
        enrolled.load()


def test_a_renewed_ldevid_for_another_key_is_refused(enrolled: FileKeystore) -> None:
    """And nothing changes; nor is one kept that nobody asked for."""
    with pytest.raises(StateError, match="without a CSR"):
        enrolled.keep_renewal(ENROLLMENT)
    renew(enrolled, Renewal.FRESH_KEY, key=pki.make_key())
    before = enrolled.load()
    with pytest.raises(StateError, match="key that is kept"):
        enrolled.keep_renewal(ENROLLMENT)
    assert enrolled.load() == before


def test_what_is_not_there_is_not_renewed(store: FileKeystore) -> None:
    """Neither in the factory state nor before the first LDevID."""
    for _ in range(2):
        with pytest.raises(StateError, match="to renew"):
            renew(store, Renewal.SAME_KEY)
        ask(store)


def test_a_renewal_that_we_do_not_know_is_refused(enrolled: FileKeystore) -> None:
    """state.json is ours to write."""
    state = json.loads(files_of(enrolled)["state.json"].read_bytes())
    damage(enrolled, "state.json", json.dumps({**state, "renewal": "perhaps"}).encode())
    with pytest.raises(StateError, match="names no renewal"):
        enrolled.load()


# -- what was not written by us


def damage(store: FileKeystore, name: str, data: bytes | None) -> None:
    path = files_of(store)[name]
    path.unlink() if data is None else path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("state.json", None),
        ("state.json", b"{}"),
        ("state.json", b'{"version": 2, "phase": "enrolled"}'),
        ("state.json", b'{"version": 1, "phase": "new"}'),
        ("state.json", b'{"version": 1, "phase": "enrolled"}'),
        ("state.json", b'{"version": 1, "version": 1, "phase": "enrolled"}'),
        ("state.json", b'{"version": 1, "phase": "enrolled", "device": "00"}'),
        ("ldevid.pem", None),
        ("ldevid.pem", b"x"),
        ("ldevid.pem", CA.chain_pem),
        ("anchors.pem", None),
        ("ca-certs.pem", b""),
        ("pinned-domain-cert.der", b"\x30\x00"),
        ("ldevid-key.pem", None),
        ("ldevid-key.pem", pki.make_root().key_pem),
        ("ldevid-key.pem", b"x"),
    ],
)
def test_damage_is_told(store: FileKeystore, name: str, data: bytes | None) -> None:
    """Each missing or altered file is a StateError, and never the factory state."""
    ask(store)
    store.keep_enrollment(ENROLLMENT)
    damage(store, name, data)
    with pytest.raises(StateError):
        store.load()


def test_registrar_address_is_read_narrowly(store: FileKeystore) -> None:
    """The address of the registrar is checked like any other."""
    ask(store)
    store.keep_enrollment(ENROLLMENT)
    state = json.loads(files_of(store)["state.json"].read_bytes())
    damage(store, "state.json", json.dumps({**state, "registrar": "http://x"}).encode())
    with pytest.raises(StateError, match="cannot be read"):
        store.load()


def test_a_link_that_leads_elsewhere_is_refused(store: FileKeystore) -> None:
    """`current` names a generation, and nothing outside."""
    (store.directory / "current").symlink_to("../elsewhere")
    with pytest.raises(StateError, match="leads to"):
        store.load()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """The parent has to be there."""
    store = FileKeystore(tmp_path / "no" / "keystore", KEYS)
    with pytest.raises(OnboardingError, match="made"), store.exclusive():
        pass


# -- crashes


class Crash(BaseException):
    """The power fails here."""


CALLS = ("mkdir", "open", "write", "fsync", "fchmod", "replace", "rename", "symlink", "unlink")


@contextmanager
def power_failing_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Let the *step*-th system call that changes anything, and all after it, not happen."""
    seen: list[str] = []

    def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if name == "open" and not args[1] & os.O_CREAT:
                return real(*args, **kwargs)
            seen.append(name)
            if len(seen) > step:
                raise Crash(name)
            return real(*args, **kwargs)

        return call

    with monkeypatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, counted(name, getattr(os, name)))
        patch.setattr(shutil, "rmtree", counted("rmtree", shutil.rmtree))
        yield seen


def changes(store: FileKeystore) -> list[Callable[[], object]]:
    return [
        lambda: ask(store),
        lambda: store.keep_enrollment(ENROLLMENT),
        store.keep_reported,
        lambda: renew(store, Renewal.FRESH_KEY, key=NEXT_KEY),
        lambda: store.keep_renewal(RENEWED),
    ]


def expected_after(which: int, found: Stored) -> Stored:
    """What the keystore holds after that many changes."""
    enrolled = Stored(phase=Phase.UNREPORTED, device=PURPOSE.device, enrollment=ENROLLMENT)
    reported = replace(enrolled, phase=Phase.ENROLLED)
    return (
        Stored(phase=Phase.FACTORY, device=PURPOSE.device, csr=found.csr),
        enrolled,
        reported,
        replace(reported, renewal=Renewal.FRESH_KEY),
        replace(enrolled, enrollment=RENEWED),
    )[which]


@pytest.mark.parametrize("which", [0, 1, 2, 3, 4])
def test_a_crash_leaves_the_former_state_or_the_new_one(
    which: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every system call of every change; and the change can be made again after it."""
    step, finished = 0, False
    outcomes = set()
    while not finished:
        directory = tmp_path / f"{which}-{step}"
        store = FileKeystore(directory, KEYS)
        with store.exclusive():
            for change in changes(store)[:which]:
                change()
            former = store.load()
            with power_failing_at(step, monkeypatch) as seen:
                try:
                    changes(store)[which]()
                    finished = len(seen) <= step
                except Crash:
                    pass
        again = FileKeystore(directory, KEYS)
        with again.exclusive():
            found = again.load()
            outcomes.add(found == former)
            if found == former:
                changes(again)[which]()
            else:
                assert found == expected_after(which, found)
            assert len(list((directory / "generations").iterdir())) == 1
            assert not list(directory.glob(".*.tmp"))
        step += 1
        assert step < 200
    assert outcomes == {True, False}
    assert step > 8


def test_what_is_switched_to_was_flushed_before(
    store: FileKeystore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files and their folders are on the disk before `current` names them."""
    with power_failing_at(10**6, monkeypatch) as seen:
        ask(store)
    switch = max(i for i, name in enumerate(seen) if name in ("replace", "rename"))
    assert seen[:switch].count("fsync") >= 2 * 3 + 1  # each file, its folder, the generations
    assert "fsync" in seen[switch:]


def test_a_full_disk_changes_nothing(store: FileKeystore, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told as what may pass, and the former state holds."""
    csr = ask(store)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(Unavailable):
            store.keep_enrollment(ENROLLMENT)
    assert store.load().csr == csr


# -- keys


@pytest.mark.parametrize("kind", [P256, P384, ED25519, RSA_2048], ids=str)
def test_keys_are_of_the_kind_and_fresh(kind: KeyRequirement) -> None:
    """Each call makes another."""
    one, other = generate_key(kind), generate_key(kind)
    assert kind.matches(one.public_key())
    assert encode_spki(one.public_key()) != encode_spki(other.public_key())


def test_a_kind_that_is_not_made_is_refused() -> None:
    """Not some other key instead."""
    with pytest.raises(UnknownFormat):
        generate_key(KeyRequirement(algorithm=registry.ID_EC_PUBLIC_KEY, curve="1.2.3"))
