"""A model-based test: anything that can happen to a data directory, against a naive model in memory.

The model knows nothing of signs, files or revisions: it merges messages into dicts as the specification says, and
builds fields when a context changes. After every step the store must answer exactly what the model says.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import mona_server
from mona_server.ingest import backfill, deletes
from mona_server.store import contexts, faults, lake, verify
from tests.ingest.lab import Crash, Lab, crash_at

DAY_S = 86_400
BASE_S = 1_690_000_000
ASOF_MS = 100 * 1000  # a hundred steps of the lab's clock

IDS = st.sampled_from(["a", "b", "c", "d", "e"])
VALUES = st.dictionaries(
    st.sampled_from(["x", "y", "z"]),
    st.none()
    | st.integers(0, 3)
    | st.sampled_from(["p", "q"])
    | st.lists(st.sampled_from(["p", "q", "r"]), max_size=2),
    max_size=3,
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"contextId": IDS, "message": VALUES},
        optional={
            "action": st.sampled_from(["OVERWRITE", "OVERWRITE", "ADD", "NEW", "DELETE"]),
            "exportTimestamp": st.integers(0, 5).map(lambda day: BASE_S + day * DAY_S),
        },
    ),
    min_size=1,
    max_size=6,
)
CONFIGURATIONS: list[dict[str, Any]] = [
    {},
    {"x": "numeric", "y": "string"},
    {"x": "string", "y": "string", "z": "numeric"},
    {"z": "boolean", "X": "numeric"},
]
FOLD_POINTS = ["fold: before commit", "fold: committed"]
LAKE_POINTS = [
    "flush: file written",
    "flush: files listed",
    "flush: before commit",
    "flush: committed",
    "compact: file written",
    "swap: files listed",
    "swap: before commit",
    "swap: committed",
    "erase: files replaced",
]


class Model:
    """What must be known, by plain dicts."""

    def __init__(self) -> None:
        self.waiting: list[tuple[dict[str, Any], int]] = []
        self.contexts: dict[str, dict[str, Any]] = {}
        self.configuration: dict[str, Any] = {}
        self.names: dict[tuple[str, str], str] = {}
        self.past: list[tuple[int, dict[str, Any]]] = []
        self.deleted: set[str] = set()
        """Contexts that a message deleted in the last fold: their past goes with them."""

    def fold(self) -> None:
        for message, arrival_ms in self.waiting:
            self._merge(message, arrival_ms)
        # Messages that wait together are folded together: what counts is whether any of them changed something.
        for context in self.contexts.values():
            if context.pop("changed", False):
                self.build(context)
        self.waiting.clear()

    def _merge(self, message: dict[str, Any], arrival_ms: int) -> None:
        id_, values, action = message["contextId"], message["message"], message.get("action") or "OVERWRITE"
        named = message.get("exportTimestamp")
        known = self.contexts.get(id_)
        if action == "DELETE":
            self.contexts.pop(id_, None)
            self.deleted.add(id_)
            return
        if known is None or action == "NEW":
            kept = {k: v for k, v in values.items() if v is not None}
            time_ms = named * 1000 if named else arrival_ms
            self.contexts[id_] = {"values": kept, "time": time_ms, "named": bool(named), "changed": True}
            if known is not None and _texts(known["values"], known["time"]) == _texts(kept, time_ms):
                # Nothing changed; what was built before stays.
                self.contexts[id_]["changed"] = known.get("changed", False)
                self.contexts[id_]["fields"] = known.get("fields")
            return
        before = _texts(known["values"], known["time"])
        for key, value in values.items():
            if action == "ADD":
                if value is None:
                    continue
                if key in known["values"]:
                    old = known["values"][key]
                    old = old if isinstance(old, list) else [old]
                    known["values"][key] = old + (value if isinstance(value, list) else [value])
                else:
                    known["values"][key] = value
            elif value is None:
                known["values"].pop(key, None)
            else:
                known["values"][key] = value
        if named:
            known["time"] = min(known["time"], named * 1000) if known["named"] else named * 1000
            known["named"] = True
        if _texts(known["values"], known["time"]) != before:
            known["changed"] = True

    def build(self, context: dict[str, Any]) -> None:
        fields = {}
        for name, type_ in self.configuration.items():
            built = build_one(context["values"].get(name), type_)
            if built is not None:
                column = self.names[name, type_]
                fields[column + "[]" if isinstance(built, list) else column] = built
        context["fields"] = {"MONA_TIMESTAMP": context["time"], **fields}

    def configure(self, configuration: dict[str, Any]) -> None:
        self.configuration = configuration

    def name_columns(self) -> None:
        """The physical columns that a class gets when it is first folded with this configuration."""
        for name, type_ in self.configuration.items():
            if (name, type_) not in self.names:
                taken = {n.casefold() for n in self.names.values()}
                column, number = name, 1
                while column.casefold() in taken:
                    number += 1
                    column = f"{name}@{number}"
                self.names[name, type_] = column

    def forget_past(self, ids: set[str]) -> None:
        for _, facts in self.past:
            for id_ in ids:
                facts.pop(id_, None)

    def facts(self) -> dict[str, Any]:
        return {id_: context["fields"] for id_, context in self.contexts.items()}


def _texts(values: dict[str, Any], time_ms: int) -> str:
    """To be compared: 1, 1.0 and true are three values."""
    return json.dumps([values, time_ms])


def build_one(value: Any, type_: str) -> Any:
    """The casts that these small values can meet, written down apart from the product."""
    if value is None or value == []:
        return None
    if type_ == "numeric":
        numbers = [v for v in (value if isinstance(value, list) else [value]) if isinstance(v, int)]
        return sum(numbers) / len(numbers) if numbers else None
    if type_ == "string":
        if isinstance(value, list):
            return sorted({str(v) for v in value})
        return str(value)
    # Booleans: truthiness, each distinct one of an array.
    return sorted({bool(v) for v in value}) if isinstance(value, list) else bool(value)


class Machine(RuleBasedStateMachine):
    """Messages, configuration changes, flushes, compactions, deletes, backfills, crashes and restarts."""

    @initialize()
    def begin(self) -> None:
        self.path = Path(tempfile.mkdtemp())
        self.lab = Lab(self.path / "data", batch_messages=1_000)
        self.model = Model()
        self.seen = False

    @rule(messages=MESSAGES)
    def send(self, messages: list[dict[str, Any]]) -> None:
        self.lab.send(messages)
        self.model.waiting += [(message, self.lab.now_ms) for message in messages]

    @rule(messages=MESSAGES)
    def send_twice_under_one_key(self, messages: list[dict[str, Any]]) -> None:
        first = self.lab.send(messages, key=f"key {self.lab.now_ms}")
        assert first.number is not None
        self.model.waiting += [(message, self.lab.now_ms) for message in messages]
        again = self.lab.send(messages, key=f"key {self.lab.now_ms - 1000}")
        assert again.number is None

    @rule(configuration=st.sampled_from(CONFIGURATIONS))
    def configure(self, configuration: dict[str, Any]) -> None:
        self.lab.builders.configure({"LOAN": configuration} if configuration else {})
        self.model.configure(configuration)

    @rule()
    def fold(self) -> None:
        if self.model.waiting:
            self.model.name_columns()
            self.seen = True
        self.model.fold()
        self.lab.fold()
        if self.model.deleted:
            self.model.forget_past(self.model.deleted)
            self.model.deleted = set()
            self.lab.erase()
        self._remember()

    @precondition(lambda self: self.model.waiting)
    @rule(point=st.sampled_from(FOLD_POINTS))
    def crash_while_folding(self, point: str) -> None:
        crash_at(point)
        try:
            self.lab.fold()
        except Crash:
            self.lab.restart()
        self.fold()

    @rule()
    def flush(self) -> None:
        self.lab.flush()

    @rule()
    def keep_the_lake(self) -> None:
        self.lab.compact(ASOF_MS)
        self.lab.erase()

    @rule(point=st.sampled_from(LAKE_POINTS), times=st.integers(1, 3))
    def crash_while_keeping_the_lake(self, point: str, times: int) -> None:
        crash_at(point, times)
        try:
            self.lab.flush()
            self.lab.compact(ASOF_MS)
            self.lab.erase()
        except Crash:
            self.lab.restart()
        faults.install(None)  # the point may not have been passed

    @rule()
    def restart_and_sweep(self) -> None:
        self.lab.restart()
        with self.lab.store.state.reading() as connection:
            for path in lake.unlisted(connection, self.lab.store.lake):
                path.unlink()
        self.lab.later(ASOF_MS // 20)
        lake.sweep(self.lab.store.state.connection, self.lab.store.lake, self.lab.now_ms, grace_ms=0)

    @precondition(lambda self: self.seen and not self.model.waiting)
    @rule(id_=IDS)
    def delete_context(self, id_: str) -> None:
        result = self.lab.job(deletes.delete_context, {"context_class": "LOAN", "context_id": id_})
        assert result == {"contexts": int(id_ in self.model.contexts)}
        self._forget({id_})

    @precondition(lambda self: self.seen and not self.model.waiting)
    @rule(days=st.tuples(st.integers(0, 6), st.integers(0, 6)))
    def delete_range(self, days: tuple[int, int]) -> None:
        low, high = ((BASE_S + day * DAY_S) * 1000 for day in days)
        gone = {id_ for id_, context in self.model.contexts.items() if low <= context["time"] < high}
        result = self.lab.job(deletes.delete_range, {"context_class": "LOAN", "from_ms": low, "to_ms": high})
        assert result == {"contexts": len(gone)}
        self._forget(gone)

    def _forget(self, ids: set[str]) -> None:
        for id_ in ids:
            self.model.contexts.pop(id_, None)
        self.model.forget_past(ids)
        self.lab.erase()
        self._remember()

    @precondition(lambda self: self.seen)
    @rule()
    def backfill(self) -> None:
        self.model.name_columns()
        result = self.lab.job(backfill.backfill, {"context_class": "LOAN"})
        assert result["contexts"] == len(self.model.contexts)
        for context in self.model.contexts.values():
            self.model.build(context)
        self._remember()

    @precondition(lambda self: self.seen)
    @rule()
    def verify(self) -> None:
        found = verify.verify(self.lab.store, now_ms=self.lab.later())
        assert [f for f in found if f.id != "file_unlisted"] == []

    @precondition(lambda self: self.seen)
    @invariant()
    def facts_are_those_of_the_model(self) -> None:
        assert self.lab.facts() == self.model.facts()
        (info,) = self.lab.store.classes("T")
        assert info.contexts == len(self.model.contexts)

    @precondition(lambda self: self.seen)
    @invariant()
    def variables_are_those_of_the_model(self) -> None:
        for id_, context in self.model.contexts.items():
            assert contexts.read_context(self.lab.store, "T", "LOAN", id_).variables == context["values"]

    @precondition(lambda self: self.seen)
    @invariant()
    def the_past_is_as_it_was(self) -> None:
        self.model.past = [(at, facts) for at, facts in self.model.past if at > self.lab.now_ms - ASOF_MS]
        for at, facts in self.model.past[-3:]:
            assert self.lab.facts(as_of=at) == facts

    def _remember(self) -> None:
        self.model.past.append((self.lab.now_ms, deepcopy(self.model.facts())))

    def teardown(self) -> None:
        if hasattr(self, "lab"):
            self.lab.close()
            shutil.rmtree(self.path)


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=12,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def test_the_machine_crashes_at_every_point() -> None:
    """A new step that a crash may split is met by the machine as well."""
    code = Path(mona_server.__file__).parent
    named = {
        m for file in code.rglob("*.py") for m in re.findall(r"^\s*point\(\"(.+?)\"\)", file.read_text(), re.MULTILINE)
    }
    assert named == {*FOLD_POINTS, *LAKE_POINTS}


@pytest.mark.slow
def test_long_machine() -> None:
    """The same for many more and longer histories."""
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=100, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
