"""What the routes share: the store, the keys, the clock and the limits of one server."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from sqlalchemy import Engine

from mona_server.api.caller import Access
from mona_server.api.identity.jwt import Signer
from mona_server.api.work import ByteBudget, FailureLimit, TenantGate
from mona_server.sealing import Sealer
from mona_server.settings import Settings

Clock = Callable[[], int]
"""Unix milliseconds."""


def system_clock() -> int:
    return time.time_ns() // 1_000_000


@dataclass(kw_only=True)
class Edge:
    """One server's HTTP edge."""

    settings: Settings
    store: Any
    meta: Engine
    sealer: Sealer
    signer: Signer
    access: Access
    clock: Clock
    budget: ByteBudget
    gate: TenantGate
    failures: FailureLimit = field(default_factory=lambda: FailureLimit(10))

    @property
    def address(self) -> str:
        """Where people reach this server, without a slash at the end."""
        server = self.settings.server
        if server.public_url:
            return server.public_url.rstrip("/")
        host = f"[{server.host}]" if ":" in server.host else server.host
        return f"{'https' if server.tls_cert else 'http'}://{host}:{server.port}"

    def link(self, page: str, secret: str) -> str:
        """The address of a one-time link: ``activate`` sets a password, ``login`` signs in."""
        return f"{self.address}/{page}?link={secret}"


def open_edge(settings: Settings, store: Any, *, clock: Clock = system_clock) -> Edge:
    """The edge over an open store; makes the signing key and the default tenant at first start."""
    sealer = Sealer(settings.data_dir)
    signer = Signer(store.meta, sealer, settings.auth.jwt_alg, now_ms=clock())
    limits = settings.limits
    return Edge(
        settings=settings,
        store=store,
        meta=store.meta,
        sealer=sealer,
        signer=signer,
        access=Access(store.meta, signer, settings.auth),
        clock=clock,
        budget=ByteBudget(limits.max_bytes_in_work),
        gate=TenantGate(limits.max_requests_in_work, limits.max_wait_s),
    )


def edge_of(request: Request) -> Edge:
    edge: Edge = request.app.state.edge
    return edge
