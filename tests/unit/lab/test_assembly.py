"""The assembly's table of chips."""

from __future__ import annotations

from pathlib import Path

import pytest

from brski.errors import Malformed
from brski.idevid.build_list import BuildEntry
from brski.idevid.record import Presentation
from brski_lab.assembly import read_table


def test_a_table_is_read(tmp_path: Path) -> None:
    path = tmp_path / "table"
    path.write_text("# chips\n\n0a SN-1 carried\n0b0c SN-2 asserted replace\n")
    assert list(read_table(path)) == [
        BuildEntry(chip_id=b"\x0a", serial_number="SN-1", presentation=Presentation.CARRIED),
        BuildEntry(
            chip_id=b"\x0b\x0c",
            serial_number="SN-2",
            presentation=Presentation.ASSERTED,
            replace=True,
        ),
    ]


@pytest.mark.parametrize(
    "line",
    ["0a SN-1", "0A SN-1 carried", "0 SN-1 carried", "0a SN-1 shown", "0a SN-1 carried twice"],
)
def test_another_line_is_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "table"
    path.write_text(f"0b SN-0 carried\n{line}\n")
    with pytest.raises(Malformed, match="line 2"):
        list(read_table(path))


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (b"0a SN-1 carried\r\n", "line 1 has CR"),
        (b"# chips\n0a SN-1 carried\r\n", "line 2 has CR"),
        (b"\xef\xbb\xbf0a SN-1 carried\n", "byte order mark"),
        (b"# J\xc3\xbcrgen's\n", "line 1 is not ASCII"),
        (b"0a SN-1\xe2\x80\x8b carried\n", "line 1 is not ASCII"),
    ],
)
def test_text_of_another_program_is_refused(tmp_path: Path, octets: bytes, why: str) -> None:
    path = tmp_path / "table"
    path.write_bytes(octets)
    with pytest.raises(Malformed, match=why):
        list(read_table(path))
