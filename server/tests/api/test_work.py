"""Bounds on work: bytes, requests per tenant, failures."""

from __future__ import annotations

import asyncio

import pytest

from mona_server.api.work import SMALL, ByteBudget, FailureLimit, TenantGate
from mona_server.errors import Overloaded

BIG = 10 * SMALL


async def test_bodies_beyond_the_budget_wait_their_turn() -> None:
    """The third large body starts when one of the first two is done, and small ones never wait for it."""
    budget = ByteBudget(4 * BIG)  # 30 MiB for large bodies
    running = 0
    peak = 0
    go = asyncio.Event()

    async def body(size: int) -> None:
        nonlocal running, peak
        async with budget.reserve(size, timeout_s=60):
            running += 1
            peak = max(peak, running)
            await go.wait()
            running -= 1

    tasks = [asyncio.create_task(body(14 * SMALL)) for _ in range(5)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert running == 2
    async with budget.reserve(100, timeout_s=0.1):
        pass
    go.set()
    await asyncio.gather(*tasks)
    assert peak == 2


async def test_waiting_ends_with_overloaded_and_leaks_nothing() -> None:
    """A body that finds no room in time is refused; given-up waits return their place."""
    budget = ByteBudget(4 * BIG)
    async with budget.reserve(3 * BIG, timeout_s=1):
        for _ in range(3):
            with pytest.raises(Overloaded):
                async with budget.reserve(BIG, timeout_s=0.01):
                    pytest.fail("there was no room")
    async with budget.reserve(3 * BIG, timeout_s=0.01) as reservation:
        reservation.shrink(BIG)
        async with budget.reserve(2 * BIG, timeout_s=0.01):
            pass


async def test_more_than_everything_is_let_in_alone() -> None:
    """A body larger than the whole budget takes all of it instead of waiting for ever."""
    budget = ByteBudget(4 * BIG)
    async with budget.reserve(100 * BIG, timeout_s=0.1) as reservation:
        assert reservation.size == 3 * BIG


async def test_one_tenant_does_not_block_another() -> None:
    """At the limit of one tenant its next request is refused after the wait; another tenant enters at once."""
    gate = TenantGate(2, wait_s=0.01)
    async with gate.enter("a"), gate.enter("a"):
        with pytest.raises(Overloaded):
            async with gate.enter("a"):
                pytest.fail("the gate was full")
        async with gate.enter("b"):
            pass
    async with gate.enter("a"), gate.enter("a"):
        pass


def test_failures_are_counted_per_minute() -> None:
    """The limit holds for a minute from the oldest failure and says how long; other keys are not touched."""
    limit = FailureLimit(3)
    for second in range(3):
        limit.check("a", now_ms=second * 1000)
        limit.failed("a", now_ms=second * 1000)
    with pytest.raises(Overloaded) as refused:
        limit.check("b", "a", now_ms=10_000)
    assert refused.value.retry_after_s == 50
    limit.check("b", now_ms=10_000)
    limit.check("a", now_ms=60_000)


def test_failures_need_bounded_memory() -> None:
    """A million guessed keys do not stay in memory."""
    limit = FailureLimit(3, max_keys=100)
    for i in range(1_000):
        limit.failed(f"key {i}", now_ms=i)
    assert len(limit._failures) == 100
