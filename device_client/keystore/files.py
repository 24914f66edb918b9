"""The keystore in files. What belongs together changes together, also when the power fails.

::

    DIR/                0700
      lock              held while a device onboards
      current           symbolic link to generations/N: the one thing that is switched
      generations/N/    0700, its files 0600, never changed once `current` names it
        state.json      what the rest is
        ldevid-key.pem  csr.der  ldevid.pem  anchors.pem  ca-certs.pem  pinned-domain-cert.der

A change writes a whole new generation, flushes it, and renames a new link over `current`. Before
that rename the former state holds, after it the new one; what a crash leaves beside is removed at
the next change.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cryptography import x509

from brski.edge.atomic_file import (
    file_error,
    read_file,
    remove_leftovers,
    sync_folder,
    write_atomically,
)
from brski.edge.signers.file import pem_of
from brski.errors import PeerError, StateError
from brski.est.requirements import KeyRequirement
from brski.pki import strict_json
from brski.pki.keys import (
    certificate_der,
    encode_spki,
    parse_certificate,
    parse_pem_certificates,
    spki_of,
)
from brski.pki.signer import Signer
from device_client.keystore.keys import FileKeys
from device_client.keystore.ldevid_keys import LDevIDKeys
from device_client.keystore.port import Purpose, Stored
from device_client.pledge.origin import parse_origin
from device_client.pledge.states import DomainCertificates, Enrollment, Phase

VERSION: Final = 1
STATE: Final = "state.json"
KEY: Final = "ldevid-key.pem"
CSR: Final = "csr.der"
LDEVID: Final = "ldevid.pem"
ANCHORS: Final = "anchors.pem"
CA_CERTS: Final = "ca-certs.pem"
PIN: Final = "pinned-domain-cert.der"
_GENERATIONS: Final = "generations"
_LINK: Final = re.compile(rf"{_GENERATIONS}/([0-9]{{8}})")
_REQUESTED: Final = "requested"
_PHASES: Final = {
    _REQUESTED: Phase.FACTORY,
    "enrolled": Phase.UNREPORTED,
    "reported": Phase.ENROLLED,
}


class FileKeystore:
    """Implements :class:`device_client.keystore.port.Keystore` in a folder.

    Args:
        directory: made when it is missing (its parent must be there), mode 0700.
        keys: who makes and holds LDevID keys; None keeps them in this folder.
    """

    def __init__(self, directory: Path, keys: LDevIDKeys | None = None) -> None:
        self._directory = directory
        self._keys: LDevIDKeys = keys or FileKeys()

    @property
    def directory(self) -> Path:
        """Where the files are."""
        return self._directory

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the keystore; see the port."""
        self._make_folders()
        lock = self._directory / "lock"
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as err:
            raise file_error(err, lock, "opened") from err
        try:
            _lock(descriptor, self._directory)
            self._remove_remains()
            yield
        finally:
            os.close(descriptor)

    def load(self) -> Stored:
        """Say what is kept; see the port."""
        files = self._read()
        if files is None:
            return Stored(phase=Phase.FACTORY)
        state = _state_of(files)
        device = _digest_of(state, "device")
        phase = _PHASES[_text_of(state, "phase")]
        if phase is Phase.FACTORY:
            return Stored(phase=phase, device=device, csr=_needed(files, CSR))
        enrollment = _enrollment_of(files, state)
        self._check_pair(files, enrollment.ldevid_chain)
        return Stored(phase=phase, device=device, enrollment=enrollment)

    def request_for(
        self,
        purpose: Purpose,
        *,
        kind: KeyRequirement,
        build_csr: Callable[[Signer], bytes],
    ) -> bytes:
        """Return the CSR for *purpose*; see the port."""
        files = self._read()
        if files is not None:
            state = _state_of(files)
            if state["phase"] != _REQUESTED:
                raise StateError("there is an LDevID already", hint="brski-pledge reset")
            if all(_digest_of(state, k) == v for k, v in _purpose_fields(purpose).items()):
                return _needed(files, CSR)
        reference = self._keys.make(kind)
        csr = build_csr(self._keys.signer(reference))
        fields = {k: v.hex() for k, v in _purpose_fields(purpose).items()}
        self._write(
            {
                STATE: _encode_state({"phase": _REQUESTED, **fields}),
                KEY: reference,
                CSR: csr,
            }
        )
        return csr

    def keep_enrollment(self, enrollment: Enrollment) -> None:
        """Keep LDevID and trust anchors; see the port."""
        files = self._read()
        if files is None:
            raise StateError("an LDevID came without a CSR")
        state = _state_of(files)
        if state["phase"] != _REQUESTED:
            raise StateError("there is an LDevID already", hint="brski-pledge reset")
        self._check_pair(files, enrollment.ldevid_chain)
        self._write(
            {
                STATE: _encode_state(
                    {
                        "phase": "enrolled",
                        "device": _text_of(state, "device"),
                        "registrar": str(enrollment.origin),
                    }
                ),
                KEY: files[KEY],
                LDEVID: pem_of(enrollment.ldevid_chain),
                ANCHORS: pem_of(enrollment.domain.anchors),
                CA_CERTS: pem_of(enrollment.domain.certificates),
                PIN: certificate_der(enrollment.pinned_domain_cert),
            }
        )

    def keep_reported(self) -> None:
        """Note that the registrar has been told; see the port."""
        files = self._read()
        state = {} if files is None else _state_of(files)
        if files is None or state["phase"] == _REQUESTED:
            raise StateError("there is no LDevID to report")
        if state["phase"] != "reported":
            self._write({**files, STATE: _encode_state({**state, "phase": "reported"})})

    def ldevid(self) -> Signer:
        """The LDevID's key, with its chain; see the port."""
        files = self._read()
        if files is None or LDEVID not in files:
            raise StateError("there is no LDevID")
        chain = _chain_of(files, LDEVID)
        self._check_pair(files, chain)
        return self._keys.signer(_needed(files, KEY), chain)

    def reset(self) -> None:
        """Return to the factory state; see the port."""
        with self.exclusive():
            current = self._directory / "current"
            try:
                current.unlink(missing_ok=True)
                sync_folder(self._directory)
            except OSError as err:
                raise file_error(err, current, "removed") from err
            self._remove_remains(must=True)

    def _check_pair(self, files: Mapping[str, bytes], chain: tuple[x509.Certificate, ...]) -> None:
        kept = self._keys.signer(_needed(files, KEY)).public_key
        if spki_of(chain[0]) != encode_spki(kept):
            raise StateError("the LDevID is not for the key that is kept")

    # -- generations

    def _make_folders(self) -> None:
        folders = (self._directory, self._directory / _GENERATIONS)
        for folder in folders:
            try:
                folder.mkdir(mode=0o700, exist_ok=True)
            except OSError as err:
                raise file_error(err, folder, "made") from err

    def _current(self) -> int:
        """The number of the generation that holds; 0 for none."""
        try:
            target = os.readlink(self._directory / "current")  # noqa: PTH115 - text, as written
        except FileNotFoundError:
            return 0
        except OSError as err:
            raise file_error(err, self._directory / "current", "read") from err
        match = _LINK.fullmatch(target)
        if match is None:
            raise StateError(f"{self._directory}/current leads to {target!r}")
        return int(match[1])

    def _read(self) -> dict[str, bytes] | None:
        number = self._current()
        if number == 0:
            return None
        folder = self._generation(number)
        try:
            names = sorted(entry.name for entry in folder.iterdir())
        except OSError as err:
            raise StateError(f"{folder} cannot be listed") from err
        return {name: read_file(folder / name) for name in names}

    def _write(self, files: Mapping[str, bytes]) -> None:
        """Make *files* the state: a new folder, flushed; then the switch."""
        number = self._current() + 1
        folder = self._generation(number)
        try:
            if folder.exists():  # from a crash between the folder and the switch
                shutil.rmtree(folder)
            folder.mkdir(mode=0o700)
            for name, data in files.items():
                write_atomically(folder / name, data)
            sync_folder(folder.parent)
            self._switch(number)
        except OSError as err:
            raise file_error(err, folder, "written") from err
        self._remove_remains()

    def _switch(self, number: int) -> None:
        draft = self._directory / f".current.{secrets.token_hex(8)}.tmp"
        draft.symlink_to(f"{_GENERATIONS}/{number:08}")
        draft.replace(self._directory / "current")
        sync_folder(self._directory)

    def _generation(self, number: int) -> Path:
        return self._directory / _GENERATIONS / f"{number:08}"

    def _remove_remains(self, *, must: bool = False) -> None:
        """Remove what no `current` names: former generations, and what crashes left.

        What cannot be removed is tried again at the next change, unless it *must* go now.
        """
        remove_leftovers(self._directory)
        keep = self._generation(self._current())
        for folder in (self._directory / _GENERATIONS).iterdir():
            if folder == keep:
                continue
            try:
                shutil.rmtree(folder)
            except OSError as err:
                if must:
                    raise file_error(err, folder, "removed") from err


