"""The result of a check in the forms that people and build servers read: text, JUnit, SARIF, HTML."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import mona_server
from mona_server import words
from mona_server.insights.titles import title
from mona_server.segment import Segment

if TYPE_CHECKING:
    from mona_server.insights.check import CheckResult

Json = dict[str, Any]
MOST_HELD_BACK = 5
MOST_RELATED = 20
WIDTH, HEIGHT, PAD = 640, 120, 4


def row(insight: Json) -> Json:
    """One insight as a flat row."""
    signal = insight["main_signal"]
    return {
        "title": insight["title"],
        "verse": insight["verse_name"],
        "metric": signal["kapi"],
        "segment": str(Segment.parse(signal["segment"])),
        "time": datetime.fromtimestamp(signal["timestamp"], UTC),
        "score": insight["score"],
        "level": signal["anomaly_level"],
        "value": signal["value"],
        "benchmark": signal["benchmark"],
        "contexts": signal["segment_size"],
        "share": signal["segment_ratio"],
        "q_value": signal["gates"]["chance"]["q_value"],
        "urgency": insight["urgency"],
        "related": len(insight["related_signals"]),
    }


def summary(result: CheckResult) -> str:
    """``1 insight from 313 tests``."""
    tests = sum(one.report.tests for one in result.verses)
    return f"{words.plural(len(result.insights), 'insight')} from {words.plural(tests, 'test')}"


def text(result: CheckResult) -> str:
    """Insights, strongest first, then what was looked at."""
    lines = [f"warning: {one}" for one in result.warnings]
    if lines:
        lines.append("")
    for insight in result.insights:
        flag = "URGENT " if insight["urgency"] == "high" else ""
        lines.append(f"{flag}{insight['title']}")
        lines.append(f"    {_proof(insight)}")
        lines += [f"    {one['text']}" for one in insight["explanations"]]
    if result.insights:
        lines.append("")
    lines.append(summary(result))
    lines += [f"{one.verse.name}: {one.note}" for one in result.verses if one.note]
    if result.held_back:
        lines.append(f"{words.plural(result.held_back_count, 'signal')} kept back that could be chance, the strongest:")
        lines += [f"    {one['title']}" for one in result.held_back[:MOST_HELD_BACK]]
    return "\n".join(lines) + "\n"


def _proof(insight: Json) -> str:
    signal = insight["main_signal"]
    level = "infinite" if signal["is_score_inf"] else words.number(signal["anomaly_level"])
    parts = [f"{insight['verse_name']}: level {level}, score {words.number(insight['score'])}"]
    q_value = signal["gates"]["chance"]["q_value"]
    if q_value is not None:
        parts.append("q < 1e-9" if q_value < 1e-9 else f"q {q_value:.2g}")
    if insight["related_signals"]:
        parts.append(f"{words.plural(len(insight['related_signals']), 'signal')} folded under it")
    return ", ".join(parts)


def junit(result: CheckResult) -> str:
    """One test case per verse and window end; it fails when it found something, and is skipped without data."""
    suite = ElementTree.Element("testsuite", name=f"mona check {result.context_class}")
    failures = 0
    for one in result.verses:
        when = datetime.fromtimestamp(one.at_s, UTC).isoformat()
        case = ElementTree.SubElement(suite, "testcase", classname=f"{one.verse.stanza}.{one.verse.type.type}")
        case.set("name", f"{one.verse.name} {when}")
        found = [
            insight
            for insight in result.insights
            if (insight["verse_name"], insight["stanza_name"], insight["last_discovered"])
            == (one.verse.name, one.verse.stanza, one.at_s)
        ]
        if one.note:
            ElementTree.SubElement(case, "skipped", message=one.note)
        if found:
            failures += 1
            failure = ElementTree.SubElement(case, "failure", message=found[0]["title"], type=one.verse.type.type)
            failure.text = "\n".join(f"{insight['title']}\n    {_proof(insight)}" for insight in found)
    suite.set("tests", str(len(result.verses)))
    suite.set("failures", str(failures))
    suite.set("skipped", str(sum(bool(one.note) for one in result.verses)))
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True)


def sarif(result: CheckResult) -> Json:
    """SARIF 2.1.0, one rule per verse."""
    verses = {one.verse.name: one.verse for one in result.verses}
    rules = [
        {
            "id": name,
            "name": verse.type.type,
            "shortDescription": {"text": verse["description"] or verse.type.doc},
        }
        for name, verse in verses.items()
    ]
    results = [
        {
            "ruleId": insight["verse_name"],
            "ruleIndex": list(verses).index(insight["verse_name"]),
            "level": "error" if insight["urgency"] == "high" else "warning",
            "message": {"text": insight["title"]},
            "fingerprints": {"mona/insight": insight["insight_id"]},
            "locations": [{"logicalLocations": [{"name": result.context_class, "kind": "object"}]}],
            "properties": {key: value for key, value in row(insight).items() if key != "time"},
        }
        for insight in result.insights
    ]
    driver = {"name": "mona check", "version": mona_server.__version__, "rules": rules}
    return {
        "version": "2.1.0",
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }


def html(result: CheckResult, *, whole_page: bool = True) -> str:
    """A page that loads nothing, or (for notebooks) the part of it that shows the result."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("mona_server.insights", "templates"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": words.number, "count": words.count, "share": words.share}
    items = [
        {
            "insight": insight,
            "signal": insight["main_signal"],
            "proof": _proof(insight),
            "segment": str(Segment.parse(insight["main_signal"]["segment"])),
            "base": str(Segment.parse(insight["main_signal"]["baseline_segment"])),
            "related": [
                {"relation": one["relation"].replace("_", " "), "title": title(one)}
                for one in insight["related_signals"][:MOST_RELATED]
            ],
            "chart": chart(result.charts.get(insight["insight_id"], ()), insight["main_signal"]),
        }
        for insight in result.insights
    ]
    return environment.get_template("check.html").render(
        result=result,
        items=items,
        tests=sum(one.report.tests for one in result.verses),
        notes=[one for one in result.verses if one.note],
        held_back=result.held_back[:MOST_HELD_BACK],
        whole_page=whole_page,
        width=WIDTH,
        height=HEIGHT,
    )


