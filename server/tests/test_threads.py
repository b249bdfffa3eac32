"""Pieces of work in threads: all of them once, in order where order matters, and no error lost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mona_server.threads import ahead, in_threads


@pytest.mark.parametrize("threads", [1, 3])
def test_every_piece_is_done_once(threads: int) -> None:
    done: list[int] = []
    in_threads(done.append, range(50), threads)
    assert sorted(done) == list(range(50))


@pytest.mark.parametrize("threads", [1, 3])
def test_what_a_piece_raises_is_raised(threads: int) -> None:
    def work(piece: int) -> None:
        if piece == 7:
            raise ValueError("piece 7")

    with pytest.raises(ValueError, match="piece 7"):
        in_threads(work, range(20), threads)
    with pytest.raises(ValueError, match="piece 7"):
        list(ahead(work, range(20), threads))


def test_no_more_is_begun_than_may_wait() -> None:
    """The first result is handed out before the piece after the next two is asked for."""
    asked: list[int] = []

    def pieces() -> Iterator[int]:
        for piece in range(10):
            asked.append(piece)
            yield piece

    results = ahead(lambda piece: piece * piece, pieces(), 2)
    assert next(results) == 0
    assert asked == [0, 1, 2]
    assert list(results) == [piece * piece for piece in range(1, 10)]
