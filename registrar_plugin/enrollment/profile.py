"""What one EST label stands for: which certificates are issued under it, and to whom.

RFC 7030 §3.2.2 lets a server offer several CAs or kinds of certificate, each under a label in the
path; here each label is one profile (docs/est.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from brski.est.requirements import P256, P384, CSRRequirements

USUAL_REQUIREMENTS: Final = CSRRequirements(keys=(P256, P384))
"""Either curve; the first is announced. No extension is granted on request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrollmentProfile:
    """As written in the settings; without any, the profile of the paths without label."""

    label: str = ""  # empty: the default profile
    requirements: CSRRequirements = USUAL_REQUIREMENTS  # announced by csrattrs
    change_subject_name: bool = False  # whether a renewal may move to the name it is entitled to
