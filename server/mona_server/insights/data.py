"""The data of one context class for a run: one snapshot, opened once, asked many times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from mona_server.config.model import ContextClass
from mona_server.config.segmentations import Segmentation
from mona_server.detect.overlaps import Overlaps
from mona_server.detect.source import SourceQuestion, SumsSource
from mona_server.errors import NotFound
from mona_server.query.engines.duckdb import DuckEngine
from mona_server.query.facts import Facts
from mona_server.query.freezing import fix_waiting, provisional
from mona_server.query.sums import open_source
from mona_server.segment import Segment
from mona_server.store.store import Store

DAY_MS = 86_400_000
MORE = 8
"""Where a stretch of time holds no context, one longer by this factor is looked at."""


@dataclass(frozen=True, slots=True)
class ClassData:
    """What the search and the explanations read. ``look`` opens a question."""

    facts: Facts = field(repr=False)
    context_class: ContextClass = field(repr=False)
    revision: int
    """The newest revision of the data that counts."""

    @classmethod
    def open(
        cls, store: Store, engine: DuckEngine, tenant: str, context_class: ContextClass, as_of: int | None = None
    ) -> ClassData | None:
        """The class as it is now, or was at ``as_of`` (Unix ms); None where it has no data."""
        try:
            snapshot = store.snapshot(tenant, context_class.name, as_of)
        except NotFound:
            return None
        types = {name: str(one.type) for name, one in context_class.saved_fields.items()}
        facts = Facts.of(snapshot, engine, types)
        return cls(facts, fix_waiting(store.meta, tenant, context_class, facts), snapshot.revision)

    def look(self, question: SourceQuestion) -> SumsSource:
        """Sums for a question."""
        return open_source(self.facts, question, self._segmentation)

    def start_ms(self, axis: str = "MONA_TIMESTAMP") -> int | None:
        """Time of the first context on a time axis, Unix ms; None where there is none.

        Contexts that were changed or taken back left rows that cancel out, so some of the beginning is counted, and more
        where nothing is left of it.
        """
        ends = f"SELECT min(MONA_AXIS), max(MONA_AXIS) FROM {self.facts.relation(axis=axis)}"
        ((first, last),) = self.facts.rows(ends)
        found, until, stretch = None, first, DAY_MS
        while found is None and first is not None and until <= last:
            until, stretch = int(first) + stretch, stretch * MORE
            moments = f"SELECT MONA_AXIS AS t FROM {self.facts.relation(axis=axis, to_ms=until)} GROUP BY 1"
            ((found,),) = self.facts.rows(f"SELECT min(t) FROM ({moments} HAVING sum(MONA_SIGN) > 0)")
        return None if found is None else int(found)

    def contexts(self, question: SourceQuestion, edges_ms: tuple[int, ...]) -> NDArray[np.float64]:
        """(K,): contexts of a question's population between other edges, whatever its metrics and axes."""
        bare = replace(question, axes=(), metrics=(), edges_ms=edges_ms, frame_filters=())
        return np.asarray(self.look(bare).sums(()).size[0], dtype=np.float64)

    def related_fields(self, chosen: tuple[str, ...], avoided: tuple[str, ...]) -> tuple[str, ...]:
        """Fields that may explain something: the chosen ones, or all numeric and boolean ones."""
        fields: Mapping[str, object] = self.context_class.saved_fields
        numeric = [name for name, one in self.context_class.saved_fields.items() if one.numeric_like]
        wanted = [name for name in chosen if name in fields] or numeric
        return tuple(name for name in wanted if name not in avoided and name in numeric)

    def _segmentation(self, name: str, segmentation: str | None) -> Segmentation | None:
        one = self.context_class.saved_fields.get(name)
        chosen = None if one is None else one.segmentation(segmentation)
        return None if chosen is None else provisional(self.facts, name, chosen)


def overlaps(source: SumsSource, segments: list[Segment]) -> NDArray[np.float64]:
    """(G, G): Jaccard overlap of each pair of segments, by contexts in all frames, from one scan."""
    frames = len(source.edges_ms) - 1
    atoms = source.atoms(segments, [(0, frames)])
    return Overlaps(atoms.member).jaccard(atoms.size[:, 0])
