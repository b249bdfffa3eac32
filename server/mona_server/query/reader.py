"""The way from a store to its data: which class, as of when, read by which engine, with which configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType

from mona_server.config import ContextClass, Segmentation, frozen, revisions
from mona_server.detect.source import SourceQuestion
from mona_server.errors import NotFound
from mona_server.query.engines.duckdb import DuckEngine
from mona_server.query.facts import Column, Facts
from mona_server.query.freezing import fix_waiting, provisional
from mona_server.query.sums import FactSums, open_source
from mona_server.settings import Settings
from mona_server.store.store import Store


@dataclass(frozen=True, slots=True)
class Dataset:
    """One context class as it stood at one revision, ready to be asked."""

    tenant: str
    name: str
    facts: Facts
    config: ContextClass | None = None
    revision: int = 0
    """The newest fact revision that counts."""
    as_of_ms: int | None = None
    """For a reading of what was known then."""
    store: Store | None = None
    """Where the merged messages of contexts are; None: they are not shown."""

    @property
    def columns(self) -> Mapping[str, Column]:
        """Field → column, in the order of the configuration."""
        return self.facts.columns

    def segmentation(self, field: str, name: str | None) -> Segmentation | None:
        """The segmentation of a field by name, or its default one; None when there is none."""
        found = self.config.fields.get(field) if self.config else None
        chosen = found.segmentation(name) if found else None
        return provisional(self.facts, field, chosen) if chosen else None

    def source(self, question: SourceQuestion) -> FactSums:
        """What the search reads for one question."""
        return open_source(self.facts, question, self.segmentation)


class Reader:
    """All reading of one data directory in one process. Threads may share it.

    The engine's memory, threads and time limit are those of ``settings.engine``; what does not fit into memory
    spills into ``tmp/`` of the data directory.
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        self.store = store
        spill = store.data_dir / "tmp"
        spill.mkdir(exist_ok=True)
        self.engine = DuckEngine(settings.engine, spill)

    def dataset(self, tenant: str, context_class: str, as_of_ms: int | None = None) -> Dataset:
        """A class now, or as it was known at a moment (Unix ms).

        Raises NotFound for a class that has neither data nor configuration.
        """
        revision = revisions.active(self.store.meta, tenant)
        config = frozen.classes(self.store.meta, revision).get(context_class) if revision else None
        types = {name: str(field.type) for name, field in config.saved_fields.items()} if config else None
        try:
            snapshot = self.store.snapshot(tenant, context_class, as_of_ms)
        except NotFound:
            if config is None:
                raise
            columns = Facts.columns_of((), types)
            return Dataset(tenant, context_class, Facts(self.engine, columns=columns), config)
        facts = Facts.of(snapshot, self.engine, types)
        if config is not None:
            config = fix_waiting(self.store.meta, tenant, config, facts)
        return Dataset(tenant, context_class, facts, config, snapshot.revision, as_of_ms, self.store)

    def source(
        self, tenant: str, context_class: str, question: SourceQuestion, as_of_ms: int | None = None
    ) -> FactSums:
        """What the search reads for one question; see :func:`mona_server.query.sums.open_source`."""
        return self.dataset(tenant, context_class, as_of_ms).source(question)

    def close(self) -> None:
        self.engine.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()
