"""The transition table, without IO: what happens goes in, what to do comes out."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brski import registry
from brski.errors import (
    FileUnusable,
    HandshakeFailed,
    KeyUnusable,
    SlowPeer,
    StateError,
    Unavailable,
    UnexpectedResponse,
    WrongOrder,
)
from brski.est.csr import build_csr
from brski.idevid.record import Presentation
from brski.pki.signer import PublicKey
from device_client.pledge.attempt import DEFAULT_WAIT_S, Onboarding
from device_client.pledge.machine import FAULTS, TABLE, advance
from device_client.pledge.origin import Origin
from device_client.pledge.states import (
    Answer,
    Answered,
    Close,
    Connect,
    Connected,
    Credential,
    Effect,
    EnrollmentKept,
    Event,
    Failed,
    FetchLists,
    Finish,
    KeepEnrollment,
    KeepReported,
    KeepRequest,
    ListsFetched,
    Phase,
    Renewal,
    Report,
    RequestKept,
    Result,
    Send,
    Started,
    State,
    StepName,
    StepStatus,
    Verdict,
    Wait,
    Waited,
)
from tests.kit import pki
from tests.kit.device import World

WORLD = World.make()
OTHER = World.make()
HERE = Origin("192.0.2.7", 8443)
ELSEWHERE = Origin("198.51.100.9", 443)
KEY = pki.KeySigner(pki.make_key())
EVENTS: tuple[type[Event], ...] = (
    Started,
    Connected,
    Answered,
    ListsFetched,
    Waited,
    RequestKept,
    EnrollmentKept,
    Failed,
)
OK = Answered(answer=Answer(status=200), now=pki.NOW)
NOT_FOUND = Answered(answer=Answer(status=404), now=pki.NOW)
LOST = Failed(error=Unavailable("the connection broke", retry_after_s=0))
BROKEN = Failed(error=FileUnusable("no room for the key"))
_nonces = (n.to_bytes(16, "big") for n in itertools.count())


class Run:
    """Feeds events in and keeps what came out."""

    def __init__(self, **policy: Any) -> None:
        self.now: Onboarding = Onboarding(pledge=WORLD.pledge(**policy), origin=HERE)
        self.effects: list[Effect] = []
        self.last: tuple[Effect, ...] = ()

    def feed(self, *events: Event) -> Run:
        for event in events:
            self.now, self.last = advance(self.now, event)
            self.effects += self.last
        return self

    def sent(self) -> list[tuple[str, str]]:
        return [
            (e.request.method, e.request.path.removeprefix("/.well-known"))
            for e in self.effects
            if isinstance(e, Send)
        ]

    def steps(self) -> list[tuple[str, str]]:
        return [(e.step.value, e.status.value) for e in self.effects if isinstance(e, Report)]

    @property
    def verdict(self) -> Verdict:
        (finish,) = [e for e in self.effects if isinstance(e, Finish)]
        assert finish.verdict == self.now.verdict
        assert self.now.state is State.DONE
        return finish.verdict

    # -- as far as each step

    def connected(self) -> Run:
        return self.feed(Started(phase=Phase.FACTORY), connected())

    def accepted(self) -> Run:
        return self.connected().feed(voucher_for(self.now))

    def certified(self) -> Run:
        """Up to the CSR being out."""
        self.accepted().feed(OK, ca_certs(), NOT_FOUND)
        return self.feed(kept(self.now))

    def enrolled(self) -> Run:
        """Up to the connection under the LDevID."""
        return self.certified().feed(ldevid_for(self.now), EnrollmentKept())


def connected(world: World = WORLD) -> Connected:
    return Connected(registrar_chain=world.presented, nonce=next(_nonces), now=pki.NOW)


def answered(answer: Answer) -> Answered:
    return Answered(answer=answer, now=pki.NOW)


def voucher_for(onboarding: Onboarding, **changes: Any) -> Answered:
    assert onboarding.request is not None
    return answered(WORLD.voucher_answer(onboarding.request, **changes))


def ca_certs() -> Answered:
    return answered(WORLD.ca_certs_answer())


def kept(onboarding: Onboarding) -> RequestKept:
    (wish,) = [e for e in advance_effects(onboarding) if isinstance(e, KeepRequest)]
    return RequestKept(csr=build_csr(KEY, wish.contents.subject))


def advance_effects(onboarding: Onboarding) -> tuple[Effect, ...]:
    """What CSR_ATTRS led to, asked again: the table has no memory but its values."""
    return advance(replace(onboarding, state=State.CSR_ATTRS), NOT_FOUND)[1]


def ldevid_for(onboarding: Onboarding) -> Answered:
    return answered(WORLD.ldevid_answer(onboarding.csr))


def pending(retry_after_s: int | None = None) -> Answered:
    return answered(Answer(status=202, retry_after_s=retry_after_s))


# -- the whole way


@pytest.mark.requirement("E2E-1", "PL-28", "PL-29", "PL-30")
def test_the_whole_way() -> None:
    """The order of RFC 8995 §5, each request once, the last one under the LDevID."""
    run = Run().enrolled().feed(connected(), OK)
    assert run.sent() == [
        ("POST", "/brski/requestvoucher"),
        ("POST", "/brski/voucher_status"),
        ("GET", "/est/cacerts"),
        ("GET", "/est/csrattrs"),
        ("POST", "/est/simpleenroll"),
        ("POST", "/brski/enrollstatus"),
    ]
    assert run.steps() == [(name.value, "ok") for name in StepName]
    connects = [e.credential for e in run.effects if isinstance(e, Connect)]
    assert connects == [Credential.IDEVID, Credential.LDEVID]
    order = [type(e) for e in run.effects]
    assert order.index(KeepRequest) < order.index(KeepEnrollment) < order.index(KeepReported)
    assert run.verdict.result is Result.ENROLLED
    assert run.verdict.reported


def test_a_carrying_device_goes_the_same_way() -> None:
    """Only what it encloses differs."""
    run = Run()
    run.now = replace(run.now, pledge=WORLD.pledge(Presentation.CARRIED))
    assert run.enrolled().feed(connected(), OK).verdict.result is Result.ENROLLED


@pytest.mark.requirement("PL-1")
def test_an_enrolled_device_does_not_bootstrap() -> None:
    """Nothing is connected to, nothing is sent."""
    run = Run().feed(Started(phase=Phase.ENROLLED))
    assert run.effects == [Finish(verdict=run.verdict)]
    assert run.verdict.code == "already-enrolled"


@pytest.mark.requirement("PL-1", "PL-30")
def test_an_unreported_device_reports_and_no_more() -> None:
    """It was cut off between keeping its LDevID and telling so."""
    done = Run().enrolled()
    run = Run().feed(Started(phase=Phase.UNREPORTED, enrollment=done.now.enrollment))
    assert run.last == (Connect(origin=HERE, credential=Credential.LDEVID),)
    run.feed(connected(), OK)
    assert run.sent() == [("POST", "/brski/enrollstatus")]
    assert run.verdict.result is Result.ENROLLED


def test_an_unreported_device_without_its_enrollment_does_not_bootstrap() -> None:
    """The keystore is amiss; that is the device's own trouble."""
    with pytest.raises(StateError):
        Run().feed(Started(phase=Phase.UNREPORTED))


