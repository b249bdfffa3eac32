"""Questions about data: a request body, the dataset that it names, one function of the query room."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from mona_server.api.caller import Caller
from mona_server.api.edge import Edge
from mona_server.api.identity.roles import Permission
from mona_server.api.wire_names import text
from mona_server.errors import NotFound
from mona_server.query import requests
from mona_server.query.service import Dataset
from mona_server.segment import Segment

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Parses(Protocol[R_co]):
    """A request dataclass of the query room."""

    def parse(self, dataset: Dataset, body: Any) -> R_co: ...


def ask(
    edge: Edge, caller: Caller, body: Mapping[str, Any], request: Parses[R], answer: Callable[[Dataset, R], Any]
) -> Any:
    """The answer to a body with today's names; ``as_of`` (Unix seconds) asks what was known then.

    Raises ``InvalidRequest`` with every problem, :class:`NotFound` for an unknown class, ``QueryTimeout``.
    """
    given = dict(body)
    found = dataset(edge, caller, text(given, "context_class"), as_of=given.pop("as_of", None))
    return answer(found, request.parse(found, given))


def dataset(edge: Edge, caller: Caller, context_class: str, *, as_of: Any = None) -> Dataset:
    """The data of a class that the caller may look into. Raises :class:`NotFound`."""
    caller.require(Permission.INVESTIGATE, context_class)
    as_of_ms = None if as_of is None else requests.moment(as_of)
    try:
        return edge.reader.dataset(caller.tenant, context_class, as_of_ms)
    except NotFound:
        raise NotFound(f"Unknown context class: {context_class}") from None


def segment_table(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of ``/query/segment`` as rows: one per frame where series were asked for, else one per segment."""
    rows = []
    for segment in answer["segments"]:
        words = str(Segment.parse(segment["segment"]))
        series = segment.get("time_series") or {}
        frames = [frame for frames in series.values() for frame in frames] or [segment]
        for frame in frames:
            row = {"time": frame.get("from", answer["meta"]["timestamp_from"]), "segment": words, "size": frame["size"]}
            for field, statistics in (frame.get("metrics") or {}).items():
                row |= {f"{field} {statistic}": value for statistic, value in statistics.items()}
            rows.append(row)
    return {"rows": rows}


def dimensions_table(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of ``/query/segments`` as rows, one per segment."""
    return {
        "rows": [
            {
                "segment": str(Segment.parse(segment["segment"])),
                **{
                    f"{side} {name}": value
                    for side in ("target", "compared", "change")
                    for name, value in segment[side].items()
                },
            }
            for segment in answer["segments"]
        ]
    }
