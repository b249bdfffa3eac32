"""What follows from a change of the configuration."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from mona_server.config import parse
from mona_server.config.changes import Changes, changes

BASE: dict[str, Any] = {
    "fields": {
        "a": {"type": "numeric", "segmentations": {"s": {"bucket_size": 1}}},
        "b": {"type": "numeric", "function": "abs", "source": "a"},
        "c": {"type": "string"},
        "hour": {"type": "numeric", "function": "hour_of_day", "source": "t"},
    },
    "stanzas": {
        "s": {
            "verses": [
                {"type": "AverageDrift", "metrics": ["b"]},
                {"type": "SegmentSizeDrift", "segment_by": ["a"], "baseline_segment": {"c": [{"value": "x"}]}},
            ]
        }
    },
}
DRIFT, SIZE = ("s", "s__AverageDrift"), ("s", "s__SegmentSizeDrift")


def changed(edit: Any) -> Changes:
    """Changes of the class after an edit of the object."""
    new = copy.deepcopy(BASE)
    edit(new)
    before, after = (parse({"C": one}).or_raise().classes for one in (BASE, new))
    return changes(before, after).get("C", Changes(fields=(), removed_fields=(), verses=(), removed_verses=()))


@pytest.mark.parametrize(
    ("edit", "fields", "removed", "verses", "gone"),
    [
        (lambda c: c.update(description="new"), (), (), (), ()),
        (lambda c: c["fields"]["c"].update(tags=["id"], description="d"), (), (), (), ()),
        (lambda c: c["fields"]["a"].update(source="x"), ("a", "b"), (), (DRIFT, SIZE), ()),
        (lambda c: c["fields"]["b"].update(function="negate"), ("b",), (), (DRIFT,), ()),
        (lambda c: c["fields"]["c"].update(source="x"), ("c",), (), (SIZE,), ()),
        (lambda c: c["fields"]["a"]["segmentations"]["s"].update(bucket_size=2), (), (), (SIZE,), ()),
        (lambda c: c.update(time_zone="Asia/Tokyo"), ("b", "hour"), (), (DRIFT,), ()),
        (lambda c: c["fields"].update(d={"type": "string"}), ("d",), (), (), ()),
        (lambda c: c["fields"].pop("hour"), (), ("hour",), (), ()),
        (lambda c: c["stanzas"]["s"].update(min_segment_size=5), (), (), (DRIFT, SIZE), ()),
        (lambda c: c["stanzas"]["s"]["verses"].pop(0), (), (), (), (DRIFT,)),
        (lambda c: c["stanzas"]["s"]["verses"][1].update(disabled=True), (), (), (), (SIZE,)),
        (lambda c: c["stanzas"]["s"]["verses"].reverse(), (), (), (), ()),
        # `a` now comes after `b`, so `b` reads the variable.
        (lambda c: c["fields"].update(a=c["fields"].pop("a")), ("b",), (), (DRIFT,), ()),
    ],
)
def test_changes(edit: Any, fields: Any, removed: Any, verses: Any, gone: Any) -> None:
    """Only what may differ is done again; what depends on it comes along."""
    assert changed(edit) == Changes(fields=fields, removed_fields=removed, verses=verses, removed_verses=gone)


def test_classes_come_and_go() -> None:
    """A first configuration makes all of it new; one that is gone takes its verses with it."""
    classes = parse({"C": BASE}).or_raise().classes
    first = changes({}, classes)["C"]
    assert (first.fields, first.verses) == (("a", "b", "c", "hour"), (DRIFT, SIZE))
    last = changes(classes, {})["C"]
    assert (last.removed_fields, last.removed_verses) == (("a", "b", "c", "hour"), (DRIFT, SIZE))
    assert changes(classes, classes) == {}
