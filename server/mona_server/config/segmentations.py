"""Segmentations: named ways to split the values of one field into segments.

A numeric segmentation gives :class:`Buckets` over the range that the data has; string and boolean ones (and
``discrete`` numbers) make one segment of each value. Bucket edges are rounded to 12 significant digits, so that
0.02-wide buckets have the edges people expect, and the edges alone decide where a value belongs: in memory
(:meth:`Buckets.codes`), in SQL (:meth:`Buckets.sql`) and in conditions (:attr:`Buckets.conditions`).

>>> Segmentation(name="original", kind="width", bucket_size=0.02).buckets(0.05, 0.09).edges
(0.04, 0.06, 0.08, 0.1)
>>> [c.words("x") for c in Segmentation(name="a", kind="boundaries", boundaries=(0, 10)).buckets(3, 4).conditions]
['x < 0', '0 <= x < 10', 'x >= 10']
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mona_server.errors import BadRequest
from mona_server.segment import Range

Kind = Literal["values", "discrete", "width", "count", "boundaries", "log", "quantiles", "auto"]
MAX_BUCKETS = 10_000
WARN_BUCKETS = 1_000
_USUAL = (0.003, 0.997)
"""Quantiles between which nearly all values lie."""


class TooManyBuckets(BadRequest):
    """The observed range needs more buckets than anybody could look at."""


def clean(number: float) -> float:
    """The number at 12 significant digits.

    >>> clean(0.1 + 0.2)
    0.3
    """
    return float(f"{number:.12g}")


@dataclass(frozen=True)
class Buckets:
    """Half-open numeric buckets: number i holds ``edges[i] <= x < edges[i + 1]``; outer edges may be infinite."""

    edges: tuple[float, ...]

    @cached_property
    def conditions(self) -> tuple[Range, ...]:
        """The condition of each bucket."""
        return tuple(
            Range(None if math.isinf(low) else low, None if math.isinf(high) else high)
            for low, high in zip(self.edges, self.edges[1:], strict=False)
        )

    def __len__(self) -> int:
        return max(len(self.edges) - 1, 0)

    def codes(self, values: ArrayLike) -> NDArray[np.int32]:
        """Bucket number of each value, of shape (n,); -1 for a value out of range, NaN included."""
        given = np.asarray(values, dtype=np.float64)
        found = np.searchsorted(np.asarray(self.edges), given, side="right").astype(np.int32) - 1
        found[np.isnan(given) | (found >= len(self))] = -1
        return found

    def sql(self, column: str) -> str:
        """A portable SQL expression for :meth:`codes`: NULL stays NULL, out of range is -1.

        A tree of comparisons, about log2(buckets) per row, with the very edges of :attr:`conditions`: no
        arithmetic on the value, hence no rounding.

        >>> Buckets((-math.inf, 0.0, 10.0)).sql("x")
        'CASE WHEN x IS NULL OR isnan(x) THEN NULL WHEN x < 0.0e0 THEN 0 WHEN x < 10.0e0 THEN 1 ELSE -1 END'
        """

        def choose(low: int, high: int) -> str:
            """Among the answers low..high, where answer i means edges[i - 1] <= x < edges[i]."""
            if high - low < 4:
                whens = [f"WHEN {column} < {_literal(self.edges[i])} THEN {answer(i)}" for i in range(low, high)]
                return f"CASE {' '.join(whens)} ELSE {answer(high)} END" if whens else answer(high)
            middle = (low + high) // 2
            return (
                f"CASE WHEN {column} < {_literal(self.edges[middle])} "
                f"THEN {choose(low, middle)} ELSE {choose(middle + 1, high)} END"
            )

        def answer(i: int) -> str:
            return "-1" if i in (0, len(self.edges)) else str(i - 1)

        if len(self) == 0:
            return f"CASE WHEN {column} IS NULL OR isnan({column}) THEN NULL ELSE -1 END"
        first = 1 if self.edges[0] == -math.inf else 0
        last = len(self.edges) - 1 if self.edges[-1] == math.inf else len(self.edges)
        body = choose(first, last)
        guard = f"WHEN {column} IS NULL OR isnan({column}) THEN NULL"
        return (
            body.replace("CASE ", f"CASE {guard} ", 1) if body.startswith("CASE ") else f"CASE {guard} ELSE {body} END"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Segmentation:
    """One segmentation of one field. Which attributes count follows from ``kind``."""

    name: str
    kind: Kind
    default: bool = False
    min_value: float | None = None
    """Inclusive; values below belong to no bucket."""
    max_value: float | None = None
    """Exclusive."""
    bucket_size: float | None = None
    number_of_buckets: int | None = None
    boundaries: tuple[float, ...] | None = None
    """For ``boundaries``: as given. For ``quantiles`` and ``auto``: frozen from data; None until then."""
    quantiles: int | None = None
    within: tuple[float, float] | None = None
    """For ``auto``, once fixed: where nearly all values lie; what is outside falls into one open bucket at each end."""
    max_values: int = 1000
    """For ``values``: only so many of the largest are searched one by one."""
    groups: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    lowercase: bool = False

    @property
    def numeric(self) -> bool:
        """Gives buckets rather than one segment of each value."""
        return self.kind not in ("values", "discrete")

    @property
    def frozen(self) -> bool:
        """False while it still waits for data: ``quantiles`` and ``auto`` before their first values."""
        return self.kind not in ("quantiles", "auto") or self.boundaries is not None or self.bucket_size is not None

    @property
    def in_range(self) -> Range | None:
        """The condition that a value must hold to be in any bucket; None = all values are."""
        if self.kind == "values" or (self.min_value is None and self.max_value is None):
            return None
        return Range(self.min_value, self.max_value)

    def edges(self, low: float, high: float) -> tuple[float, ...]:
        """Ascending bucket edges that cover the data between ``low`` and ``high`` (both inclusive).

        Where a bound is absent, ``boundaries`` and ``quantiles`` are open (an infinite edge) and the evenly
        spaced kinds begin and end with the buckets of ``low`` and ``high``. Not frozen yet: one open bucket.
        Raises :class:`TooManyBuckets` beyond 10,000; the caller may then ask for a narrower range.
        """
        if self.kind in ("boundaries", "quantiles") or (self.kind == "auto" and self.bucket_size is None):
            return self._bounded(self.boundaries or ())
        if self.kind == "count":
            assert self.number_of_buckets is not None
            assert self.min_value is not None
            assert self.max_value is not None
            step = (self.max_value - self.min_value) / self.number_of_buckets
            inner = (clean(self.min_value + i * step) for i in range(1, self.number_of_buckets))
            return (self.min_value, *inner, self.max_value)
        if self.within is not None:
            usual = replace(self, kind="width", within=None).edges(*self.within)
            return (-math.inf, *usual, math.inf)
        low = low if self.min_value is None else max(low, self.min_value)
        high = high if self.max_value is None else min(high, self.max_value)
        if not self.numeric or not math.isfinite(low) or not math.isfinite(high) or high < low:
            return ()
        if self.kind == "log":
            return self._trim(_log_edges(low, high), low, high)
        assert self.bucket_size is not None
        origin, size = self.min_value or 0.0, self.bucket_size
        first = math.floor((low - origin) / size)
        last = math.ceil((high - origin) / size)
        if last - first > MAX_BUCKETS:
            raise TooManyBuckets(
                f"segmentation {self.name!r}: values from {low:.6g} to {high:.6g} need {last - first} buckets",
                hint="give min_value and max_value, or a larger bucket_size",
            )
        # One more on each side: the division may be off by one where the edge itself is exact.
        edges = [clean(origin + k * size) for k in range(first - 1, last + 3)]
        return self._trim(edges, low, high)

    def buckets(self, low: float, high: float, *, open_ends: bool = False) -> Buckets:
        """:meth:`edges` as buckets. ``open_ends``: where no bound is given, whatever lies outside of
        ``low``..``high`` falls into one more bucket at that end, instead of nowhere."""
        edges = self.edges(low, high)
        if open_ends and edges:
            if self.min_value is None and edges[0] != -math.inf:
                edges = (-math.inf, *edges)
            if self.max_value is None and edges[-1] != math.inf:
                edges = (*edges, math.inf)
        return Buckets(edges)

    def buckets_for(self, low: float, high: float, usual: Callable[[], tuple[float, float]]) -> Buckets:
        """:meth:`buckets`; where a few wild values would need too many, those of the ``usual`` range with open ends.

        ``usual``: gives the range without the wildest values, e.g. of quantiles; asked only then. One mad number in one
        message must not end the search of a field.
        """
        try:
            return self.buckets(low, high)
        except TooManyBuckets:
            return self.buckets(*usual(), open_ends=True)

    def label(self, value: Any) -> Any:
        """For ``values``: the segment value of a field value (its group, or itself, in lower case if asked).

        >>> Segmentation(name="a", kind="values", groups={"south": ("Texas", "Florida")}).label("Texas")
        'south'
        """
        if self.lowercase and isinstance(value, str):
            value = value.lower()
        for group, members in self.groups.items():
            if value in members:
                return group
        return value

    def with_frozen(self, given: Mapping[str, Any]) -> Segmentation:
        """The same with what :func:`freeze` found, as it was stored."""
        if "discrete" in given:
            return replace(self, kind="discrete")
        if "bucket_size" in given:
            low, high = given["within"]
            return replace(self, bucket_size=given["bucket_size"], within=(low, high))
        return replace(self, boundaries=tuple(given["boundaries"]))

    def _bounded(self, boundaries: Sequence[float]) -> tuple[float, ...]:
        low = -math.inf if self.min_value is None else self.min_value
        high = math.inf if self.max_value is None else self.max_value
        return (low, *(b for b in boundaries if low < b < high), high)

    def _trim(self, edges: Sequence[float], low: float, high: float) -> tuple[float, ...]:
        """Drops buckets outside of the data, and cuts the outer ones at the given bounds."""
        first = max((i for i, edge in enumerate(edges) if edge <= low), default=0)
        ended = high == self.max_value  # exclusive: no bucket begins there
        last = next((i for i, edge in enumerate(edges) if edge > high or (ended and edge == high)), len(edges) - 1)
        kept = list(edges[first : last + 1])
        if self.min_value is not None:
            kept[0] = max(kept[0], self.min_value)
        if self.max_value is not None:
            kept[-1] = min(kept[-1], self.max_value)
        return tuple(kept)


def automatic(field_type: str) -> Segmentation | None:
    """The segmentation that a field has without saying so: each value of its own for string and boolean fields; for
    numeric ones buckets by the width rule, fixed from data (:func:`freeze`)."""
    if field_type in ("string", "boolean"):
        return Segmentation(name="default", kind="values", default=True)
    return Segmentation(name="automatic", kind="auto", default=True) if field_type == "numeric" else None


def bucket_width(values: ArrayLike) -> float | None:
    """The suggested bucket width of numbers: one significant digit of (q(0.997) - q(0.003)) / 50, half up.

    Quantiles are linearly interpolated, so a few wild values do not matter. None when they do not spread.
    Values are float, of shape (n,), without NaN. Source: configuration specification, section 10.

    >>> bucket_width([0.0, 1.0])
    0.02
    """
    given = np.asarray(values, dtype=np.float64)
    if given.size == 0:
        return None
    low, high = np.quantile(given, _USUAL)
    width = float(high - low) / 50
    if not math.isfinite(width) or width <= 0:
        return None
    unit = 10.0 ** math.floor(math.log10(width))
    return clean(math.floor(clean(width / unit) + 0.5) * unit)


def freeze(segmentation: Segmentation, values: ArrayLike) -> dict[str, Any]:
    """What ``quantiles`` or ``auto`` becomes on these values (float, of shape (n,), no NaN), as JSON to keep.

    ``{"boundaries": [...]}``, ``{"bucket_size": w, "within": [low, high]}`` or, without any spread, ``{"discrete": true}``.
    """
    given = np.asarray(values, dtype=np.float64)
    if segmentation.kind == "quantiles":
        assert segmentation.quantiles is not None
        shares = np.arange(1, segmentation.quantiles) / segmentation.quantiles
        inner = np.unique([clean(float(q)) for q in np.quantile(given, shares)]) if given.size else np.empty(0)
        return {"boundaries": inner.tolist()}
    width = bucket_width(given)
    if width is None:
        return {"discrete": True}
    return {"bucket_size": width, "within": [float(q) for q in np.quantile(given, _USUAL)]}


def _log_edges(low: float, high: float) -> list[float]:
    """Base-2 edges around low..high: ..., -2, -1, 0, 1, 2, 4, ...

    Below -1 the buckets are the mirrored ones, still closed on the left: [-2, -1), [-4, -2), ...
    """
    edges = [-1.0, 0.0, 1.0]
    while edges[-1] <= high and len(edges) < 2100:
        edges.append(edges[-1] * 2)
    while edges[0] > low and len(edges) < 2100:
        edges.insert(0, edges[0] * 2)
    return edges


def _literal(number: float) -> str:
    """A DOUBLE in SQL that reads back to the same bits: an exponent keeps it from becoming a DECIMAL."""
    text = repr(float(number))
    return text if "e" in text else f"{text}e0"
