"""A run reads the data, finds, matches and saves; the same T may be run again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from mona_server.detect.verses import VERSES
from mona_server.errors import BadRequest
from mona_server.insights.run_records import get_run, list_runs
from mona_server.insights.runs import run_at
from mona_server.store.tables_insights import data_alerts, insights
from tests.insights.mill import DAY, TENANT, Mill

T0 = 19_000 * DAY
OFF = {"max_false_discovery_rate": 1}
CONFIG: dict[str, Any] = {
    "fields": {
        "city": {"type": "string"},
        "score": {"type": "numeric"},
        "other": {"type": "numeric"},
        "noise": {"type": "numeric"},
    },
    "stanzas": {
        "main": {
            "verses": [
                {
                    "type": "AverageDrift",
                    "metrics": ["score"],
                    "segment_by": ["city"],
                    "min_segment_size": 10,
                    "max_segment_size_fraction": 0.9,
                    "target_set_period": "1d",
                    "benchmark_set_period": "10d",
                    "min_anomaly_level": 1,
                    **OFF,
                }
            ]
        }
    },
}
NAME = "main__AverageDrift"


def day(number: int, *, shift: float = 0.0, per_city: int = 20, start: int = 0) -> list[dict[str, Any]]:
    """Contexts of one day; in Haifa the score and a companion are shifted."""
    rng = np.random.default_rng(number)
    rows = []
    for city in ("Haifa", "Oslo", "Lima"):
        for i in range(start, start + per_city):
            moved = shift if city == "Haifa" else 0.0
            rows.append(
                {
                    "id": f"{number}-{city}-{i}",
                    "timestamp": (T0 + number * DAY + 3600 + i) * 1000,
                    "city": city,
                    "score": float(rng.normal() + moved),
                    "other": float(rng.normal() / 5 + moved * 2 + number % 3),
                    "noise": float(rng.normal()),
                }
            )
    return rows


def states(mill: Mill) -> list[tuple[str, str, int]]:
    """(segment, state, occurrences) of all insights that are not suppressed."""
    with mill.store.meta.connect() as connection:
        rows = connection.execute(select(insights).where(insights.c.state != "suppressed").order_by(insights.c.first_s))
        return [(row.segment, row.state, row.occurrences) for row in rows]


HAIFA = '{"city": [{"value": "Haifa"}]}'


def test_a_finding_becomes_an_insight(mill: Mill) -> None:
    """With its original keys first, a title, its explanations and the sums behind it."""
    config_id = mill.configure(CONFIG)
    for number in range(20):
        mill.send(day(number, shift=5.0 if number == 19 else 0.0))
    outcome = mill.run(NAME, T0 + 20 * DAY, config_id=config_id)
    (insight,) = outcome.insights
    assert list(insight)[:6] == ["user_id", "arc_class", "stanza_name", "verse_name", "score", "main_signal"]
    assert insight["user_id"] == TENANT
    assert insight["main_signal"]["segment"] == {"city": [{"value": "Haifa"}]}
    assert insight["score"] == insight["main_signal"]["score"]
    assert (insight["state"], insight["occurrences"], insight["urgency"]) == ("new", 1, "normal")
    assert insight["first_discovered"] == insight["last_discovered"] == T0 + 20 * DAY
    assert insight["title"].startswith("score average rose from ")
    assert " where city = Haifa (220 contexts, 33" in insight["title"]
    assert insight["config_id"] == config_id
    assert insight["run_id"] == outcome.id
    assert insight["url"] == f"/insights/{insight['insight_id']}"
    assert {one["kapi"] for one in insight["related_anomalies"]} == {"other"}
    assert insight["related_anomalies"][0]["correlation"] > 0.5
    assert {one["kind"] for one in insight["explanations"]} <= {"rate", "mix_shift"}
    assert insight["global_share"] == pytest.approx(1.0, abs=0.2)


def test_the_run_is_reported(mill: Mill) -> None:
    """What was looked at, and which insights came out."""
    mill.configure(CONFIG)
    for number in range(14):
        mill.send(day(number, shift=5.0 if number == 13 else 0.0))
    outcome = mill.run(NAME, T0 + 14 * DAY)
    run = get_run(mill.store, TENANT, outcome.id)
    assert run["state"] == "done"
    assert run["reason"] == "demand"
    assert run["timestamp"] == T0 + 14 * DAY
    assert (run["candidates"], run["tests"], run["passed_level"]) == (4, 3, len(run["insights"]))
    assert run["insights"] == [insight["insight_id"] for insight in outcome.insights]
    assert run["seconds"] > 0


def test_an_insight_lives_through_runs(mill: Mill) -> None:
    """Ten daily runs find it: one insight; then it recovers, is resolved, and comes back under the same id."""
    mill.configure(CONFIG)
    for number in range(12):
        mill.send(day(number))
    ids = set()
    for number in range(12, 22):
        mill.send(day(number, shift=40.0 * 2 ** (number - 12)))
        ids |= {insight["insight_id"] for insight in mill.run(NAME, T0 + (number + 1) * DAY).insights}
    assert len(ids) == 1
    assert (HAIFA, "ongoing", 10) in states(mill)
    mill.send(day(22))
    mill.run(NAME, T0 + 23 * DAY)
    assert (HAIFA, "recovering", 10) in states(mill)
    mill.send(day(23))
    mill.run(NAME, T0 + 24 * DAY)
    assert (HAIFA, "resolved", 10) in states(mill)
    for number in range(24, 29):
        mill.send(day(number, shift=1e6 if number == 28 else 0.0))
    (back,) = mill.run(NAME, T0 + 29 * DAY).insights
    assert {back["insight_id"]} == ids
    assert (back["state"], back["reopened"], back["occurrences"]) == ("new", 1, 11)


def test_the_same_window_counts_once(mill: Mill) -> None:
    """Late data changes the values of the insight, not how often it was found."""
    mill.configure(CONFIG)
    for number in range(14):
        mill.send(day(number, shift=5.0 if number == 13 else 0.0))
    first = mill.run(NAME, T0 + 14 * DAY).insights
    mill.send(day(13, shift=7.0, start=50))
    second = mill.run(NAME, T0 + 14 * DAY, "late_data").insights
    assert [i["insight_id"] for i in first] == [i["insight_id"] for i in second]
    assert second[0]["occurrences"] == 1
    assert second[0]["main_signal"]["target_size"] == 2 * first[0]["main_signal"]["target_size"]


def test_runs_for_the_past_do_not_judge_the_present(mill: Mill) -> None:
    """Newest first: the older run finds when it began, and leaves the state alone."""
    mill.configure(CONFIG)
    for number in range(14):
        mill.send(day(number, shift=8.0 * 3 ** (number - 10) if number >= 11 else 0.0))
    mill.run(NAME, T0 + 14 * DAY)
    mill.run(NAME, T0 + 13 * DAY)
    (insight,) = mill.run(NAME, T0 + 14 * DAY).insights
    assert insight["first_discovered"] == T0 + 13 * DAY
    assert insight["last_discovered"] == T0 + 14 * DAY
    assert insight["occurrences"] == 2


def test_a_finding_of_the_past_is_as_later_runs_left_it(mill: Mill) -> None:
    """Two later runs did not find it, so it is resolved from the beginning, and nobody is told."""
    mill.configure(CONFIG)
    for number in range(16):
        mill.send(day(number, shift=8.0 if number == 12 else 0.0))
    for at in (16, 15, 14):
        mill.run(NAME, T0 + at * DAY)
    assert states(mill) == []
    mill.run(NAME, T0 + 13 * DAY)
    assert states(mill) == [(HAIFA, "resolved", 1)]


def test_no_data_is_an_alert_and_no_signal(mill: Mill) -> None:
    """Missing data is not an anomaly of a metric; the alert is raised once and cleared by data."""
    mill.configure(CONFIG)
    for number in range(15):
        mill.send(day(number))
    for _ in range(2):
        assert mill.run(NAME, T0 + 16 * DAY).insights == ()
    with mill.store.meta.connect() as connection:
        (alert,) = connection.execute(select(data_alerts)).all()
    assert (alert.kind, alert.cleared_s, alert.usual) == ("no_data", None, 60)
    mill.send(day(15))
    mill.send(day(16))
    mill.run(NAME, T0 + 17 * DAY)
    with mill.store.meta.connect() as connection:
        (alert,) = connection.execute(select(data_alerts)).all()
    assert alert.cleared_s == T0 + 17 * DAY


def test_without_data_nothing_recovers(mill: Mill) -> None:
    """A run long after the last context judges nothing, so it leaves the insights as they are."""
    mill.configure(CONFIG)
    for number in range(14):
        mill.send(day(number, shift=5.0 if number == 13 else 0.0))
    mill.run(NAME, T0 + 14 * DAY)
    assert mill.run(NAME, T0 + 400 * DAY).run["notes"] == ["there is no data to judge in the windows"]
    assert states(mill) == [(HAIFA, "new", 1)]


def test_a_class_without_data_has_an_empty_run(mill: Mill) -> None:
    """The run says why it found nothing."""
    mill.configure(CONFIG)
    run = mill.run(NAME, T0).run
    assert run["state"] == "done"
    assert run["notes"] == ["the class has no data"]


def test_a_failing_search_is_kept_with_its_reason(mill: Mill) -> None:
    """The run is marked failed, with the reason, and can be run again."""
    mill.configure(CONFIG)
    mill.send([*day(0), *day(10)])
    verse = mill.context_class.verse(NAME)
    assert verse is not None
    strange = replace(verse, values={**verse.values, "time_resolution": "1m", "benchmark_set_period": "60w"})
    strange = replace(strange, type=VERSES["SumDrift"])
    at = datetime.fromtimestamp(T0 + 11 * DAY, UTC)
    for _ in range(2):
        with pytest.raises(BadRequest, match="frames"):
            run_at(mill.desk, TENANT, mill.context_class, strange, at, "demand")
    (run,) = list_runs(mill.store, TENANT)
    assert run["state"] == "failed"
    assert "choose a longer time_resolution" in run["error"]
