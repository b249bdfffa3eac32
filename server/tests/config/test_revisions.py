"""Revisions of a configuration in a real meta.db: kept, compared, restored, isolated by tenant."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine

from mona_server.config import ConfigError, frozen, revisions, sampling
from mona_server.config.diff import difference
from mona_server.errors import BadRequest, NotFound
from mona_server.store.meta import open_meta

WHO: dict[str, Any] = {"author": "ada", "commit_message": "why", "now_ms": 1_700_000_000_000}


@pytest.fixture
def meta(tmp_path: Path) -> Iterator[Engine]:
    engine = open_meta(tmp_path / "meta.db")
    yield engine
    engine.dispose()


def one_class(kind: str = "numeric", **more: Any) -> dict[str, Any]:
    return {"fields": {"x": {"type": kind}, **more}}


def test_a_tenant_without_configuration_has_none(meta: Engine) -> None:
    """Messages are accepted before anything is configured."""
    assert revisions.active(meta, "t") is None
    assert revisions.active_id(meta, "t") is None
    assert revisions.history(meta, "t") == []


def test_an_upload_becomes_the_active_revision(meta: Engine) -> None:
    """With its author, time and text byte for byte; the first has no diffs."""
    text = '{ "LOAN" : {"fields": {"x": {"type": "numeric"}}} }\n'
    saved = revisions.save(meta, "t", text, **WHO)
    active = revisions.active(meta, "t")
    assert active == saved.revision
    assert active is not None
    assert (active.number, active.parent, active.text, active.diffs) == (1, None, text, ())
    assert (active.author, active.commit_message, active.created_ms) == ("ada", "why", WHO["now_ms"])
    assert list(active.classes["LOAN"].fields) == ["x"]
    assert saved.to_json() == {
        "new_config_id": active.id,
        "new_config": {"LOAN": {"fields": {"x": {"type": "numeric"}}}},
        "diffs": [],
        "warnings": [],
    }


def test_nothing_is_stored_when_there_is_an_error(meta: Engine) -> None:
    """All issues come back; the active revision stays."""
    first = revisions.save(meta, "t", {"A": one_class()}, **WHO).revision
    with pytest.raises(ConfigError) as error:
        revisions.save(meta, "t", {"A": one_class("number"), "B": {}}, **WHO)
    assert [issue.path for issue in error.value.issues] == ["A.fields.x.type", "B.fields"]
    assert revisions.active_id(meta, "t") == first.id
    assert revisions.count(meta, "t") == 1


def test_a_whole_upload_replaces_the_whole_file(meta: Engine) -> None:
    """Classes that are missing in it lose their configuration; the diff says so."""
    revisions.save(meta, "t", {"A": one_class(), "B": one_class()}, **WHO)
    saved = revisions.save(meta, "t", {"t": {"A": one_class("string")}}, **WHO)
    assert list(saved.revision.classes) == ["A"]
    assert [(d["op"], d["path"], d["old"], d["new"]) for d in saved.revision.diffs] == [
        ("remove", "B", {"fields": {"x": {"type": "numeric"}}}, None),
        ("change", "A.fields.x.type", "numeric", "string"),
    ]


@pytest.mark.parametrize(
    "given",
    [
        one_class("string"),
        {"B": one_class("string")},
        {"t": {"B": one_class("string")}},
        json.dumps(one_class("string")),
        json.dumps({"B": one_class("string")}),
    ],
)
def test_one_class_changes_alone(meta: Engine, given: Any) -> None:
    """Its object, alone or under its name, as object or text; the others stay where they are."""
    revisions.save(meta, "t", {"A": one_class(), "B": one_class(), "C": one_class()}, **WHO)
    saved = revisions.save(meta, "t", given, context_class="B", **WHO)
    assert list(saved.revision.raw) == ["A", "B", "C"]
    assert [d["path"] for d in saved.revision.diffs] == ["B.fields.x.type"]
    assert saved.revision.context_class == "B"


def test_a_class_with_errors_names_its_path(meta: Engine) -> None:
    """The class object has no name of its own in the text, but its issues have."""
    with pytest.raises(ConfigError, match=r"B\.fields\.x\.type"):
        revisions.save(meta, "t", one_class("number"), context_class="B", **WHO)


def test_an_upload_on_an_old_base_is_refused_with_what_changed(meta: Engine) -> None:
    """Nobody overwrites a colleague's change without seeing it."""
    base = revisions.save(meta, "t", {"A": one_class()}, **WHO).revision
    revisions.save(meta, "t", {"A": one_class("string")}, base_config_id=base.id, **WHO)
    with pytest.raises(revisions.RevisionConflict) as error:
        revisions.save(meta, "t", {"A": one_class("boolean")}, base_config_id=base.id, **WHO)
    assert [d["path"] for d in error.value.diffs] == ["A.fields.x.type"]
    assert error.value.status == 409


