"""Folding: accepted bodies become documents and signed facts, exactly once."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest

from mona_server.ingest import report
from mona_server.ingest.fold import make_id
from mona_server.store import contexts, lake
from mona_server.store.documents import hash_key
from tests.ingest.lab import START_MS, Crash, Lab, crash_at, numbered

DAY = 86_400_000
FIELDS: dict[str, Any] = {"LOAN": {"a": "numeric", "s": "string", "b": "boolean", "label": "boolean"}}


def test_contexts_become_facts(lab: Lab) -> None:
    """A configured class has one fact per context, with its saved fields and its time."""
    lab.builders.configure(FIELDS)
    lab.send([{"contextId": "1", "exportTimestamp": 1_600_000_000, "message": {"a": 1, "s": "x", "b": True, "z": 9}}])
    assert lab.fold() == 1
    assert lab.facts() == {"1": {"MONA_TIMESTAMP": 1_600_000_000_000, "a": 1.0, "s": "x", "b": True}}


def test_unconfigured_class_has_bare_facts(lab: Lab) -> None:
    """Without configuration a fact holds id, time and sign: deletes and backfill find contexts there."""
    lab.send([{"contextId": "1", "exportTimestamp": 1_600_000_000, "message": {"a": 1}}])
    lab.fold()
    assert lab.facts() == {"1": {"MONA_TIMESTAMP": 1_600_000_000_000}}
    assert contexts.read_context(lab.store, "T", "LOAN", "1").variables == {"a": 1}


def test_late_label_is_a_copy_back_and_a_new_row(lab: Lab) -> None:
    """A change appends the old fact with sign -1 and the new one with +1."""
    lab.builders.configure(FIELDS)
    lab.send([{"contextId": "1", "message": {"a": 1}}])
    lab.fold()
    lab.send([{"contextId": "1", "message": {"label": True}}])
    assert lab.fold() == 2
    signs = [(row["MONA_SIGN"], row["a"], row["label"], row["MONA_REVISION"]) for row in lab.rows()]
    assert signs == [(1, 1.0, None, 1), (-1, 1.0, None, 2), (1, 1.0, True, 2)]


def test_repeated_overwrite_writes_no_facts(lab: Lab) -> None:
    """Sending the same again changes nothing and is no new context."""
    lab.builders.configure(FIELDS)
    lab.send(list(numbered(5)))
    assert lab.fold() == 5
    lab.send(list(numbered(5)))
    assert lab.fold() == 0
    hours = report.ingestion(lab.store, "T", "LOAN", 0, 2**60)["hours"]
    assert hours[0]["messages"] == {"OVERWRITE new": 5, "OVERWRITE unchanged": 5}
    assert hours[0]["contexts"] == {"new": 5}


def test_many_changes_in_one_batch_are_one(lab: Lab) -> None:
    """Only the state after a batch becomes a fact."""
    lab.builders.configure(FIELDS)
    lab.send([{"contextId": "1", "message": {"a": i}} for i in range(10)])
    assert lab.fold() == 1
    assert lab.facts()["1"]["a"] == 9


def test_minus_row_is_what_was_written_not_what_would_be_built_now(lab: Lab) -> None:
    """A configuration change between a plus row and its minus row is the hard case of signed facts."""
    lab.builders.configure({"LOAN": {"a": "numeric", "s": "string"}})
    lab.send([{"contextId": "1", "message": {"a": 1, "s": "2"}}])
    lab.fold()
    lab.builders.configure({"LOAN": {"a": "string", "c": "numeric"}})
    lab.send([{"contextId": "1", "message": {"c": 3}}])
    lab.fold()
    assert list(lab.facts().values()) == [{"MONA_TIMESTAMP": START_MS + 1000, "a@2": "1", "c": 3.0}]
    lab.flush()
    assert list(lab.facts().values()) == [{"MONA_TIMESTAMP": START_MS + 1000, "a@2": "1", "c": 3.0}]


def test_a_type_that_comes_back_gets_its_old_column(lab: Lab) -> None:
    """numeric → string → numeric: the values of the first time are of the right type again."""
    lab.builders.configure({"LOAN": {"a": "numeric"}})
    lab.send([{"contextId": "1", "message": {"a": 1}}])
    lab.fold()
    lab.builders.configure({"LOAN": {"a": "string"}})
    lab.send([{"contextId": "2", "message": {"a": "x"}}])
    lab.fold()
    lab.builders.configure({"LOAN": {"a": "numeric"}})
    lab.send([{"contextId": "3", "message": {"a": 3}}])
    lab.fold()
    facts = lab.facts()
    assert (facts["1"]["a"], facts["2"]["a@2"], facts["3"]["a"]) == (1.0, "x", 3.0)


def test_fields_that_differ_in_case_only(lab: Lab) -> None:
    """DuckDB does not tell such columns apart; we do. Reserved columns are not to be hit either."""
    lab.builders.configure({"LOAN": {"Amount": "numeric", "amount": "numeric", "mona_id": "string"}})
    lab.send([{"contextId": "1", "message": {"Amount": 1, "amount": 2, "mona_id": "x"}}])
    lab.fold()
    for _ in range(2):
        fact = lab.facts()["1"]
        assert (fact["Amount"], fact["amount@2"], fact["mona_id@2"]) == (1.0, 2.0, "x")
        lab.flush()


def test_arrays_in_text_and_boolean_fields(lab: Lab) -> None:
    """An array goes to a second column that exists from then on; scalars stay in the first one."""
    lab.builders.configure(FIELDS)
    lab.send([{"contextId": "1", "message": {"s": "x", "a": 1}}])
    lab.fold()
    lab.flush()
    lab.send([{"contextId": "2", "message": {"s": ["y", "x", "y"], "b": [True, False], "a": [1, 3]}}])
    lab.fold()
    for _ in range(2):
        facts = lab.facts()
        assert facts["1"]["s"] == "x"
        assert "s[]" not in facts["1"]
        assert "s" not in facts["2"]
        assert (sorted(facts["2"]["s[]"]), sorted(facts["2"]["b[]"]), facts["2"]["a"]) == (
            ["x", "y"],
            [False, True],
            2.0,
        )
        lab.flush()


def test_delete_action_until_a_later_message(lab: Lab) -> None:
    """DELETE takes the context out; a later message starts it anew, with its own time."""
    lab.builders.configure(FIELDS)
    lab.send([{"contextId": "1", "exportTimestamp": 1_600_000_000, "message": {"a": 1}}])
    lab.fold()
    lab.send(
        [{"contextId": "1", "action": "DELETE", "message": {}}, {"contextId": "2", "action": "DELETE", "message": {}}]
    )
    lab.fold()
    assert lab.facts() == {}
    assert lab.store.classes("T")[0].contexts == 0
    lab.send([{"contextId": "1", "exportTimestamp": 1_600_086_400, "message": {"label": True}}])
    lab.fold()
    assert lab.facts() == {"1": {"MONA_TIMESTAMP": 1_600_086_400_000, "label": True}}


def test_what_a_delete_action_leaves(lab: Lab) -> None:
    """Nothing of the past, neither facts nor messages, whether or not the context came back in the same batch."""
    lab.builders.configure(FIELDS)
    lab.send([{"contextId": i, "message": {"a": 1}} for i in ("gone", "back", "kept")])
    lab.fold()
    lab.flush()
    lab.send([{"contextId": "back", "message": {"a": 2}}])
    lab.fold()
    before = lab.later()
    delete: dict[str, Any] = {"action": "DELETE", "message": {}}
    lab.send([{"contextId": "gone", **delete}, {"contextId": "never there", **delete}])
    lab.send([{"contextId": "back", "message": {"a": 3}}, {"contextId": "back", **delete}])
    lab.send([{"contextId": "back", "message": {"a": 4}}, {"contextId": "brief", "message": {"a": 5}}])
    lab.send([{"contextId": "brief", **delete}])
    lab.fold()

    def messages(context_id: str) -> list[Any]:
        found = contexts.message_history(lab.store, lab.duck, "T", "LOAN", context_id)
        return [message.values for message in found]

    for _ in "at once", "after the lake has erased them":
        assert {i: facts["a"] for i, facts in lab.facts().items()} == {"back": 4.0, "kept": 1.0}
        assert lab.store.classes("T")[0].contexts == 2
        assert {i: messages(i) for i in ("gone", "back", "brief", "never there", "kept")} == {
            "gone": [], "back": [{"a": 4}], "brief": [], "never there": [], "kept": [{"a": 1}],
        }  # fmt: skip
        lab.erase()
    assert {i: facts["a"] for i, facts in lab.facts(as_of=before).items()} == {"kept": 1.0}
    with lab.store.state.reading() as connection:
        files = [str(file.path) for file in lake.all_live(connection, lab.store.lake)]
    left = lab.duck.execute("SELECT DISTINCT MONA_ID FROM read_parquet(?, union_by_name = true)", [files]).fetchall()
    assert {row[0] for row in left} == {"back", "kept"}


def test_an_earlier_time_moves_the_context_to_its_day(lab: Lab) -> None:
    """Both days are named as changed, and the number of contexts moves with it."""
    lab.send([{"contextId": "1", "exportTimestamp": 1_600_000_000, "message": {}}])
    lab.fold()
    revision = lab.store.newest_revision()
    lab.send([{"contextId": "1", "exportTimestamp": 1_500_000_000, "message": {}}])
    lab.fold()
    days = [1_500_000_000 // 86400, 1_600_000_000 // 86400]
    assert lab.store.changed_days("T", "LOAN", revision) == days
    assert lab.store.changed_days("T", "LOAN", lab.store.newest_revision()) == []
    info = lab.store.classes("T")[0]
    assert (info.contexts, info.first_day, info.last_day) == (1, days[0], days[0])


def test_server_made_ids_are_the_same_after_a_crash(lab: Lab) -> None:
    """A message without id gets one from its place in the inbox, so folding it again gives no second context."""
    receipt = lab.send([{"message": {"a": 1}}, {"message": {"a": 2}}])
    crash_at("fold: before commit")
    with pytest.raises(Crash):
        lab.fold()
    lab.restart()
    lab.fold()
    assert receipt.number is not None
    assert set(lab.facts()) == {make_id(receipt.number, 0), make_id(receipt.number, 1)}


@pytest.mark.parametrize("point", ["fold: before commit", "fold: committed"])
def test_crash_of_the_fold_counts_nothing_twice(lab: Lab, point: str) -> None:
    """ADD would show a message that is folded twice."""
    lab.builders.configure({"LOAN": {"a": "numeric"}})
    lab.send([{"contextId": "1", "message": {"a": 1}}])
    lab.fold()
    lab.send([{"contextId": "1", "action": "ADD", "message": {"a": 4}}])
    crash_at(point)
    with pytest.raises(Crash):
        lab.fold()
    lab.restart()
    lab.fold()
    assert contexts.read_context(lab.store, "T", "LOAN", "1").variables == {"a": [1, 4]}
    assert lab.facts()["1"]["a"] == 2.5
    assert lab.store.inbox.tenants() == []


def test_tenants_are_folded_in_turn(lab: Lab) -> None:
    """A flood of one tenant does not keep another waiting for more than a batch."""
    lab.restart()
    lab.folder._batch_messages = 10
    for _ in range(5):
        lab.send(list(numbered(10)), tenant="flood")
    lab.send(list(numbered(1)), tenant="small")
    order = []
    while done := lab.folder.step(lab.later()):
        order.append(done.tenant)
    assert order == ["flood", "small", "flood", "flood", "flood", "flood"]


def test_large_bodies_are_folded_a_few_at_a_time(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch is bounded in bytes too, or messages of a megabyte would make the fold take gigabytes."""
    monkeypatch.setattr("mona_server.ingest.fold._BATCH_BYTES", 2_000)
    for i in range(6):
        lab.send([{"contextId": f"c{i}", "message": {"text": "x" * 1_500}}])
    steps = []
    while done := lab.folder.step(lab.later()):
        steps.append(done.rows)
    assert steps == [2, 2, 2]


