"""How much is on record, for the operator."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Final

from oem_backend.factory.ledger.waiting import Waiting

_COUNTED: Final[Mapping[str, str]] = {
    "chips": "SELECT count(*) FROM chip",
    "certificates": "SELECT count(*) FROM certificate WHERE ended_by IS NULL",
    "replaced_certificates": "SELECT count(*) FROM certificate WHERE ended_by IS NOT NULL",
}
# Places in a vendor's sequence before the last batch that came, where none has come yet.
_MISSING_BATCHES: Final = """
SELECT vendor_id, product, before + 1, sequence - 1
FROM (
    SELECT vendor_id, product, sequence, lag(sequence, 1, 0) OVER (
        PARTITION BY vendor_id, product ORDER BY sequence
    ) AS before
    FROM batch
)
WHERE sequence > before + 1 ORDER BY vendor_id, product, sequence
"""
_LISTED: Final[Mapping[str, tuple[tuple[str, ...], str]]] = {
    "batches": (
        ("vendor", "product", "batches", "last_sequence"),
        "SELECT vendor_id, product, count(*), max(sequence) FROM batch "
        "GROUP BY vendor_id, product ORDER BY vendor_id, product",
    ),
    "missing_batches": (("vendor", "product", "first", "last"), _MISSING_BATCHES),
    "build_lists": (
        ("product", "build_lists", "last_generation"),
        "SELECT product, count(*), max(generation) FROM build_list WHERE finished "
        "GROUP BY product ORDER BY product",
    ),
    "unfinished": (
        ("build_list", "product", "generation"),
        "SELECT lower(hex(digest)), product, generation FROM build_list "
        "WHERE NOT finished ORDER BY number",
    ),
}


def summarize(connection: sqlite3.Connection) -> dict[str, object]:
    """How much is on record, and how far each vendor and product has come."""
    counted = {what: connection.execute(count).fetchone()[0] for what, count in _COUNTED.items()}
    listed = {
        what: [dict(zip(names, row, strict=True)) for row in connection.execute(query)]
        for what, (names, query) in _LISTED.items()
    }
    return {**counted, **Waiting(connection).summary(), **listed}