# -- the table


def some(event: type[Event]) -> Event:
    """One event of that type, sensible in itself."""
    examples: dict[type[Event], Event] = {
        Started: Started(phase=Phase.FACTORY),
        Connected: connected(),
        Answered: OK,
        ListsFetched: ListsFetched(lists=(), now=pki.NOW),
        Waited: Waited(),
        RequestKept: RequestKept(csr=build_csr(KEY, pki.common_name("x"))),
        EnrollmentKept: EnrollmentKept(),
        Failed: LOST,
    }
    return examples[event]


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", EVENTS)
def test_every_event_in_every_state_is_foreseen(state: State, event: type[Event]) -> None:
    """Either the table says what follows, or it is refused and nothing changes."""
    at = replace(Run().enrolled().now, state=state, verdict=None)
    if (state, event) in TABLE:
        return
    with pytest.raises(WrongOrder):
        advance(at, some(event))


def test_every_state_has_a_way_out_but_the_last() -> None:
    """And whoever waits for the network can lose it."""
    for state in set(State) - {State.DONE}:
        assert [key for key in TABLE if key[0] is state]
    waiting = {state for state, event in TABLE if event in (Answered, Connected)}
    assert all((state, Failed) in TABLE for state in waiting)
    assert not [key for key in TABLE if key[0] is State.DONE]


