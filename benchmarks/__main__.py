"""Run benchmarks by name: ``python -m benchmarks [NAME ...] [-- ARGS]``.

A benchmark is a module of this folder with ``main(argv: list[str]) -> None``; it prints its table and the ratios that
its claim rests on. Timings of one run are compared with each other, never with those of another day.
"""

from __future__ import annotations

import importlib
import sys

BENCHMARKS = {
    "ingest": "messages accepted and folded per second, bytes per message on disk",
    "cold_start": "from the start of a server with much data to its first answers",
    "edge": "the HTTP edge under load beside a no-op handler",
    "build_fields": "fields built per second",
    "visible": "seconds from the acknowledgement of a message until queries see it",
    "at_rest": "memory and processor time of each process while nothing happens",
    "queries": "what pages ask beside plain DuckDB",
    "search_quality": "how often the search speaks when nothing happened, and how small a change it finds",
    "search_speed": "the search beside a plain GROUP BY loop and published drift packages",
    "sdk": "the SDK beside the public one",
}
"""Module name → what it shows. `insight_search` is not here: it is the adapter of an outside judge."""


def main(arguments: list[str]) -> None:
    names, _, rest = " ".join(arguments).partition("--") if "--" in arguments else (" ".join(arguments), "", "")
    chosen = names.split() or list(BENCHMARKS)
    unknown = [name for name in chosen if name not in BENCHMARKS]
    if unknown:
        sys.exit(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    for name in chosen:
        print(f"\n## {name}: {BENCHMARKS[name]}\n", flush=True)
        importlib.import_module(f"benchmarks.{name}").main(rest.split())


if __name__ == "__main__":
    main(sys.argv[1:])
