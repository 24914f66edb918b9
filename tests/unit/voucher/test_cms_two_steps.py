"""CMS vouchers: opened first, verified under a key that is found out later."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brski.errors import (
    Malformed,
    StateError,
)
from brski.pki import der
from brski.voucher.cms import CMS
from tests.kit.voucher import (
    REQUEST_JSON,
    SHA256,
    cms,
    signer_info,
)
from tests.unit.voucher.cms_cases import DEVICE, opens


@given(st.binary(min_size=1, max_size=300).filter(lambda p: p[0] != 0x31), st.booleans())
def test_a_message_in_two_steps_is_that_in_one(payload: bytes, by_key: bool) -> None:
    """Through the journal and back: what was to be signed is what is signed."""
    knobs: dict[str, Any] = {"certificates": DEVICE.chain, "name_by_key_identifier": by_key}
    unsigned = CMS.prepare(payload, DEVICE.signer, **knobs)
    kept = CMS.decode_unsigned(unsigned.encode())
    assert kept == unsigned
    message = kept.assemble(DEVICE.signer.sign(kept.to_be_signed))
    assert message == CMS.sign(payload, DEVICE.signer, **knobs)
    assert opens(message).payload == payload


def test_an_unsigned_message_is_none() -> None:
    """Its journal form is CMS that every tool can show, and no reader takes for signed."""
    with pytest.raises(Malformed, match="no octets"):
        CMS.open(CMS.prepare(REQUEST_JSON, DEVICE.signer).encode())


def test_a_signed_message_is_no_journal_entry() -> None:
    """Nor is one that another writer made, or half of one."""
    with pytest.raises(StateError):
        CMS.decode_unsigned(CMS.sign(REQUEST_JSON, DEVICE.signer))
    unsorted = signer_info(
        DEVICE.signer, digest=der.encode(0x30, SHA256[2:], b"\x05\x00"), signature=b""
    )
    with pytest.raises(StateError, match="of ours"):
        CMS.decode_unsigned(cms(unsorted))


def test_a_damaged_journal_entry_is_found_out() -> None:
    """Cut or altered at any octet: it is refused, or it is plainly another message's."""
    unsigned = CMS.prepare(REQUEST_JSON, DEVICE.signer)
    octets = unsigned.encode()
    for place in range(len(octets)):
        with pytest.raises(StateError):
            CMS.decode_unsigned(octets[:place])
        altered = octets[:place] + bytes((octets[place] ^ 1,)) + octets[place + 1 :]
        try:
            assert CMS.decode_unsigned(altered) != unsigned
        except StateError:
            continue
