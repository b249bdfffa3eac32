"""Contexts as rows: ``/get_ingested_data``, lists with a cursor, and whole exports."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mona_server.errors import BadRequest
from mona_server.query import requests
from mona_server.query.conditions import Binder, fields_of, row_filter
from mona_server.query.engines.duckdb import quoted
from mona_server.query.facts import Column
from mona_server.query.reader import Dataset
from mona_server.query.requests import Reading, Window
from mona_server.query.segments import check_segments, read_axis, read_window
from mona_server.segment import ALL, Segment
from mona_server.store import catalog, documents

MAX_SAMPLE = 100_000
Format = Literal["parquet", "csv", "jsonl"]
_COPY: Mapping[str, str] = {
    "parquet": "FORMAT parquet, COMPRESSION zstd",
    "csv": "FORMAT csv, HEADER",
    "jsonl": "FORMAT json",
}
ALL_TIME = Window(-60_000_000_000_000, 100_000_000_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestedRequest:
    """What ``/get_ingested_data`` is asked; see rest.md 2."""

    context_class: str
    window: Window
    segment: Segment = ALL
    excluded: tuple[Segment, ...] = ()
    sampling_threshold: int = 10_000
    axis: str = "MONA_TIMESTAMP"

    @classmethod
    def parse(cls, dataset: Dataset, body: Any) -> IngestedRequest:
        """Read a request body. Raises :class:`InvalidRequest` with every problem."""
        reading = Reading(
            body, {"timestamp_from": "start_time", "from": "start_time", "timestamp_to": "end_time", "to": "end_time"}
        )
        request = cls(
            context_class=reading.take("context_class", requests.text, dataset.name),
            window=read_window(reading, "start_time", "end_time"),
            segment=reading.take("segment", requests.segment, ALL),
            excluded=reading.take("excluded_segments", requests.segments, ()),
            sampling_threshold=reading.take("sampling_threshold", requests.whole(0, MAX_SAMPLE), 10_000),
            axis=read_axis(reading, dataset),
        )
        check_segments(reading, dataset, segment=(request.segment,), excluded_segments=request.excluded)
        reading.done()
        return request


@dataclass(frozen=True, slots=True)
class _Net:
    """The contexts that are there: SQL with the wanted columns, ``MONA_ID``, ``MONA_AXIS`` and bound values."""

    sql: str
    values: Mapping[str, Any]


def get_ingested_data(dataset: Dataset, request: IngestedRequest) -> dict[str, Any]:
    """The answer of ``/get_ingested_data``: contexts in order of time, a uniform sample where there are too many.

    The sample depends on the ids alone, so the same request gives the same contexts.
    """
    net = net_contexts(dataset, request.window, request.segment, request.excluded, axis=request.axis)
    total = int(dataset.facts.rows(f"SELECT count(*) FROM {net.sql}", net.values)[0][0])
    where = "TRUE"
    if total > request.sampling_threshold:
        # The first 32 bits of the digest, as text: hexadecimal digits sort like the numbers they write.
        limit = f"{min(int(request.sampling_threshold / total * 2**32), 2**32 - 1):08x}"
        where = f"substr(md5(MONA_ID), 1, 8) < '{limit}'"
    picked = net_contexts(
        dataset, request.window, request.segment, request.excluded, axis=request.axis, columns=dataset.columns.values()
    )
    items = _items(dataset, f"SELECT * FROM {picked.sql} WHERE {where} ORDER BY MONA_AXIS, MONA_ID", picked.values)
    return {"crcs": items, "total": total, "sampled": len(items)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextsRequest:
    """A page of contexts, newest first: ``GET /api/v1/classes/{class}/contexts``."""

    window: Window = ALL_TIME
    segment: Segment = ALL
    excluded: tuple[Segment, ...] = ()
    search: str = ""
    """Only contexts whose id begins so."""
    limit: int = 50
    cursor: str | None = None
    axis: str = "MONA_TIMESTAMP"

    @classmethod
    def parse(cls, dataset: Dataset, body: Any) -> ContextsRequest:
        """Read query parameters. Raises :class:`InvalidRequest` with every problem."""
        reading = Reading(body)
        start = reading.take("timestamp_from", requests.moment, ALL_TIME.from_ms)
        end = reading.take("timestamp_to", requests.moment, ALL_TIME.to_ms)
        if end <= start:
            reading.problem("timestamp_to", "must be after timestamp_from")
        request = cls(
            window=Window(start, end),
            segment=reading.take("segment", requests.segment, ALL),
            excluded=reading.take("excluded_segments", requests.segments, ()),
            search=reading.take("search", requests.text, ""),
            limit=reading.take("limit", requests.whole(1, 1000), 50),
            cursor=reading.take("cursor", requests.text, None),
            axis=read_axis(reading, dataset),
        )
        if request.cursor is not None:
            reading.check("cursor", lambda: _read_cursor(request.cursor or ""), ("", 0))
        check_segments(reading, dataset, segment=(request.segment,), excluded_segments=request.excluded)
        reading.done()
        return request


def list_contexts(dataset: Dataset, request: ContextsRequest) -> dict[str, Any]:
    """``{"items", "next_cursor"}``. The cursor names the last context, so new ones neither repeat nor hide others."""
    window, where = request.window, "TRUE"
    values: dict[str, Any] = {}
    if request.search:
        where += " AND starts_with(MONA_ID, $search)"
        values["search"] = request.search
    if request.cursor is not None:
        last_id, last_ms = _read_cursor(request.cursor)
        window = Window(window.from_ms, min(window.to_ms, last_ms + 1))
        where += f" AND (MONA_AXIS < {last_ms} OR MONA_ID < $last_id)"
        values["last_id"] = last_id
        if window.to_ms <= window.from_ms:
            return {"items": [], "next_cursor": None}
    net = net_contexts(dataset, window, request.segment, request.excluded, axis=request.axis)
    page = dataset.facts.rows(
        f"SELECT MONA_ID, MONA_AXIS FROM {net.sql} WHERE {where} "
        f"ORDER BY MONA_AXIS DESC, MONA_ID DESC LIMIT {request.limit + 1}",
        {**net.values, **values},
    )
    more, page = len(page) > request.limit, page[: request.limit]
    if not page:
        return {"items": [], "next_cursor": None}
    # All columns of the page alone: its times bound the files that are read.
    span = Window(page[-1][1], page[0][1] + 1)
    full = net_contexts(dataset, span, ALL, (), axis=request.axis, columns=dataset.columns.values())
    bind = Binder("id")
    ids = ", ".join(bind(row[0]) for row in page)
    sql = f"SELECT * FROM {full.sql} WHERE MONA_ID IN ({ids}) ORDER BY MONA_AXIS DESC, MONA_ID DESC"
    items = _items(dataset, sql, {**full.values, **bind.values})
    return {"items": items, "next_cursor": _write_cursor(*page[-1]) if more else None}


def export_contexts(dataset: Dataset, request: IngestedRequest, form: Format, folder: Path) -> Path:
    """Write all contexts of a request to a new file in ``folder``; the caller streams and removes it.

    Columns are ``contextId``, ``timestamp`` (Unix seconds) and the fields; arrays stay arrays (JSON text in CSV).
    """
    if form not in _COPY:
        raise BadRequest(f"{form!r} is not a format", hint=f"known are {', '.join(_COPY)}")
    columns = list(dataset.columns.values())
    net = net_contexts(dataset, request.window, request.segment, request.excluded, axis=request.axis, columns=columns)
    items = ["MONA_ID AS contextId", "CAST(MONA_AXIS AS DOUBLE) / 1000 AS timestamp"]
    for column in columns:
        value = column.sql
        if column.lists:
            # One column of one type: an array wherever the field ever held one.
            value = f"CASE WHEN len({column.list_sql}) > 0 THEN {column.list_sql} WHEN {value} IS NOT NULL THEN [{value}] END"
            value = f"CAST(to_json({value}) AS VARCHAR)" if form == "csv" else value
        elif column.kind == "timestamp":
            value = f"CAST({value} AS DOUBLE) / 1000"
        items.append(f"{value} AS {quoted(column.field)}")
    path = folder / f"export-{uuid.uuid4().hex}.{form}"
    sql = f"SELECT {', '.join(items)} FROM {net.sql} ORDER BY MONA_AXIS, MONA_ID"
    dataset.facts.engine.write(sql, path, options=_COPY[form], values=net.values, tables=dataset.facts.tables)
    return path


def net_contexts(
    dataset: Dataset,
    window: Window,
    segment: Segment = ALL,
    excluded: Sequence[Segment] = (),
    *,
    axis: str = "MONA_TIMESTAMP",
    columns: Iterable[Column] = (),
) -> _Net:
    """The newest row of every context that is there, out of its signed rows.

    A change writes the old row again with sign -1 and the new one with +1 under one revision, so a row counts when no
    cancelling row of its context has a later revision. Rows that a filter drops are dropped on both sides.
    """
    bind = Binder()
    facts = dataset.facts
    names = ["MONA_ID", *(column.field for column in columns), *sorted(fields_of(segment, *excluded))]
    relation = facts.relation(names, axis=axis, from_ms=window.from_ms, to_ms=window.to_ms, revision=True)
    rows = f"(SELECT * FROM {relation} WHERE {row_filter(facts, (segment,), excluded, bind)})"
    gone = f"(SELECT MONA_ID, max(MONA_REVISION) AS MONA_GONE FROM {rows} WHERE MONA_SIGN < 0 GROUP BY MONA_ID)"
    sql = f"(SELECT * FROM {rows} LEFT JOIN {gone} USING (MONA_ID) WHERE MONA_SIGN > 0 AND MONA_REVISION >= coalesce(MONA_GONE, 0))"
    return _Net(sql, bind.values)


def _items(dataset: Dataset, sql: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Contexts as objects, in the order of the SQL."""
    columns = list(dataset.columns.values())
    wanted = ["MONA_ID", "MONA_AXIS"]
    for column in columns:
        wanted.append(column.sql)
        if column.lists:
            wanted.append(column.list_sql)
    rows = dataset.facts.rows(f"SELECT {', '.join(wanted)} FROM ({sql})", values)
    messages = merged_messages(dataset, [row[0] for row in rows])
    items = []
    for row in rows:
        fields: dict[str, Any] = {}
        place = 2
        for column in columns:
            value = row[place]
            place += 1
            if column.lists:
                value = row[place] or value
                place += 1
            if value is not None:
                fields[column.field] = shown(column, value)
        items.append(
            {
                "contextId": row[0],
                "arcClass": dataset.name,
                "timestamp": seconds(row[1]),
                "fields": fields,
                "message": messages.get(row[0]),
            }
        )
    return items


