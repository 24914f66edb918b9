"""A challengePassword that is compared with the connection that it came over (RFC 7030 §3.5)."""

from __future__ import annotations

import base64

import pytest

from brski.errors import CSRMismatch
from brski.est.linking import BindingKind, ChannelBinding, check_linked

UNIQUE = ChannelBinding(
    kind=BindingKind.TLS_UNIQUE, octets=bytes.fromhex("cc758fed92ac4d9b605b95ff")
)
EXPORTER = ChannelBinding(kind=BindingKind.TLS_EXPORTER, octets=bytes(range(224, 256)))
BOTH = pytest.mark.parametrize("binding", [UNIQUE, EXPORTER], ids=lambda each: each.kind)


def encoded(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


@BOTH
@pytest.mark.parametrize("required", [False, True])
def test_the_connections_own_is_taken(binding: ChannelBinding, required: bool) -> None:
    """Wanted or not."""
    check_linked(encoded(binding.octets), binding, required=required)


@BOTH
def test_none_is_taken_where_none_is_wanted(binding: ChannelBinding) -> None:
    """And refused where one is, by the name of the kind."""
    check_linked(None, binding, required=False)
    with pytest.raises(CSRMismatch, match=f"no challengePassword, wanted is {binding.kind}"):
        check_linked(None, binding, required=True)


@pytest.mark.parametrize("required", [False, True])
def test_a_connection_whose_binding_is_unknown_takes_none(required: bool) -> None:
    """What cannot be compared is not passed over."""
    with pytest.raises(CSRMismatch, match="cannot be compared"):
        check_linked("AAAA", None, required=required)


def test_a_request_without_one_where_the_binding_is_unknown() -> None:
    """Refused only where one is wanted."""
    check_linked(None, None, required=False)
    with pytest.raises(CSRMismatch, match="wanted is a channel binding"):
        check_linked(None, None, required=True)


@BOTH
@pytest.mark.parametrize("required", [False, True])
def test_one_bit_is_another_connection(binding: ChannelBinding, required: bool) -> None:
    """A value of the right length is another connection's."""
    other = binding.octets[:-1] + bytes([binding.octets[-1] ^ 1])
    with pytest.raises(CSRMismatch, match="as of another connection") as refused:
        check_linked(encoded(other), binding, required=required)
    assert refused.value.section == "RFC 7030 §3.5"
    assert refused.value.wanted == str(binding)
    assert binding.kind in str(binding)


@pytest.mark.parametrize(
    ("wanted", "sent", "told"),
    [
        (UNIQUE, EXPORTER, "32 octets, as tls-exporter has, which is of TLS 1.3"),
        (EXPORTER, UNIQUE, "12 octets, as tls-unique has, which is of TLS 1.2"),
    ],
)
def test_the_other_kind_is_named(wanted: ChannelBinding, sent: ChannelBinding, told: str) -> None:
    """There is one kind for each version, and the reason has both."""
    with pytest.raises(CSRMismatch) as refused:
        check_linked(encoded(sent.octets), wanted, required=False)
    assert refused.value.found == told
    assert f"is not the {wanted.kind}" in refused.value.reason


@BOTH
@pytest.mark.parametrize(
    ("spell", "told"),
    [
        (lambda b: b.octets.hex(), "in hexadecimal"),
        (lambda b: b.octets.hex(":").upper(), "in hexadecimal"),
        (lambda b: encoded(b.octets) + "\n", "another spelling"),
        (lambda b: encoded(b.octets)[:8] + "\r\n" + encoded(b.octets)[8:], "another spelling"),
        (lambda b: base64.urlsafe_b64encode(b.octets).decode(), "another spelling"),
        (lambda b: encoded(b.octets) + "=", "another spelling"),
        (lambda b: encoded(b.octets + b"\x00"), "no binding's length"),
        (lambda b: encoded(b.octets[1:]), "no binding's length"),
        (lambda _: "ümlaut", "no base64"),
        (lambda _: "A", "no base64"),
        (lambda _: "====", "0 octets"),
    ],
)  # fmt: skip
def test_no_other_spelling_is_taken(binding: ChannelBinding, spell: object, told: str) -> None:
    """Base64 of RFC 4648 §4 in one line is one text for each value; the reason says what came."""
    assert callable(spell)
    text = spell(binding)
    assert text != encoded(binding.octets)
    with pytest.raises(CSRMismatch, match=told):
        check_linked(text, binding, required=False)


def test_no_error_repeats_what_a_client_sent() -> None:
    """It may have put its password there; nor does anything print the binding."""
    with pytest.raises(CSRMismatch) as refused:
        check_linked("correct horse", UNIQUE, required=False)
    shown = (str(refused.value), refused.value.found, refused.value.wanted, repr(UNIQUE))
    assert not any("horse" in text or "cc758f" in text for text in shown)
    assert not any(repr(UNIQUE.octets) in text for text in shown)
