"""The keystore in files: what is in them, and what a change makes of them.

How they change together: :mod:`device_client.keystore.generations`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cryptography import x509

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
from device_client.keystore.generations import Generations
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
        self._files = Generations(directory, frozenset({KEY}))
        self._keys: LDevIDKeys = keys or FileKeys()

    @property
    def directory(self) -> Path:
        """Where the files are."""
        return self._files.directory

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the keystore; see the port."""
        with self._files.exclusive():
            yield

    def load(self) -> Stored:
        """Say what is kept; see the port."""
        files = self._files.read()
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
        files = self._files.read()
        if files is not None:
            state = _state_of(files)
            if state["phase"] != _REQUESTED:
                raise StateError("there is an LDevID already", hint="brski-pledge reset")
            if all(_digest_of(state, k) == v for k, v in _purpose_fields(purpose).items()):
                return _needed(files, CSR)
        reference = self._keys.make(kind)
        csr = build_csr(self._keys.signer(reference))
        fields = {k: v.hex() for k, v in _purpose_fields(purpose).items()}
        self._files.write(
            {
                STATE: _encode_state({"phase": _REQUESTED, **fields}),
                KEY: reference,
                CSR: csr,
            }
        )
        return csr

    def keep_enrollment(self, enrollment: Enrollment) -> None:
        """Keep LDevID and trust anchors; see the port."""
        files = self._files.read()
        if files is None:
            raise StateError("an LDevID came without a CSR")
        state = _state_of(files)
        if state["phase"] != _REQUESTED:
            raise StateError("there is an LDevID already", hint="brski-pledge reset")
        self._check_pair(files, enrollment.ldevid_chain)
        self._files.write(
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
        files = self._files.read()
        state = {} if files is None else _state_of(files)
        if files is None or state["phase"] == _REQUESTED:
            raise StateError("there is no LDevID to report")
        if state["phase"] != "reported":
            self._files.write({**files, STATE: _encode_state({**state, "phase": "reported"})})

    def ldevid(self) -> Signer:
        """The LDevID's key, with its chain; see the port."""
        files = self._files.read()
        if files is None or LDEVID not in files:
            raise StateError("there is no LDevID")
        chain = _chain_of(files, LDEVID)
        self._check_pair(files, chain)
        return self._keys.signer(_needed(files, KEY), chain)

    def reset(self) -> None:
        """Return to the factory state; see the port."""
        with self.exclusive():
            self._files.clear()

    def _check_pair(self, files: Mapping[str, bytes], chain: tuple[x509.Certificate, ...]) -> None:
        kept = self._keys.signer(_needed(files, KEY)).public_key
        if spki_of(chain[0]) != encode_spki(kept):
            raise StateError("the LDevID is not for the key that is kept")


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
