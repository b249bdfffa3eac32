"""Folding by lists and look-ups against the plain rules, one by one."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mona_server.detect.folding import Outer, within
from mona_server.detect.overlaps import Overlaps
from mona_server.segment import Condition, Equals, OneOf, Range, Segment

CONDITIONS: dict[str, list[Condition]] = {
    "amount": [Range(None, 5), Range(5, None)],
    "city": [Equals("Rome"), Equals("Oslo"), OneOf(("Oslo", "Rome"))],
    "color": [Equals("red"), Equals(None)],
}


@st.composite
def segments(draw: st.DrawFn) -> Segment:
    """Of any of three fields, or everybody."""
    return Segment.of(
        {name: draw(st.sampled_from(options)) for name, options in CONDITIONS.items() if draw(st.booleans())}
    )


@given(st.lists(segments(), max_size=20), segments())
def test_the_first_segment_that_holds_another(outer: list[Segment], inner: Segment) -> None:
    """The look-up finds what asking each in turn finds."""
    assert Outer(outer).of(inner) == next((i for i, one in enumerate(outer) if within(inner, one)), None)


@given(
    arrays(bool, st.tuples(st.integers(1, 30), st.integers(1, 8))),
    st.integers(1, 3),
    st.integers(0, 2**32 - 1),
)
def test_overlaps_of_segments(member: np.ndarray, frames: int, seed: int) -> None:
    """Contexts in both of two segments, exactly; corrections may take contexts away."""
    rng = np.random.default_rng(seed)
    size = rng.integers(-3, 10**9, (len(member), frames)).astype(float)
    overlaps, weight = Overlaps(member), size.sum(axis=1)
    shared, jaccard = overlaps.weigh(weight), overlaps.jaccard(weight)
    for i in range(member.shape[1]):
        for j in range(member.shape[1]):
            both, either = (weight[pick].sum() for pick in (member[:, i] & member[:, j], member[:, i] | member[:, j]))
            assert shared[i, j] == both
            assert jaccard[i, j] == (both / either if either > 0 else 0)
            assert overlaps.outside(i, j).tolist() == np.flatnonzero(member[:, i] & ~member[:, j]).tolist()