def _lock(descriptor: int, directory: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as err:
        if err.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise file_error(err, directory, "locked") from err
        raise StateError(
            f"another process is onboarding with {directory}", section="RFC 8995 §5"
        ) from err


def _purpose_fields(purpose: Purpose) -> dict[str, bytes]:
    return {"device": purpose.device, "domain": purpose.domain, "wanted": purpose.wanted}


# -- the files of a generation


def _encode_state(state: Mapping[str, object]) -> bytes:
    return json.dumps({"version": VERSION, **state}, indent=2).encode() + b"\n"


def _state_of(files: Mapping[str, bytes]) -> dict[str, object]:
    try:
        state = strict_json.loads(_needed(files, STATE))
    except PeerError as err:
        raise StateError(f"{STATE} cannot be read: {err.reason}") from err
    if not isinstance(state, dict) or state.get("version") != VERSION:
        raise StateError(f"{STATE} is not of version {VERSION}")
    if state.get("phase") not in _PHASES:
        raise StateError(f"{STATE} names no phase")
    return state


def _text_of(state: Mapping[str, object], name: str) -> str:
    value = state.get(name)
    if not isinstance(value, str):
        raise StateError(f"{STATE} has no {name}")
    return value


def _digest_of(state: Mapping[str, object], name: str) -> bytes:
    text = _text_of(state, name)
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise StateError(f"{name} in {STATE} is no SHA-256")
    return bytes.fromhex(text)


def _needed(files: Mapping[str, bytes], name: str) -> bytes:
    if not files.get(name):
        raise StateError(f"{name} is missing from the keystore")
    return files[name]


def _enrollment_of(files: Mapping[str, bytes], state: Mapping[str, object]) -> Enrollment:
    chain = _chain_of(files, LDEVID)
    try:
        return Enrollment(
            origin=parse_origin(_text_of(state, "registrar")),
            ldevid_chain=chain,
            domain=DomainCertificates(
                anchors=_chain_of(files, ANCHORS), certificates=_chain_of(files, CA_CERTS)
            ),
            pinned_domain_cert=parse_certificate(_needed(files, PIN)),
        )
    except PeerError as err:
        raise StateError(f"the keystore cannot be read: {err.reason}") from err


def _chain_of(files: Mapping[str, bytes], name: str) -> tuple[x509.Certificate, ...]:
    try:
        return parse_pem_certificates(_needed(files, name))
    except PeerError as err:
        raise StateError(f"{name} cannot be read: {err.reason}") from err
