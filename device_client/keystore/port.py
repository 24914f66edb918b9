"""The port to whatever keeps an LDevID and what belongs to it. Where its key is, is another port's
(:mod:`device_client.keystore.ldevid_keys`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from brski.est.requirements import KeyRequirement
from brski.pki.signer import Signer
from device_client.pledge.states import Enrollment, Phase, Renewal


@dataclass(frozen=True, slots=True, kw_only=True)
class Purpose:
    """What a kept CSR was made for. With another purpose goes another key: domains shall not learn
    from a common key that they met the same device.
    """

    device: bytes  # SHA-256 of the IDevID's SubjectPublicKeyInfo
    domain: bytes  # SHA-256 of the pinned domain certificate
    wanted: bytes  # SHA-256 of the subject and the attributes asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What a keystore holds."""

    phase: Phase
    device: bytes | None = None  # whose it is: SHA-256 of an IDevID's SubjectPublicKeyInfo
    csr: bytes | None = None  # DER, kept and not answered yet
    enrollment: Enrollment | None = None  # unless FACTORY
    renewal: Renewal | None = None  # one has begun: its CSR may be out


class Keystore(Protocol):
    """Keeps LDevID, key and trust anchors, each change whole or not at all, also when the power
    fails in the middle.
    """

    def exclusive(self) -> AbstractContextManager[None]:
        """Hold the keystore for one onboarding.

        Raises:
            StateError: another process holds it (RFC 8995 §5: a device that is being configured
                does not start to bootstrap).
        """

    def load(self) -> Stored:
        """Say what is kept.

        Raises:
            StateError: what is there was not written by this program, or is damaged.
        """

    def request_for(
        self,
        purpose: Purpose,
        *,
        kind: KeyRequirement,
        build_csr: Callable[[Signer], bytes],
    ) -> bytes:
        """Return the CSR (DER) for *purpose*, durable together with its key.

        The one kept earlier for the same purpose is returned as it is; otherwise a fresh key of
        that *kind* is made (:class:`device_client.keystore.ldevid_keys.LDevIDKeys`), and
        *build_csr* makes the CSR, which is on disk when this returns.

        Raises:
            StateError: there is an LDevID already.
            UnknownFormat: no kind of key that this device makes.
            KeyUnusable: the key's holder refuses.
            Unavailable, FileUnusable: it cannot be kept, or the key's holder does not answer.
        """

    def keep_enrollment(self, enrollment: Enrollment) -> None:
        """Keep LDevID and trust anchors beside the key that the CSR was made with.

        Raises:
            StateError: no CSR was kept, or the LDevID is for another key.
            Unavailable, FileUnusable: it cannot be kept.
        """

    def keep_reported(self) -> None:
        """Note that the registrar has been told.

        Raises:
            StateError: there is no LDevID.
            Unavailable, FileUnusable: it cannot be kept.
        """

    def ldevid(self) -> Signer:
        """The LDevID's key, its chain the LDevID's, leaf first.

        Raises:
            StateError: there is no LDevID, or what is kept is damaged.
            KeyUnusable, Unavailable: the key's holder refuses, or does not answer.
        """

    def reset(self) -> None:
        """Return to the factory state: key, certificates and anchors are gone.

        Raises:
            StateError: another process holds it.
            Unavailable, FileUnusable: it cannot be done.
        """


class RenewableKeystore(Keystore, Protocol):
    """A keystore in which an LDevID can be replaced; until it is, the former one holds."""

    def renewal_request(
        self,
        purpose: Purpose,
        renewal: Renewal,
        *,
        kind: KeyRequirement,
        build_csr: Callable[[Signer], bytes],
    ) -> bytes:
        """Return the CSR (DER) of a renewal, durable together with its key, if that is a fresh one.

        As :meth:`Keystore.request_for`: the one kept earlier for the same purpose and the same
        *renewal* is returned as it is. LDevID, key and anchors stay as they are.

        Args:
            purpose: with another purpose goes another CSR.
            renewal: sign with the LDevID's key, or with a fresh one.
            kind: of a fresh key.
            build_csr: is given the signer, and returns the CSR.

        Raises:
            StateError: there is no LDevID.
            UnknownFormat: no kind of key that this device makes.
            KeyUnusable: the key's holder refuses.
            Unavailable, FileUnusable: it cannot be kept, or the key's holder does not answer.
        """

    def keep_renewal(self, enrollment: Enrollment) -> None:
        """Put LDevID, key and anchors in the place of the former ones, all at once; the former key
        is overwritten. The registrar counts as not told yet.

        Raises:
            StateError: no renewal was begun, or the LDevID is for another key.
            Unavailable, FileUnusable: it cannot be kept; the former ones hold.
        """
