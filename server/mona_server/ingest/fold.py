"""The fold: accepted bodies → documents and signed facts, one transaction per batch, exactly once.

Each step takes the next inbox rows of one tenant (tenants in turn, so that a flood of one does not delay the
others), merges their messages into the documents, builds the fields of the contexts that changed, and commits
documents, pending facts, pending messages, the report and the number of the last folded row together. Whatever
happens before the commit happens again after a restart, from the same bytes, with the same ids.

There is one fold per data directory (:mod:`mona_server.ingest.fold_process` holds a lock), so documents may be
read before the transaction begins, and the write lock is held only for writing.
"""

from __future__ import annotations

import gc
import hashlib
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog

from mona_server.errors import MonaError
from mona_server.ingest.builders import Builders, ClassBuilder
from mona_server.ingest.envelope import Message, read
from mona_server.ingest.limits import parse_limits
from mona_server.ingest.merge import Context, merge
from mona_server.ingest.report import Counts
from mona_server.store import catalog, documents, state
from mona_server.store.documents import Document
from mona_server.store.faults import point
from mona_server.store.inbox import HOUR_MS, InboxRow
from mona_server.store.rows import DAY_MS, encode_fact, encode_fact_chunk, encode_message_chunk
from mona_server.store.store import Store

log = structlog.get_logger(__name__)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True, slots=True)
class Folded:
    """One step that was committed."""

    tenant: str
    revision: int
    rows: int
    """Inbox rows."""
    messages: int
    """Messages that counted."""
    facts: int
    """Fact rows written, minus rows included."""


@dataclass(slots=True)
class _Shape:
    """How the facts of one class are laid out in one configuration revision."""

    class_id: int
    layout: int
    physical: tuple[str, ...]
    lists: set[str]
    """Physical columns that are known to have arrays."""
    builder: ClassBuilder | None


class _Work:
    """One context while a batch is folded."""

    __slots__ = ("changed", "context", "context_class", "context_id", "deleted_at", "document", "hash", "hour_ms")

    def __init__(self, context_class: str, context_id: str, hash_: int, document: Document | None) -> None:
        self.context_class = context_class
        self.context_id = context_id
        self.hash = hash_
        self.document = document
        self.context = None if document is None else context_of(document)
        self.changed = False
        self.deleted_at: tuple[int, int] | None = None
        """Number and index of the last DELETE of the batch."""
        self.hour_ms = 0


class Rows:
    """Facts to be appended by one transaction, by class."""

    def __init__(self) -> None:
        self.minus: dict[int, list[bytes]] = defaultdict(list)
        self.plus: dict[int, list[bytes]] = defaultdict(list)
        self.days: dict[int, dict[int, int]] = defaultdict(dict)

    def retract(self, class_id: int, fact: bytes, time_ms: int) -> None:
        """Cancel a fact that was written before: a copy of its bytes."""
        self.minus[class_id].append(fact)
        self._count(class_id, time_ms, -1)

    def add(self, class_id: int, fact: bytes, time_ms: int) -> None:
        self.plus[class_id].append(fact)
        self._count(class_id, time_ms, 1)

    def _count(self, class_id: int, time_ms: int, change: int) -> None:
        days = self.days[class_id]
        day = time_ms // DAY_MS
        days[day] = days.get(day, 0) + change

    def write(self, connection: Any, revision: int) -> int:
        """Append them in the caller's transaction; returns how many."""
        total = 0
        for class_id in sorted({*self.minus, *self.plus}):
            minus, plus = self.minus[class_id], self.plus[class_id]
            count = len(minus) + len(plus)
            state.add_pending(connection, "facts", class_id, revision, count, encode_fact_chunk(minus, plus))
            state.touch_days(connection, class_id, revision, self.days[class_id])
            total += count
        return total