# -- before the voucher


@pytest.mark.requirement("PL-3")
def test_a_broken_chain_ends_the_attempt_before_anything_is_said() -> None:
    """No voucher-request leaves the device."""
    chain = (WORLD.registrar.certificate, OTHER.owner.certificate)
    bad = replace(connected(), registrar_chain=chain)
    run = Run().feed(Started(phase=Phase.FACTORY), bad)
    assert run.sent() == []
    assert run.steps() == [("connect", "refused")]
    assert (run.verdict.result, run.verdict.code) == (Result.REFUSED, "chain-invalid")
    assert Close() in run.effects


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (Unavailable("silent"), Result.RETRY),
        (HandshakeFailed("no TLS"), Result.RETRY),
        (SlowPeer("stalled"), Result.RETRY),
        (UnexpectedResponse("no HTTP"), Result.REFUSED),
    ],
)
def test_silence_is_told_from_refusal(error: Any, result: Result) -> None:
    """Who is silent may answer later."""
    run = Run().connected().feed(Failed(error=error))
    assert run.verdict.result is result
    failed = "refused" if result is Result.REFUSED else "failed"
    assert run.steps()[-1] == ("voucher-request", failed)


def test_what_retry_after_asks_for_is_passed_on() -> None:
    """For the back-off between attempts."""
    busy = answered(Answer(status=503, retry_after_s=17))
    assert Run().connected().feed(busy).verdict.retry_after_s == 17


@pytest.mark.requirement("PL-12", "E2E-3")
def test_after_202_the_same_octets_go_again() -> None:
    """Same nonce, same signature: nothing is signed anew."""
    run = Run().connected()
    for _ in range(3):
        run.feed(pending(5), Waited())
    bodies = {e.request.body for e in run.effects if isinstance(e, Send)}
    assert bodies == {run.now.voucher_request}
    assert run.feed(voucher_for(run.now)).now.state is State.ACCEPTING


@pytest.mark.requirement("PL-13")
@pytest.mark.parametrize(
    ("asked", "waited"),
    [(1, 1), (60, 60), (61, 60), (3600, 60), (10**9, 60), (None, DEFAULT_WAIT_S), (0, 1)],
)
def test_retry_after_is_capped(asked: int | None, waited: int) -> None:
    """A stranger cannot send the pledge to sleep."""
    assert Run().connected().feed(pending(asked)).last == (Wait(seconds=waited),)


@pytest.mark.requirement("PL-14")
def test_patience_ends() -> None:
    """After four days of 202 the attempt is given up, and may be begun again."""
    run = Run().connected()
    for _ in range(4 * 24 * 60):
        run.feed(pending(60), Waited())
    run.feed(pending(60))
    assert run.verdict.result is Result.RETRY
    assert run.now.waited_s == 4 * 24 * 3600


@pytest.mark.parametrize("status", [400, 401, 403, 404, 406, 415])
def test_a_refused_request_ends_the_attempt(status: int) -> None:
    """The voucher was never there, so there is no status to tell."""
    run = Run().connected().feed(answered(Answer(status=status)))
    assert run.verdict.result is Result.REFUSED
    assert run.verdict.code == "voucher-refused"
    assert run.sent() == [("POST", "/brski/requestvoucher")]


def redirection(location: str | None, status: int = 307) -> Answered:
    return answered(Answer(status=status, location=location))


@pytest.mark.requirement("PL-7", "PL-15")
def test_one_redirection_to_another_origin_is_followed() -> None:
    """There the attempt begins anew: another certificate to name, and a fresh nonce."""
    run = Run().connected()
    first = run.now
    run.feed(redirection(f"{ELSEWHERE}/x"))
    assert run.last == (Close(), Connect(origin=ELSEWHERE, credential=Credential.IDEVID))
    run.feed(connected(OTHER))
    assert first.request is not None
    assert run.now.request is not None
    assert run.now.request.nonce != first.request.nonce
    assert run.now.request.proximity_registrar_cert == OTHER.registrar.der
    run.feed(redirection(f"{HERE}/x"))
    assert run.verdict.code == "unexpected-response"
    assert "second redirection" in run.verdict.reason


