"""The ChangeSubjectName attribute of a certificate request (RFC 6402 §2.8)."""

from __future__ import annotations

import pytest
from cryptography import x509

from brski.errors import Malformed
from brski.est.change_subject_name import (
    ChangeSubjectName,
    change_of_subject_name,
    encode_change_subject_name,
)
from brski.est.csr import parse_csr
from brski.pki import der
from brski.registry import ID_CMC_CHANGE_SUBJECT_NAME
from tests.kit import est, pki

NAME = est.SUBJECT.public_bytes()
ALTERNATIVE = est.SAN.public_bytes()


def found(*values: bytes) -> ChangeSubjectName | None:
    attributes = [est.attribute(ID_CMC_CHANGE_SUBJECT_NAME, *values)] if values else []
    return change_of_subject_name(parse_csr(est.raw_csr(pki.make_key(), attributes=attributes)))


@pytest.mark.parametrize(
    "change",
    [
        ChangeSubjectName(subject=NAME, alternative_name=None),
        ChangeSubjectName(subject=None, alternative_name=ALTERNATIVE),
        ChangeSubjectName(subject=NAME, alternative_name=ALTERNATIVE),
        ChangeSubjectName(subject=x509.Name([]).public_bytes(), alternative_name=ALTERNATIVE),
    ],
)
def test_names_are_told_apart_by_what_they_hold(change: ChangeSubjectName) -> None:
    """Both are SEQUENCEs without a tag of their own."""
    assert found(encode_change_subject_name(change)) == change


def test_most_requests_have_none() -> None:
    """That is no change."""
    assert found() is None


@pytest.mark.parametrize(
    "values",
    [
        pytest.param((der.encode(der.SEQUENCE),), id="neither name"),
        pytest.param((der.encode(der.SEQUENCE, ALTERNATIVE, NAME),), id="wrong order"),
        pytest.param((der.encode(der.SEQUENCE, NAME, NAME),), id="two subjects"),
        pytest.param((der.encode(der.SEQUENCE, NAME, ALTERNATIVE, NAME),), id="three names"),
        pytest.param((der.encode(der.SET, NAME),), id="a SET"),
        pytest.param((der.encode(der.SEQUENCE, der.encode_integer(1)),), id="a number"),
        pytest.param(
            (der.encode(der.SEQUENCE, NAME), der.encode(der.SEQUENCE, ALTERNATIVE)), id="two values"
        ),
    ],
)
def test_another_shape_is_refused(values: tuple[bytes, ...]) -> None:
    """It would be guessed at otherwise."""
    with pytest.raises(Malformed):
        found(*values)
