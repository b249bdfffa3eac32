"""Backtests: how often the verses of a configuration would have fired, before it is saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from mona_server.api.caller import Caller
from mona_server.api.edge import Edge
from mona_server.api.identity import audit
from mona_server.api.identity.roles import Permission
from mona_server.config import Parsed, parse
from mona_server.errors import BadRequest, MonaError
from mona_server.settings import Settings
from mona_server.store import Store, jobs
from mona_server.store.jobs import Job

KIND = "backtest"
DAYS = 90
MAX_DEPTH = 2
_DAY_MS = 86_400_000


def start(edge: Edge, caller: Caller, parsed: Parsed, verses: list[str] | None) -> str:
    """Queue a backtest of a good configuration of one class; the job's id. Raises :class:`BadRequest`."""
    if len(parsed.classes) != 1:
        raise BadRequest("config: must be of one context class", hint="name it by context_class")
    (name,) = parsed.classes
    caller.require(Permission.CONFIG_WRITE, name)
    known = {verse.name for verse in parsed.classes[name].verses}
    unknown = sorted(set(verses or ()) - known)
    if unknown:
        raise BadRequest(f"verses: there is no {unknown[0]}", hint=f"known are {', '.join(sorted(known))}")
    parameters = {"context_class": name, "config": dict(parsed.raw), "verses": verses, "now_ms": edge.clock()}
    job_id = jobs.create(edge.meta, caller.tenant, KIND, parameters, edge.clock(), author=caller.author)
    audit.record(edge.meta, caller.actor, "config.backtest", job_id, now_ms=edge.clock())
    return job_id


def do(store: Store, settings: Settings, job: Job, progress: Callable[[float, Any], None]) -> Mapping[str, Any]:
    """Run the verses over the last 90 days that hold data, to depth 2. Runs in the background process; saves nothing.

    Result: ``{"from", "to", "verses": [{"verse_name", "runs", "insights", "signals_kept_back", "days", "error"}]}``.
    """
    # The search is loaded here, in the process that needs it.
    from mona_server.detect import search
    from mona_server.detect.windows import window_ends
    from mona_server.insights.data import ClassData
    from mona_server.insights.runs import Desk

    name = job.parameters["context_class"]
    context_class = parse(job.parameters["config"], lenient=True).classes[name]
    desk = Desk.of(store, settings)
    data = ClassData.open(store, desk.engine, job.tenant, context_class)
    info = next((one for one in store.classes(job.tenant) if one.name == name), None)
    if data is None or info is None or info.last_day is None:
        raise BadRequest(f"{name} has no data to test with")
    end_ms = min(job.parameters["now_ms"], (info.last_day + 1) * _DAY_MS)
    until = datetime.fromtimestamp(end_ms / 1000, UTC)
    after = datetime.fromtimestamp(end_ms / 1000 - DAYS * 86_400, UTC)
    wanted = job.parameters["verses"]
    chosen = [verse for verse in context_class.verses if wanted is None or verse.name in wanted]
    done: list[dict[str, Any]] = list((job.checkpoint or {}).get("verses", ()))
    for place, verse in enumerate(chosen[len(done) :], start=len(done)):
        shallow = replace(
            verse, values={**verse.values, "max_segment_depth": min(verse["max_segment_depth"], MAX_DEPTH)}
        )
        told: dict[str, Any] = {
            "verse_name": verse.name,
            "runs": 0,
            "insights": 0,
            "signals_kept_back": 0,
            "days": [],
            "error": None,
        }
        start_ms = data.start_ms(verse["timestamp_field_name"])
        ends = window_ends(verse["cadence"], after, until) if start_ms is not None else []
        for number, at in enumerate(ends):
            assert start_ms is not None
            progress((place + number / len(ends)) / len(chosen), {"verses": done})
            try:
                found = search(
                    shallow, data.look, at, data_start_ms=start_ms, max_candidates=settings.engine.max_candidates
                )
            except MonaError as error:
                told["error"] = str(error)
                break
            told["runs"] += 1
            told["insights"] += len(found.findings)
            told["signals_kept_back"] += len(found.held_back)
            if found.findings:
                told["days"].append(int(at.timestamp()))
        done.append(told)
    desk.engine.close()
    return {"from": after.timestamp(), "to": until.timestamp(), "verses": done}
