"""A data directory under test, with time that the test moves, and a naive twin that says what must be in it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from mona_server.config.fields import FieldBuilder
from mona_server.config.model import ContextClass, Field, FieldType, Source
from mona_server.ingest.builders import NO_CONFIGURATION, ClassBuilder, TenantBuilders
from mona_server.ingest.fold import Folder
from mona_server.ingest.work import Step, Work
from mona_server.store import Accepted, Key, Receipt, Store, compact, erase, faults, jobs, lake
from mona_server.store.flush import flush
from mona_server.store.relation import facts_query

START_MS = 1_700_000_000_000
"""When the tests begin: 14 November 2023."""

Row = dict[str, Any]


class Crash(BaseException):
    """The process ends here."""


class FixedBuilders:
    """What the configuration of every tenant says, set by the test."""

    def __init__(self) -> None:
        self.tenant = NO_CONFIGURATION
        self._number = 0

    def configure(self, classes: Mapping[str, Mapping[str, FieldType]]) -> None:
        """Class → field → type; each field is the variable of its name."""
        self._number += 1
        made = {}
        for name, fields in classes.items():
            built = {f: Field(name=f, type=t, sources=(Source((f,)),)) for f, t in fields.items()}
            made[name] = ClassBuilder(FieldBuilder(ContextClass(name=name, fields=built)), frozenset(fields))
        self.tenant = TenantBuilders(str(self._number), made)

    def active(self, tenant: str) -> TenantBuilders:
        return self.tenant


class Lab:
    """One data directory with the parts that work on it, all in this process."""

    def __init__(self, path: Path, *, batch_messages: int = 5_000) -> None:
        self.path = path
        self.builders = FixedBuilders()
        self.now_ms = START_MS
        self._batch_messages = batch_messages
        self.open()

    def open(self) -> None:
        self.store = Store.open(self.path)
        self.folder = Folder(self.store, self.builders, batch_messages=self._batch_messages)
        self.duck: duckdb.DuckDBPyConnection = lake.engine()

    def close(self) -> None:
        faults.install(None)
        self.duck.close()
        self.store.close()

    def restart(self) -> None:
        self.close()
        self.open()

    def later(self, ms: int = 1_000) -> int:
        self.now_ms += ms
        return self.now_ms

    # --- in ----------------------------------------------------------------------------------------------

    def send(
        self,
        messages: Sequence[Any],
        *,
        tenant: str = "T",
        context_class: str = "LOAN",
        key: str | None = None,
        default_action: str | None = None,
    ) -> Receipt:
        """Accept messages as the API does; a dict without ``arcClass`` is put into ``context_class``."""
        wire = [{"arcClass": context_class, **m} if isinstance(m, dict) else m for m in messages]
        body = json.dumps({"userId": tenant, "messages": wire, "defaultAction": default_action}).encode()
        return self.send_body(body, len(messages), tenant=tenant, key=key)

    def send_body(self, body: bytes, messages: int, *, tenant: str = "T", key: str | None = None) -> Receipt:
        made = None if key is None else Key.of(tenant, "export", key, body)
        return self.store.inbox.append([Accepted(tenant, body, self.later(), messages, key=made)])[0]

    def fold(self) -> int:
        """Fold everything that waits; returns how many facts were written."""
        facts = 0
        while done := self.folder.step(self.later()):
            facts += done.facts
        return facts

    def flush(self, max_rows: int = 250_000) -> None:
        while flush(self.store, self.duck, self.later(), max_rows=max_rows):
            pass

    def compact(self, asof_ms: int = 30 * 86_400_000) -> int:
        """Merge until nothing is left to merge; returns how many merges."""
        merges = 0
        while plans := compact.plans(self.store, self.later(), asof_ms):
            for plan in plans:
                compact.compact(self.store, self.duck, plan, self.later())
            merges += len(plans)
        return merges

    def erase(self) -> None:
        for class_id in erase.outstanding(self.store):
            erase.erase(self.store, self.duck, class_id, self.later())

    def job(self, work: Any, parameters: dict[str, Any], *, tenant: str = "T") -> Any:
        """Do a whole job; returns its result."""
        bound: Work = lambda job, clock: work(self.folder, job, clock)  # noqa: E731
        job_id = jobs.create(self.store.meta, tenant, "test", parameters, self.later())
        job = jobs.claim(self.store.meta, ("test",), "lab", self.now_ms)
        assert job is not None
        assert job.id == job_id
        steps: list[Step] = list(bound(job, self.later))
        jobs.finish(self.store.meta, job, steps[-1].result, now_ms=self.now_ms)
        return steps[-1].result

    # --- out ---------------------------------------------------------------------------------------------

    def rows(self, *, tenant: str = "T", context_class: str = "LOAN", as_of: int | None = None) -> list[Row]:
        """All fact rows, signed, with every column."""
        snapshot = self.store.snapshot(tenant, context_class, as_of)
        columns = list(snapshot.types)
        result = self.duck.execute(facts_query(self.duck, snapshot, columns)).fetchall()
        return [dict(zip(columns, row, strict=True)) for row in result]

    def facts(self, *, tenant: str = "T", context_class: str = "LOAN", as_of: int | None = None) -> dict[str, Row]:
        """Net facts by context id, without nulls and reserved columns but ``MONA_TIMESTAMP``.

        Asserts that every context has exactly one, so that nothing is lost and nothing is counted twice.
        """
        net: dict[str, int] = {}
        for row in self.rows(tenant=tenant, context_class=context_class, as_of=as_of):
            values = {k: v for k, v in row.items() if k not in ("MONA_SIGN", "MONA_REVISION") and v is not None}
            text = json.dumps(values, sort_keys=True)
            net[text] = net.get(text, 0) + row["MONA_SIGN"]
        found: dict[str, Row] = {}
        for text, count in net.items():
            if count == 0:
                continue
            values = json.loads(text)
            assert count == 1, f"{count} rows of {values['MONA_ID']}"
            assert values["MONA_ID"] not in found
            assert values["MONA_DAY"] == values["MONA_TIMESTAMP"] // 86_400_000
            found[values["MONA_ID"]] = {k: v for k, v in values.items() if k not in _HIDDEN}
        return found


_HIDDEN = ("MONA_ID", "MONA_DAY", "MONA_ARRIVAL_TIMESTAMP")


def crash_at(name: str, times: int = 1) -> None:
    """The process ends at this point, the ``times``-th time it is passed."""
    left = times

    def hook(passed: str) -> None:
        nonlocal left
        if passed == name:
            left -= 1
            if left == 0:
                faults.install(None)
                raise Crash(name)

    faults.install(hook)


def numbered(count: int, **values: Any) -> Iterator[dict[str, Any]]:
    """Messages for contexts c0, c1, ..."""
    for i in range(count):
        yield {"contextId": f"c{i}", "exportTimestamp": START_MS - 86_400_000, "message": {"a": i, **values}}
