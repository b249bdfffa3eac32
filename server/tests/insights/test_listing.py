"""Questions about insights, what people do with them, and the file that proves one."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import insert

from mona_server.errors import BadRequest, NotFound
from mona_server.insights import listing, markers, people
from mona_server.insights.export import export, recompute
from mona_server.insights.listing import InsightQuery
from mona_server.segment import Equals, Segment
from mona_server.store.tables_insights import insights
from tests.insights.mill import DAY, TENANT, Mill
from tests.insights.test_runs import CONFIG, NAME, T0, day

NOW = datetime.fromtimestamp(T0 + 14 * DAY, UTC)


@pytest.fixture
def found(mill: Mill) -> dict[str, Any]:
    """One insight of a real run."""
    mill.configure(CONFIG)
    for number in range(14):
        mill.send(day(number, shift=6.0 if number == 13 else 0.0))
    (insight,) = mill.run(NAME, T0 + 14 * DAY).insights
    return insight


def row(number: int, **given: Any) -> dict[str, Any]:
    """A made-up row of the table."""
    values: dict[str, Any] = {
        "id": f"ins_{number:05d}",
        "tenant": TENANT,
        "context_class": "LOAN",
        "stanza": "main",
        "verse_name": NAME,
        "verse_type": "AverageDrift",
        "signal_type": "KapiAverageDriftInSegment",
        "metric": "x",
        "desc": False,
        "baseline": "{}",
        "segment": Segment.of({"city": Equals(f"c{number % 7}")}).text,
        "time_axis": "MONA_TIMESTAMP",
        "identity": str(number),
        "state": "new",
        "urgency": "normal",
        "score": float(number % 100),
        "level": 1.0,
        "size": 10.0 * number,
        "ratio": number / 1000,
        "first_s": 1000 + number,
        "last_s": 2000 + number,
        "occurrences": 1,
        "body": {"title": f"insight {number}", "main_signal": {"user_id": TENANT}, "related_signals": []},
        "updated_ms": 0,
    }
    return values | given


def put(mill: Mill, rows: list[dict[str, Any]]) -> None:
    defaults = {"archived": False}
    with mill.store.meta.begin() as connection:
        connection.execute(insert(insights), [defaults | one for one in rows])


def ids(mill: Mill, **given: Any) -> list[int]:
    query = InsightQuery(context_class="LOAN", **given)
    return [int(one["insight_id"][4:]) for one in listing.find(mill.store, TENANT, query)]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, [5, 4, 3, 2, 1]),
        ({"sort": "time"}, [5, 4, 3, 2, 1]),
        ({"min_segment_size": 30}, [5, 4, 3]),
        ({"min_segment_size": 0.0045}, [5]),
        ({"min_insight_score": 4}, [5, 4]),
        ({"insight_types": ("AverageOutlier",)}, [2]),
        ({"insight_types": ("KapiAverageDriftInSegment", "AverageOutlier")}, [5, 4, 3, 2, 1]),
        ({"metric_name": "y"}, [3, 1]),
        ({"time_range_s": (2002, 2004)}, [4, 3, 2]),
        ({"first_discovered_s": (1005, 1009)}, [5]),
        ({"states": ("resolved",)}, [4]),
        ({"urgency": "high"}, [5]),
        ({"archived": True}, [6]),
        ({"archived": None}, [6, 5, 4, 3, 2, 1]),
        ({"include_suppressed": True}, [7, 5, 4, 3, 2, 1]),
        ({"segment": Segment.of({"city": Equals("c2")})}, [2]),
        ({"stanza_names": ("other",)}, [1]),
        ({"verse_names": ("nope",)}, []),
        ({"text": "INSIGHT 3"}, [3]),
    ],
)
def test_filters(mill: Mill, given: dict[str, Any], expected: list[int]) -> None:
    """Each filter on its own; archived and suppressed ones only on request."""
    put(
        mill,
        [
            row(1, stanza="other", metric="y"),
            row(2, verse_type="AverageOutlier"),
            row(3, body={"title": "insight 3", "main_signal": {}, "related_signals": [{"kapi": "y"}]}),
            row(4, state="resolved"),
            row(5, urgency="high"),
            row(6, archived=True),
            row(7, state="suppressed"),
        ],
    )
    assert ids(mill, **given) == expected


def test_default_range_is_the_last_30_days() -> None:
    """Unless a range is given."""
    assert InsightQuery().last_days(10_000_000).time_range_s == (10_000_000 - 30 * DAY, 10_000_000)
    assert InsightQuery(time_range_s=(1, 2)).last_days(10_000_000).time_range_s == (1, 2)


@pytest.mark.parametrize("given", [{"states": ("nope",)}, {"sort": "nope"}, {"urgency": "nope"}])
def test_unknown_words_are_refused(given: dict[str, Any]) -> None:
    """With what is known."""
    with pytest.raises(BadRequest) as caught:
        InsightQuery(**given)
    assert caught.value.hint


@pytest.mark.parametrize("sort", ["score", "time", "size", "level"])
def test_pages_neither_lose_nor_repeat(mill: Mill, sort: Any) -> None:
    """While better and worse ones arrive between the pages, ties included."""
    put(mill, [row(number) for number in range(1, 1_201)])
    query = InsightQuery(sort=sort)
    seen: list[str] = []
    cursor = None
    number = 5_000
    while True:
        page = listing.page(mill.store, TENANT, query, cursor=cursor, limit=170)
        seen += [one["insight_id"] for one in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
        number += 1
        put(mill, [row(number, score=1e6, last_s=10**6, size=1e9, level=1e9)])
    assert len(seen) == len(set(seen)) == 1_200
    with pytest.raises(BadRequest):
        listing.page(
            mill.store, TENANT, InsightQuery(sort="size" if sort != "size" else "time"), cursor=_cursor(mill, sort)
        )


def _cursor(mill: Mill, sort: Any) -> str:
    cursor = listing.page(mill.store, TENANT, InsightQuery(sort=sort), limit=1).next_cursor
    assert cursor is not None
    return cursor


def test_one_insight_in_full(mill: Mill, found: dict[str, Any]) -> None:
    """With its chart, its runs and its comments."""
    people.comment(mill.store, TENANT, found["insight_id"], "me", " seen ", NOW)
    full = listing.get(mill.store, TENANT, found["insight_id"])
    assert full["comments"][0]["text"] == "seen"
    assert full["comments_count"] == 1
    (run,) = full["runs"]
    assert (run["run_id"], run["timestamp"]) == (found["run_id"], T0 + 14 * DAY)
    frames = full["series"]["frames"]
    assert len(frames) == 11
    assert frames[-1]["to"] == T0 + 14 * DAY
    assert frames[-1]["value"] == pytest.approx(found["main_signal"]["value"])
    assert (frames[-1]["size"], frames[-1]["baseline_size"]) == (20, 60)


def test_people_change_insights(mill: Mill, found: dict[str, Any]) -> None:
    """Archive, snooze, feedback, assign; other keys and values are refused."""
    changed = people.change(
        mill.store,
        TENANT,
        found["insight_id"],
        {"archived": True, "snoozed_until": 123, "feedback": "expected", "assignee": "me", "feedback_note": "ok"},
        NOW,
    )
    for key, value in {"archived": True, "snoozed_until": 123, "feedback": "expected", "assignee": "me"}.items():
        assert changed[key] == value
    assert listing.find(mill.store, TENANT, InsightQuery()) == []
    for bad in ({"state": "resolved"}, {"feedback": "nice"}, {"archived": 1}, {"snoozed_until": "later"}):
        with pytest.raises(BadRequest):
            people.change(mill.store, TENANT, found["insight_id"], bad, NOW)
    with pytest.raises(NotFound):
        people.change(mill.store, "other", found["insight_id"], {"archived": True}, NOW)
    with pytest.raises(BadRequest):
        people.comment(mill.store, TENANT, found["insight_id"], "me", "  ", NOW)


def test_an_archived_insight_stays_archived_and_counts(mill: Mill, found: dict[str, Any]) -> None:
    """Found again, it is still hidden."""
    people.change(mill.store, TENANT, found["insight_id"], {"archived": True}, NOW)
    mill.send(day(14, shift=60.0))
    (again,) = mill.run(NAME, T0 + 15 * DAY).insights
    assert (again["insight_id"], again["archived"], again["occurrences"]) == (found["insight_id"], True, 2)


def test_a_file_recomputes_its_insight(mill: Mill, found: dict[str, Any]) -> None:
    """The exported file holds the sums; the level comes out again, and a changed number is noticed."""
    file = json.loads(json.dumps(export(mill.store, TENANT, found["insight_id"])))
    again = recompute(file)
    assert again.agrees
    assert again.anomaly_level == found["main_signal"]["anomaly_level"]
    assert again.score == found["score"]
    file["sums"]["segment"]["total"][-1] += 1.0
    assert not recompute(file).agrees
    wrong: list[Any] = [file | {"format": "mona-insight/9"}, {"format": file["format"]}, [], file | {"insight": []}]
    for odd in wrong:
        with pytest.raises(BadRequest):
            recompute(odd)


VERSES = [
    {"type": "StandardDeviationDrift"},
    {"type": "ExistenceRatioDrift"},
    {"type": "SumDrift"},
    {"type": "SegmentSizeDrift"},
    {"type": "SegmentSizeDrift", "time_resolution": "", "use_relative_sizes": True},
    {"type": "AverageOutlier", "time_period": "1w"},
    {"type": "SegmentSizeOutlier", "time_period": "1w"},
    {"type": "AverageSuddenChange", "time_series_points": 10, "percentile": 80},
    {"type": "AverageThreshold", "threshold": -100},
    {"type": "NewSegments", "time_period": "1d", "backfill_points": 5},
    {"type": "AverageDriftAcrossVersions", "version_field": "city", "num_versions_benchmark": 2},
]


@pytest.mark.parametrize("given", VERSES, ids=lambda given: given["type"])
def test_files_of_every_type_recompute(mill: Mill, given: dict[str, Any]) -> None:
    """Whatever the formula, the kept sums suffice."""
    common = {
        "metrics": ["score"],
        "segment_by": ["city", "kind"],
        "min_anomaly_level": 0,
        "max_false_discovery_rate": 1,
    }
    windows = {"target_set_period": "2d", "benchmark_set_period": "8d"} if given["type"].endswith("Drift") else {}
    config = {
        "fields": {"city": {"type": "string"}, "kind": {"type": "string"}, "score": {"type": "numeric"}},
        "stanzas": {"main": {"verses": [common | windows | given]}},
    }
    mill.configure(config)
    for number in range(14):
        rows = day(number, shift=3.0 if number > 11 else 0.0)
        for i, one in enumerate(rows):
            one["kind"] = f"k{i % 5}" if number < 11 else f"k{i % 6}"
            if i % 7 == number % 7:
                one["score"] = None
        mill.send(rows)
    found = mill.run(f"main__{given['type']}", T0 + 14 * DAY).insights
    assert found
    for insight in found:
        file = json.loads(json.dumps(export(mill.store, TENANT, insight["insight_id"])))
        assert recompute(file).agrees, insight["title"]


def test_a_distribution_has_a_chart_but_no_proof(mill: Mill) -> None:
    """Its categories are not kept, so the file says that it cannot be computed again."""
    verse = {"type": "DistributionDrift", "metrics": ["score"], "min_anomaly_level": 0.2}
    windows = {"target_set_period": "2d", "benchmark_set_period": "8d"}
    mill.configure(CONFIG | {"stanzas": {"main": {"verses": [verse | windows]}}})
    for number in range(14):
        rows = day(number, per_city=60)
        for one in rows:
            one["score"] *= 4 if number > 11 else 1
        mill.send(rows)
    (insight,) = mill.run("main__DistributionDrift", T0 + 14 * DAY).insights
    full = listing.get(mill.store, TENANT, insight["insight_id"])
    assert len(full["series"]["frames"]) == 10
    with pytest.raises(BadRequest, match="without sums"):
        recompute(export(mill.store, TENANT, insight["insight_id"]))


def test_markers_explain(mill: Mill) -> None:
    """A deploy at the beginning of the change is named; others and other tenants' are not."""
    mill.configure(CONFIG)
    for number in range(14):
        mill.send(day(number, shift=6.0 if number == 13 else 0.0))
    meta = mill.store.meta
    with meta.begin() as db:
        markers.add(db, TENANT, time_s=T0 + 13 * DAY + 60, title="deploy 1.2", kind="deploy")
        markers.add(db, TENANT, time_s=T0 + 5 * DAY, title="old")
        markers.add(db, "other", time_s=T0 + 13 * DAY, title="secret")
    (insight,) = mill.run(NAME, T0 + 14 * DAY).insights
    events = [one["text"] for one in insight["explanations"] if one["kind"] == "event"]
    assert events == ["deploy: deploy 1.2"]
    with meta.begin() as db:
        with pytest.raises(BadRequest):
            markers.add(db, TENANT, time_s=1, title="x", kind="nope")
        with pytest.raises(NotFound):
            markers.remove(db, "other", markers.listed(db, TENANT)[0]["id"])


