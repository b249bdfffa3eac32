"""Work that is cut into independent pieces, done by a few threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Piece = TypeVar("Piece")
Result = TypeVar("Result")


def in_threads(work: Callable[[Piece], Result], pieces: Sequence[Piece], threads: int) -> list[Result]:
    """The results in the order of the pieces, which are worked on in any order. Raises what a piece raises.

    numpy and scipy let go of the interpreter for the length of a call, so pieces should have thousands of rows.

    >>> in_threads(abs, [-3, 2, -1], threads=2)
    [3, 2, 1]
    """
    if threads < 2 or len(pieces) < 2:
        return [work(piece) for piece in pieces]
    with ThreadPoolExecutor(min(threads, len(pieces))) as pool:
        return list(pool.map(work, pieces))


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
