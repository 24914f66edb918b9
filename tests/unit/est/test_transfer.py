"""Base64 bodies: tolerant where RFC 8951 says so, strict in everything else."""

from __future__ import annotations

import base64
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brski.errors import Malformed, SettingsError, TooLarge
from brski.est import transfer
from brski.est.transfer import decode_base64, encode_base64

DER = bytes(range(256)) * 3
TEXT = base64.b64encode(DER)


@given(st.binary(min_size=1, max_size=3000), st.sampled_from(["auto", "line", "wrap"]))
def test_every_shape_reads_back(octets: bytes, shape: transfer.Base64Shape) -> None:
    """What is sent in any shape is what the other side gets."""
    assert decode_base64(encode_base64(octets, shape)) == octets


@pytest.mark.requirement("ESTS-2")
@given(st.data())
def test_white_space_is_ignored_wherever_it_stands(data: st.DataObject) -> None:
    """CR, LF, SP and TAB may stand between any two characters."""
    text = TEXT[:64] + TEXT[-4:]
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(text)))
        text = text[:at] + data.draw(st.sampled_from([b"\r\n", b"\n", b" ", b"\t"])) + text[at:]
    assert decode_base64(text) == base64.b64decode(text)


@pytest.mark.requirement("ESTS-2")
@pytest.mark.parametrize("other", [b"\x0b", b"\x0c", b"\x00", b"\xa0", b"-", b"_", b"%", b"="])
def test_any_other_character_between_is_refused(other: bytes) -> None:
    """Only four characters are white space; vertical tab, form feed and NUL are not."""
    with pytest.raises(Malformed):
        decode_base64(TEXT[:64] + other + TEXT[64:])


@pytest.mark.requirement("ESTS-1")
def test_raw_der_is_refused() -> None:
    """EST bodies are base64 always; a binary body is a BRSKI habit on the wrong path."""
    with pytest.raises(Malformed):
        decode_base64(bytes.fromhex("3082010a0282010100"))


@pytest.mark.parametrize("body", [b"", b"\r\n\t ", b"\n"])
def test_an_empty_body_is_refused(body: bytes) -> None:
    """Nothing at all is not the base64 of a DER value."""
    with pytest.raises(Malformed, match="empty"):
        decode_base64(body)


@pytest.mark.parametrize(
    "text", [b"MAA", b"MAA==", b"MAB=", b"MD==", b"MAA=MAA=", b"=MAA", b"====", b"MA", b"M"]
)
def test_wrong_padding_is_refused(text: bytes) -> None:
    """``MAA=`` is two octets; without its pad, with stray bits or with text after it, refused."""
    assert decode_base64(b"MAA=") == b"\x30\x00"
    with pytest.raises(Malformed):
        decode_base64(text)


def test_every_truncation_but_at_a_group_is_refused() -> None:
    """A cut text is either refused or, at four characters, shorter DER for the next gate."""
    for end in range(len(TEXT)):
        if end % 4 or not end:
            with pytest.raises(Malformed):
                decode_base64(TEXT[:end])
        else:
            assert decode_base64(TEXT[:end]) == DER[: end // 4 * 3]


@pytest.mark.parametrize(
    "label", ["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST", "PKCS7", "CMS"]
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_one_pem_block_is_taken_for_its_contents(label: str, end: str) -> None:
    """Clients of the field post PEM; the block's contents are what they mean."""
    lines = [
        f"-----BEGIN {label}-----",
        *textwrap.wrap(TEXT.decode(), 64),
        f"-----END {label}-----",
    ]
    assert decode_base64(end.join([*lines, ""]).encode()) == DER
    assert decode_base64(b"\r\n" + end.join(lines).encode() + b"\r\n\r\n") == DER


@pytest.mark.parametrize(
    "body",
    [
        b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
        b"-----BEGIN EC PRIVATE KEY-----\nMAA=\n-----END EC PRIVATE KEY-----\n",
        b"-----BEGIN PKCS7-----\nMAA=\n-----END CMS-----\n",
        b"-----BEGIN PKCS7-----\nMAA=\n",
        b"MAA=\n-----END PKCS7-----\n",
        b"subject=CN = x\n-----BEGIN PKCS7-----\nMAA=\n-----END PKCS7-----\n",
        b"-----BEGIN PKCS7-----\nMAA=\n-----END PKCS7-----\nMAA=",
        b"-----BEGIN PKCS7-----\nMAA=\n-----END PKCS7-----\n" * 2,
        b"-----BEGIN PKCS7-----\nProc-Type: 4\n\nMAA=\n-----END PKCS7-----\n",
        b"-----BEGIN PKCS7-----MAA=-----END PKCS7-----\n",
        b"-----BEGIN PKCS7-----\n\n-----END PKCS7-----\n",
    ],
)
def test_other_pem_is_refused(body: bytes) -> None:
    """Another label, a private key, two blocks, text around it, headers inside it."""
    with pytest.raises(Malformed):
        decode_base64(body)


def test_a_body_over_the_limit_is_not_decoded() -> None:
    """At the limit it is read, one octet more and it is not."""
    assert decode_base64(TEXT, max_octets=len(TEXT)) == DER
    with pytest.raises(TooLarge):
        decode_base64(TEXT, max_octets=len(TEXT) - 1)


@pytest.mark.requirement("ESTS-2")
@pytest.mark.parametrize(("octets", "lines"), [(1, 1), (750, 1), (751, 16), (768, 16), (769, 17)])
def test_auto_is_one_line_up_to_a_thousand_characters(octets: int, lines: int) -> None:
    """strongSwan up to 5.9.10 reads no inner newline, libest no line of 1024 characters."""
    text = encode_base64(bytes(octets))
    assert text.count(b"\n") == lines
    assert text.endswith(b"\n")
    assert max(map(len, text.split(b"\n"))) <= 1000
    assert b"\n\n" not in text


def test_line_and_wrap_do_not_look_at_the_length() -> None:
    """A label whose clients are known can have one shape for every body."""
    assert encode_base64(bytes(3000), "line").count(b"\n") == 1
    assert encode_base64(bytes(60), "wrap") == b"A" * 64 + b"\n" + b"A" * 16 + b"\n"
    assert encode_base64(bytes(48), "wrap") == b"A" * 64 + b"\n"


def test_a_shape_of_another_name_is_refused() -> None:
    """A setting that means nothing is told, not taken for auto."""
    with pytest.raises(SettingsError, match="fold"):
        encode_base64(DER, "fold")  # type: ignore[arg-type]  # what a settings file could hold