def test_held_back_signals_are_kept_for_those_who_ask(mill: Mill) -> None:
    """What could be chance is listed on request only, with the reason."""
    verse = CONFIG["stanzas"]["main"]["verses"][0] | {"max_false_discovery_rate": 0.05, "min_anomaly_level": 0.01}
    mill.configure(CONFIG | {"stanzas": {"main": {"verses": [verse]}}})
    for number in range(14):
        mill.send(day(number))
    outcome = mill.run(NAME, T0 + 14 * DAY)
    assert outcome.insights == ()
    assert listing.find(mill.store, TENANT, InsightQuery()) == []
    kept = listing.find(mill.store, TENANT, InsightQuery(include_suppressed=True))
    assert kept
    assert all(one["state"] == "suppressed" for one in kept)
    assert all("chance" in one["main_signal"]["gates"]["chance"]["reason"] for one in kept)


def test_folded_signals_are_listed_on_request(mill: Mill) -> None:
    """With the signal that they stand under; what is an insight of its own is not listed twice."""
    verse = CONFIG["stanzas"]["main"]["verses"][0] | {"segment_by": ["city", "kind"], "max_false_discovery_rate": 0.05}
    fields = CONFIG["fields"] | {"kind": {"type": "string"}}
    mill.configure({"fields": fields, "stanzas": {"main": {"verses": [verse]}}})
    for number in range(14):
        rows = day(number, shift=6.0 if number == 13 else 0.0)
        mill.send([one | {"kind": "ab"[i % 2]} for i, one in enumerate(rows)])
    (insight,) = mill.run(NAME, T0 + 14 * DAY).insights
    kept = listing.find(mill.store, TENANT, InsightQuery(include_suppressed=True))
    under = {one["main_signal"]["gates"]["folded_into"] for one in kept if one["state"] == "suppressed"}
    assert insight["related_signals"]
    assert insight["main_signal"]["signal_id"] in under
    assert [one["insight_id"] for one in kept if one["state"] != "suppressed"] == [insight["insight_id"]]
