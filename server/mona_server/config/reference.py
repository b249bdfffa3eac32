"""The tables of the configuration reference, made from the registries.

``python -m mona_server.config.reference docs/configuration.md`` renews what stands between ``<!-- name -->`` and
``<!-- /name -->`` in the document; a test keeps it in step.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mona_server.config.functions import GROUPS, BuildFunction
from mona_server.config.functions.declare import KIND_WORDS
from mona_server.config.model import FIELD_TYPES
from mona_server.config.read_notifications import DESTINATIONS, RULES
from mona_server.detect.verses import VERSES, VerseType


def renewed(document: str) -> str:
    """The document with its generated parts as they are now."""
    parts = {
        "types": ", ".join(f"`{name}`" for name in FIELD_TYPES),
        "functions": "\n".join(_functions()),
        "verses": "\n".join(_verses()),
        "destinations": ", ".join(f"`{name}`" for name in DESTINATIONS),
        "rules": ", ".join(f"`{name}`" for name in RULES),
    }
    for name, part in parts.items():
        start, end = re.escape(f"<!-- {name} -->"), re.escape(f"<!-- /{name} -->")
        marked = re.compile(f"({start}\n).*?({end})", re.DOTALL)
        document, found = marked.subn(lambda match: f"{match[1]}{part}\n{match[2]}", document)  # noqa: B023 - used here
        assert found == 1, f"the document has no part {name!r}"
    return document


def _functions() -> Iterator[str]:
    for group in GROUPS:
        yield f"### {group.name}\n"
        yield from _table(
            ("function", "sources", "args", "result", "meaning", "example"),
            (
                (
                    f"`{one.name}`",
                    _sources(one),
                    _args(one),
                    KIND_WORDS[one.returns],
                    one.doc,
                    _example(one),
                )
                for one in group.functions.values()
            ),
        )
        yield ""


def _sources(one: BuildFunction) -> str:
    words = [KIND_WORDS[kind] for kind in one.sources]
    if one.open_ended:
        words[-1] += " ..."
    return ", ".join(words) or "none"


def _args(one: BuildFunction) -> str:
    shown = [f"[{arg.name}] for a source that is not given" for arg in one.operands]
    for arg in one.args:
        shown.append(arg.name if arg.required else f"{arg.name}={_json(arg.default)}")
    return ", ".join(shown) or "–"


def _example(one: BuildFunction) -> str:
    example = one.example
    args = f" {_json(list(example.args))}" if example.args else ""
    return f"`{', '.join(map(_json, example.sources))}`{args and f' with `{args.strip()}`'} → `{_json(example.result)}`"


def _verses() -> Iterator[str]:
    """What all types share, then each family: its types, what they share, and what only some have."""
    types = list(VERSES.values())
    everywhere = _shared(types) - {"min_anomaly_level"}
    yield "### In every type\n"
    yield from _parameters(p.to_json() for p in types[0].parameters if p.name in everywhere)
    for family in dict.fromkeys(one.family for one in types):
        members = [one for one in types if one.family == family]
        shared = _shared(members) - everywhere
        yield f"\n### {family}\n"
        yield from (f"- `{one.type}`: {one.doc}" for one in members)
        yield ""
        yield from _parameters(p.to_json() for p in members[0].parameters if p.name in shared)
        for one in members:
            own = [p.to_json() for p in one.parameters if p.name not in shared | everywhere]
            if own:
                yield f"\nOnly `{one.type}`, or with another default there:\n"
                yield from _parameters(own)


def _shared(types: list[VerseType]) -> set[str]:
    """Names of the parameters that all of these types have, with the same default."""
    described = [{json.dumps(p.to_json()): p.name for p in one.parameters} for one in types]
    same = set.intersection(*map(set, described))
    return {described[0][text] for text in same}


def _parameters(parameters: Iterable[dict[str, Any]]) -> Iterator[str]:
    yield from _table(
        ("parameter", "kind", "default", "meaning"),
        (
            (
                f"`{one['name']}`",
                one["form"],
                _default(one),
                one["doc"],
            )
            for one in parameters
        ),
    )


def _default(one: dict[str, Any]) -> str:
    if one["required"]:
        return "required"
    words = one["default_words"]
    return f"`{_json(one['default'])}`" if words is None else f"`{words}`" if "<" in words else words


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|').replace(chr(10), ' ') for cell in row)} |"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).replace("`", "'")


def main(arguments: list[str]) -> None:
    """Renew the document at the given path."""
    (path,) = map(Path, arguments)
    path.write_text(renewed(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
