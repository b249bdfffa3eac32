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
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec
import structlog

from mona_server.errors import MonaError
from mona_server.ingest.builders import Builders, ClassBuilder
from mona_server.ingest.envelope import Message, read
from mona_server.ingest.facts import Rows, Shape, context_of, rebuild, remove
from mona_server.ingest.limits import parse_limits
from mona_server.ingest.merge import Context, merge
from mona_server.ingest.report import Counts
from mona_server.store import catalog, documents, state
from mona_server.store.documents import Document
from mona_server.store.faults import point
from mona_server.store.inbox import HOUR_MS, InboxRow
from mona_server.store.rows import encode_message_chunk
from mona_server.store.store import Store

log = structlog.get_logger(__name__)

_encode = msgspec.json.Encoder().encode
_BATCH_BYTES = 32 * 2**20
"""Bodies of one batch: large messages must not make the fold large."""


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


class _Work:
    """One context while a batch is folded."""

    __slots__ = ("changed", "context", "context_class", "document", "hash", "hour_ms", "key", "text")

    def __init__(self, context_class: str, key: documents.Key, hash_: int, document: Document | None) -> None:
        self.context_class = context_class
        self.key = key
        self.hash = hash_
        self.document = document
        self.context = None if document is None else context_of(document)
        self.text = None if document is None else document.variables
        """JSON of the merged variables, where it is known without writing all of them."""
        self.changed = False
        self.hour_ms = 0

    def note_problem(self, counts: Counts, field_: str, reason: str) -> None:
        counts.build_error(self.context_class, self.hour_ms, field_, reason, self.key[1])


@dataclass(slots=True)
class _Merged:
    """What a batch makes of the contexts that its messages name."""

    facts: Rows = field(default_factory=Rows)
    changed: list[Document] = field(default_factory=list)
    """Documents to put."""
    gone: list[Document] = field(default_factory=list)
    """Stored documents that a DELETE removed."""
    deleted: dict[documents.Key, tuple[int, int]] = field(default_factory=dict)
    """Number and index of the last DELETE of a context."""
    history: dict[int, list[tuple[Any, ...]]] = field(default_factory=lambda: defaultdict(list))
    """Class → its messages, to be kept."""

    def forget_deleted(self) -> None:
        """Drop the messages up to the DELETE of their context."""
        never = (-1, -1)
        for class_id in {class_id for class_id, _ in self.deleted}:
            lines = self.history.pop(class_id)
            kept = [line for line in lines if line[1:3] > self.deleted.get((class_id, line[0]), never)]
            if kept:
                self.history[class_id] = kept