def chart(frames: Sequence[Mapping[str, Any]], signal: Json) -> Json | None:
    """Points of an inline SVG: the segment's line, the baseline's, and where the judged window begins."""
    values = [frame["value"] for frame in frames]
    base = [frame["baseline_value"] for frame in frames] if signal["kapi"] else []
    known = [value for value in (*values, *base) if value is not None]
    if len(frames) < 2 or not known:
        return None
    low, high = min(known), max(known)
    spread = (high - low) or 1.0

    def line(series: Sequence[float | None]) -> list[str]:
        """Polylines, broken where there is no value."""
        parts: list[list[str]] = [[]]
        for i, value in enumerate(series):
            if value is None:
                parts.append([])
                continue
            x = PAD + (WIDTH - 2 * PAD) * i / (len(frames) - 1)
            y = PAD + (HEIGHT - 2 * PAD) * (1 - (value - low) / spread)
            parts[-1].append(f"{x:.1f},{y:.1f}")
        return [" ".join(part) for part in parts if part]

    begin = signal["window"]["from"] if not signal["signal_type"].count("SuddenChange") else frames[-1]["from"]
    judged = next((i for i, frame in enumerate(frames) if frame["from"] >= begin), len(frames) - 1)
    return {
        "segment": line(values),
        "baseline": line(base),
        "judged_x": PAD + (WIDTH - 2 * PAD) * max(judged - 0.5, 0) / (len(frames) - 1),
        "low": words.number(low),
        "high": words.number(high),
        "from": datetime.fromtimestamp(frames[0]["from"], UTC).date().isoformat(),
        "to": datetime.fromtimestamp(frames[-1]["to"], UTC).date().isoformat(),
    }


def _silent(_what: str, _done: float) -> None:
    """Shows nothing."""


@contextmanager
def progress_bar(wanted: bool) -> Iterator[Callable[[str, float], None]]:
    """A bar in a terminal or notebook: it is told what is being done, and how much of that is (0 to 1)."""
    if not wanted:
        yield _silent
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    # In a notebook the bar is a widget, and without that package it would be a line for each step.
    if not (console.is_jupyter and find_spec("ipywidgets")) and not sys.stderr.isatty():
        yield _silent
        return
    with Bar(console=console, transient=True) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda what, done: bar.update(task, description=what, completed=done)
