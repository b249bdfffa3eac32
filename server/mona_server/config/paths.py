"""Paths into nested values: ``a.b.c``, ``a[0]``, ``a[-1]``, ``a[*].x``, ``a["odd.key"]``.

>>> walk = compile_path('response.choices[*].text')
>>> walk({"response": {"choices": [{"text": "Yes"}, {}]}})
['Yes', None]
>>> compile_path("a[") is None
True
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

_STEP = re.compile(r'\.?(?P<name>[^.\[\]"]+)|\[(?P<index>-?\d+)\]|\[(?P<all>\*)\]|\[(?P<quoted>"(?:[^"\\]|\\.)*")\]')

Walk = Callable[[Any], Any]


def steps(text: str) -> tuple[Any, ...] | None:
    """The steps of a path: text = key, number = index, None = every element; None when it is no path."""
    found: list[Any] = []
    at = 0
    while at < len(text):
        step = _STEP.match(text, at)
        if step is None or (step["name"] is not None and (text[at] == ".") != bool(found)):
            return None
        if step["name"] is not None:
            found.append(step["name"])
        elif step["index"] is not None:
            found.append(int(step["index"]))
        elif step["all"] is not None:
            found.append(None)
        else:
            try:
                found.append(json.loads(step["quoted"]))
            except ValueError:
                return None
        at = step.end()
    return tuple(found) or None


def compile_path(text: str) -> Walk | None:
    """A function from a value to what lies at the path; missing steps give None. None when ``text`` is no path.

    ``[*]`` collects, with nulls for elements that lack the rest of the path; several of them give one flat list.
    """
    found = steps(text)
    return None if found is None else _compile(found)


def _compile(found: tuple[Any, ...]) -> Walk:
    if None in found:
        at = found.index(None)
        before, after = _compile(found[:at]), _compile(found[at + 1 :])
        flat = None in found[at + 1 :]

        def collect(value: Any) -> Any:
            elements = before(value)
            if not isinstance(elements, list):
                return None
            collected = [after(element) for element in elements]
            return [item for part in collected if part is not None for item in part] if flat else collected

        return collect

    def walk(value: Any) -> Any:
        for step in found:
            if isinstance(step, str):
                if not isinstance(value, dict):
                    return None
                value = value.get(step)
            else:
                if not isinstance(value, list) or not -len(value) <= step < len(value):
                    return None
                value = value[step]
        return value

    return walk
