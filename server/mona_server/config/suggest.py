"""Suggests a configuration from what contexts hold. Pure: contexts in, class objects out.

Each variable is looked at over all contexts (:class:`Variable`), then named as a field by the first rule that fits.
Definitions that exist are never changed; only variables that nobody reads yet become new fields.

>>> suggestion = suggest_class([("a", {"score": 0.5, "city": "Haifa"}), ("b", {"score": 0.7, "city": "Eilat"})])
>>> suggestion.config["fields"]["city"], suggestion.confidence
({'type': 'string'}, 'low')
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from statistics import median
from typing import Any, Literal

import numpy as np

from mona_server.config.names import problem_of
from mona_server.config.segmentations import bucket_width
from mona_server.config.timestamps import parse_timestamp

MOST_CONTEXTS = 20_000
MOST_FIELDS = 500
"""Objects that are really maps (keys that are ids) would give a field for each key."""
MOST_LEVELS = 3
MAJORITY = 0.95
"""Share of the values that are not null which must be of a kind."""
FEW_CONTEXTS = 20
FEW_INTEGERS = 12
LONG_TEXT = 200
FEW_ELEMENTS = 50
_TIME_WORDS = {"time", "timestamp", "date", "datetime", "ts", "at"}
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")

Context = tuple[str | None, Mapping[str, Any]]
"""(context id, merged variables)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """A class object with new fields added to what was configured."""

    config: Mapping[str, Any]
    new_fields: tuple[str, ...]
    confidence: Literal["low", "normal"]
    """``low``: under 20 contexts were seen."""


@dataclass(slots=True)
class Variable:
    """One variable, or one leaf of an object, over all contexts. Values are in order, without nulls."""

    name: str
    """Names joined by ``_``."""
    source: str
    """The source text that reads it."""
    values: list[Any] = field(default_factory=list)
    equal_to_id: int = 0

    def share(self, *kinds: type) -> float:
        """Share of the values that are of these kinds; true and false are no numbers."""
        return sum(type(value) in kinds for value in self.values) / len(self.values)

    def of(self, *kinds: type) -> list[Any]:
        return [value for value in self.values if type(value) in kinds]

    @property
    def distinct(self) -> int:
        return len({_key(value) for value in self.values})


def suggest_class(
    contexts: Iterable[Context], current: Mapping[str, Any] | None = None, *, verses: bool = False
) -> Suggestion:
    """Fields for the variables of these contexts, at most 20,000 of them.

    ``current``: the class object as it is configured now. ``verses``: a class that has no stanza yet also gets a
    first one, so that applying the suggestion starts a search.
    """
    seen = list(islice(contexts, MOST_CONTEXTS))
    config = dict(current or {})
    fields: dict[str, Any] = dict(config.get("fields") or {})
    read = {*fields, *(name for one in fields.values() if isinstance(one, Mapping) for name in _copied(one))}
    new: dict[str, Any] = {}
    for variable in _variables(seen):
        if variable.source in read or variable.name in fields or not variable.values:
            continue
        for suffix, suggested in _fields(variable).items():
            name = _free(_allowed(variable.name + suffix), new)
            if name in fields:
                continue
            if variable.source != name or suffix:
                suggested = {"type": suggested["type"], "source": variable.source, **suggested}
            new[name] = suggested
    config["fields"] = {**fields, **new}
    if verses and not config.get("stanzas") and (stanza := first_stanza(new, seen)):
        config["stanzas"] = {"suggested": stanza}
    return Suggestion(config=config, new_fields=tuple(new), confidence="low" if len(seen) < FEW_CONTEXTS else "normal")


def suggest_config(
    contexts: Mapping[str, Iterable[Context]], current: Mapping[str, Any], *, verses: bool = False
) -> dict[str, Any]:
    """``response_data`` of the suggestion paths: the current configuration plus new fields, for all classes."""
    found = {name: suggest_class(some, current.get(name), verses=verses) for name, some in contexts.items()}
    return {
        "suggested_config": {**current, **{name: one.config for name, one in found.items()}},
        "new_fields": {name: list(one.new_fields) for name, one in found.items()},
        "confidence": {name: one.confidence for name, one in found.items()},
    }


def first_stanza(fields: Mapping[str, Any], contexts: list[Context]) -> dict[str, Any] | None:
    """A stanza to begin with: drifts and sudden changes of the numbers, by the texts with few values."""
    metrics = [
        name
        for name, one in fields.items()
        if one["type"] in ("numeric", "boolean") and "id" not in one.get("tags", ()) and one.get("segmentations") != {}
    ]
    segment_by = []
    for name, one in fields.items():
        if one["type"] == "string" and one.get("segmentations") != {} and one.get("source", name) == name:
            distinct = len({_key(values.get(name)) for _, values in contexts})
            if 2 <= distinct <= 100:
                segment_by.append(name)
    if not metrics:
        return None
    return {
        "description": "A first search, made from the data; adapt it to what matters.",
        "metrics": metrics[:20],
        "segment_by": segment_by[:4],
        "min_segment_size_fraction": 0.01,
        "max_segment_depth": 2,
        "verses": [{"type": "AverageDrift"}, {"type": "AverageSuddenChange"}],
    }


