"""Frames of a time series, and that SQL puts each moment into the right one."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mona_server.errors import BadRequest
from mona_server.query.engines.duckdb import DuckEngine
from mona_server.query.frames import Resolution, edges_of, frame_sql

ZONES = ["UTC", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "America/Sao_Paulo"]
moments = st.integers(1_500_000_000_000, 1_800_000_000_000)


@settings(max_examples=60, deadline=None)
@given(
    start=moments,
    length=st.integers(1, 40 * 86_400_000),
    text=st.sampled_from(["7m", "1h", "5h", "1d", "3d", "1w", "2w"]),
    zone=st.sampled_from(ZONES),
    offset=st.integers(-100_000, 100_000),
    data=st.data(),
)
def test_every_moment_is_in_the_frame_that_sql_says(
    engine: DuckEngine, start: int, length: int, text: str, zone: str, offset: int, data: Any
) -> None:
    """Edges ascend and cover the window exactly; the SQL agrees with a search in the edges."""
    edges = edges_of(start, start + length, Resolution.parse(text), ZoneInfo(zone), offset)
    assert (edges[0], edges[-1]) == (start, start + length)
    assert all(low < high for low, high in pairwise(edges))
    times = data.draw(st.lists(st.integers(start, start + length - 1), min_size=1, max_size=20))
    times += list(edges[:-1])
    found = engine.arrays(f"SELECT {frame_sql(edges, 't')} AS k FROM times", tables={"times": {"t": np.array(times)}})
    np.testing.assert_array_equal(found["k"], np.searchsorted(edges, times, side="right") - 1)


@given(start=moments, zone=st.sampled_from(ZONES))
def test_days_begin_at_local_midnight(start: int, zone: str) -> None:
    """Whatever the zone does with its clock; where midnight is skipped, at the first moment of the day."""
    edges = edges_of(start, start + 10 * 86_400_000, Resolution.parse("1d"), ZoneInfo(zone))
    for edge in edges[1:-1]:
        here = datetime.fromtimestamp(edge / 1000, ZoneInfo(zone))
        before = datetime.fromtimestamp(edge / 1000 - 1, ZoneInfo(zone))
        assert before.date() + timedelta(days=1) == here.date()


def test_weeks_begin_on_monday() -> None:
    """In UTC the first inner edge after Thursday 1 January 1970 is Monday the 5th."""
    edges = edges_of(0, 30 * 86_400_000, Resolution.parse("1w"))
    assert edges[:2] == (0, 4 * 86_400_000)


@pytest.mark.parametrize("text", ["", "1", "d", "0d", "1M", "-1d", "1.5h"])
def test_what_is_no_resolution(text: str) -> None:
    """The error says what would be one."""
    with pytest.raises(BadRequest, match="for example"):
        Resolution.parse(text)


def test_too_many_frames_are_refused() -> None:
    """Minutes over years would fill the page and the memory."""
    with pytest.raises(BadRequest, match="coarser"):
        edges_of(0, 3 * 365 * 86_400_000, Resolution.parse("1m"))