class Folder:
    """Folds the inbox of one data directory. Not safe for threads: there is one fold."""

    def __init__(self, store: Store, builders: Builders, *, batch_messages: int = 5_000) -> None:
        self.store = store
        self._builders = builders
        self._batch_messages = batch_messages
        self._shapes: dict[tuple[str, str], tuple[str, Shape]] = {}
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
                max_bytes=min(_BATCH_BYTES, round(self._batch_messages * self._message_bytes)),
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
        merged = self._merge(batch, shapes, counts)
        last = batch[-1][0].number
        with self.store.state.writing() as connection:
            # A revision of their own: what is erased up to it spares what came after a DELETE in the same batch.
            written = remove(connection, merged.gone, now_ms) if merged.gone else 0
            revision = state.next_revision(connection, now_ms)
            documents.put(connection, merged.changed)
            written += merged.facts.write(connection, revision)
            for class_id, lines in merged.history.items():
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

    def shapes(self, tenant: str, names: Iterable[str], now_ms: int) -> dict[str, Shape]:
        """How each class is built now; makes classes, columns and layouts that are new."""
        active = self._builders.active(tenant)
        result: dict[str, Shape] = {}
        for name in names:
            known = self._shapes.get((tenant, name))
            if known is None or known[0] != active.revision:
                known = (active.revision, self._shape(tenant, name, active.classes.get(name), now_ms))
                self._shapes[tenant, name] = known
            result[name] = known[1]
        return result

    def _shape(self, tenant: str, name: str, builder: ClassBuilder | None, now_ms: int) -> Shape:
        fields = list(builder.builder.columns.items()) if builder is not None else []
        with self.store.state.writing() as connection:
            class_id = catalog.ensure_class(connection, tenant, name, now_ms)
            columns = catalog.ensure_columns(connection, class_id, fields)
            physical = tuple(column.physical for column in columns)
            layout = catalog.ensure_layout(connection, class_id, physical)
        lists = {column.physical for column in columns if column.lists}
        return Shape(class_id, layout, physical, lists, builder)

    def forget_unused(self) -> None:
        """Remove classes of forgotten tenants once the lake is rid of their rows. For idle moments."""
        if self.store.state.connection.execute("SELECT 1 FROM classes WHERE forgotten = 1").fetchone():
            with self.store.state.writing() as connection:
                if catalog.forget_unused(connection):
                    self._shapes.clear()

    def note_lists(self, connection: Any, shape: Shape) -> None:
        """Write down which columns met an array since the last transaction."""
        if shape.lists:
            catalog.note_lists(connection, shape.class_id, sorted(shape.lists))

    # --- merging ---------------------------------------------------------------------------------------

    def _merge(self, batch: list[tuple[InboxRow, list[Message]]], shapes: dict[str, Shape], counts: Counts) -> _Merged:
        """Messages in order, each into its context; a context is built after its last message.

        Built at once, because its values are still in the processor's cache, and are gone before the next ones come.
        """
        keys = [
            (shapes[m.context_class].class_id, m.context_id or make_id(row.number, m.index))
            for row, messages in batch
            for m in messages
        ]
        hashes = {key: documents.hash_key(*key) for key in keys}
        stored = documents.load(self.store.state.connection, hashes)
        left = Counter(keys)
        open_: dict[tuple[int, str], _Work] = {}
        merged = _Merged()
        in_order = iter(keys)
        for row, messages in batch:
            arrival_ms = row.arrival_ms
            hour_ms = arrival_ms // HOUR_MS * HOUR_MS
            for m, key in zip(messages, in_order, strict=False):
                name = m.context_class
                item = open_.get(key)
                if item is None:
                    item = open_[key] = _Work(name, key, hashes[key], stored.pop(key, None))
                values = m.values()
                before = item.context
                after = merge(before, m.action, values, export_ms=m.export_ms, arrival_ms=arrival_ms)
                item.hour_ms = hour_ms
                item.context = after
                item.text = _text(item.text, before, after, m, values)
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
                    merged.deleted[key] = (row.number, m.index)
                counts.add(name, hour_ms, "messages", f"{m.action} {result}")
                if m.cut:
                    counts.add(name, hour_ms, "cut_texts", "", m.cut)
                shape = shapes[name]
                if shape.builder is not None and not shape.builder.known_variables.issuperset(values):
                    counts.unknown_variables(name, hour_ms, values.keys() - shape.builder.known_variables)
                merged.history[key[0]].append((key[1], row.number, m.index, arrival_ms, m.export_ms, m.action, m.raw))
                left[key] -= 1
                if not left[key]:
                    _finish(open_.pop(key), shape, merged, counts)
        merged.forget_deleted()
        return merged


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


def _finish(item: _Work, shape: Shape, merged: _Merged, counts: Counts) -> None:
    """The document and facts of a context that no later message of the batch touches."""
    document, context = item.document, item.context
    if document is not None and item.key in merged.deleted:
        merged.gone.append(document)
        document = None  # one that came back in the same batch starts as a new one
    if context is None:
        return
    if document is None:
        class_id, context_id = item.key
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
        document.variables = _encode(context.values) if item.text is None else item.text
        rebuild(document, context, shape, merged.facts, partial(item.note_problem, counts))
    document.explicit = context.explicit
    document.updated_ms = context.updated_ms
    merged.changed.append(document)


def _text(
    text: bytes | None, before: Context | None, after: Context | None, m: Message, values: dict[str, Any]
) -> bytes | None:
    """JSON of the variables after a message, from what was there before; None where it must be written anew.

    Most messages are the first of their context or add variables to it: writing 40 values again took a twentieth of the
    fold's time.
    """
    if after is None:
        return None
    if after.values is values:
        return m.raw if m.cleaned is None and b'": ' not in m.raw else None  # with spaces it would stay larger
    if (
        text is not None
        and before is not None
        and m.action == "OVERWRITE"
        and values
        and before.values
        and before.values.keys().isdisjoint(values)
        and None not in values.values()
    ):
        return b"%b,%b" % (text[:-1], _encode(values)[1:])
    return None


def _same(before: Context, after: Context) -> bool:
    """No difference in time or values; 1 and true are equal in Python, but not here."""
    return (
        after.time_ms == before.time_ms
        and after.values == before.values
        and _encode(after.values) == _encode(before.values)
    )


def make_id(number: int, index: int) -> str:
    """The id of a context whose message named none: the same whenever the same body is folded."""
    digest = hashlib.blake2b(b"%d.%d" % (number, index), digest_size=16, person=b"mona-context-id").digest()
    return str(uuid.UUID(bytes=digest, version=4))


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