def _variables(contexts: list[Context]) -> list[Variable]:
    """All variables, in order of appearance; of too many, the most frequent."""
    found: dict[tuple[str, ...], Variable] = {}
    for context_id, values in contexts:
        for path, value in _leaves(values, ()):
            variable = found.get(path)
            if variable is None:
                variable = found[path] = Variable("_".join(path), _source(path))
            if value is not None:
                variable.values.append(value)
                variable.equal_to_id += value == context_id
    variables = list(found.values())
    if len(variables) > MOST_FIELDS:
        kept = sorted(variables, key=lambda one: -len(one.values))[:MOST_FIELDS]
        variables = [one for one in variables if one in kept]
    return variables


def _leaves(values: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            if len(path) + 1 < MOST_LEVELS:
                yield from _leaves(value, (*path, name))
        else:
            yield (*path, name), value


def _source(path: tuple[str, ...]) -> str:
    if len(path) == 1:
        return path[0]
    text = path[0] if re.fullmatch(r"[^.\[\]\"]+", path[0]) else f"[{json.dumps(path[0])}]"
    for part in path[1:]:
        text += f".{part}" if re.fullmatch(r"[^.\[\]\"]+", part) else f"[{json.dumps(part)}]"
    return text


def _copied(given: Mapping[str, Any]) -> Iterator[str]:
    """Variables that a field copies unchanged."""
    if given.get("function", "identity") != "identity":
        return
    sources = given.get("sources") if given.get("sources") is not None else [given.get("source")]
    for source in sources if isinstance(sources, list) else []:
        names = source.get("names") if isinstance(source, Mapping) else source
        for name in [names] if isinstance(names, str) else names if isinstance(names, list) else []:
            if isinstance(name, str):
                yield name


def _fields(variable: Variable) -> dict[str, dict[str, Any]]:
    """The fields of one variable, by what is added to its name."""
    constant = variable.distinct == 1 and len(variable.values) > 1
    if variable.share(list) >= MAJORITY:
        return _array(variable)
    if _is_time(variable):
        return {"": {"type": "timestamp"}}
    texts = variable.of(str)
    long = variable.share(str) >= MAJORITY and median(map(len, texts)) > LONG_TEXT
    if long:
        return {
            "_length": {"type": "numeric", "function": "length", "tags": ["text"]}
            | _numeric([len(text) for text in texts]),
            "_word_count": {"type": "numeric", "function": "word_count", "tags": ["text"]}
            | _numeric([len(text.split()) for text in texts]),
        }
    if variable.share(bool) >= MAJORITY:
        suggested: dict[str, Any] = {"type": "boolean"}
    elif variable.share(int, float) >= MAJORITY:
        suggested = {"type": "numeric"} | _numeric(variable.of(int, float))
    elif variable.share(str, int, float, bool) >= MAJORITY:
        suggested = {"type": "string"}
    else:
        return {}
    if _is_identifier(variable):
        return {"": {"type": suggested["type"], "tags": ["id"], "segmentations": {}}}
    if constant:
        return {"": {"type": suggested["type"], "segmentations": {}}}
    return {"": suggested}


def _array(variable: Variable) -> dict[str, dict[str, Any]]:
    arrays = variable.of(list)
    suggested = {"_length": {"type": "numeric", "function": "array_length"} | _numeric([len(one) for one in arrays])}
    elements = [element for one in arrays for element in one if element is not None]
    if elements and all(isinstance(element, str) for element in elements) and len(set(elements)) <= FEW_ELEMENTS:
        suggested[""] = {"type": "string"}
    return suggested


def _numeric(values: list[float]) -> dict[str, Any]:
    """The segmentation of numbers."""
    numbers = np.asarray(values, dtype=np.float64)
    numbers = numbers[np.isfinite(numbers)]
    if bool((numbers == np.floor(numbers)).all()) and len(np.unique(numbers)) <= FEW_INTEGERS:
        return {"segmentations": {"original": {"default": True, "discrete": True}}}
    width = bucket_width(numbers)
    how = {"discrete": True} if width is None else {"bucket_size": int(width) if width.is_integer() else width}
    return {"segmentations": {"original": {"default": True, **how}}}


def _is_time(variable: Variable) -> bool:
    words = {word.lower() for word in _WORD.findall(variable.source)}
    if not words & _TIME_WORDS:
        return False
    times = sum(parse_timestamp(value) is not None for value in variable.values)
    return times / len(variable.values) >= MAJORITY


def _is_identifier(variable: Variable) -> bool:
    count = len(variable.values)
    if variable.equal_to_id / count >= MAJORITY:
        return True
    if variable.share(str) >= MAJORITY and count >= 100 and variable.distinct / count > 0.9:
        return True
    named = variable.name.lower() == "id" or variable.name.lower().endswith("_id")
    return named and variable.distinct > 1_000


def _key(value: Any) -> Any:
    return json.dumps(value, sort_keys=True) if isinstance(value, list | dict) else (type(value) is bool, value)


def _allowed(name: str) -> str:
    """The name with ``_`` for what a field name may not hold."""
    name = re.sub(r"[^\w@-]", "_", name)
    return name if problem_of(name) is None else f"field_{name}"


def _free(name: str, new: Mapping[str, Any]) -> str:
    """The name, with a number where another new field has it."""
    number, free = 2, name
    while free in new:
        free = f"{name}_{number}"
        number += 1
    return free
