"""Charts as values."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mona_server.web.charts import Frames, Windows, bar, log_bar, sparkline, time_chart, usual

from .conftest import DAY, T

NUMBERS = st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), max_size=60)


def frames(values: Sequence[float | None], end: int = T) -> Frames:
    starts = tuple(end - DAY * (len(values) - i) for i in range(len(values)))
    return Frames(starts, DAY, tuple(values), tuple(10.0 for _ in values))


@given(NUMBERS, st.integers(0, 59))
def test_sparkline_is_svg_inside_of_its_box(values: list[float | None], judged: int) -> None:
    """Whatever the numbers, the picture is well-formed and stays within 120 x 28; too few give nothing."""
    svg = str(sparkline(values, min(judged, max(len(values) - 1, 0))))
    if sum(value is not None for value in values) < 2:
        assert svg == ""
        return
    root = ET.fromstring(svg)
    for line in root.iter("polyline"):
        for point in line.attrib["points"].split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= 120
            assert 0 <= y <= 28


def test_sparkline_marks_the_last_judged_frame() -> None:
    """The mark is on the last frame of the window that has a value, and gaps stay gaps."""
    root = ET.fromstring(str(sparkline([1, 2, None, 3, 9], 3)))
    (mark,) = root.iter("circle")
    assert float(mark.attrib["cx"]) == pytest.approx(117)
    assert len(list(root.iter("polyline"))) == 2


def test_usual_range_is_that_of_numpy() -> None:
    """5, 50 and 95 % of the frames compared with, without the judged one."""
    values = [float(v) for v in np.random.default_rng(1).normal(size=30)]
    found = usual(frames(values), Windows((T - DAY, T), (T - 30 * DAY, T - DAY)))
    assert found is not None
    assert [found.low, found.middle, found.high] == pytest.approx(np.quantile(values[:-1], [0.05, 0.5, 0.95]))


def test_no_usual_range_from_few_frames() -> None:
    """Four frames say nothing about what is usual."""
    assert usual(frames([1, 2, 3, 4, 9]), Windows((T - DAY, T), (T - 5 * DAY, T - DAY))) is None
    assert usual(frames([1.0] * 9), Windows((T - DAY, T))) is None


def test_chart_tells_which_frames_were_judged() -> None:
    """Numbers of frames, edges half a frame early, the baseline joined by time."""
    segment, baseline = frames([1.0, None, 3.0]), frames([5.0, 6.0], end=T)
    windows = Windows((T - DAY, T), (T - 3 * DAY, T - DAY))
    chart = time_chart(segment, baseline, windows, segment_name="EV", baseline_name="all", unit="delay")
    assert json.loads(json.dumps(chart)) == chart
    assert chart["judged"] == [2]
    assert chart["baseline"] == [None, 5.0, 6.0]
    assert chart["windows"]["judged"] == ["2013-12-04T12:00:00", "2013-12-05T12:00:00"]
    assert chart["usual"] is None


def test_chart_is_bounded() -> None:
    """At most 2,000 points reach the browser, the newest ones."""
    many = frames([float(i) for i in range(5000)])
    chart = time_chart(many, many, Windows((T - DAY, T)), segment_name="a", baseline_name="b", unit="c")
    assert len(chart["days"]) == 2000
    assert chart["values"][-1] == 4999
    assert chart["judged"] == [1999]


@given(st.floats(0, 1e9), st.floats(1e-9, 1e9))
def test_bars_fit(value: float, limit: float) -> None:
    """Length and limit lie within the drawn width, and are in the order of the numbers."""
    drawn = bar(value, limit)
    assert 0 <= drawn.length <= 100
    assert 0 <= drawn.limit <= 100
    assert (drawn.length >= drawn.limit) == (value >= limit) or abs(drawn.length - drawn.limit) < 0.2


@given(st.floats(0, 1))
def test_rare_is_short(q: float) -> None:
    """A smaller probability never gives a longer bar."""
    assert log_bar(q / 2, 0.05).length <= log_bar(q, 0.05).length <= 100
