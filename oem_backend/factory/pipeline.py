"""From sealed chunks to certificates, with workers that each do one half.

A chunk is derived by one worker and certified by another; whichever is free takes what has waited
longest, certificates before seeds, so that little waits in between. This process moves octets.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final, TypeAlias

from brski.errors import StateError
from brski.idevid.profile import IDevIDProfile
from brski.pki import signatures
from brski.pki.keys import load_spki
from brski.pki.signer import Signer
from oem_backend.executors.port import Executor
from oem_backend.factory.certify import (
    Terms,
    certify_keys,
    encode_certification,
    parse_certified,
)
from oem_backend.factory.ledger.at_work import WantedKey
from oem_backend.factory.work import (
    AnyChunk,
    DerivedKey,
    derive_chunk,
    encode_derivation,
    parse_derived,
    proof_octets,
)

Certified: TypeAlias = list[tuple[int, bytes, bytes]]  # place, certificate (DER) and its SHA-256

FEW: Final = 500

_DERIVE: Final = b"d"
_CERTIFY: Final = b"c"


@dataclass(frozen=True, slots=True, kw_only=True)
class Derivation:
    """One chunk of a build list, to be derived."""

    chunk: AnyChunk
    batch_digest: bytes
    wanted: Sequence[WantedKey]
    prove: bool  # have each key sign


@dataclass(frozen=True, slots=True)
class _Certification:
    wanted: Sequence[WantedKey]
    keys: Sequence[bytes]  # SubjectPublicKeyInfo, DER, in the same order


def do_step(job: bytes) -> bytes:
    """The workers' task: one half of a chunk, or the other.

    Raises:
        as :func:`oem_backend.factory.work.derive_chunk` or
        :func:`oem_backend.factory.certify.certify_keys`.
    """
    return (derive_chunk if job[:1] == _DERIVE else certify_keys)(job[1:])


@dataclass(kw_only=True)
class Work:
    """All chunks of one build list that are left to do.

    Args:
        derivations: taken one by one, when a worker is free.
        issuing: the CA's key; certifies what is not left to workers.
        issuing_key: the file that workers read that key from, or None to leave nothing to them.
        few: devices of a chunk that are certified here, since a worker would cost more.
    """

    derivations: Iterator[Derivation]
    terms: Terms
    issuing: Signer
    issuing_key: Path | None
    few: int = field(default_factory=lambda: FEW)
    _waiting: deque[_Certification] = field(default_factory=deque)
    _begun: deque[Derivation | _Certification] = field(default_factory=deque)

    def certificates(self, executor: Executor) -> Iterator[Certified]:
        """What was made of each chunk, all of it; a chunk that fails, fails whole.

        Raises:
            StateError: a worker came back without some of its chips, or with others.
            SignatureInvalid, KeyNotAllowed: a public key whose private half was not there.
            As :func:`do_step`.
        """
        more = True
        while more:
            with closing(executor.map(do_step, self._jobs())) as answers:
                for answer in answers:
                    yield from self._take(answer)
            more = bool(self._waiting)

    def _jobs(self) -> Iterator[bytes]:
        while True:
            if self._waiting:
                certification = self._waiting.popleft()
                self._begun.append(certification)
                yield _CERTIFY + self._encode(certification)
                continue
            derivation = next(self.derivations, None)
            if derivation is None:
                return
            self._begun.append(derivation)
            yield _DERIVE + encode_derivation(
                derivation.chunk,
                derivation.batch_digest,
                [key.chip_id for key in derivation.wanted],
                prove=derivation.prove,
            )

    def _take(self, answer: bytes) -> Iterator[Certified]:
        step = self._begun.popleft()
        if isinstance(step, _Certification):
            yield _with_digests(step.wanted, parse_certified(answer, len(step.wanted)))
            return
        keys = _keys_of(step, answer)
        if self.issuing_key is not None and len(keys) > self.few:
            self._waiting.append(_Certification(step.wanted, keys))
            return
        yield _with_digests(
            step.wanted,
            [
                self._profile.certify(spki, wanted.serial_number, self.issuing)
                for wanted, spki in zip(step.wanted, keys, strict=True)
            ],
        )

    @cached_property
    def _profile(self) -> IDevIDProfile:
        return self.terms.profile()

    def _encode(self, certification: _Certification) -> bytes:
        if self.issuing_key is None:
            raise StateError("there is no file of the issuing key")
        numbers = (wanted.serial_number for wanted in certification.wanted)
        devices = zip(numbers, certification.keys, strict=True)
        return encode_certification(self.terms, self.issuing_key, devices)


def _with_digests(wanted: Sequence[WantedKey], certificates: Sequence[bytes]) -> Certified:
    return [
        (each.place, certificate, hashlib.sha256(certificate).digest())
        for each, certificate in zip(wanted, certificates, strict=True)
    ]


def _keys_of(derivation: Derivation, answer: bytes) -> list[bytes]:
    """The public key of each wanted chip, in their order."""
    derived = {key.chip_id: key for key in parse_derived(answer)}
    if derived.keys() != {key.chip_id for key in derivation.wanted}:
        raise StateError("a worker came back with other chips than it was asked for")
    if derivation.prove:
        for key in derived.values():
            check_proof(derivation.batch_digest, key)
    return [derived[each.chip_id].spki for each in derivation.wanted]


def check_proof(batch_digest: bytes, key: DerivedKey) -> None:
    """Raise unless the private half of *key* was there.

    Raises:
        SignatureInvalid: its proof does not verify.
        Malformed, KeyNotAllowed: it is no public key of an accepted kind.
    """
    octets = proof_octets(batch_digest, key.chip_id, key.spki)
    signatures.verify(load_spki(key.spki), key.proof, octets, what="a worker's proof")
