"""The keystore in files: what is in them, and what a change makes of them.

How they change together: :mod:`device_client.keystore.generations`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from brski.errors import KeyNotAllowed, StateError
from brski.est.requirements import KeyRequirement
from brski.pki.keys import (
    check_public_key,
    encode_spki,
    spki_of,
)
from brski.pki.signer import Signer
from device_client.keystore.contents import (
    CSR,
    KEY,
    LDEVID,
    NEXT_CSR,
    NEXT_KEY,
    PHASES,
    RENEWAL,
    REQUESTED,
    STATE,
    chain_of,
    digest_of,
    encode_state,
    enrollment_files,
    enrollment_of,
    needed,
    purpose_fields,
    renewal_of,
    state_of,
    text_of,
)
from device_client.keystore.generations import Generations
from device_client.keystore.keys import FileKeys
from device_client.keystore.ldevid_keys import LDevIDKeys
from device_client.keystore.port import Purpose, Stored
from device_client.pledge.states import Enrollment, Phase, Renewal


class FileKeystore:
    """Implements :class:`device_client.keystore.port.RenewableKeystore` in a folder.

    Args:
        directory: made when it is missing (its parent must be there), mode 0700.
        keys: who makes and holds LDevID keys; None keeps them in this folder.
    """

    def __init__(self, directory: Path, keys: LDevIDKeys | None = None) -> None:
        self._files = Generations(directory, frozenset({KEY, NEXT_KEY}))
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
        state = state_of(files)
        device = digest_of(state, "device")
        phase = PHASES[text_of(state, "phase")]
        if phase is Phase.FACTORY:
            return Stored(phase=phase, device=device, csr=needed(files, CSR))
        enrollment = enrollment_of(files, state)
        self._check_pair(needed(files, KEY), enrollment.ldevid_chain)
        return Stored(phase=phase, device=device, enrollment=enrollment, renewal=renewal_of(state))

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
            state = state_of(files)
            if state["phase"] != REQUESTED:
                raise StateError("there is an LDevID already", hint="brski-pledge reset")
            if all(digest_of(state, k) == v for k, v in purpose_fields(purpose).items()):
                return needed(files, CSR)
        reference = self._keys.make(kind)
        csr = build_csr(self._keys.signer(reference))
        fields = {k: v.hex() for k, v in purpose_fields(purpose).items()}
        self._files.write(
            {
                STATE: encode_state({"phase": REQUESTED, **fields}),
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
        state = state_of(files)
        if state["phase"] != REQUESTED:
            raise StateError("there is an LDevID already", hint="brski-pledge reset")
        self._check_pair(needed(files, KEY), enrollment.ldevid_chain)
        self._files.write(
            {
                STATE: encode_state(
                    {
                        "phase": "enrolled",
                        "device": text_of(state, "device"),
                        "registrar": str(enrollment.origin),
                    }
                ),
                KEY: files[KEY],
                **enrollment_files(enrollment),
            }
        )

    def renewal_request(
        self,
        purpose: Purpose,
        renewal: Renewal,
        *,
        kind: KeyRequirement,
        build_csr: Callable[[Signer], bytes],
    ) -> bytes:
        """Return the CSR of a renewal; see the port."""
        files, state = self._enrolled()
        wanted = {RENEWAL: renewal.value, **_renewal_fields(purpose)}
        begun = all(state.get(name) == value for name, value in wanted.items())
        if begun and self._may_finish(files):
            return needed(files, NEXT_CSR)
        kept = {name: data for name, data in files.items() if name not in (NEXT_KEY, NEXT_CSR)}
        reference = needed(files, KEY)
        if renewal is Renewal.FRESH_KEY:
            reference = kept[NEXT_KEY] = self._keys.make(kind)
        csr = build_csr(self._keys.signer(reference))
        self._files.write({**kept, STATE: encode_state({**state, **wanted}), NEXT_CSR: csr})
        return csr

    def keep_renewal(self, enrollment: Enrollment) -> None:
        """Put an LDevID in the place of the former; see the port."""
        files, state = self._enrolled()
        if renewal_of(state) is None:
            raise StateError("an LDevID came without a CSR")
        key = files.get(NEXT_KEY) or needed(files, KEY)
        self._check_pair(key, enrollment.ldevid_chain)
        now = {
            "phase": "enrolled",
            "device": text_of(state, "device"),
            "registrar": str(enrollment.origin),
        }
        self._files.write({STATE: encode_state(now), KEY: key, **enrollment_files(enrollment)})

    def _may_finish(self, files: Mapping[str, bytes]) -> bool:
        """Whether the CSR of a renewal still has its key: a certificate for a damaged one would
        supersede the LDevID that is there, and be of no use.
        """
        try:
            kept = self._keys.signer(files.get(NEXT_KEY) or needed(files, KEY)).public_key
            asked = x509.load_der_x509_csr(needed(files, NEXT_CSR))
            return encode_spki(kept) == encode_spki(check_public_key(asked.public_key()))
        except (StateError, ValueError, UnsupportedAlgorithm, KeyNotAllowed):
            return False

    def _enrolled(self) -> tuple[dict[str, bytes], dict[str, object]]:
        files = self._files.read()
        state = {} if files is None else state_of(files)
        if files is None or state["phase"] == REQUESTED:
            raise StateError("there is no LDevID to renew")
        return files, state

    def keep_reported(self) -> None:
        """Note that the registrar has been told; see the port."""
        files = self._files.read()
        state = {} if files is None else state_of(files)
        if files is None or state["phase"] == REQUESTED:
            raise StateError("there is no LDevID to report")
        if state["phase"] != "reported":
            self._files.write({**files, STATE: encode_state({**state, "phase": "reported"})})

    def ldevid(self) -> Signer:
        """The LDevID's key, with its chain; see the port."""
        files = self._files.read()
        if files is None or LDEVID not in files:
            raise StateError("there is no LDevID")
        chain = chain_of(files, LDEVID)
        self._check_pair(needed(files, KEY), chain)
        return self._keys.signer(needed(files, KEY), chain)

    def reset(self) -> None:
        """Return to the factory state; see the port."""
        with self.exclusive():
            self._files.clear()

    def _check_pair(self, key: bytes, chain: tuple[x509.Certificate, ...]) -> None:
        kept = self._keys.signer(key).public_key
        if spki_of(chain[0]) != encode_spki(kept):
            raise StateError("the LDevID is not for the key that is kept")


def _renewal_fields(purpose: Purpose) -> dict[str, str]:
    fields = purpose_fields(purpose)
    return {f"{RENEWAL}_{name}": fields[name].hex() for name in ("domain", "wanted")}