def shown(column: Column, value: Any) -> Any:
    """A stored value as answers show it: times in seconds, shapes as JSON, whole numbers without a point."""
    if column.kind == "timestamp":
        return seconds(value)
    if column.kind == "geo" and isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


def seconds(ms: int) -> float:
    """Unix seconds, whole where they are."""
    return ms // 1000 if ms % 1000 == 0 else ms / 1000


def merged_messages(dataset: Dataset, ids: Collection[str]) -> dict[str, Any]:
    """Context id → merged message as it is now; empty for a reading of what was known earlier."""
    if dataset.store is None or dataset.as_of_ms is not None or not ids:
        return {}
    with dataset.store.state.reading() as connection:
        class_id = catalog.find_class(connection, dataset.tenant, dataset.name)
        if class_id is None:
            return {}
        found = documents.find(connection, class_id, ids)
    return {key[1]: json.loads(document.variables) for key, document in found.items()}


def _write_cursor(context_id: str, ms: int) -> str:
    return base64.urlsafe_b64encode(json.dumps([context_id, ms]).encode()).decode()


def _read_cursor(cursor: str) -> tuple[str, int]:
    try:
        context_id, ms = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        return str(context_id), int(ms)
    except (ValueError, TypeError):
        raise BadRequest("is not a cursor of this list") from None
