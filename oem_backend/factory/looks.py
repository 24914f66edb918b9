"""What a serial number looks like on a label, as an expression of SQL (docs/oem-formats.md).

Two numbers that look alike are a trap for whoever reads one aloud or types it in: letters differ in
case alone, or O stands where the other has 0, or I or L where it has 1. The same letters are taken
for one another by Crockford's Base32. Others (8 and B, 5 and S) stay apart, since serial numbers in
hexadecimal have both.
"""

from __future__ import annotations


def look_of(column: str) -> str:
    """The look of *column*; an index can be made on it."""
    return f"replace(replace(replace(lower({column}), 'o', '0'), 'i', '1'), 'l', '1')"
