"""What the routes share: the store, the keys, the clock and the limits of one server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from fastapi import Request
from sqlalchemy import Engine

from mona_server import outbound
from mona_server.api.caller import Access
from mona_server.api.identity.jwt import Signer
from mona_server.api.identity.sso import Federation
from mona_server.api.skew import ClockSkew
from mona_server.api.work import ByteBudget, FailureLimit, TenantGate
from mona_server.query.reader import Reader
from mona_server.sealing import Sealer
from mona_server.settings import Settings
from mona_server.store import Store

Clock = Callable[[], int]
"""Unix milliseconds."""


def system_clock() -> int:
    return time.time_ns() // 1_000_000


@dataclass(kw_only=True)
class Edge:
    """One server's HTTP edge."""

    settings: Settings
    store: Store
    meta: Engine
    sealer: Sealer
    signer: Signer
    access: Access
    federation: Federation
    clock: Clock
    budget: ByteBudget
    gate: TenantGate
    failures: FailureLimit = field(default_factory=lambda: FailureLimit(10))
    skew: ClockSkew = field(default_factory=ClockSkew)

    _reader: Reader | None = None
    _opening: threading.Lock = field(default_factory=threading.Lock)

    @property
    def reader(self) -> Reader:
        """The query engine over the store, opened at the first question."""
        with self._opening:
            if self._reader is None:
                self._reader = Reader(self.store, self.settings)
            return self._reader

    def close(self) -> None:
        """Give the query engine's memory back. The store belongs to the caller."""
        with self._opening:
            if self._reader is not None:
                self._reader.close()
                self._reader = None

    @property
    def address(self) -> str:
        """Where people reach this server, without a slash at the end."""
        return self.settings.server.address

    @property
    def public_url(self) -> str:
        """The address for links that leave this server; empty where none is set."""
        return self.settings.server.public_url or ""

    def link(self, page: str, secret: str) -> str:
        """The address of a one-time link: ``activate`` sets a password, ``login`` signs in."""
        return f"{self.address}/{page}?link={secret}"


def open_edge(settings: Settings, store: Store, *, clock: Clock = system_clock) -> Edge:
    """The edge over an open store; makes the signing key and the default tenant at first start."""
    sealer = Sealer(settings.data_dir)
    signer = Signer(store.meta, sealer, settings.auth.jwt_alg, now_ms=clock())
    limits = settings.limits
    federation = Federation(store.meta, sealer, allow_private=outbound.private_allowed(settings))
    return Edge(
        settings=settings,
        store=store,
        meta=store.meta,
        sealer=sealer,
        signer=signer,
        access=Access(store.meta, signer, settings.auth, federation),
        federation=federation,
        clock=clock,
        budget=ByteBudget(limits.max_bytes_in_work),
        gate=TenantGate(limits.max_requests_in_work, limits.max_wait_s),
    )


def reader_of(request: Request) -> Reader:
    """The query engine of the server that answers this request."""
    return edge_of(request).reader


def edge_of(request: Request) -> Edge:
    edge: Edge = request.app.state.edge
    return edge
