"""Write the cases of our own: ``python -m tests.limbo.generate``; the same octets each time."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.limbo.idevid_cases import cases
from tests.limbo.schema import dump

IDEVID: Final = Path(__file__).parent / "data" / "idevid.json"

if __name__ == "__main__":
    IDEVID.write_text(dump(cases()), "utf-8")