def test_redirections_within_the_origin_are_few() -> None:
    """The same octets go to the other path, three times at most."""
    run = Run().connected()
    for n in range(3):
        run.feed(redirection(f"/{n}", 308))
        (send,) = run.last
        assert isinstance(send, Send)
        assert (send.request.path, send.request.body) == (f"/{n}", run.now.voucher_request)
    assert run.feed(redirection("/4")).verdict.result is Result.REFUSED


@pytest.mark.parametrize("location", [None, "http://192.0.2.7/", "//x/", "/a?b=c"])
def test_a_redirection_to_nowhere_is_refused(location: str | None) -> None:
    """It is a stranger's word."""
    assert Run().connected().feed(redirection(location)).verdict.result is Result.REFUSED


def test_what_goes_after_a_redirection_within_the_origin() -> None:
    """A 202 at the new path is repeated at the new path."""
    run = Run().connected().feed(redirection("/elsewhere"), pending(1), Waited())
    assert run.sent()[-1] == ("POST", "/elsewhere")


# -- the voucher is refused


@pytest.mark.requirement("PL-27", "PL-28", "E2E-4")
@pytest.mark.parametrize("reply", [OK, NOT_FOUND, LOST])
def test_a_refused_voucher_is_told_and_ends_the_attempt(reply: Event) -> None:
    """Before the connection is closed, whatever is answered; no certificate is asked for."""
    run = Run().connected()
    run.feed(voucher_for(run.now, serial_number="SN-0002"))
    assert run.now.state is State.REJECTING
    run.feed(reply)
    assert run.sent() == [("POST", "/brski/requestvoucher"), ("POST", "/brski/voucher_status")]
    assert run.steps()[1:3] == [("voucher-request", "ok"), ("voucher", "refused")]
    assert (run.verdict.result, run.verdict.code) == (Result.REFUSED, "serial-number-mismatch")
    assert isinstance(run.effects[-2], Close)


# -- enrollment fails


@pytest.mark.requirement("PL-30", "TEL-7")
@pytest.mark.parametrize("reply", [OK, LOST])
@pytest.mark.parametrize("where", ["cacerts", "csrattrs", "prepare", "enroll", "keep"])
def test_a_failed_enrollment_is_told_on_the_same_connection(where: str, reply: Event) -> None:
    """From the accepted voucher on the registrar hears what went wrong."""
    run = Run().accepted().feed(OK)
    if where == "cacerts":
        run.feed(answered(Answer(status=403)))
    elif where == "csrattrs":
        run.feed(ca_certs(), answered(Answer(status=200, media_type="text/html")))
    elif where == "prepare":
        run.feed(ca_certs(), NOT_FOUND, BROKEN)
    else:
        run.feed(ca_certs(), NOT_FOUND)
        run.feed(kept(run.now))
        if where == "enroll":
            run.feed(answered(Answer(status=400)))
        else:
            run.feed(ldevid_for(run.now), BROKEN)
    assert run.now.state is State.FAILING
    assert Close() not in run.effects
    run.feed(reply)
    assert run.sent()[-1] == ("POST", "/brski/enrollstatus")
    assert run.verdict.result is Result.REFUSED
    assert not [e for e in run.effects if isinstance(e, KeepReported)]


@pytest.mark.parametrize("state", [State.ACCEPTING, State.CA_CERTS, State.CSR_ATTRS])
def test_a_lost_connection_ends_the_attempt(state: State) -> None:
    """Nothing can be told on it; the next attempt begins with a new voucher-request."""
    run = Run().accepted()
    for event in itertools.takewhile(lambda _: run.now.state is not state, iter([OK, ca_certs()])):
        run.feed(event)
    assert run.feed(LOST).verdict.result is Result.RETRY
    assert run.sent()[-1] != ("POST", "/brski/enrollstatus")


@pytest.mark.requirement("ESTC-5", "ESTS-10")
@pytest.mark.parametrize("status", [202, 503])
def test_a_pending_certificate_is_asked_for_with_the_same_csr(status: int) -> None:
    """Retry-After is the least that is waited."""
    run = Run().certified()
    later = answered(Answer(status=status, retry_after_s=90))
    run.feed(later)
    assert run.last == (Wait(seconds=90),)
    run.feed(Waited())
    posts = [e.request for e in run.effects if isinstance(e, Send)][-2:]
    assert posts[0] == posts[1]
    assert run.feed(ldevid_for(run.now)).now.state is State.KEEPING