def test_simultaneous_uploads_all_get_a_number(meta: Engine) -> None:
    """Classes that several people upload at the same moment are all there in the end."""
    failures: list[BaseException] = []

    def upload(name: str) -> None:
        try:
            revisions.save(meta, "t", one_class(), context_class=name, **WHO)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=upload, args=(f"C{i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    active = revisions.active(meta, "t")
    assert active is not None
    assert active.number == 8
    assert set(active.classes) == {f"C{i}" for i in range(8)}


def test_history_is_newest_first_and_pages(meta: Engine) -> None:
    """With the parent of each, and a cursor by number."""
    ids = [revisions.save(meta, "t", {"A": one_class(), f"B{i}": one_class()}, **WHO).revision.id for i in range(5)]
    page = revisions.history(meta, "t", limit=2)
    assert [one.id for one in page] == ids[:2:-1]
    assert page[0].parent == ids[3]
    rest = revisions.history(meta, "t", limit=10, before=page[-1].number)
    assert [one.id for one in rest] == ids[2::-1]
    assert set(page[0].to_json()) == {"config_id", "parent", "author", "commit_message", "time", "diffs", "config"}


def test_restore_is_a_new_revision_with_old_content(meta: Engine) -> None:
    """Nothing in the history is rewritten."""
    first = revisions.save(meta, "t", {"A": one_class()}, **WHO).revision
    second = revisions.save(meta, "t", {"A": one_class("string")}, **WHO).revision
    restored = revisions.restore(meta, "t", first.id, author="bob", now_ms=5).revision
    assert (restored.number, restored.parent, restored.restored) == (3, second.id, first.id)
    assert restored.raw == first.raw
    assert restored.text == first.text
    assert revisions.diff_between(meta, "t", first.id, restored.id) == []
    assert len(revisions.diff_between(meta, "t", first.id, second.id)) == 1


def test_tenants_do_not_see_each_other(meta: Engine) -> None:
    """An id of another tenant does not exist."""
    other = revisions.save(meta, "other", {"A": one_class()}, **WHO).revision
    assert revisions.active(meta, "t") is None
    for call in (revisions.get, lambda *args: revisions.restore(*args, author="", now_ms=0)):
        with pytest.raises(NotFound):
            call(meta, "t", other.id)


def test_the_order_of_fields_survives(meta: Engine) -> None:
    """It is the order of building."""
    names = [f"f{i}" for i in (9, 3, 7, 1)]
    revisions.save(meta, "t", {"A": {"fields": {name: {"type": "numeric"} for name in names}}}, **WHO)
    active = revisions.active(meta, "t")
    assert active is not None
    assert list(active.classes["A"].fields) == names


@pytest.mark.parametrize(
    ("old", "new", "paths"),
    [
        ({"A": 1}, {"A": True}, ["A"]),
        ({"A": {"l": [1, 2]}}, {"A": {"l": [2, 1]}}, ["A.l"]),
        (
            {"A": {"verses": [{"type": "X", "n": 1}]}},
            {"A": {"verses": [{"type": "Y"}, {"type": "X", "n": 2}]}},
            ["A.verses.Y", "A.verses.X.n"],
        ),
        ({"A": {"verses": [{"type": "X"}, {"type": "X"}]}}, {"A": {"verses": [{"type": "X"}]}}, ["A.verses"]),
        ({"A": {"fields": {"a": 1, "b": 2}}}, {"A": {"fields": {"b": 2, "a": 1}}}, ["A.fields.order"]),
        ({"A": {"x": {}}}, {"A": {"x": {}}}, []),
    ],
)
def test_differences(old: dict[str, Any], new: dict[str, Any], paths: list[str]) -> None:
    """Objects key by key, verses by name, other lists as one value; true is not 1."""
    assert [one["path"] for one in difference(old, new)] == paths


QUANTILES = {"x": {"type": "numeric", "segmentations": {"q": {"quantiles": 4}}}}


def test_frozen_segmentations_last_as_long_as_their_definition(meta: Engine) -> None:
    """Fixed once from data; the next revision has them too; another definition waits for data again."""
    revision = revisions.save(meta, "t", {"A": {"fields": QUANTILES}}, **WHO).revision
    context_class = frozen.classes(meta, revision)["A"]
    assert frozen.waiting(context_class) == (("x", "q"),)
    fixed = frozen.fix(meta, "t", context_class, "x", "q", np.arange(8.0), now_ms=0)
    assert frozen.waiting(fixed) == ()
    again = revisions.save(meta, "t", {"A": {"fields": {**QUANTILES, "y": {"type": "string"}}}}, **WHO).revision
    assert frozen.classes(meta, again)["A"].fields["x"] == fixed.fields["x"]
    other = {"x": {"type": "numeric", "segmentations": {"q": {"quantiles": 5}}}}
    third = revisions.save(meta, "t", {"A": {"fields": other}}, **WHO).revision
    assert frozen.waiting(frozen.classes(meta, third)["A"]) == (("x", "q"),)
    elsewhere = revisions.save(meta, "other", {"A": {"fields": QUANTILES}}, **WHO).revision
    assert frozen.waiting(frozen.classes(meta, elsewhere)["A"]) == (("x", "q"),)


def test_only_automatic_segmentations_that_are_used_wait(meta: Engine) -> None:
    """A numeric field that no verse segments by needs no buckets."""
    fields = {"x": {"type": "numeric"}, "y": {"type": "numeric"}}
    stanzas = {"s": {"verses": [{"type": "AverageDrift", "metrics": ["x"], "segment_by": ["y"]}]}}
    saved = revisions.save(meta, "t", {"A": {"fields": fields, "stanzas": stanzas}}, **WHO)
    assert [issue.code for issue in saved.warnings] == ["automatic_segmentation"]
    assert frozen.waiting(saved.revision.classes["A"]) == (("y", "automatic"),)


def test_sampling_factors(meta: Engine) -> None:
    """By name and class, with a default; setting again replaces; a bad factor is refused."""
    sampling.set_factor(meta, "t", "main", 0.5, "LOAN")
    sampling.set_factor(meta, "t", "main", 0.25, "LOAN")
    sampling.set_factor(meta, "t", "main", 1)
    sampling.set_factor(meta, "t", "other", 0, "CHAT")
    sampling.set_factor(meta, "elsewhere", "main", 0.1)
    main = {"config_name": "main", "factors_map": {"LOAN": 0.25}, "default_factor": 1}
    other = {"config_name": "other", "factors_map": {"CHAT": 0}, "default_factor": None}
    assert sampling.factors(meta, "t") == [main, other]
    assert sampling.factors(meta, "t", "main") == [main]
    assert sampling.factors(meta, "t", "none") == []
    for bad in (1.5, -0.1, True, "0.5", None):
        with pytest.raises(BadRequest):
            sampling.set_factor(meta, "t", "main", bad)
