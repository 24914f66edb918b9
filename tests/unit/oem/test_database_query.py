"""What a registrar asks: one spelling, nothing unknown, nothing twice."""

from __future__ import annotations

import base64
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from brski.errors import Malformed
from oem_backend.database.query import Question, encode_base64url, parse_question

ISSUER = bytes(range(236, 256))
DIGEST = bytes(range(224, 256))
I_TEXT = "7O3u7_Dx8vP09fb3-Pn6-_z9_v8"
S_TEXT = "4OHi4-Tl5ufo6err7O3u7_Dx8vP09fb3-Pn6-_z9_v8"
SERIALS = st.text(string.ascii_letters + string.digits + "._:-", min_size=1, max_size=64)


@pytest.mark.parametrize(
    ("query", "question"),
    [
        ("", Question("SN-1")),
        (f"idevid_issuer={I_TEXT}", Question("SN-1", ISSUER)),
        (f"spki_sha256={S_TEXT}", Question("SN-1", None, DIGEST)),
        (f"idevid_issuer={I_TEXT}&spki_sha256={S_TEXT}", Question("SN-1", ISSUER, DIGEST)),
        (f"spki_sha256={S_TEXT}&idevid_issuer={I_TEXT}", Question("SN-1", ISSUER, DIGEST)),
    ],
)
def test_a_question_is_read(query: str, question: Question) -> None:
    assert parse_question("SN-1", query) == question


@pytest.mark.parametrize(
    "query",
    [
        "serial_number=SN-2",
        "IDEVID_ISSUER=" + I_TEXT,
        f"idevid_issuer={I_TEXT}&idevid_issuer={I_TEXT}",
        f"idevid_issuer={I_TEXT}&",
        f"&idevid_issuer={I_TEXT}",
        f"idevid_issuer={I_TEXT}&limit=10",
        f"idevid_issuer={I_TEXT};spki_sha256={S_TEXT}",
        f"idevid%5fissuer={I_TEXT}",
        "&",
        "=",
        "*",
        "idevid_issuer",
        "idevid_issuer=",
    ],
)
def test_a_query_of_another_shape_is_refused(query: str) -> None:
    with pytest.raises(Malformed):
        parse_question("SN-1", query)


@pytest.mark.parametrize(
    "text",
    [
        I_TEXT + "=",
        I_TEXT[:-1],
        I_TEXT + "A",
        S_TEXT,  # the other's length
        I_TEXT.replace("_", "/").replace("-", "+"),
        I_TEXT[:-1] + "9",  # the same octets: spare bits that are not zero
        I_TEXT + "\n",
        " " + I_TEXT[1:],
        "%37" + I_TEXT[1:],
        "é" * 27,
        ISSUER.hex(),
    ],
)
def test_an_issuer_in_another_spelling_is_refused(text: str) -> None:
    with pytest.raises(Malformed, match="idevid_issuer is not 20 octets"):
        parse_question("SN-1", f"idevid_issuer={text}")


def test_a_digest_of_another_length_is_refused() -> None:
    with pytest.raises(Malformed, match="spki_sha256 is not 32 octets"):
        parse_question("SN-1", f"spki_sha256={I_TEXT}")


@pytest.mark.parametrize(
    "serial_number",
    ["", "a b", "a/b", "SN-1\n", "SN-1\x00", "x" * 65, "SN-é", "%", "*", "SN-1'", "\uff33", "../x"],
)
def test_a_serial_number_with_other_characters_is_refused(serial_number: str) -> None:
    with pytest.raises(Malformed, match="serial number"):
        parse_question(serial_number, "")


@given(
    SERIALS,
    st.none() | st.binary(min_size=20, max_size=20),
    st.none() | st.binary(min_size=32, max_size=32),
)
def test_every_question_comes_back(
    serial_number: str, issuer: bytes | None, digest: bytes | None
) -> None:
    parameters = []
    if issuer is not None:
        parameters.append(f"idevid_issuer={encode_base64url(issuer)}")
    if digest is not None:
        parameters.append(f"spki_sha256={encode_base64url(digest)}")
    question = parse_question(serial_number, "&".join(parameters))
    assert question == Question(serial_number, issuer, digest)


@given(st.text(max_size=90))
@example("idevid_issuer=" + "A" * 27)
def test_what_is_read_is_written_back_the_same(query: str) -> None:
    """Whatever comes: it is refused, or it was the one spelling of what was read."""
    try:
        question = parse_question("SN-1", query)
    except Malformed:
        return
    written = {
        name: base64.urlsafe_b64encode(octets).rstrip(b"=").decode()
        for name, octets in (
            ("idevid_issuer", question.idevid_issuer),
            ("spki_sha256", question.spki_sha256),
        )
        if octets is not None
    }
    assert dict(part.split("=") for part in query.split("&") if part) == written


@given(st.text())
def test_whatever_is_asked_for_is_a_serial_number_or_refused(serial_number: str) -> None:
    try:
        question = parse_question(serial_number, "")
    except Malformed:
        return
    assert question.serial_number == serial_number
    assert set(serial_number) <= set(string.ascii_letters + string.digits + "._:-")
