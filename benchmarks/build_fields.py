"""Fields built per second by one process, beside decoding the same message: what building adds to what must be done.

Classes of 40 fields: plain copies only; the same with values that need a cast; with functions; with free text.
The fold must take 25,000 messages a second, of which building may use a small part.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec

from mona_server.config import parse
from mona_server.config.fields import FieldBuilder

FIELDS = 40


def main(argv: list[str]) -> None:
    messages = int(argv[0]) if argv else 20_000
    variables: dict[str, Any] = {}
    for i in range(FIELDS):
        variables[f"v{i}"] = (i * 1.5, i, f"value {i}", i % 2 == 0)[i % 4]
    kinds = ("numeric", "numeric", "string", "boolean")
    plain = {f"v{i}": {"type": kinds[i % 4]} for i in range(FIELDS)}
    cast = {f"v{i}": {"type": ("string", "numeric")[i % 2]} for i in range(FIELDS)}
    functions = dict(plain) | {
        f"f{i}": {"type": "numeric", "function": "delta", "sources": [f"v{i}", f"v{i + 1}"]} for i in range(0, 20, 4)
    }
    functions["key"] = {"type": "string", "function": "concat_strings", "sources": ["v2", "v6"], "args": ["_"]}
    functions["deep"] = {"type": "numeric", "source": "response.usage.total_tokens"}
    functions["hour"] = {"type": "numeric", "function": "hour_of_day", "source": "when"}
    text = {
        name: {"type": "numeric", "function": name, "source": "answer"}
        for name in ("word_count", "sentence_count", "email_count", "preposition_ratio", "reading_ease")
    }
    texts = {"answer": "The quick brown fox jumps over the lazy dog, and so on. " * 20}
    nested = {"response": {"usage": {"total_tokens": 17}}, "when": 1611930299}
    body = msgspec.json.encode(variables)
    decoding = _seconds(lambda: msgspec.json.decode(body), messages)
    print(f"{'class of fields':<34}{'us per context':>15}{'per second':>12}{'x decode':>9}")
    print(f"{'(decoding 40 values with msgspec)':<34}{decoding * 1e6:>15.2f}{1 / decoding:>12,.0f}{1:>9.1f}")
    for name, fields, values in (
        ("40 copies", plain, variables),
        ("40 with casts", cast, variables),
        ("40 copies, 8 functions", functions, variables | nested),
        ("5 text statistics of 1,100 signs", text, texts),
    ):
        builder = FieldBuilder(parse({"C": {"fields": fields}}).or_raise().classes["C"])
        _, problems = builder.build(values, 0)
        assert not problems, problems
        seconds = _seconds(lambda build=builder.build, given=values: build(given, 0), messages)
        print(f"{name:<34}{seconds * 1e6:>15.2f}{1 / seconds:>12,.0f}{seconds / decoding:>9.1f}")


def _seconds(run: Any, times: int) -> float:
    """Seconds of one call, the best of five rounds."""
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(max(times // 5, 1)):
            run()
        best = min(best, (time.perf_counter() - start) / max(times // 5, 1))
    return best
