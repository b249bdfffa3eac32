"""``mona detect`` searches stored data, for one window end or each of a range; ``mona check`` searches a file;
``mona recompute`` proves an exported insight."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from mona_server import settings as settings_module
from mona_server.cli.common import DEFAULT_DATA, DataDir, Json, Tenant, open_store, parse_time, progress_bar
from mona_server.errors import BadRequest, NotFound

if TYPE_CHECKING:
    from mona_server.detect.verses.base import Verse


def detect(
    context_class: Annotated[str, typer.Option("--class", help="The context class.")],
    data: DataDir = DEFAULT_DATA,
    tenant: Tenant = "default",
    now: Annotated[str, typer.Option(help="Judge the windows that end at or before this time.")] = "now",
    since: Annotated[
        str | None, typer.Option("--since", help="Judge each window end from here to --now, newest first.")
    ] = None,
    verse: Annotated[list[str] | None, typer.Option("--verse", help="Only this verse; several times.")] = None,
    as_json: Json = False,
) -> None:
    """Run the verses of a class on the data that is stored, with the server running or not. Nobody is notified."""
    from mona_server.config import revisions
    from mona_server.insights.runs import Desk, run_at

    last = datetime.fromtimestamp(parse_time(now), UTC)
    first = last if since is None else datetime.fromtimestamp(parse_time(since), UTC)
    if first > last:
        raise BadRequest("--since is after --now")
    found: dict[str, dict[str, Any]] = {}
    runs = []
    with open_store(data, must_exist=True) as store:
        active = revisions.active(store.meta, tenant)
        known = {} if active is None else active.classes
        if active is None or context_class not in known:
            names = ", ".join(known) or "none"
            raise NotFound(f"class {context_class} has no configuration", hint=f"configured are: {names}")
        scope = known[context_class]
        verses = _chosen(scope.verses, verse)
        ends = [(end, one) for one in verses for end in _ends(one, first, last, every=since is not None)]
        ends.sort(key=lambda pair: pair[0], reverse=True)  # a finding of the past knows what the runs after it found
        desk = Desk.of(store, settings_module.load(data))
        reason = "demand" if since is None else "backfill"
        with progress_bar(Console(stderr=True)) as progress:
            task = progress.add_task("searching", total=len(ends))
            for end, one in ends:
                progress.update(task, description=f"searching {end:%Y-%m-%d} {one.name}")
                outcome = run_at(desk, tenant, scope, one, end, reason, config_id=active.id, quiet=True)
                runs.append(outcome.run)
                found |= {insight["insight_id"]: insight for insight in outcome.insights}
                progress.advance(task)
    insights = sorted(found.values(), key=lambda insight: -insight["score"])
    if as_json:
        print(json.dumps({"runs": runs, "insights": insights}))
    else:
        print_insights(Console(), insights)
        tests = sum(run.get("tests") or 0 for run in runs)
        print(f"{len(runs)} runs, {tests:,} tests, {len(insights)} insights")


class Form(StrEnum):
    """How ``mona check`` answers."""

    TEXT = "text"
    JSON = "json"
    JUNIT = "junit"
    SARIF = "sarif"
    HTML = "html"


def check(
    file: Annotated[Path, typer.Argument(help="CSV, Parquet, JSON or Arrow; rows are contexts.")],
    config: Annotated[Path, typer.Option("--config", help="The configuration: a JSON file.")],
    context_class: Annotated[
        str | None, typer.Option("--class", help="The class of the configuration, where it has several.")
    ] = None,
    now: Annotated[
        str | None, typer.Option(help="Judge the windows that end at or before it. Default: after the last row.")
    ] = None,
    time_column: Annotated[
        str | None, typer.Option("--time-column", "--time", help="Column with the time of the rows.")
    ] = None,
    verse: Annotated[list[str] | None, typer.Option("--verse", help="Only this verse; several times.")] = None,
    form: Annotated[Form, typer.Option("--format", help="How to answer.")] = Form.TEXT,
    as_json: Json = False,
    output: Annotated[Path | None, typer.Option(help="Write the answer to this file.")] = None,
) -> None:
    """Search a file, without a server. Code 0: nothing found, 1: something found, 2: bad input."""
    from mona_server.insights.check import check as room

    moment = None if now is None else datetime.fromtimestamp(parse_time(now), UTC)
    try:
        result = room(file, config, now=moment, context_class=context_class, time=time_column, verses=verse)
    except NotFound as error:
        raise BadRequest(error.message, hint=error.hint) from None
    answers: dict[Form, Callable[[], str]] = {
        Form.TEXT: result.text,
        Form.JSON: lambda: json.dumps(result.to_json()),
        Form.JUNIT: result.to_junit,
        Form.SARIF: lambda: json.dumps(result.to_sarif()),
        Form.HTML: result.to_html,
    }
    answer = answers[Form.JSON if as_json else form]()
    if output is None:
        print(answer.rstrip("\n"))
    else:
        try:
            output.write_text(answer, encoding="utf-8")
        except OSError as error:
            raise BadRequest(f"{output} cannot be written: {error.strerror}") from None
    if result:
        raise typer.Exit(1)


def recompute(
    file: Annotated[Path, typer.Argument(help="An insight's file, as GET /api/v1/insights/{id}/export gives it.")],
    as_json: Json = False,
) -> None:
    """Compute an exported insight again from its sums. Code 0: as the file says, 1: it differs, 2: bad input."""
    from mona_server.insights import export

    try:
        given = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no JSON"
        raise BadRequest(f"{file} cannot be read: {reason}") from None
    again = export.recompute(given)
    if as_json:
        print(json.dumps(asdict(again)))
    else:
        print(given["insight"]["title"])
        numbers = {
            "value": again.value,
            "benchmark": again.benchmark,
            "level": again.anomaly_level,
            "score": again.score,
        }
        print("    " + ", ".join(f"{name} {value:.12g}" for name, value in numbers.items()))
        print("The numbers are as the file says." if again.agrees else "The file says other numbers.")
    if not again.agrees:
        raise typer.Exit(1)


def print_insights(console: Console, insights: list[dict[str, Any]]) -> None:
    """A table of insights, strongest first."""
    table = Table(box=None, pad_edge=False)
    for name, right in (("level", True), ("contexts", True), ("found", False), ("insight", False)):
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for insight in insights:
        signal = insight["main_signal"]
        day = datetime.fromtimestamp(insight["last_discovered"], UTC)
        level = "inf" if signal["is_score_inf"] else f"{signal['anomaly_level']:.2f}"
        table.add_row(level, f"{signal['segment_size']:,.0f}", f"{day:%Y-%m-%d}", insight["title"])
    if insights:
        console.print(table)


def _chosen(verses: tuple[Verse, ...], names: list[str] | None) -> list[Verse]:
    if not names:
        return list(verses)
    by_name = {verse.name: verse for verse in verses}
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise BadRequest(f"no verse {', '.join(unknown)}", hint=f"there are {', '.join(by_name)}")
    return [by_name[name] for name in names]


def _ends(verse: Verse, first: datetime, last: datetime, *, every: bool) -> Iterator[datetime]:
    """The window ends of a verse in first..last, newest first; only the newest unless ``every``."""
    from mona_server.detect.windows import window_end

    end = window_end(verse["cadence"], last)
    yield end
    while every and (end := window_end(verse["cadence"], end - timedelta(seconds=1))) >= first:
        yield end
