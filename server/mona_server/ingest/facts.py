"""Facts: built from what is known of a context, appended as signed rows. Used by the fold, backfills and deletes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog

from mona_server.ingest.builders import ClassBuilder
from mona_server.ingest.merge import Context
from mona_server.store import documents, state
from mona_server.store.documents import Document
from mona_server.store.rows import DAY_MS, encode_fact, encode_fact_chunk

log = structlog.get_logger(__name__)

_decode = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(slots=True)
class Shape:
    """How the facts of one class are laid out in one configuration revision."""

    class_id: int
    layout: int
    physical: tuple[str, ...]
    lists: set[str]
    """Physical columns that are known to have arrays."""
    builder: ClassBuilder | None


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


def rebuild(
    document: Document,
    context: Context,
    shape: Shape,
    facts: Rows,
    note: Callable[[str, str], None] = lambda _field, _reason: None,
) -> bool:
    """Build the fact of a context; where it differs from the last one, retract that and assert the new one.

    ``note`` gets field and reason of each that could not be built. Returns whether the fact is another one.
    """
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
        for problem_field, reason in problems:
            note(problem_field, reason)
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


def context_of(document: Document) -> Context:
    """What a document says of its context."""
    return Context(
        _decode(document.variables),
        document.time_ms,
        bool(document.explicit),
        document.arrival_ms,
        document.updated_ms,
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


def remove(connection: Any, gone: Sequence[Document], now_ms: int) -> int:
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