class Folder:
    """Folds the inbox of one data directory. Not safe for threads: there is one fold."""

    def __init__(self, store: Store, builders: Builders, *, batch_messages: int = 5_000) -> None:
        self.store = store
        self._builders = builders
        self._batch_messages = batch_messages
        self._shapes: dict[tuple[str, str], tuple[str, _Shape]] = {}
        self._last_tenant = ""
        self._message_bytes = 500.0
        """Running mean, so that not much more than one batch is read at a time."""

    # --- one step --------------------------------------------------------------------------------------

    def step(self, now_ms: int) -> Folded | None:
        """Fold the next batch of the next tenant; None when nothing waits."""
        for tenant in self._tenants_in_turn():
            after = state.folded_number(self.store.state.connection, tenant)
            rows = self.store.inbox.read(
                tenant,
                after,
                max_rows=self._batch_messages,
                max_bytes=round(self._batch_messages * self._message_bytes),
            )
            if rows:
                self._last_tenant = tenant
                with _uncollected():
                    return self._fold(tenant, rows, now_ms)
            self.store.inbox.forget(tenant, after)  # left over from a crash between commit and forgetting
        return None

    def _tenants_in_turn(self) -> list[str]:
        tenants = self.store.inbox.tenants()
        later = [tenant for tenant in tenants if tenant > self._last_tenant]
        return later + [tenant for tenant in tenants if tenant <= self._last_tenant]

    def _fold(self, tenant: str, rows: Sequence[InboxRow], now_ms: int) -> Folded:
        counts = Counts()
        batch: list[tuple[InboxRow, list[Message]]] = []
        total = 0
        for row in rows:
            messages = _read(tenant, row, counts)
            batch.append((row, messages))
            total += len(messages)
            if total >= self._batch_messages:
                break
        size = sum(len(row.body) for row, _ in batch)
        self._message_bytes += 0.2 * (size / max(total, 1) - self._message_bytes)
        shapes = self.shapes(tenant, {m.context_class for _, messages in batch for m in messages}, now_ms)
        work, history = self._merge(batch, shapes, counts)
        facts = Rows()
        gone = self._take_deleted(work)
        changed = self._build(work, shapes, facts, counts)
        last = batch[-1][0].number
        with self.store.state.writing() as connection:
            # A revision of their own: what is erased up to it spares what came after a DELETE in the same batch.
            written = _remove(connection, gone, now_ms) if gone else 0
            revision = state.next_revision(connection, now_ms)
            documents.put(connection, changed)
            written += facts.write(connection, revision)
            for class_id, lines in history.items():
                body = encode_message_chunk(lines)
                state.add_pending(connection, "messages", class_id, revision, len(lines), body)
            for shape in shapes.values():
                self.note_lists(connection, shape)
            state.add_report(connection, counts.rows(tenant))
            state.set_folded(connection, tenant, last)
            point("fold: before commit")
        point("fold: committed")
        self.store.inbox.forget(tenant, last)
        return Folded(tenant, revision, len(batch), total, written)

    # --- shapes ----------------------------------------------------------------------------------------

    def shapes(self, tenant: str, names: Iterable[str], now_ms: int) -> dict[str, _Shape]:
        """How each class is built now; makes classes, columns and layouts that are new."""
        active = self._builders.active(tenant)
        result: dict[str, _Shape] = {}
        for name in names:
            known = self._shapes.get((tenant, name))
            if known is None or known[0] != active.revision:
                known = (active.revision, self._shape(tenant, name, active.classes.get(name), now_ms))
                self._shapes[tenant, name] = known
            result[name] = known[1]
        return result

    def _shape(self, tenant: str, name: str, builder: ClassBuilder | None, now_ms: int) -> _Shape:
        fields = list(builder.builder.columns.items()) if builder is not None else []
        with self.store.state.writing() as connection:
            class_id = catalog.ensure_class(connection, tenant, name, now_ms)
            columns = catalog.ensure_columns(connection, class_id, fields)
            physical = tuple(column.physical for column in columns)
            layout = catalog.ensure_layout(connection, class_id, physical)
        lists = {column.physical for column in columns if column.lists}
        return _Shape(class_id, layout, physical, lists, builder)

    def forget_unused(self) -> None:
        """Remove classes of forgotten tenants once the lake is rid of their rows. For idle moments."""
        if self.store.state.connection.execute("SELECT 1 FROM classes WHERE forgotten = 1").fetchone():
            with self.store.state.writing() as connection:
                if catalog.forget_unused(connection):
                    self._shapes.clear()

    def note_lists(self, connection: Any, shape: _Shape) -> None:
        """Write down which columns met an array since the last transaction."""
        if shape.lists:
            catalog.note_lists(connection, shape.class_id, sorted(shape.lists))

    # --- merging ---------------------------------------------------------------------------------------

    def _merge(
        self, batch: list[tuple[InboxRow, list[Message]]], shapes: dict[str, _Shape], counts: Counts
    ) -> tuple[dict[tuple[int, str], _Work], dict[int, list[tuple[Any, ...]]]]:
        keys = [
            (shapes[m.context_class].class_id, m.context_id or make_id(row.number, m.index))
            for row, messages in batch
            for m in messages
        ]
        hashes = {key: documents.hash_key(*key) for key in keys}
        stored = documents.load(self.store.state.connection, hashes)
        work: dict[tuple[int, str], _Work] = {}
        history: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
        in_order = iter(keys)
        for row, messages in batch:
            arrival_ms = row.arrival_ms
            hour_ms = arrival_ms // HOUR_MS * HOUR_MS
            for m, key in zip(messages, in_order, strict=False):
                name = m.context_class
                item = work.get(key)
                if item is None:
                    item = work[key] = _Work(name, key[1], hashes[key], stored.get(key))
                values = m.values()
                before = item.context
                after = merge(before, m.action, values, export_ms=m.export_ms, arrival_ms=arrival_ms)
                item.hour_ms = hour_ms
                item.context = after
                if before is None:
                    result = "new" if after is not None else "unchanged"
                elif after is None:
                    result = "deleted"
                else:
                    result = "unchanged" if _same(before, after) else "updated"
                    counts.late(name, hour_ms, arrival_ms - before.time_ms)
                if result != "unchanged":
                    item.changed = True
                if after is None:
                    item.deleted_at = (row.number, m.index)
                counts.add(name, hour_ms, "messages", f"{m.action} {result}")
                if m.cut:
                    counts.add(name, hour_ms, "cut_texts", "", m.cut)
                builder = shapes[name].builder
                if builder is not None and not builder.known_variables.issuperset(values):
                    counts.unknown_variables(name, hour_ms, values.keys() - builder.known_variables)
                history[key[0]].append((key[1], row.number, m.index, arrival_ms, m.export_ms, m.action, m.raw))
        deleted = {key: item.deleted_at for key, item in work.items() if item.deleted_at is not None}
        for class_id in {class_id for class_id, _ in deleted}:
            never = (-1, -1)
            history[class_id] = [
                line for line in history[class_id] if line[1:3] > deleted.get((class_id, line[0]), never)
            ]
        return work, {class_id: lines for class_id, lines in history.items() if lines}

    def _take_deleted(self, work: dict[tuple[int, str], _Work]) -> list[Document]:
        """Stored contexts that a DELETE removed. One that came back in the same batch starts as a new one."""
        gone = []
        for item in work.values():
            if item.deleted_at is not None and item.document is not None:
                gone.append(item.document)
                item.document = None
        return gone

    # --- building --------------------------------------------------------------------------------------

    def _build(
        self, work: dict[tuple[int, str], _Work], shapes: dict[str, _Shape], facts: Rows, counts: Counts
    ) -> list[Document]:
        """Facts of the contexts that changed; documents to put."""
        changed: list[Document] = []
        for (class_id, context_id), item in work.items():
            document, context = item.document, item.context
            if context is None:
                continue
            if document is None:
                document = Document(
                    None,
                    item.hash,
                    class_id,
                    context_id,
                    context.time_ms,
                    context.explicit,
                    context.arrival_ms,
                    context.updated_ms,
                    b"",
                    None,
                )
                counts.add(item.context_class, item.hour_ms, "contexts", "new")
            elif item.changed:
                counts.add(item.context_class, item.hour_ms, "contexts", "updated")
            if item.changed:
                document.variables = _encode(context.values)
                self.rebuild(document, context, shapes[item.context_class], facts, counts, item)
            document.explicit = context.explicit
            document.updated_ms = context.updated_ms
            changed.append(document)
        return changed

    def rebuild(
        self,
        document: Document,
        context: Context,
        shape: _Shape,
        facts: Rows,
        counts: Counts | None = None,
        item: _Work | None = None,
    ) -> bool:
        """Build the fact of a context; where it differs from the last one, retract that and assert the new one."""
        values: Sequence[Any] = ()
        if shape.builder is not None:
            lists: Sequence[int] = ()
            try:
                values, lists, problems = shape.builder.builder.build_row(context.values, context.time_ms)
            except Exception:
                # A defect of one field function must not stop everything behind this message: it would be met again
                # after each restart. The context is kept, without fields, and a backfill builds it when it is mended.
                log.exception("fields cannot be built", class_id=shape.class_id)
                values = [None] * len(shape.physical)
                problems = [("", "internal error, see the server's log")]
            if counts is not None and item is not None:
                for problem_field, reason in problems:
                    counts.build_error(item.context_class, item.hour_ms, problem_field, reason, item.context_id)
            shape.lists.update(shape.physical[i] for i in lists)
        try:
            fact = encode_fact(shape.layout, document.context_id, context.time_ms, context.arrival_ms, values)
        except (UnicodeEncodeError, OverflowError):
            values = list(map(_storable, values))
            fact = encode_fact(shape.layout, document.context_id, context.time_ms, context.arrival_ms, values)
        old_time_ms = document.time_ms
        document.time_ms, document.arrival_ms = context.time_ms, context.arrival_ms
        if fact == document.fact:
            return False
        if document.fact is not None:
            facts.retract(shape.class_id, document.fact, old_time_ms)
        facts.add(shape.class_id, fact, context.time_ms)
        document.fact = fact
        return True


