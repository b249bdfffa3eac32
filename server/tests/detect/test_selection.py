"""One cause, one finding: joint explanations of what moved, on worlds of independent cells."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from mona_server.detect import chance, selection
from mona_server.detect.selection import Aspect
from mona_server.detect.source import Floats

CELLS = 24
CONTEXTS = 100.0


class World:
    """Segments as sets of cells with independent rows of variance 1; hypotheses are the segments."""

    def __init__(self, members: Sequence[Sequence[int]], depths: Sequence[int], fixed: int = 0) -> None:
        self.member = np.zeros((CELLS, len(members)))
        for s, cells in enumerate(members):
            self.member[list(cells), s] = 1
        self.count = len(members) - fixed
        self.shared = self.member.T @ self.member * CONTEXTS
        self.prior = chance.depth_prior(np.array(depths)) - np.log(100)
        self.conditions = np.array(depths, np.intp)
        self.fixed = tuple(range(self.count, len(members)))

    def found(self, shift: Floats, limit: float = 3.0, seed: int | None = None) -> list[int]:
        """Which segments are chosen when the cells' means moved by ``shift`` (standard deviations of a row)."""
        total = CONTEXTS * shift
        if seed is not None:
            total = total + np.random.default_rng(seed).standard_normal(CELLS) * np.sqrt(CONTEXTS)
        suspects = slice(0, self.count)
        change = self.member[:, suspects].T @ total
        covariance = self.shared[suspects, suspects]
        aspect = Aspect(change, covariance, self.shared[suspects])
        own = np.diag(self.shared)
        jaccard = self.shared / (own[:, None] + own[None, :] - self.shared)

        def evidence(left: Sequence[Floats]) -> Floats:
            z = np.zeros(len(own))
            z[suspects] = left[0] / np.sqrt(np.diag(covariance))
            return chance.tail_score(z, self.prior)

        allowed = np.arange(len(own)) < self.count
        chosen = selection.choose([aspect], self.prior, limit, allowed, jaccard, evidence, self.conditions, self.fixed)
        return [one.hypothesis for one in chosen]


PARENT, CHILD, SIBLING, OTHER = range(4)


def family() -> World:
    return World([range(12), range(4), range(4, 8), range(16, 20)], [1, 2, 2, 2])


def shift(cells: Sequence[int], by: float = 1.0) -> Floats:
    out = np.zeros(CELLS)
    out[list(cells)] = by
    return out


@pytest.mark.parametrize("seed", range(5))
def test_a_change_of_the_parent_is_not_told_by_its_children(seed: int) -> None:
    """All of the parent moved alike: the parent is named, once."""
    assert family().found(shift(range(12)), seed=seed) == [PARENT]


@pytest.mark.parametrize("seed", range(5))
def test_a_change_of_one_child_is_not_told_by_its_parent(seed: int) -> None:
    """Only the child moved: the diluted parent is its shadow."""
    assert family().found(shift(range(4)), seed=seed) == [CHILD]


def test_a_child_with_a_change_of_its_own_is_named_beside_its_parent() -> None:
    """The parent moved, and the child three times as much: two causes."""
    assert set(family().found(shift(range(12)) + shift(range(4), 2.0), seed=1)) == {PARENT, CHILD}


def test_opposite_changes_are_two_findings() -> None:
    """A rise here and a fall there."""
    assert set(family().found(shift(range(4)) - shift(range(16, 20)), seed=2)) == {CHILD, OTHER}


def test_nothing_is_named_where_nothing_moved() -> None:
    """Noise alone stays below the limit."""
    assert all(family().found(np.zeros(CELLS), seed=seed) == [] for seed in range(40))


def test_the_shorter_of_two_descriptions_of_the_same_contexts_wins() -> None:
    """Segments that share 80 % of their contexts are one; fewer conditions are likelier."""
    world = World([range(9), range(10)], [3, 1])
    assert world.found(shift(range(10)), seed=3) == [1]


