"""Every target, by name."""

from __future__ import annotations

from typing import Final

from tests.fuzz.enrollment import ENROLLMENT
from tests.fuzz.files import FILES
from tests.fuzz.harness import Target
from tests.fuzz.messages import MESSAGES
from tests.fuzz.tools import TOOLS

TARGETS: Final[dict[str, Target]] = {t.name: t for t in (*MESSAGES, *ENROLLMENT, *FILES, *TOOLS)}
