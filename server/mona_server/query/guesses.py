"""Codes of plain text axes from one reading of their columns: the values are guessed from some rows.

The engine finds codes fast where it is told the values of a column (:func:`code_sql`), but to learn all values first takes
as long as to find the codes. So codes are found for the values that some of the rows have, and say themselves whether
a row has another one. Only then is the column looked at again. Guesses never change an answer, only its cost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mona_server.config.segmentations import Segmentation
from mona_server.detect.source import Axis, AxisRequest, Floats
from mona_server.query.axes import LONGEST_VALUE, AxisPlan, SegmentationOf, chosen_segmentation, value_plan
from mona_server.query.facts import Facts

Codes = NDArray[np.signedinteger[Any]]
GUESS_VALUES = 2**11
"""With more values in some rows there are likely more in others, and beyond ``max_values``."""
BLOCK_ROWS = 2**16
"""Rows are counted in blocks that stay in the processor's cache."""
TYPES = {"TINYINT": np.int8, "SMALLINT": np.int16, "INTEGER": np.int32}


@dataclass(frozen=True, slots=True)
class Guess:
    """A plain text axis before all of its values are known."""

    request: AxisRequest
    chosen: Segmentation
    raw: AxisPlan
    """Codes of guessed values are their places, MISSING comes after them, -1 is a value that was not guessed."""

    def settled(
        self, facts: Facts, codes: Codes, sign: Floats | None, plan_of: Callable[[AxisRequest], AxisPlan]
    ) -> tuple[AxisPlan, Codes | None]:
        """The plan and codes (n,) of the axis, from the raw ``codes`` and ``sign`` (n,) of all rows.

        ``plan_of`` looks at all values, and is asked only where some were not guessed. Codes are None where values
        that are segments were not guessed: then they have to be read again.
        """
        guessed: Sequence[Any] = self.raw.dictionary
        if codes.min(initial=0) < 0:
            plan = plan_of(self.request)
        else:
            # Without corrections each guessed value has contexts; how many only matters where some values must go.
            all_stay = sign is None and len(guessed) <= self.chosen.max_values
            contexts = [1] * len(guessed) if all_stay else _contexts(codes, sign, len(guessed))
            largest_first = sorted(zip(guessed, contexts, strict=True), key=lambda found: (-found[1], found[0]))
            plan = value_plan(facts, self.request, self.chosen, largest_first)
        code_of = dict(zip(plan.dictionary, plan.remap, strict=False))
        if not code_of.keys() <= set(guessed):
            return plan, None
        remap = (*(code_of.get(value, -1) for value in guessed), plan.missing, -1)
        code_type = TYPES[plan.code_type]
        if remap == self.raw.remap and codes.dtype == code_type:
            return plan, codes
        return plan, np.take(np.array(remap, code_type), codes)


def guess_axis(
    facts: Facts,
    request: AxisRequest,
    segmentation_of: SegmentationOf,
    some_rows: Callable[[Sequence[str]], str],
    values: dict[str, object],
) -> Guess | None:
    """The values of a plain text axis in some rows; None where they tell too little, and for all other axes.

    ``some_rows(fields)`` is a part of the filtered relation. Raises :class:`BadRequest` as :func:`plan_axis` does.
    """
    column = facts.column(request.field)
    chosen = chosen_segmentation(facts, request, segmentation_of)
    if column.kind != "string" or column.lists or chosen is None or chosen.numeric:
        return None
    # A long text is in no segment: where there is one, not all texts can be guessed.
    found = facts.rows(
        f"SELECT DISTINCT CASE WHEN len(v) <= {LONGEST_VALUE} THEN v END FROM (SELECT {column.sql} AS v FROM "
        f"{some_rows([column.field])}) WHERE v IS NOT NULL LIMIT {GUESS_VALUES + 1}",
        values,
    )
    if len(found) > GUESS_VALUES or (None,) in found:
        return None
    guessed = tuple(sorted(value for (value,) in found))
    raw = AxisPlan(Axis(request.field, ()), (*range(len(guessed) + 1), -1), dictionary=guessed)
    return Guess(request, chosen, raw)


def _contexts(codes: Codes, sign: Floats | None, values: int) -> list[int]:
    """Contexts by code, of the first ``values`` codes; none is below 0."""
    contexts = np.zeros(values + 1)
    for low in range(0, len(codes), BLOCK_ROWS):
        rows = slice(low, low + BLOCK_ROWS)
        contexts += np.bincount(codes[rows], None if sign is None else sign[rows], values + 1)
    return [int(n) for n in contexts[:values]]