def _remove(connection: Any, gone: Sequence[Document], now_ms: int) -> int:
    """Remove documents, cancel their facts, and ask the lake to erase their past; returns how many facts were written."""
    facts = Rows()
    ids: dict[int, list[str]] = defaultdict(list)
    for document in gone:
        ids[document.class_id].append(document.context_id)
        if document.fact is not None:
            facts.retract(document.class_id, document.fact, document.time_ms)
    revision = state.next_revision(connection, now_ms)
    documents.remove(connection, [d.document_id for d in gone if d.document_id is not None])
    for class_id, erased in ids.items():
        state.add_erasure(connection, class_id, revision, erased)
    return facts.write(connection, revision)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the collector of cycles: a batch makes tens of thousands of objects, none in a cycle, and ends with all
    of them freed. Looking through them meanwhile took a tenth of the fold's time."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _same(before: Context, after: Context) -> bool:
    """No difference in time or values; 1 and true are equal in Python, but not here."""
    return (
        after.time_ms == before.time_ms
        and after.values == before.values
        and _encode(after.values) == _encode(before.values)
    )


def _storable(value: Any) -> Any:
    """What a field function may make and no store takes: lone surrogates, integers beyond 64 bits."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_storable(item) for item in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return None
    return value


def make_id(number: int, index: int) -> str:
    """The id of a context whose message named none: the same whenever the same body is folded."""
    digest = hashlib.blake2b(b"%d.%d" % (number, index), digest_size=16, person=b"mona-context-id").digest()
    return str(uuid.UUID(bytes=digest, version=4))


def context_of(document: Document) -> Context:
    """What a document says of its context."""
    return Context(
        _decode(document.variables),
        document.time_ms,
        bool(document.explicit),
        document.arrival_ms,
        document.updated_ms,
    )


def _read(tenant: str, row: InboxRow, counts: Counts) -> list[Message]:
    hour_ms = row.arrival_ms // HOUR_MS * HOUR_MS
    try:
        envelope = read(row.body, row.arrival_ms, parse_limits(row.limits))
    except MonaError:
        # It was read before it was accepted, so this is a defect; stopping here would stop everything behind it.
        log.exception("inbox row cannot be read", tenant=tenant, number=row.number)
        counts.add("", hour_ms, "refused", "body could not be read again")
        return []
    for index, reason in envelope.refused.items():
        counts.add(envelope.refused_classes.get(index, ""), hour_ms, "refused", reason)
    return envelope.messages