def test_tenants_do_not_share_anything(lab: Lab) -> None:
    """The same class and id of two tenants are two contexts."""
    lab.send([{"contextId": "1", "message": {"a": 1}}], tenant="A")
    lab.send([{"contextId": "1", "message": {"a": 2}}], tenant="B")
    lab.fold()
    assert contexts.read_context(lab.store, "A", "LOAN", "1").variables == {"a": 1}
    assert contexts.read_context(lab.store, "B", "LOAN", "1").variables == {"a": 2}
    assert lab.store.tenants() == ["A", "B"]


def test_colliding_hashes_are_told_apart(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The index holds a hash; two ids with one hash are still two contexts, new or stored."""
    monkeypatch.setattr("mona_server.store.documents.hash_key", lambda class_id, context_id: len(context_id))
    for _ in range(2):
        lab.send([{"contextId": c, "action": "ADD", "message": {"a": c}} for c in "xyz"])
        lab.fold()
    for c in "xyz":
        assert contexts.read_context(lab.store, "T", "LOAN", c).variables == {"a": [c, c]}
    assert hash_key(1, "x") != hash_key(2, "x")


@pytest.mark.parametrize("odd", ["a\x00b", "é☃", "'; DROP TABLE documents; --", '"', "\ufffd", "x" * 512, " "])
def test_odd_ids_and_values(lab: Lab, odd: str) -> None:
    """Any text is an id and a value, from the body to the file and back."""
    lab.builders.configure(FIELDS)
    lab.send([{"contextId": odd, "message": {"s": odd}}])
    lab.fold()
    assert lab.facts()[odd]["s"] == odd
    lab.flush()
    assert lab.facts()[odd]["s"] == odd
    assert [m.values for m in contexts.message_history(lab.store, lab.duck, "T", "LOAN", odd)] == [{"s": odd}]


def test_message_history_in_files_and_pending(lab: Lab) -> None:
    """All messages of a context in order, with action and times, those before a NEW included."""
    lab.send(
        [{"contextId": "1", "exportTimestamp": 1_600_000_000, "message": {"a": 1}}, {"contextId": "2", "message": {}}]
    )
    lab.fold()
    lab.flush()
    lab.send([{"contextId": "1", "action": "NEW", "message": {"b": [1, None]}}])
    lab.fold()
    history = contexts.message_history(lab.store, lab.duck, "T", "LOAN", "1")
    assert [(m.action, m.export_ms, m.values) for m in history] == [
        ("OVERWRITE", 1_600_000_000_000, {"a": 1}),
        ("NEW", None, {"b": [1, None]}),
    ]
    assert contexts.message_history(lab.store, lab.duck, "T", "LOAN", "none") == []


def test_limits_of_acceptance_hold_at_the_fold(lab: Lab) -> None:
    """A message that was acknowledged is stored, even when the settings have become stricter since."""
    from mona_server.ingest.limits import Limits
    from mona_server.store import Accepted

    body = json.dumps({"messages": [{"arcClass": "LOAN", "contextId": "1", "message": {"a": {"b": 1}}}]}).encode()
    for depth in (2, 1):
        lab.store.inbox.append([Accepted("T", body, lab.later(), 1, limits=Limits(max_depth=depth).text)])
        lab.fold()
    hours = report.ingestion(lab.store, "T", "LOAN", 0, 2**60)["hours"]
    assert hours[0]["messages"] == {"OVERWRITE new": 1}
    assert hours[0]["refused"] == {"message is nested too deeply": 1}


def test_report_of_an_hour(lab: Lab) -> None:
    """Actions and results, refusals, build errors with examples, unknown variables, ages of late updates."""
    lab.builders.configure(FIELDS)
    lab.send(
        [*numbered(4, s=7, extra=1), {"contextId": 5, "message": {}}, {"contextId": "bad", "message": {"a": "much"}}]
    )
    lab.fold()
    lab.send([{"contextId": "c0", "action": "ADD", "message": {"a": 2}}], key="k")
    lab.send([{"contextId": "c0", "action": "ADD", "message": {"a": 2}}], key="k")
    lab.fold()
    found = report.ingestion(lab.store, "T", "LOAN", lab.now_ms - DAY, lab.now_ms + 1)
    (hour,) = found["hours"]
    assert hour["messages"] == {"OVERWRITE new": 5, "ADD updated": 1}
    assert hour["contexts"] == {"new": 5, "updated": 1}
    assert hour["refused"] == {"contextId must be a string": 1}
    assert hour["unknown_variables"] == {"extra": 4}
    assert [(e["field"], e["count"], e["examples"]) for e in hour["build_errors"]] == [("a", 1, ["bad"])]
    assert hour["late_updates"]["count"] == 1
    assert hour["late_updates"]["p50_s"] == pytest.approx(86_400, rel=0.1)
    assert [(r["requests"], r["messages"]) for r in found["replays"]] == [(1, 1)]
    assert report.ingestion(lab.store, "U", "LOAN", 0, 2**60)["hours"] == []


def test_true_is_not_one(lab: Lab) -> None:
    """Python says that 1 == True; a context that changes from one to the other has changed."""
    lab.builders.configure({"LOAN": {"a": "string"}})
    for value, stored in ((1, "1"), (True, "True"), (1, "1")):
        lab.send([{"contextId": "1", "message": {"a": value}}])
        assert lab.fold() > 0
        assert lab.facts()["1"]["a"] == stored


class Faulty:
    """A field function with a defect, and one that makes what no store takes."""

    columns: ClassVar = {"s": "string", "t": "timestamp"}

    def build_row(self, values: Any, context_time_ms: int) -> Any:
        if values.get("bad"):
            raise ZeroDivisionError
        return [["\ud800x"] if values.get("list") else "\ud800x", 2**70], [0] if values.get("list") else [], []


def test_a_defect_of_a_field_function_does_not_stop_the_fold(lab: Lab) -> None:
    """Its context is kept without fields and reported; what cannot be stored is mended or left out."""
    from mona_server.ingest.builders import ClassBuilder, TenantBuilders

    lab.builders.tenant = TenantBuilders("1", {"LOAN": ClassBuilder(Faulty(), frozenset({"bad", "list"}))})
    lab.send([{"contextId": "1", "message": {"bad": 1}}, {"contextId": "2", "message": {}}])
    lab.send([{"contextId": "3", "message": {"list": 1}}])
    lab.fold()
    facts = lab.facts()
    assert {id_: fact.get("s", fact.get("s[]")) for id_, fact in facts.items()} == {"1": None, "2": "?x", "3": ["?x"]}
    (hour,) = report.ingestion(lab.store, "T", "LOAN", 0, 2**60)["hours"]
    assert [error["examples"] for error in hour["build_errors"]] == [["1"]]
