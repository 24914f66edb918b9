"""The words of the pledge's machine: its states, what can happen to it, and what it asks for.

Values only; what follows from what is in :mod:`device_client.pledge.machine`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from cryptography import x509

from brski.errors import OnboardingError
from device_client.pledge.csr_contents import CSRContents
from device_client.pledge.origin import Origin


class State(enum.Enum):
    """Where an onboarding stands."""

    FACTORY = "nothing has left the device"
    CONNECTING = "provisional TLS is being opened"
    RENEWING = "a connection under the LDevID that is to be renewed is being opened"
    REQUESTING = "the voucher-request is out"
    PENDING = "the registrar said 202; the same octets will go again"
    CHECKING = "revocation lists of the registrar's domain are being fetched"
    REJECTING = "the voucher was refused; the registrar is being told"
    ACCEPTING = "the voucher was accepted; the registrar is being told"
    CA_CERTS = "the domain's CA certificates are being fetched"
    CSR_ATTRS = "the wanted attributes of the CSR are being fetched"
    PREPARING = "key and CSR are being made durable"
    ENROLLING = "the CSR is out"
    ENROLL_PENDING = "the registrar said 202; the same CSR will go again"
    KEEPING = "LDevID and trust anchors are being made durable"
    FAILING = "enrollment failed; the registrar is being told"
    RECONNECTING = "a connection under the LDevID is being opened"
    REPORTING = "the registrar is being told of the success"
    DONE = "over"


class Phase(enum.Enum):
    """What the keystore holds when the device starts (RFC 8995 §5: only the factory state may
    bootstrap).
    """

    FACTORY = "no LDevID"
    UNREPORTED = "an LDevID that the registrar has not been told of"
    ENROLLED = "an LDevID"


class Renewal(enum.StrEnum):
    """With which key an LDevID is asked for anew (RFC 7030 §4.2.2)."""

    SAME_KEY = "same-key"  # renew
    FRESH_KEY = "fresh-key"  # rekey


class Credential(enum.Enum):
    """As whom a connection is opened."""

    IDEVID = "idevid"
    LDEVID = "ldevid"


class Result(enum.StrEnum):
    """How an attempt ended."""

    ENROLLED = "enrolled"
    REFUSED = "refused"  # by the registrar, or by this pledge; trying again soon is no use
    RETRY = "retry"  # nobody's refusal: silence, a lost connection, a 202 without end


class StepName(enum.StrEnum):
    """The steps that an onlooker is told of."""

    CONNECT = "connect"
    VOUCHER_REQUEST = "voucher-request"
    VOUCHER = "voucher"
    VOUCHER_STATUS = "voucher-status"
    CA_CERTS = "cacerts"
    CSR_ATTRS = "csrattrs"
    ENROLL = "enroll"
    ENROLL_STATUS = "enroll-status"


class StepStatus(enum.StrEnum):
    """What became of a step."""

    OK = "ok"
    REFUSED = "refused"  # somebody judged and said no
    FAILED = "failed"  # nobody said anything


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request, without what the connection adds."""

    method: str
    path: str
    body: bytes = b""
    content_type: str = ""
    accept: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One HTTP response, bounded, not yet believed."""

    status: int
    body: bytes = b""
    media_type: str = ""  # lower case, without parameters
    retry_after_s: int | None = None  # None: absent, or a date
    location: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainCertificates:
    """What ``/cacerts`` brought (RFC 7030 §4.1.3)."""

    anchors: tuple[x509.Certificate, ...]  # self-signed; all of them where there is no root
    certificates: tuple[x509.Certificate, ...]  # all, in the order of the message


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrollment:
    """What is kept of a finished enrollment, as a set."""

    origin: Origin  # the registrar that gave it
    ldevid_chain: tuple[x509.Certificate, ...]  # leaf first, the anchor left out
    domain: DomainCertificates
    pinned_domain_cert: x509.Certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How it ended and why."""

    result: Result
    code: str  # the fact in kebab-case: "enrolled", "nonce-mismatch"
    reason: str  # one line for a person
    reported: bool = False  # whether the registrar was told of the success
    retry_after_s: int = 0  # what a silent registrar asked for
    error: OnboardingError | None = None


# -- what can happen


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The device is up and has looked into its keystore."""

    phase: Phase
    enrollment: Enrollment | None = None  # unless FACTORY
    renewal: Renewal | None = None  # the LDevID is to be renewed, not only to be had


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """TLS is up; nothing is known of the other side but that it holds the first key."""

    registrar_chain: tuple[x509.Certificate, ...]  # as presented, leaf first
    nonce: bytes  # fresh octets of the system's generator, for this attempt
    now: datetime | None  # aware UTC; None on a device without a trusted clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The registrar answered the request that was out."""

    answer: Answer
    now: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListsFetched:
    """Those revocation lists came that could be had."""

    lists: tuple[bytes, ...]  # as received, unjudged
    now: datetime | None


@dataclass(frozen=True, slots=True)
class Waited:
    """The time that was asked for is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestKept:
    """LDevID key and CSR are on disk, new or from an earlier start."""

    csr: bytes  # DER


@dataclass(frozen=True, slots=True)
class EnrollmentKept:
    """LDevID and trust anchors are on disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """What was asked for could not be done: no connection, no answer, no disk."""

    error: OnboardingError


Event: TypeAlias = (
    Started | Connected | Answered | ListsFetched | Waited | RequestKept | EnrollmentKept | Failed
)


# -- what the machine asks for


@dataclass(frozen=True, slots=True, kw_only=True)
class Connect:
    """Open TLS to *origin*, whoever it is, and say what it presented."""

    origin: Origin
    credential: Credential


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Send *request* on the open connection and bring the answer."""

    request: Request


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchLists:
    """Fetch revocation lists, as far as they can be had, and bring them."""

    addresses: tuple[str, ...]  # http, as they stand in certificates


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Let *seconds* pass."""

    seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepRequest:
    """Make a fresh LDevID key and its CSR and put both on disk; or bring the CSR that an earlier
    start kept for the same *domain* and *contents*.
    """

    contents: CSRContents
    domain: bytes  # SHA-256 of the pinned certificate
    renewal: Renewal | None = None  # the LDevID that is there stays until KeepEnrollment


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepEnrollment:
    """Put *enrollment* on disk, whole or not at all; of a *renewal*, in place of the former one."""

    enrollment: Enrollment
    renewal: Renewal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepReported:
    """Note on disk that the registrar has been told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Tell an onlooker what became of a step."""

    step: StepName
    status: StepStatus
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """It is over."""

    verdict: Verdict


Effect: TypeAlias = (
    Connect
    | Send
    | FetchLists
    | Wait
    | KeepRequest
    | KeepEnrollment
    | KeepReported
    | Report
    | Close
    | Finish
)
