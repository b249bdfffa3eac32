"""How long after its acknowledgement a message is seen by queries, on a whole server under moderate load.

    python -m benchmarks visible -- --seconds 60 --rate 2000

``mona up`` with default settings, in processes of its own. One connection sends batches of 100 messages (half of them
new contexts, half labels of the batch 50 before); two others ask without pause how many contexts there are
(``/api/v1/query/segment``) and which contexts of the newest seconds (``/get_ingested_data``). A batch counts as seen when
the answer that holds its contexts has been read, so the time of the query itself is in the figure. Ends with 1
when a batch took longer than the promise of 5 s.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from benchmarks.at_rest import server
from benchmarks.soak import enter
from benchmarks.soak_load import Server

CLASS, BATCH, PROMISE_S = "VISIBLE", 100, 5.0
NEW = BATCH // 2
LABEL_AFTER = 50
"""Batches between a context and its label."""
CONFIG = {
    CLASS: {
        "fields": {f"number{i}": {"type": "numeric"} for i in range(5)}
        | {f"word{i}": {"type": "string"} for i in range(4)}
        | {"label": {"type": "boolean"}}
    }
}


@dataclass
class Sent:
    """When each batch was acknowledged, and how long that took; seconds of the monotonic clock."""

    start_s: int
    """Unix seconds of the first batch's contexts; each batch has a second of its own."""
    acknowledged: list[float] = field(default_factory=list)
    took: list[float] = field(default_factory=list)

    def send(self, to: Server, rate: float, stop: threading.Event) -> None:
        """The life of the sending thread."""
        begun = time.monotonic()
        while not stop.is_set():
            n = len(self.acknowledged)
            started = time.monotonic()
            to.call("POST", "/export", {"messages": self._messages(n)}, key=f"batch {n}")
            now = time.monotonic()
            self.acknowledged.append(now)
            self.took.append(now - started)
            stop.wait(max(0.0, begun + (n + 1) * BATCH / rate - now))

    def _messages(self, n: int) -> list[dict[str, object]]:
        messages: list[dict[str, object]] = [
            {
                "arcClass": CLASS,
                "contextId": f"{n}-{i}",
                "exportTimestamp": self.start_s + n,
                "message": {f"number{j}": n * 0.37 + i + j for j in range(5)}
                | {f"word{j}": f"value {(n + i + j) % 17}" for j in range(4)},
            }
            for i in range(NEW)
        ]
        if n >= LABEL_AFTER:
            messages += [
                {"arcClass": CLASS, "contextId": f"{n - LABEL_AFTER}-{i}", "message": {"label": i % 3 == 0}}
                for i in range(BATCH - NEW)
            ]
        return messages

    def watch(self, seen_batches: Callable[[int], int], stop: threading.Event, into: list[float]) -> None:
        """The life of an asking thread: ``seen_batches`` says how many batches queries see, given how many they saw."""
        seen = 0
        while not (stop.is_set() and seen == len(self.acknowledged)):
            if seen == len(self.acknowledged):
                time.sleep(0.005)
                continue
            found = seen_batches(seen)
            now = time.monotonic()
            # A batch may be seen before its own answer has come back; it was not late then.
            into += [max(0.0, now - at) for at in self.acknowledged[seen:found]]
            seen = min(found, len(self.acknowledged))


def by_count(to: Server, sent: Sent) -> Callable[[int], int]:
    """Batches seen by ``/api/v1/query/segment``: batches are folded in order, so their number follows from a count."""

    def seen(_: int) -> int:
        ask = {
            "context_class": CLASS,
            "timestamp_from": sent.start_s,
            "timestamp_to": sent.start_s + 86_400,
            "requested_segments": [{}],
            "metrics": [{"field": "number0", "types": ["average", "count"]}],
        }
        return int(to.call("POST", "/api/v1/query/segment", ask)["segments"][0]["size"]) // NEW

    return seen


def by_contexts(to: Server, sent: Sent) -> Callable[[int], int]:
    """Batches seen by ``/get_ingested_data``, asked for the seconds that were not seen yet."""

    def seen(before: int) -> int:
        ask = {
            "context_class": CLASS,
            "start_time": sent.start_s + before,
            "end_time": sent.start_s + before + 1_000,
            "segment": {},
            "sampling_threshold": 100_000,
        }
        answer = to.call("POST", "/get_ingested_data", ask)
        return before + len(answer.get("response_data", answer)["crcs"]) // NEW

    return seen


def main(argv: list[str]) -> None:
    """Prints one line per query, and one for the acknowledgements."""
    parser = argparse.ArgumentParser(prog="benchmarks visible", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=float, default=2_000, help="messages per second")
    options = parser.parse_args(argv)
    with server() as (settings, _):
        to = enter(settings)
        to.call("POST", "/api/v1/config", {"config": CONFIG, "commit_message": "visible"})
        sent, stop = Sent(start_s=int(time.time()) // 86_400 * 86_400 - 7 * 86_400), threading.Event()
        times: dict[str, list[float]] = {"/api/v1/query/segment": [], "/get_ingested_data": []}
        askers = (by_count(to, sent), by_contexts(to, sent))
        threads = [threading.Thread(target=sent.send, args=(to, options.rate, stop), daemon=True)]
        threads += [
            threading.Thread(target=sent.watch, args=(asker, stop, into), daemon=True)
            for asker, into in zip(askers, times.values(), strict=True)
        ]
        for thread in threads:
            thread.start()
        time.sleep(options.seconds)
        stop.set()
        for thread in threads:
            thread.join(60)
    batches = len(sent.acknowledged)
    print(f"{batches * BATCH / options.seconds:,.0f} messages/s over {options.seconds:.0f} s")
    print(f"{'seconds':<40}{'p50':>8}{'p99':>8}{'max':>8}")
    for name, values in {
        "until the acknowledgement": sent.took,
        **{f"from then on, {n}": t for n, t in times.items()},
    }.items():
        if len(values) != batches:
            sys.exit(f"{name}: only {len(values)} of {batches} batches were seen")
        print(f"{name:<40}" + "".join(f"{np.percentile(values, p):>8.3f}" for p in (50, 99, 100)))
    if max(map(max, times.values())) > PROMISE_S:
        sys.exit(f"a batch was seen later than {PROMISE_S:.0f} s after its acknowledgement")


if __name__ == "__main__":
    main(sys.argv[1:])
