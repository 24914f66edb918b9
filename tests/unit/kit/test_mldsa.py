"""The second opinion on ML-DSA itself, against NIST's known answers."""

from __future__ import annotations

import pytest

from tests.kit import mldsa
from tests.kit.known_answers import mldsa_known_answers

SIZES = (44, 65, 87)


@pytest.mark.parametrize("size", SIZES)
def test_key_generation(size: int) -> None:
    for case in mldsa_known_answers(size)[:20]:
        assert mldsa.public_key(size, case["xi"]) == case["pk"]


@pytest.mark.parametrize("size", SIZES)
def test_signatures_and_their_nearest_refusals(size: int) -> None:
    """Altered in the challenge, in z, in the hints, in length; another message, key or context."""
    cases = mldsa_known_answers(size)[:4]
    for case, other in zip(cases, (*cases[1:], cases[0]), strict=True):
        message, key, context = case["msg"], case["pk"], case["ctx"]
        signature = case["sm"][: -len(message)]
        assert mldsa.verifies(size, key, message, signature, context)
        for at in (0, len(signature) // 2, len(signature) - 1):
            altered = bytearray(signature)
            altered[at] ^= 1
            assert not mldsa.verifies(size, key, message, bytes(altered), context)
        assert not mldsa.verifies(size, key, message, signature + b"\0", context)
        assert not mldsa.verifies(size, key, message + b"\0", signature, context)
        assert not mldsa.verifies(size, other["pk"], message, signature, context)
        assert not mldsa.verifies(size, key, message, signature, context + b"\0")
