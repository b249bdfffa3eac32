"""Relations over facts: the rows of a range of times, whatever files they lie in."""

from __future__ import annotations

import bisect
import itertools
from pathlib import Path

from mona_server.query.engines.duckdb import DuckEngine
from mona_server.query.frames import frame_sql
from tests.query.lab import DAY_MS, Lab


def filled(folder: Path, engine: DuckEngine) -> tuple[Lab, list[int]]:
    """Files of one day each, one over two days, and a pending row; and the times of all rows, as they lie there."""
    lab, times = Lab(folder, {"city": "string"}, engine), []
    for day, length in ((0, 1), (1, 1), (2, 2), (4, 1)):
        for part in range(4):
            times.append(day * DAY_MS + part * length * DAY_MS // 4)
            lab.put(f"id-{day}-{part}", times[-1], {"city": f"c{part}"})
        if day < 4:
            lab.flush()
    return lab, times


def test_a_range_holds_its_rows_in_order_however_files_lie(tmp_path: Path, engine: DuckEngine) -> None:
    """Files within the range, across its ends and outside of it."""
    lab, times = filled(tmp_path, engine)
    facts = lab.facts()
    ends = [None, 0, DAY_MS, DAY_MS + 1, 2 * DAY_MS + DAY_MS // 2, 3 * DAY_MS, 4 * DAY_MS, 5 * DAY_MS]
    for from_ms, to_ms in itertools.product(ends, ends):
        wanted = [t for t in times if (from_ms is None or t >= from_ms) and (to_ms is None or t < to_ms)]
        found = facts.rows(f"SELECT MONA_AXIS FROM {facts.relation(['city'], from_ms=from_ms, to_ms=to_ms)}")
        assert [t for (t,) in found] == wanted, (from_ms, to_ms)


def test_times_of_files_within_the_range_are_not_read(tmp_path: Path, engine: DuckEngine) -> None:
    """A window of whole days lets every row of its files through; only where a file crosses an end times decide."""
    facts = filled(tmp_path, engine)[0].facts()
    assert 'MONA_TIMESTAMP" AS BIGINT) >=' not in facts.relation(from_ms=0, to_ms=4 * DAY_MS).split("UNION ALL")[0]
    assert 'MONA_TIMESTAMP" AS BIGINT) >=' in facts.relation(from_ms=1, to_ms=4 * DAY_MS).split("UNION ALL")[0]


def test_times_of_files_within_one_frame_are_not_read(tmp_path: Path, engine: DuckEngine) -> None:
    """Their rows are in the frame of the file; files over two frames and pending rows still tell their times."""
    lab, times = filled(tmp_path, engine)
    facts = lab.facts()
    edges = tuple(day * DAY_MS for day in range(6))
    relation = facts.relation(["city"], from_ms=0, to_ms=5 * DAY_MS, frames=edges)
    assert "MONA_TIMESTAMP" not in relation.split("UNION ALL")[0]
    assert facts.rows(f"SELECT MONA_AXIS // {DAY_MS} FROM {relation}") == [(t // DAY_MS,) for t in times]
    for edges in ((0, DAY_MS + 1, 5 * DAY_MS), (0, 2 * DAY_MS, 2 * DAY_MS + 1, 3 * DAY_MS, 4 * DAY_MS + 1)):
        found = facts.rows(f"SELECT {frame_sql(edges)} FROM {facts.relation(from_ms=0, to_ms=edges[-1], frames=edges)}")
        assert found == [(bisect.bisect_right(edges, t) - 1,) for t in times if t < edges[-1]]


def test_a_field_may_be_called_as_the_engine_numbers_files(tmp_path: Path, engine: DuckEngine) -> None:
    """It is not taken for the number."""
    lab = Lab(tmp_path, {"File_Index": "numeric"}, engine)
    for day in range(3):
        lab.put(f"id-{day}", day * DAY_MS, {"File_Index": 7.0})
        lab.flush()
    relation = lab.facts().relation(["File_Index"], from_ms=0, to_ms=3 * DAY_MS, frames=(0, DAY_MS, 3 * DAY_MS))
    assert lab.facts().rows(f'SELECT MONA_AXIS, "File_Index" FROM {relation}') == [(d * DAY_MS, 7.0) for d in range(3)]
