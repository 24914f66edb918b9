"""Abuse case 4: a small compressed body that would be a large one.

415, whatever the coding and whatever is in it: no message of RFC 8995 or RFC 7030 is compressed,
and nothing is ever inflated.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import pytest

from brski.registry import PKCS10, VOUCHER_CMS_JSON
from tests.kit import talk
from tests.kit.wired import REQUEST_VOUCHER, SIMPLE_ENROLL, wired

BOMB = bytes(10 << 20)
CODINGS = {
    "gzip": gzip.compress(BOMB),
    "deflate": zlib.compress(BOMB),
    "br": b"\x0b\x02\x80hello\x03",
    "zstd": b"\x28\xb5\x2f\xfd\x00",
    "identity": b"hello",
}


@pytest.mark.parametrize("coding", CODINGS)
async def test_no_coding_is_taken(tmp_path: Path, coding: str) -> None:
    """At the registrar's BRSKI and EST endpoints, and at the MASA."""
    async with wired(tmp_path) as wire, wire.serving():
        device = wire.world.make_device()
        shown = (device.shown, device.entity.private_key)
        field = ("Content-Encoding", coding)
        masa = (wire.masa.host, wire.masa.port)
        for place, path, media_type in (
            (wire.pledges, REQUEST_VOUCHER, VOUCHER_CMS_JSON),
            (wire.pledges, SIMPLE_ENROLL, PKCS10),
            (masa, REQUEST_VOUCHER, VOUCHER_CMS_JSON),
        ):
            octets = talk.request(path, CODINGS[coding], media_type, field)
            reply = await talk.ask(*place, octets, *shown)
            assert reply is not None
            assert reply.status == 415
