"""Configuration text: JSON with the place of every key, and duplicate keys as errors.

The standard reader decodes the text (and rejects what is not JSON); a second, short pass over the valid text
notes where each key and list item stands, which no reader of the standard library tells.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any

from mona_server.config.issues import Path

_SPACE = re.compile(r"[ \t\n\r]*")
_SCALAR = re.compile(r"[^\s,\]}]+")


class NotJson(ValueError):
    """The text is not JSON; ``line`` and ``column`` (from 1) say where."""

    def __init__(self, problem: str, line: int, column: int) -> None:
        super().__init__(f"not JSON: {problem}")
        self.line = line
        self.column = column


@dataclass(frozen=True, slots=True)
class Document:
    """What a text holds. ``positions``: path → (line, column) of the key or list item, from 1."""

    value: Any
    positions: dict[Path, tuple[int, int]]
    duplicates: tuple[tuple[Path, tuple[int, int]], ...]
    """Keys that occur again in their object, with the place of the later one."""


def read(text: str) -> Document:
    """Raises :class:`NotJson`.

    >>> read('{"a": 1,' + chr(10) + ' "a": [2]}').duplicates
    ((('a',), (2, 2)),)
    """
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise NotJson(error.msg, error.lineno, error.colno) from None
    except (ValueError, RecursionError) as error:
        raise NotJson(str(error), 1, 1) from None
    starts = [0, *(found.end() for found in re.finditer("\n", text))]
    positions: dict[Path, tuple[int, int]] = {}
    duplicates: list[tuple[Path, tuple[int, int]]] = []
    for path, offset in _walk(text):
        line = bisect_right(starts, offset)
        place = line, offset - starts[line - 1] + 1
        if path in positions:
            if not any(path[: len(other)] == other for other, _ in duplicates):  # what it holds is no news
                duplicates.append((path, place))
        else:
            positions[path] = place
    return Document(value, positions, tuple(duplicates))


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value")


def _walk(text: str) -> Iterator[tuple[Path, int]]:
    """The path and offset of every key and list item of a text that is known to be JSON."""
    path: list[str | int] = []  # one part per open bracket: the key or index that is being read
    i = 0
    while True:
        i = _skip(text, i)
        if i >= len(text):
            return
        sign = text[i]
        if sign in "{[":
            path.append("" if sign == "{" else -1)
            i = _skip(text, i + 1)
            if text[i] in "}]":
                continue
        elif sign in "}]":
            path.pop()
            i += 1
            continue
        elif sign == ",":
            i = _skip(text, i + 1)
        else:  # a value
            i = scanstring(text, i + 1)[1] if sign == '"' else _SCALAR.match(text, i).end()  # type: ignore[union-attr]
            continue
        # The start of an object member or a list item.
        if isinstance(path[-1], int):
            path[-1] += 1
            yield tuple(path), i
        else:
            path[-1], end = scanstring(text, i + 1)
            yield tuple(path), i
            i = _skip(text, end) + 1  # past the colon


def _skip(text: str, i: int) -> int:
    return _SPACE.match(text, i).end()  # type: ignore[union-attr]