def test_a_certificate_that_never_comes_is_given_up() -> None:
    """What the registrar is told then can be tried again."""
    run = Run(enroll_wait_s=100).certified().feed(pending(90), Waited(), pending(90))
    assert run.now.state is State.FAILING
    assert run.feed(OK).verdict.result is Result.RETRY


# -- enrolled, and not told


@pytest.mark.requirement("PL-30")
@pytest.mark.parametrize(
    "event",
    [LOST, connected(OTHER), replace(connected(), registrar_chain=())],
    ids=["lost", "stranger", "nobody"],
)
def test_success_is_told_to_the_domain_only(event: Event) -> None:
    """The device is enrolled anyway, and tells at its next start."""
    run = Run().enrolled().feed(event)
    assert run.verdict.result is Result.ENROLLED
    assert not run.verdict.reported
    assert ("POST", "/brski/enrollstatus") not in run.sent()
    assert not [e for e in run.effects if isinstance(e, KeepReported)]


@pytest.mark.requirement("TEL-5")
def test_404_to_a_status_counts_as_told() -> None:
    """A registrar may not serve that path."""
    run = Run().enrolled().feed(connected(), NOT_FOUND)
    assert run.verdict.reported
    unsure = Run().enrolled().feed(connected(), answered(Answer(status=500)))
    assert not unsure.verdict.reported


def test_a_key_that_fails_is_the_devices_own_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is raised, not turned into a refusal of the registrar's."""
    run = Run().feed(Started(phase=Phase.FACTORY))

    class Locked:
        @property
        def public_key(self) -> PublicKey:
            return KEY.public_key

        chain = ()

        def sign(self, data: bytes) -> bytes:
            raise KeyUnusable("locked")

    run.now = replace(run.now, pledge=replace(run.now.pledge, signer=Locked()))
    before = run.now
    with pytest.raises(KeyUnusable):
        run.feed(connected())
    assert run.now is before


# -- whatever happens


def events(onboarding: Onboarding) -> Iterator[Event]:
    """All that could happen now, sensible and not."""
    yield from (some(event) for event in EVENTS)
    yield Started(phase=Phase.ENROLLED)
    if onboarding.enrollment is not None:
        yield Started(phase=Phase.UNREPORTED, enrollment=onboarding.enrollment)
    yield connected(OTHER)
    yield replace(connected(), registrar_chain=())
    yield BROKEN
    statuses = (200, 201, 202, 204, 301, 307, 400, 401, 404, 429, 500, 503)
    for status in statuses:
        yield answered(Answer(status=status, location=f"{ELSEWHERE}/x", retry_after_s=1))
    yield redirection("/x")
    if onboarding.request is not None:
        yield voucher_for(onboarding)
        yield voucher_for(onboarding, nonce=None)
        yield voucher_for(onboarding, pinned_domain_cert=OTHER.owner_root.der)
    yield ca_certs()
    yield answered(OTHER.ca_certs_answer())
    if onboarding.csr:
        yield ldevid_for(onboarding)
    for media_type in (registry.VOUCHER_CMS_JSON, registry.PKCS7_MIME, registry.CSR_ATTRIBUTES):
        yield answered(Answer(status=200, body=b"MAA=", media_type=media_type))


def likely(onboarding: Onboarding) -> Event | None:
    """What an honest world would do next, so that random runs also come far."""
    match onboarding.state:
        case State.FACTORY:
            return Started(phase=Phase.FACTORY)
        case State.CONNECTING | State.RECONNECTING | State.RENEWING:
            return connected()
        case State.REQUESTING:
            return voucher_for(onboarding)
        case State.CHECKING:
            return ListsFetched(lists=(), now=pki.NOW)
        case State.CA_CERTS:
            return ca_certs()
        case State.CSR_ATTRS:
            return NOT_FOUND
        case State.PREPARING:
            return kept(onboarding)
        case State.ENROLLING:
            return ldevid_for(onboarding)
        case State.KEEPING:
            return EnrollmentKept()
        case State.PENDING | State.ENROLL_PENDING:
            return Waited()
        case State.DONE:
            return None
    return OK


