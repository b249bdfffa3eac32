"""``mona_server.check``: the search on a table, without a server or a data directory.

    import mona_server
    result = mona_server.check(frame, config, now="2021-04-29")
    result                      # in a notebook: a page with charts
    result.table                # a list of rows, one per insight
    result.save_html("found.html")

The same insights that the server would report for these contexts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mona_server.config import ContextClass, parse
from mona_server.config.timestamps import parse_timestamp
from mona_server.detect import search
from mona_server.detect.parameters import period_ms
from mona_server.detect.search import NOTHING
from mona_server.detect.signal import Report
from mona_server.detect.verses.base import Verse
from mona_server.detect.windowed import remembering, shared
from mona_server.detect.windows import Look, window_end
from mona_server.errors import BadRequest, NotFound
from mona_server.insights import alerts, check_report
from mona_server.insights.columns import TableData
from mona_server.insights.evidence import series
from mona_server.insights.forming import drafts_of, unjudged
from mona_server.insights.lifecycle import Draft, identity
from mona_server.insights.repository import body_of, to_json
from mona_server.insights.titles import title
from mona_server.segment import Segment

Json = dict[str, Any]
Moment = datetime | date | str | float
MOST_HELD_BACK = 100
"""So many signals of one run that could be chance are shown, the strongest."""


@dataclass(frozen=True, slots=True)
class CheckedVerse:
    """What one verse looked at for one window end."""

    verse: Verse
    at_s: int
    report: Report
    note: str = ""

    def to_json(self) -> Json:
        report = self.report
        return {
            "verse_name": self.verse.name,
            "stanza_name": self.verse.stanza,
            "timestamp": self.at_s,
            "candidates": report.candidates,
            "pruned": report.pruned,
            "tests": report.tests,
            "passed_level": report.passed_level,
            "passed_chance": report.passed_chance,
            "max_depth_used": report.max_depth_used,
            "expected_false": report.expected_false,
            "notes": list(dict.fromkeys([*([self.note] if self.note else []), *report.notes])),
        }


@dataclass(frozen=True, slots=True, repr=False)
class CheckResult:
    """The insights of a table, strongest first, and what was looked at to find them."""

    context_class: str
    insights: tuple[Json, ...]
    held_back: tuple[Json, ...]
    """The strongest signals that pass their level but could be chance: ``title`` and ``main_signal`` each."""
    verses: tuple[CheckedVerse, ...]
    charts: Mapping[str, Sequence[Json]] = field(default_factory=dict)
    """Insight id → frames with value, size, baseline value and size."""
    warnings: tuple[str, ...] = ()
    """What is odd in the configuration or missing in the table."""

    def __repr__(self) -> str:
        """One line; ``print(result)`` shows the insights.

        >>> CheckResult("LOAN", (), (), ())
        <CheckResult LOAN: 0 insights from 0 tests>
        """
        return f"<CheckResult {self.context_class}: {check_report.summary(self)}>"

    def __str__(self) -> str:
        return self.text()

    def __len__(self) -> int:
        return len(self.insights)

    def __iter__(self) -> Iterator[Json]:
        return iter(self.insights)

    def __bool__(self) -> bool:
        """Was anything found?"""
        return bool(self.insights)

    @property
    def held_back_count(self) -> int:
        """How many signals pass their level but could be chance."""
        return sum(one.report.passed_level - one.report.passed_chance for one in self.verses)

    @property
    def table(self) -> list[Json]:
        """One flat row per insight, ready for ``pandas.DataFrame`` or ``polars.DataFrame``."""
        return [check_report.row(insight) for insight in self.insights]

    def to_json(self) -> Json:
        """Everything, as ``mona check --json`` prints it."""
        return {
            "context_class": self.context_class,
            "insights": list(self.insights),
            "held_back": list(self.held_back),
            "runs": [one.to_json() for one in self.verses],
            "warnings": list(self.warnings),
        }

    def text(self) -> str:
        """For a terminal or a log."""
        return check_report.text(self)

    def to_junit(self) -> str:
        """JUnit XML: one case per verse, which fails when it found something."""
        return check_report.junit(self)

    def to_sarif(self) -> Json:
        """SARIF 2.1.0: one result per insight."""
        return check_report.sarif(self)

    def to_html(self) -> str:
        """A page of its own that loads nothing."""
        return check_report.html(self)

    def save_html(self, path: str | Path) -> Path:
        """Write :meth:`to_html` to a file."""
        path = Path(path)
        path.write_text(self.to_html(), encoding="utf-8")
        return path

    def _repr_html_(self) -> str:
        return check_report.html(self, whole_page=False)


def check(
    table: Any,
    config: Any,
    *,
    now: Moment | Sequence[Moment] | None = None,
    context_class: str | None = None,
    time: str | None = None,
    verses: str | Sequence[str] | None = None,
    progress: bool = True,
    explain: bool = True,
) -> CheckResult:
    """Search a table for anomalies. Rows are contexts.

    ``table``: a pandas or polars frame, an Arrow table, a DuckDB relation, a list of dicts, or the path of a CSV,
    Parquet or JSON file. ``config``: the configuration as an object, JSON text or a path. ``now``: judge the windows that
    end at or before it (several moments: each); without it, the windows that hold the last row. ``context_class``: which
    class of the configuration, where it has several. ``time``: the column with the time of the rows. ``verses``: only
    these, by name. ``progress``: show a bar in a terminal. ``explain``: look for explanations, too.

    Raises :class:`BadRequest` for a table, configuration or time that cannot be read, :class:`NotFound` for an unknown class.
    """
    scope, warnings = _class(config, context_class)
    chosen = _verses(scope, verses)
    with check_report.progress_bar(progress) as tell:
        data = TableData.of(table, scope, time, partial(tell, "building fields"))
        warnings += data.empty_fields(chosen)
        moments: list[datetime | None] = [None] if now is None else [_moment(one) for one in _several(now)]
        searched = _Searched()
        looks = {verse.name: _look(data, verse, [_at(verse, moment, data) for moment in moments]) for verse in chosen}
        for moment in moments:
            new: list[Segment] = []
            for verse in chosen:
                tell(f"searching {verse.name}", len(searched.verses) / (len(moments) * len(chosen)))
                at = _at(verse, moment, data)
                near = looks[verse.name] if len(moments) == 1 else data.look
                _search(data, looks[verse.name], near, verse, at, new, searched, explain=explain)
    written = [(_insight(draft, at_s), draft) for draft, at_s in searched.insights.values()]
    written.sort(key=lambda pair: (-pair[0]["score"], pair[0]["insight_id"]))
    charts = {one["insight_id"]: series(d.main.verse, d.evidence) for one, d in written if d.evidence is not None}
    found = tuple(one for one, _ in written)
    return CheckResult(scope.name, found, tuple(searched.held_back), tuple(searched.verses), charts, tuple(warnings))


@dataclass(slots=True)
class _Searched:
    """What the runs of a check brought so far."""

    insights: dict[str, tuple[Draft, int]] = field(default_factory=dict)
    held_back: list[Json] = field(default_factory=list)
    verses: list[CheckedVerse] = field(default_factory=list)


def _look(data: TableData, verse: Verse, moments: Sequence[datetime]) -> Look:
    """How a verse reads the table: once for all moments, where their windows overlap; for one moment also explanations."""
    start_ms = data.start_ms(verse["timestamp_field_name"])
    if start_ms is None or len(moments) < 2:
        return remembering(data.look)
    plans = [verse.type.plan(verse, int(at.timestamp() * 1000), start_ms, data.look) for at in moments]
    usable = [plan for plan in plans if plan is not None and len(plan.target) and len(plan.questions) == 1]
    last_only = verse.type.family == "SuddenChange"
    judged = [plan.target.last - 1 if last_only else plan.target.first for plan in usable]
    return shared(data.look, [plan.questions[0] for plan in usable], judged)


def _search(
    data: TableData,
    look: Look,
    near: Look,
    verse: Verse,
    at: datetime,
    new: list[Segment],
    searched: _Searched,
    *,
    explain: bool,
) -> None:
    """One run of one verse, explained by what ``near`` reads; ``new``: segments that earlier runs of this moment found to be new, and this one adds to."""
    at_s = int(at.timestamp())
    start_ms = data.start_ms(verse["timestamp_field_name"])
    plan = None if start_ms is None else verse.type.plan(verse, at_s * 1000, start_ms, data.look)
    nothing = f"{NOTHING}: rows are {data.range_text}"
    if start_ms is None or plan is None or not len(plan.target):
        searched.verses.append(CheckedVerse(verse, at_s, Report(), nothing))
        return
    short = alerts.shortage(verse, plan, start_ms, partial(data.contexts, plan.questions[-1]))
    if short is not None:
        searched.verses.append(CheckedVerse(verse, at_s, Report(), short.text))
        return
    result = search(verse, look, at, data_start_ms=start_ms, known=new)
    if verse.type.family == "New":
        new += [signal.segment for signal in result.signals]
    fields = data.related_fields(verse["find_related_anomalies_for"], verse["avoid_related_anomalies_for"])
    for draft in drafts_of(verse, result, plan, fields if explain else (), near, close=explain):
        searched.insights.setdefault(f"{draft.identity}{at_s}", (draft, at_s))
    kept = [signal.to_json() for signal in result.held_back[:MOST_HELD_BACK]]
    searched.held_back += [{"title": title(signal), "main_signal": signal} for signal in kept]
    note = nothing if NOTHING in result.report.notes else unjudged(plan, result.report) or ""
    searched.verses.append(CheckedVerse(verse, at_s, result.report, note))


def _class(config: Any, name: str | None) -> tuple[ContextClass, list[str]]:
    """The class to check, and what is odd about it. A config may be that of one class, of several, or the whole file with the user id."""
    if isinstance(config, Path) or (isinstance(config, str) and not config.lstrip().startswith("{")):
        path = Path(config)
        if not path.is_file():
            raise BadRequest(f"there is no configuration {path}")
        config = path.read_text(encoding="utf-8")
    given: Any = config
    if isinstance(config, str):
        try:
            given = json.loads(config)
        except ValueError:
            parse(config).or_raise()
    if isinstance(given, Mapping) and "fields" in given and "fields" not in (given["fields"] or {}):
        given = config = {name or "table": given}
    if isinstance(given, Mapping) and len(given) == 1:
        (inner,) = given.values()
        if isinstance(inner, Mapping) and inner and "fields" not in inner:
            config = inner
    parsed = parse(config).or_raise()
    classes = parsed.classes
    if name is None:
        if len(classes) != 1:
            raise BadRequest(
                f"the configuration has {len(classes)} classes", hint=f"name one of {', '.join(classes) or 'none'}"
            )
        name = next(iter(classes))
    if name not in classes:
        raise NotFound(f"Unknown context class: {name}", hint=f"the configuration has {', '.join(classes)}")
    about = (name, f"{name}.")
    odd = [issue.text for issue in parsed.issues if issue.severity == "warning" and issue.path.startswith(about)]
    return classes[name], odd


def _verses(scope: ContextClass, names: str | Sequence[str] | None) -> list[Verse]:
    """The verses to run, those for new segments first, because others ask what is new. Disabled ones only by name."""
    chosen = [verse for verse in scope.verses if not verse["disabled"]]
    known = ", ".join(verse.name for verse in scope.verses)
    if names is None and not chosen:
        raise BadRequest(
            f"class {scope.name} has no verse, so there is nothing to look for",
            hint=f"all are disabled: {known}" if known else "add a stanza with verses to the configuration",
        )
    if isinstance(names, str):
        names = [names]
    if names is not None:
        missing = [name for name in names if scope.verse(name) is None]
        if missing:
            raise NotFound(f"class {scope.name} has no verse {missing[0]}", hint=f"it has {known}" if known else "")
        chosen = [verse for verse in (scope.verse(name) for name in names) if verse is not None]
    return sorted(chosen, key=lambda verse: verse.type.family != "New")


def _several(now: Any) -> list[Any]:
    return list(now) if isinstance(now, list | tuple) else [now]


def _moment(given: Moment) -> datetime:
    """A moment as people write it: aware or UTC datetimes, dates, ISO texts, Unix seconds or milliseconds."""
    if isinstance(given, datetime):
        return given if given.tzinfo else given.replace(tzinfo=UTC)
    ms = parse_timestamp(given.isoformat() if isinstance(given, date) else given)
    if ms is None:
        raise BadRequest(f"{given!r} is no time", hint="for example 2021-04-29, 2021-04-29T12:00Z or 1619654400")
    return datetime.fromtimestamp(ms / 1000, UTC)


def _at(verse: Verse, moment: datetime | None, data: TableData) -> datetime:
    if moment is not None:
        return window_end(verse["cadence"], moment)
    last = datetime.fromtimestamp(int(data.time_ms.max()) / 1000, UTC)
    end = window_end(verse["cadence"], last)
    step = period_ms(verse["cadence"]) / 1000
    return window_end(verse["cadence"], datetime.fromtimestamp(end.timestamp() + step, UTC))


def _insight(draft: Draft, at_s: int) -> Json:
    """The insight object, as the server would make it in its first run; the id follows from what was found."""
    main = draft.main
    key = hashlib.sha256(f"{identity(main)}{at_s}".encode()).hexdigest()[:20]
    nothing = dict.fromkeys(
        ("feedback", "feedback_note", "assignee", "snoozed_until_s", "resolved_s", "resolved_reason", "previous_id")
    )
    row = SimpleNamespace(
        id=f"ins_{key}",
        context_class=main.verse.context_class,
        stanza=main.verse.stanza,
        verse_name=main.verse.name,
        score=main.score,
        state="new",
        archived=False,
        exclude_window=False,
        urgency=draft.urgency,
        first_s=at_s,
        last_s=at_s,
        occurrences=1,
        reopened=0,
        config_id=None,
        as_of=None,
        run_id=None,
        time_axis=main.verse["timestamp_field_name"],
        body=body_of(draft, ""),
        **nothing,
    )
    return to_json(row)
