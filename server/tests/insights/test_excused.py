"""Windows that people leave out are no yardstick any more, for their segment and metric."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from mona_server.detect.source import AxisRequest, SourceQuestion
from mona_server.detect.table_columns import coded
from mona_server.detect.table_source import TableSource
from mona_server.errors import BadRequest
from mona_server.insights import people
from mona_server.insights.excused import Excused, Window
from mona_server.insights.export import export, recompute
from mona_server.segment import Segment
from mona_server.store.tables_insights import insights
from tests.insights.mill import DAY, TENANT, Mill
from tests.insights.test_runs import CONFIG, NAME, OFF, T0, day

NOW = datetime.fromtimestamp(T0 + 20 * DAY, UTC)
HAIFA = Segment.parse({"city": [{"value": "Haifa"}]})
SIZES: dict[str, Any] = {
    "type": "SegmentSizeDrift",
    "segment_by": ["city"],
    "min_segment_size": 10,
    "max_segment_size_fraction": 0.9,
    "target_set_period": "1d",
    "benchmark_set_period": "10d",
    "min_anomaly_level": 0.5,
    **OFF,
}


def haifa(numbers: range, without: int | None = None, shifts: dict[int, float] | None = None) -> float:
    """Mean score of Haifa over days."""
    return float(
        np.mean(
            [
                row["score"]
                for number in numbers
                if number != without
                for row in day(number, shift=(shifts or {}).get(number, 0.0))
                if row["city"] == "Haifa"
            ]
        )
    )


def found_on_day_13(mill: Mill) -> str:
    """Something happened on day 13 and again on day 16; returns the id of the first insight."""
    mill.configure(CONFIG)
    for number in range(17):
        mill.send(day(number, shift=6.0 if number in (13, 16) else 0.0))
    (insight,) = mill.run(NAME, T0 + 14 * DAY).insights
    return str(insight["insight_id"])


def test_a_window_that_is_left_out_is_no_benchmark(mill: Mill) -> None:
    """The mean of the other days is, and the insight can still be computed from its file."""
    insight_id = found_on_day_13(mill)
    ten_days = range(6, 16)
    before = mill.run(NAME, T0 + 17 * DAY).insights[0]["main_signal"]
    assert before["benchmark"] == pytest.approx(haifa(ten_days, shifts={13: 6.0}), rel=1e-9)
    people.change(mill.store, TENANT, insight_id, {"feedback": "expected", "exclude_window": True}, NOW, by="usr_1")
    after = mill.run(NAME, T0 + 17 * DAY)
    signal = after.insights[0]["main_signal"]
    assert signal["benchmark"] == pytest.approx(haifa(ten_days, without=13), rel=1e-9)
    assert signal["value"] == before["value"]
    assert signal["anomaly_level"] > before["anomaly_level"]
    assert "2 windows left out of benchmarks by feedback" in after.run["notes"]
    assert recompute(export(mill.store, TENANT, after.insights[0]["insight_id"])).agrees


def test_the_judged_window_is_never_left_out(mill: Mill) -> None:
    """The run that found it finds it again, with the same numbers."""
    insight_id = found_on_day_13(mill)
    before = mill.run(NAME, T0 + 14 * DAY).insights[0]["main_signal"]
    people.change(mill.store, TENANT, insight_id, {"feedback": "false_alarm", "exclude_window": True}, NOW)
    assert mill.run(NAME, T0 + 14 * DAY).insights[0]["main_signal"] == before


def test_a_size_is_compared_with_its_usual_share(mill: Mill) -> None:
    """A day on which a segment was three times as large says nothing about how large it usually is."""
    mill.configure(CONFIG | {"stanzas": {"main": {"verses": [SIZES]}}})
    for number in range(17):
        mill.send(day(number))
        if number in (13, 16):
            mill.send([row for row in day(number, per_city=40, start=20) if row["city"] == "Haifa"])
    (first, *_) = [i for i in mill.run("main__SegmentSizeDrift", T0 + 14 * DAY).insights if "Haifa" in i["title"]]
    people.change(mill.store, TENANT, first["insight_id"], {"feedback": "expected", "exclude_window": True}, NOW)
    (again,) = [i for i in mill.run("main__SegmentSizeDrift", T0 + 17 * DAY).insights if "Haifa" in i["title"]]
    (usual,) = [i for i in mill.run("main__SegmentSizeDrift", T0 + 14 * DAY).insights if "Haifa" in i["title"]]
    assert again["main_signal"]["benchmark"] == pytest.approx(usual["main_signal"]["benchmark"])
    assert again["main_signal"]["anomaly_level"] == pytest.approx(usual["main_signal"]["anomaly_level"])


def test_only_what_was_not_usual_can_be_left_out(mill: Mill) -> None:
    """It goes with feedback that says so, and is taken back with it."""
    insight_id = found_on_day_13(mill)

    def kept() -> bool:
        with mill.store.meta.connect() as connection:
            return bool(connection.execute(select(insights.c.exclude_window)).scalar_one())

    for given in ({"exclude_window": True}, {"feedback": "useful", "exclude_window": True}):
        with pytest.raises(BadRequest, match="not usual"):
            people.change(mill.store, TENANT, insight_id, given, NOW)
    changed = people.change(mill.store, TENANT, insight_id, {"feedback": "expected", "exclude_window": True}, NOW)
    assert changed["exclude_window"]
    assert kept()
    people.change(mill.store, TENANT, insight_id, {"feedback": "useful"}, NOW)
    assert not kept()


@pytest.mark.parametrize("whole", [False, True])
def test_a_source_with_left_out_frames(whole: bool) -> None:
    """The segment gets its usual values, everybody changes by as much, atoms agree, all else is as it was."""
    rng = np.random.default_rng(1)
    frame = np.repeat(np.arange(8), 50)
    city = rng.choice(["Haifa", "Oslo", "Lima"], 400)
    city[frame == 3] = rng.choice(["Haifa", "Oslo"], 50, p=[0.9, 0.1])
    plan = rng.choice(["a", "b"], 400)
    score = rng.normal(10, 1, 400) + 9.0 * ((city == "Haifa") & (frame == 3))
    question = SourceQuestion(
        axes=(AxisRequest("city"), AxisRequest("plan")),
        metrics=("score",),
        edges_ms=tuple(range(0, 9_000, 1_000)),
    )
    columns = {"city": coded(city.tolist()), "plan": coded(plan.tolist()), "score": score}
    source = TableSource(columns, frame * 1_000 + 500, question, {})
    left_out = Excused(source, [Window(HAIFA, "score", 3_000, 4_000)], 7_000, whole=whole)
    place = next(i for i, one in enumerate(source.axes[0].conditions) if one == HAIFA.conditions[0][1][0])
    plain, changed = source.sums((0,)), left_out.sums((0,))
    mine = plain.codes[:, 0] == place
    mean = changed.total[0][mine][0] / changed.count[0][mine][0]
    usual = [0, 1, 2, 4, 5, 6]
    assert mean[3] == pytest.approx(plain.total[0][mine][0, usual].sum() / plain.count[0][mine][0, usual].sum())
    np.testing.assert_array_equal(np.delete(changed.total[0], 3, axis=1), np.delete(plain.total[0], 3, axis=1))
    np.testing.assert_array_equal(changed.size[~mine], plain.size[~mine])
    assert (changed.size[mine][0, 3] < plain.size[mine][0, 3]) == whole
    everybody, before = left_out.sums(()), source.sums(())
    for name in ("size", "count", "total", "square"):
        difference = (getattr(changed, name) - getattr(plain, name)).sum(axis=-2)
        np.testing.assert_allclose(
            getattr(everybody, name)[..., 0, :] - getattr(before, name)[..., 0, :], difference, atol=1e-9
        )
    atoms = left_out.atoms([HAIFA, Segment.parse({"plan": [{"value": "a"}]})], [(3, 4), (0, 8)])
    inside = atoms.member[:, 0]
    np.testing.assert_allclose(
        atoms.total[0][inside].sum(axis=0), [changed.total[0][mine][0, 3], changed.total[0][mine][0].sum()]
    )
    np.testing.assert_array_equal(left_out.sums((1,)).total, source.sums((1,)).total)
