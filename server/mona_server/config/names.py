"""Names of context classes and fields: letters, digits, ``-``, ``_``, ``@``; class names may hold ``.`` between parts.

>>> problem_of("credit_score"), problem_of("@@@"), problem_of("_"), problem_of("2021")
(None, None, 'must not be one single sign', 'must not be digits only')
"""

from __future__ import annotations

import re

_ALLOWED = re.compile(r"[\w@-]+")
RESERVED = "MONA_"


def problem_of(name: str, *, parts: bool = False) -> str | None:
    """What is wrong with a name, or None. ``parts``: a class name, whose parts are divided by dots."""
    if not name:
        return "must not be empty"
    if parts and "." in name:
        found = [problem_of(part) for part in name.split(".")]
        return next((problem for problem in found if problem), None)
    if not _ALLOWED.fullmatch(name):
        return "may hold letters, digits, '-', '_' and '@' only"
    if name.isdigit():
        return "must not be digits only"
    if len(name) == 1 and not name.isalnum():
        return "must not be one single sign"
    if name.startswith(RESERVED):
        return f"must not begin with {RESERVED}, which is reserved"
    return None