@pytest.mark.requirement("PL-1", "PL-12", "PL-15", "PL-29")
@settings(max_examples=150)
@given(st.data())
def test_whatever_happens(data: st.DataObject) -> None:
    """Random events, honest ones among them: the promises hold in every order.

    No CSR before an accepted voucher; the same octets while the registrar asks for patience; one
    connection to one other origin; nothing after the end; every fault has its transition.
    """
    onboarding = Onboarding(pledge=WORLD.pledge(), origin=HERE)
    accepted = False
    bodies: set[bytes] = set()
    bootstraps = 0
    for _ in range(data.draw(st.integers(5, 25))):
        honest = likely(onboarding)
        if honest is not None and data.draw(st.integers(0, 3)):
            event = honest
        else:
            event = data.draw(st.sampled_from(list(events(onboarding))))
        was = onboarding
        try:
            onboarding, effects = advance(onboarding, event)
        except WrongOrder:
            assert (was.state, type(event)) not in TABLE
            continue
        assert was.state is not State.DONE
        bringing = (Connect, Send, FetchLists, Wait, KeepRequest, KeepEnrollment, Finish)
        answers = [e for e in effects if isinstance(e, bringing)]
        assert len(answers) == 1  # exactly one effect brings the next event, or ends it
        assert effects[-1] is answers[0]
        for effect in effects:
            match effect:
                case Report(step=StepName.VOUCHER, status=StepStatus.OK):
                    accepted = True
                case Connect(credential=Credential.IDEVID):
                    bootstraps += 1
                    bodies.clear()
                case KeepRequest() | KeepEnrollment():
                    assert accepted
                case Send(request=request):
                    if request.path.endswith("/simpleenroll"):
                        assert accepted
                        assert request.body
                    if request.content_type == registry.VOUCHER_CMS_JSON:
                        bodies.add(request.body)
                        assert len(bodies) == 1
                case Finish(verdict=verdict):
                    if verdict.code in ("enrolled", "enrolled-unreported"):
                        assert accepted or was.enrollment is not None
    assert bootstraps <= 2


@pytest.mark.requirement("PL-1", "ESTC-8")
@settings(max_examples=100)
@given(st.data(), st.sampled_from(Renewal))
def test_whatever_happens_while_it_renews(data: st.DataObject, renewal: Renewal) -> None:
    """No voucher is asked for, the IDevID is not shown, and only what is renewed is replaced; a CSR
    goes to nobody but the domain.
    """
    onboarding = Onboarding(pledge=WORLD.pledge(), origin=HERE)
    former = Run().enrolled().now.enrollment
    started = Started(phase=Phase.ENROLLED, enrollment=former, renewal=renewal)
    onboarding, _ = advance(onboarding, started)
    known = False
    for _ in range(data.draw(st.integers(3, 15))):
        honest = likely(onboarding)
        if honest is not None and data.draw(st.integers(0, 3)):
            event = honest
        else:
            event = data.draw(st.sampled_from(list(events(onboarding))))
        try:
            onboarding, effects = advance(onboarding, event)
        except WrongOrder:
            continue
        for effect in effects:
            match effect:
                case Report(step=StepName.CONNECT, status=StepStatus.OK):
                    known = True
                case Connect(credential=credential):
                    assert credential is Credential.LDEVID
                case KeepRequest(renewal=kind) | KeepEnrollment(renewal=kind):
                    assert kind is renewal
                case Send(request=request):
                    assert known
                    assert not request.path.endswith(("/requestvoucher", "/simpleenroll"))
                case Finish(verdict=verdict):
                    assert verdict.code not in ("enrolled", "enrolled-unreported")


def test_faults_name_states_that_can_have_them() -> None:
    """Each state in which a handler reads what a peer sent has its fault."""
    assert set(FAULTS) == {
        State.CONNECTING,
        State.RENEWING,
        State.REQUESTING,
        State.CA_CERTS,
        State.CSR_ATTRS,
        State.ENROLLING,
        State.RECONNECTING,
        State.REPORTING,
    }


def test_the_page_has_every_state() -> None:
    """docs/pledge.md shows the table as it is."""
    page = (Path(__file__).resolve().parents[3] / "docs" / "pledge.md").read_text()
    rows = [line.split("|")[1:3] for line in page.splitlines() if line.startswith("| ")]
    shown = {(state.strip(), event.split(",")[0].strip()) for state, event in rows}
    table = {(s.name, e.__name__) for s, e in TABLE if e is not Failed}
    assert table <= shown
