"""From findings to drafts of insights: titles, urgency, explanations, and the sums that prove them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from mona_server.detect.signal import Finding, SearchResult
from mona_server.detect.verses import Statistic
from mona_server.detect.verses.base import Verse
from mona_server.detect.windows import Look, Plan
from mona_server.insights import evidence, explain
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
) -> list[Draft]:
    """One draft per finding, in the order of the result. The strongest are looked at closely."""
    close_by: dict[str, Draft] = {}
    near = [f for f in result.findings[: explain.MOST_CLOSE] if verse.type.statistic is not Statistic.DISTRIBUTION]
    by_baseline = sorted(near, key=lambda f: f.main.baseline.text)
    for _, group in groupby(by_baseline, key=lambda f: f.main.baseline.text):
        findings = list(group)
        signals = [finding.main for finding in findings]
        close = explain.look_closely(verse, plan, signals, fields, look)
        for finding in findings:
            main = finding.main
            found = explain.explain(main, close, fields, look, markers)
            close_by[main.id] = _draft(
                finding,
                found,
                evidence.record(main, close.plan, close.source, close.groups[main.segment.text], close.base),
            )
    return [close_by.get(f.main.id) or _draft(f, explain.Explanation(), None) for f in result.findings]


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
