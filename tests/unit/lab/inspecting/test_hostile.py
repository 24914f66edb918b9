"""Any octets are shown or refused, in bounded time; a broken file is shown as far as it goes."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brski.errors import OnboardingError, UnknownFormat
from brski.pki import cbor
from brski.voucher.cms import CMS
from brski.voucher.yang_json import encode_voucher_request
from brski_lab.inspecting.asn1 import MOST_DEPTH, MOST_NODES, outline
from brski_lab.inspecting.inspection import MOST_OCTETS, inspect
from brski_lab.inspecting.json_text import MOST_DEPTH as MOST_JSON_DEPTH
from tests.fuzz.seeds import CORPUS
from tests.kit import pki
from tests.kit.voucher import pledge_request
from tests.unit.lab.inspecting.looking import fact, look, the_artifact

OEM = pki.make_pki("Example OEM")
IDEVID = pki.make_idevid(OEM)
REGISTRAR = pki.make_registrar(pki.make_root())
MESSAGE = CMS.sign(
    encode_voucher_request(pledge_request(REGISTRAR)),
    IDEVID.signer,
    certificates=(IDEVID.certificate, OEM.certificate),
    signing_time=pki.NOW,
)
FILES = sorted(path for path in CORPUS.glob("*/*") if path.is_file())


def survive(octets: bytes) -> None:
    """Inspect; nothing but an error of ours comes out, and what is shown is JSON."""
    with suppress(OnboardingError):
        json.dumps(look(octets).as_document())


@given(st.binary(max_size=400))
@settings(max_examples=300)
def test_any_octets(octets: bytes) -> None:
    """Shown or refused."""
    survive(octets)


@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    """JSON, base64 and hex among it."""
    survive(text.encode("utf-8", errors="surrogatepass"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
LEAVES = st.sampled_from(
    [
        *("nonce", "idevid-issuer", "created-on", "assertion", "serial-number", "extensions"),
        *("prior-signed-voucher-request", "pinned-domain-cert", "extension:a", "est-domain"),
    ]
)
TOPS = st.sampled_from(["ietf-voucher:voucher", "ietf-voucher-request:voucher"])


@given(TOPS, st.dictionaries(LEAVES, JSON))
def test_any_document(top: str, body: dict[str, object]) -> None:
    """Leaves of any type, at any depth."""
    assert the_artifact(json.dumps({top: body}).encode()).kind.startswith("voucher")


CBOR = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.binary(max_size=8) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.integers(0, 40) | st.text(), inner)
    ),
    max_leaves=10,
)
LEAF_NUMBERS = st.dictionaries(st.integers(0, 24), CBOR, max_size=6)


@given(
    st.dictionaries(st.sampled_from([1, 4, 32, 33]), CBOR),
    st.dictionaries(st.sampled_from([1, 4, 32, 33]), CBOR),
    st.one_of(CBOR, st.builds(lambda c, b: {c: b}, st.sampled_from([2451, 2501]), LEAF_NUMBERS)),
)
def test_any_cose_message(protected: Any, unprotected: Any, payload: Any) -> None:
    """Headers and leaves of any type."""
    message = [cbor.encode(protected), unprotected, cbor.encode(payload), b"signature"]
    survive(b"\xd2" + cbor.encode(message))
    survive(cbor.encode(payload))


@given(
    st.fixed_dictionaries({"events": JSON | st.lists(JSON)}, optional={"truncation": JSON})
    | st.fixed_dictionaries({"payload": JSON, "signatures": JSON})
    | st.fixed_dictionaries({"version": JSON, "status": JSON})
)
def test_any_json_of_a_known_kind(document: dict[str, object]) -> None:
    """Members of any type."""
    survive(json.dumps(document).encode())


@pytest.mark.requirement("SEC-10")
@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_fuzz_corpus_cut_and_altered(path: object) -> None:
    """Each file of it, its truncations, and with octets changed."""
    octets = path.read_bytes()  # type: ignore[attr-defined]  # a Path
    chance = random.Random(str(path)[-20:])
    survive(octets)
    for _ in range(25):
        survive(octets[: chance.randrange(len(octets) + 1)])
        altered = bytearray(octets)
        for _ in range(3):
            altered[chance.randrange(len(altered))] = chance.randrange(256)
        survive(bytes(altered))


@pytest.mark.parametrize("encode", [bytes, bytes.hex])
def test_a_truncated_message_is_shown_up_to_where_it_stops(
    encode: Callable[[bytes], bytes | str],
) -> None:
    """At every octet; once its content type is there it is known for what it is."""
    whole = the_artifact(MESSAGE)
    assert whole.stop is None
    for cut in range(60, len(MESSAGE), 7):
        octets = encode(MESSAGE[:cut])
        described = the_artifact(octets if isinstance(octets, bytes) else octets.encode())
        assert described.stop is not None
        assert described.stop.offset <= cut
    shorter = the_artifact(MESSAGE[:-40])
    assert shorter.kind == "voucher-request"
    assert fact(shorter, "document") == fact(whole, "document")
    assert fact(shorter, "certificates") == fact(whole, "certificates")


def test_a_truncated_certificate_and_document_are_shown() -> None:
    """What was whole before the cut stays, and the octet of the cut is told."""
    cut = the_artifact(IDEVID.der[:-20])
    assert cut.stop is not None
    assert fact(cut, "role") == "IDevID"
    document = encode_voucher_request(pledge_request(REGISTRAR))
    at = document.index(b'"nonce"') + 12
    described = the_artifact(document[:at])
    assert described.stop is not None
    assert at - 14 < described.stop.offset <= at
    assert set(described.facts) == {"created-on", "assertion", "serial-number"}


@pytest.mark.parametrize("name", ["bundle/file", "build-list/file", "manifest/file"])
def test_a_truncated_signed_file_says_where_it_stops(name: str) -> None:
    """In its manifest, or in a chunk."""
    octets = (CORPUS / name).read_bytes()
    for cut in range(40, len(octets), 23):
        described = the_artifact(octets[:cut])
        assert described.stop is not None
        assert described.stop.offset <= cut


@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf"])
def test_where_json_stops_is_counted_in_octets_of_the_file(before: bytes) -> None:
    """Also after octets that are no UTF-8, and after a byte order mark."""
    text = before + b'{"version":1,"status":true,"reason":"\x89\x89\xc3\xa4"'
    described = the_artifact(text + b"!")
    assert described.stop is not None
    assert described.stop.offset == len(text)
    assert set(described.facts) == {"version", "status"}


DEEP = 5000
HOSTILE = [
    b"\x30\x80" * DEEP,
    b"\x30\x82\xff\xff" * DEEP,
    b"\x30\x84\xff\xff\xff\xff" * DEEP,
    b"\x02\x01\x00" * (2 * MOST_NODES),
    b"\x30\x83\x0f\x00\x00" + b"\x05\x00" * (2 * MOST_NODES),
    b"\x1f" + b"\xff" * DEEP,
    b"[" * DEEP,
    b'{"ietf-voucher:voucher":' * DEEP,
    b'{"events":[' + b"1," * DEEP * 20,
    b'{"ietf-voucher:voucher":{' + b'"a":1,' * DEEP * 10 + b'"b":2}}',
    b'{"version":' + b"9" * 9000 + b',"status":true}',
    b'{"version":"\\ud800","status":"\\udfff"}',
    b"-----BEGIN A-----\n" * DEEP,
    b"A" * (MOST_OCTETS // 4),
    b"-_" * (MOST_OCTETS // 8),
    b" " * (MOST_OCTETS // 2) + b"!",
    b"\x00" * MOST_OCTETS,
    b"\x9f" * DEEP,
    b"\xd2\x84" * DEEP,
]


@pytest.mark.requirement("SEC-10")
@pytest.mark.parametrize("octets", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_files_cost_little(octets: bytes) -> None:
    """Depth, length, number and repetition are bounded: a quadratic reader would not end here."""
    survive(octets)


def test_the_reader_of_asn1_is_bounded() -> None:
    """In depth and in elements; where it gave up it says so."""
    deep = outline(b"\x30\x80" * (MOST_DEPTH + 5))
    assert deep.stop is not None
    assert "deep" in deep.stop.reason
    wide = outline(b"\x05\x00" * (MOST_NODES + 5))
    assert wide.stop is not None
    assert wide.stop.offset == 2 * MOST_NODES
    assert outline(b"\x30\x02\x05\x00").stop is None


def test_json_that_nests_too_deep_is_not_known() -> None:
    """Nothing of it is looked at."""
    for depth, known in ((MOST_JSON_DEPTH - 2, True), (MOST_JSON_DEPTH, False)):
        text = '{"version":1,"status":' + "[" * depth + "]" * depth + "}"
        if known:
            assert the_artifact(text.encode()).kind == "status report"
        else:
            with pytest.raises(UnknownFormat):
                look(text.encode())


def test_what_is_not_read_is_not_told_from_what_is_not_there() -> None:
    """A prefix of a large certificate is refused by its size."""
    with pytest.raises(OnboardingError, match="octets"):
        inspect(IDEVID.der, size=MOST_OCTETS + 1)
