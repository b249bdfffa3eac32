"""Issues of a configuration: where, what, how bad. All of them are reported at once.

>>> issues = Issues()
>>> issues.error(("LOAN", "fields", "amount", "type"), "unknown_type", "'number' is not a type")
>>> issues.found[0].path
'LOAN.fields.amount.type'
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from mona_server.errors import BadRequest

Path = tuple[str | int, ...]
Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Issue:
    """One thing that is wrong (``error``: nothing is stored) or odd (``warning``)."""

    path: str
    message: str
    severity: Severity = "error"
    code: str = "invalid"
    line: int | None = None
    column: int | None = None
    """Both from 1, where the uploaded text is known."""

    @property
    def text(self) -> str:
        """One line: where and what.

        >>> Issue("LOAN.fields.x.type", "'number' is not a type", line=3, column=7).text
        "LOAN.fields.x.type (line 3): 'number' is not a type"
        """
        place = f"line {self.line}" + ("" if self.path else f", column {self.column}") if self.line else ""
        where = f"{self.path} ({place})" if self.path and place else self.path or place
        return f"{where}: {self.message}" if where else self.message

    def to_json(self) -> dict[str, Any]:
        given: dict[str, Any] = {
            "path": self.path,
            "message": self.message,
            "severity": self.severity,
            "code": self.code,
        }
        if self.line is not None:
            given |= {"line": self.line, "column": self.column}
        return given


class ConfigError(BadRequest):
    """A configuration with errors; ``issues`` holds all of them, warnings too."""

    def __init__(self, issues: Iterable[Issue]) -> None:
        self.issues = tuple(issues)
        errors = [issue for issue in self.issues if issue.severity == "error"]
        first = "; ".join(issue.text for issue in errors[:5])
        super().__init__(f"{len(errors)} error{'' if len(errors) == 1 else 's'}: {first}")


@dataclass
class Issues:
    """Collects issues while a configuration is read; ``positions`` adds lines to their paths."""

    positions: Mapping[Path, tuple[int, int]] = field(default_factory=dict)
    found: list[Issue] = field(default_factory=list)

    def error(self, path: Path, code: str, message: str) -> None:
        self._add(path, code, message, "error")

    def warning(self, path: Path, code: str, message: str) -> None:
        self._add(path, code, message, "warning")

    def failed_since(self, before: int) -> bool:
        """Whether an error was added since ``found`` had this length."""
        return any(issue.severity == "error" for issue in self.found[before:])

    def unknown_keys(self, path: Path, given: Mapping[str, Any], known: Iterable[str], what: str = "key") -> None:
        """Warns about keys that nobody reads; they are kept, so that older files load as they are."""
        known = tuple(known)
        for key in given:
            if key not in known:
                self.warning((*path, key), f"unknown_{what}", f"unknown {what} {key!r}{did_you_mean(key, known)}")

    def _add(self, path: Path, code: str, message: str, severity: Severity) -> None:
        # An issue about something that the text lacks points at the nearest thing that it has.
        known = path
        while known and known not in self.positions:
            known = known[:-1]
        line, column = self.positions.get(known, (None, None))
        self.found.append(Issue(render(path), message, severity, code, line, column))


def render(path: Path) -> str:
    """``("LOAN", "verses", 2, "cadence")`` → ``LOAN.verses[2].cadence``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'amount'?`` or nothing."""
    close = difflib.get_close_matches(str(name), [str(other) for other in known], n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""