@pytest.mark.parametrize(("left", "named"), [(0.3, 1), (0.0, 0)])
def test_the_simpler_of_two_that_are_one_is_named_where_it_explains_hardly_less(left: float, named: int) -> None:
    """Nine tenths of a value moved further than the rest of it: 4 % of the evidence are not worth two conditions, 10 % are."""
    world = World([range(18), range(20)], [3, 1])
    assert world.found(shift(range(18)) + shift(range(18, 20), left)) == [named]


def test_what_is_known_explains_without_being_named() -> None:
    """A new segment that another verse tells of silences its parent."""
    world = World([range(12), range(16, 20), range(4)], [1, 1, 2], fixed=1)
    assert world.found(shift(range(4), 3.0), seed=4) == []
    assert world.found(shift(range(4), 3.0) + shift(range(16, 20)), seed=4) == [1]


def test_an_early_wrong_choice_is_looked_at_again() -> None:
    """A union that looks strongest at first is given up for the two segments that really moved."""
    world = World([range(12), range(6), range(6, 12), range(3, 9)], [2, 2, 2, 2])
    chosen = world.found(shift(range(6), 1.0) - shift(range(6, 12), 1.0), seed=5)
    assert set(chosen) == {1, 2}


def test_only_what_is_beyond_chance_is_swapped_in() -> None:
    """Where changes contradict the covariance, a joint fit is sure of a segment that hardly moved: it is not named."""
    aspect = Aspect(
        change=np.array([4.0, -1.0]),
        covariance=np.array([[1.0, 0.95], [0.95, 1.0]]),
        kernel=np.array([[1.0, 0.9, 0.2], [0.9, 1.0, -0.2]]),
    )
    part = selection.information(aspect)
    gain = part.score**2 / np.diag(part.matrix) / 2
    assert gain[2] > 3 * gain[0]
    scores = np.array([6.0, -1.0, -1.0])
    everything = np.ones(3, bool)
    chosen = selection.choose(
        [aspect], np.zeros(3), 3.0, everything, np.eye(3), lambda left: scores, np.ones(3, np.intp)
    )
    assert [one.hypothesis for one in chosen] == [0]


def test_a_segment_between_two_that_moved_gives_way_to_both() -> None:
    """It explains the most at first, and beside it neither of the two has enough left to be added alone."""
    world = World([range(2, 10), range(6), range(6, 12)], [2, 2, 2])
    moved = shift(range(12))
    left = moved - shift(range(2, 10))
    alone = CONTEXTS * left[:6].sum() / np.sqrt(6 * CONTEXTS)
    limit = 60.0
    assert chance.tail_score(np.array([alone]), world.prior[:1])[0] < limit
    assert set(world.found(moved, limit=limit)) == {1, 2}


def test_what_the_others_explain_in_the_end_is_not_named() -> None:
    """Named before the second one was found; beside that its own segment has not moved."""
    aspect = Aspect(np.array([20.0, 10.0]), np.eye(2), np.array([[1.0, 0.9], [0.9, 1.0]]))

    def evidence(left: Sequence[Floats]) -> Floats:
        return np.array([9.0 if left[0][0] == 20 else -1.0, 5.0])

    chosen = selection.choose([aspect], np.zeros(2), 3.0, np.ones(2, bool), np.eye(2), evidence, np.ones(2, np.intp))
    assert [one.hypothesis for one in chosen] == [1]


@pytest.mark.parametrize(("score", "named"), [(3.5, {0}), (20.0, {1, 2})])
def test_one_finding_becomes_two_only_where_these_stand_out_more_by_themselves(score: float, named: set[int]) -> None:
    """The joint fit is surer of two parts in either case; a part that hardly stands out is a fragment."""
    aspect = Aspect(np.array([20.0, 10.0]), np.eye(2), np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0]]))
    whole_or_parts = np.array([[1.0, 0.9, 0.9], [0.9, 1.0, 0.0], [0.9, 0.0, 1.0]])

    def evidence(left: Sequence[Floats]) -> Floats:
        return np.array([30.0, 20.0, score] if left[0][1] > 1 else [30.0, 1.0, 1.0])

    chosen = selection.choose(
        [aspect], np.zeros(3), 3.0, np.ones(3, bool), whole_or_parts, evidence, np.ones(3, np.intp)
    )
    assert {one.hypothesis for one in chosen} == named
