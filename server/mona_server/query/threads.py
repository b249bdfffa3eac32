"""Work that is cut into independent pieces, done by a few threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Piece = TypeVar("Piece")
Result = TypeVar("Result")


def in_threads(work: Callable[[int], object], pieces: int, threads: int) -> None:
    """``work(0)`` to ``work(pieces - 1)``, in any order. Raises what a piece raises.

    numpy and scipy let go of the interpreter for the length of a call, so pieces should have thousands of rows.
    """
    if threads < 2 or pieces < 2:
        for piece in range(pieces):
            work(piece)
        return
    with ThreadPoolExecutor(min(threads, pieces)) as pool:
        for _ in pool.map(work, range(pieces)):
            pass


def ahead(work: Callable[[Piece], Result], pieces: Iterable[Piece], threads: int) -> Iterator[Result]:
    """The results in the order of the pieces; while one is used, at most ``threads`` more are worked on or wait.

    >>> list(ahead(abs, [-3, 2, -1], threads=2))
    [3, 2, 1]
    """
    with ThreadPoolExecutor(threads) as pool:
        begun: deque[Future[Result]] = deque()
        for piece in pieces:
            begun.append(pool.submit(work, piece))
            if len(begun) > threads:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
