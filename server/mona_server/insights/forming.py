"""From findings to drafts of insights: titles, urgency, explanations, and the sums that prove them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby

from mona_server.detect.signal import Finding, Report, SearchResult
from mona_server.detect.verses.base import Verse
from mona_server.detect.windows import Look, Plan
from mona_server.insights import close_look, evidence, explain
from mona_server.insights.explain import Marker
from mona_server.insights.lifecycle import Draft
from mona_server.insights.titles import title
from mona_server.insights.urgency import urgency


def drafts_of(
    verse: Verse,
    result: SearchResult,
    plan: Plan,
    fields: Sequence[str],
    look: Look,
    markers: Sequence[Marker] = (),
    *,
    close: bool = True,
) -> list[Draft]:
    """One draft per finding, in the order of the result. The strongest are looked at closely, if ``close``."""
    looked_at: dict[str, Draft] = {}
    near = list(result.findings[: close_look.MOST_CLOSE]) if close else []
    near.sort(key=lambda finding: finding.main.baseline.text)
    for _, group in groupby(near, key=lambda finding: finding.main.baseline.text):
        findings = list(group)
        seen = close_look.look_closely(verse, plan, [finding.main for finding in findings], fields, look)
        for finding in findings:
            main = finding.main
            kept = evidence.record(main, seen.plan, seen.source, seen.groups[main.segment.text], seen.base)
            mixed = len(looked_at) < explain.MOST_MIXED
            found = explain.explain(main, seen, fields, markers, mixed=mixed)
            looked_at[main.id] = _draft(finding, found, kept)
    return [looked_at.get(f.main.id) or _draft(f, explain.Explanation(), None) for f in result.findings]


def unjudged(plan: Plan, report: Report) -> str | None:
    """Why a run tested nothing; None where it did, or where its own notes say why."""
    if report.tests or report.notes:
        return None
    if plan.benchmark_ms is not None and report.target_size and not report.benchmark_size:
        begin = datetime.fromtimestamp(plan.data_start_ms / 1000, UTC)
        split = datetime.fromtimestamp(plan.target_ms[0] / 1000, UTC)
        return f"there is nothing to compare with: the judged window begins on {split:%Y-%m-%d}, the data on {begin:%Y-%m-%d}"
    if report.candidates:
        return f"none of {report.candidates:,} segments has enough data to be judged"
    return "no segment is large enough to be judged"


def _draft(finding: Finding, found: explain.Explanation, kept: dict[str, object] | None) -> Draft:
    return Draft(
        finding=finding,
        urgency=urgency(finding.main),
        title=title(finding.main.to_json()),
        related_anomalies=found.related_anomalies,
        explanations=(*finding.explanations, *found.explanations),
        global_share=found.global_share,
        evidence=kept,
    )
