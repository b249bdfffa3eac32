"""Buckets that follow from data: fixed once there is enough of it, and not before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mona_server.config import Segmentation, frozen, revisions
from mona_server.detect.source import AxisRequest
from mona_server.query.axes import plan_axis
from mona_server.query.engines.duckdb import DuckEngine
from mona_server.query.freezing import fix_waiting, provisional
from mona_server.store.meta import open_meta
from tests.query.lab import DAY_MS, Lab

FIELDS: dict[str, Any] = {
    "x": {"type": "numeric", "segmentations": {"q": {"quantiles": 4}}},
    "y": {"type": "numeric"},
    "z": {"type": "numeric"},
}
STANZAS: dict[str, Any] = {"s": {"verses": [{"type": "AverageDrift", "metrics": ["x"], "segment_by": ["y"]}]}}


def test_edges_are_fixed_once_from_the_last_four_weeks(engine: DuckEngine, tmp_path: Path) -> None:
    """Corrections count once, old data not at all; later data does not move the edges."""
    meta = open_meta(tmp_path / "meta.db")
    given = {"C": {"fields": FIELDS, "stanzas": STANZAS}}
    revision = revisions.save(meta, "t", given, author="", commit_message="", now_ms=0).revision
    lab = Lab(tmp_path / "lake", {"x": "numeric", "y": "numeric", "z": "numeric"}, engine)
    lab.put("old", 0, {"x": 1e9, "y": 1e9})
    for i in range(999):
        lab.put(f"c{i}", 100 * DAY_MS, {"x": -7.0, "y": 0.0})
        lab.put(f"c{i}", 100 * DAY_MS, {"x": float(i), "y": float(i)})
        if i == 500:
            lab.flush()
    config = frozen.classes(meta, revision)["C"]
    assert frozen.waiting(config) == (("x", "q"), ("y", "automatic"))
    assert fix_waiting(meta, "t", config, lab.facts()) is config

    lab.put("c999", 100 * DAY_MS, {"x": 999.0, "y": 999.0, "z": 1.0})
    fixed = fix_waiting(meta, "t", config, lab.facts())
    assert fixed.fields["x"].segmentations["q"].boundaries == (249.75, 499.5, 749.25)
    assert fixed.fields["y"].segmentations["automatic"].bucket_size == 20
    assert frozen.classes(meta, revision)["C"] == fixed

    lab.put("later", 101 * DAY_MS, {"x": 1e6})
    assert fix_waiting(meta, "t", fixed, lab.facts()) is fixed
    meta.dispose()


def test_until_then_edges_follow_the_data(engine: DuckEngine, tmp_path: Path) -> None:
    """A number that no verse names still has buckets to look at."""
    lab = Lab(tmp_path / "lake", {"z": "numeric"}, engine)
    own = revisions.parse_for_class({"fields": {"z": {"type": "numeric"}}}, "C").classes["C"].fields["z"].segmentation()
    assert own is not None
    assert provisional(lab.facts(), "z", own) == own
    lab.put("a", 0, {"z": 0.0})
    lab.put("b", 0, {"z": 1.0})
    assert provisional(lab.facts(), "z", own).bucket_size == 0.02


def test_one_wild_value_does_not_end_the_search(engine: DuckEngine, tmp_path: Path) -> None:
    """Buckets cover the usual range; what is far out falls into the open ends."""
    lab = Lab(tmp_path / "lake", {"x": "numeric"}, engine)
    for i in range(1000):
        lab.put(f"c{i}", 0, {"x": i / 100})
    lab.put("mad", 0, {"x": 1e12})
    facts = lab.facts()
    cents = Segmentation(name="a", kind="width", bucket_size=0.01, default=True)
    plan = plan_axis(facts, AxisRequest("x"), lambda *_: cents, lambda fields: facts.relation(fields), {})
    assert plan.buckets is not None
    assert 900 < len(plan.buckets) < 1100
    assert plan.buckets.codes([5.0, 1e12, -1e12]).min() >= 0
