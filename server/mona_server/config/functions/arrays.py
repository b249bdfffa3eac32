"""Arrays, sets, objects and vectors."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import Any

from mona_server.config.functions.arithmetic import population_std
from mona_server.config.functions.declare import Arg, Group, Problem
from mona_server.config.functions.kinds import ANY, COUNT, FULL_TEXT, INTEGER, PATH, POSITIVE, TEXT, key

GROUP = Group("Arrays, sets, objects, vectors")
function = GROUP.function
Array = list[Any]
Object = dict[str, Any]


def numbers(array: Array) -> list[float]:
    """The elements that are numbers; booleans count as 0 and 1."""
    return [x for x in array if isinstance(x, int | float)]


def vector(array: Array) -> list[float]:
    """All elements as numbers; Problem where one is none."""
    found = numbers(array)
    if len(found) != len(array):
        raise Problem("an element is not a number")
    return found


@function("A", "X", args=[Arg("index", INTEGER)], example=(([5, 6, 7],), (-1,), 7))
def array_get(array: Array, index: int) -> Any:
    """The element at an index, negative from the end; null outside."""
    return array[index] if -len(array) <= index < len(array) else None


@function("A", "X", example=(([5, 6],), (), 5))
def array_first(array: Array) -> Any:
    """The first element; null where there is none."""
    return array[0] if array else None


@function("A", "X", example=(([5, 6],), (), 6))
def array_last(array: Array) -> Any:
    """The last element; null where there is none."""
    return array[-1] if array else None


@function("A", "A", args=[Arg("start", INTEGER), Arg("end", INTEGER, None)], example=(([5, 6, 7],), (1,), [6, 7]))
def array_slice(array: Array, start: int, end: int | None) -> Array:
    """The elements from start up to, not including, end; negative numbers count from the end."""
    return array[start:end]


def _of_numbers(compute: Callable[[list[float]], float]) -> Callable[[Array], float | None]:
    def run(array: Array) -> float | None:
        found = numbers(array)
        return compute(found) if found else None

    return run


@function("A", "N", example=(([1, "a", 2],), (), 3))
def array_sum(array: Array) -> float | None:
    """Sum of the elements that are numbers; null where there is none."""
    return _of_numbers(lambda xs: sum(xs) if all(isinstance(x, int) for x in xs) else math.fsum(xs))(array)


@function("A", "N", example=(([1, None, 3],), (), 2.0))
def array_mean(array: Array) -> float | None:
    """Average of the elements that are numbers; null where there is none."""
    return _of_numbers(lambda xs: math.fsum(xs) / len(xs))(array)


@function("A", "N", example=(([3, 1],), (), 1))
def array_min(array: Array) -> float | None:
    """Least of the elements that are numbers; null where there is none."""
    return _of_numbers(min)(array)


@function("A", "N", example=(([3, 1],), (), 3))
def array_max(array: Array) -> float | None:
    """Largest of the elements that are numbers; null where there is none."""
    return _of_numbers(max)(array)


@function("A", "N", example=(([1, 3],), (), 1.0))
def array_std(array: Array) -> float | None:
    """Population standard deviation of the elements that are numbers; null where there is none."""
    return _of_numbers(population_std)(array)


@function("A", "N", example=(([1, 9, 3, 5],), (), 4.0))
def array_median(array: Array) -> float | None:
    """Median of the elements that are numbers (mean of the middle two); null where there is none."""
    return _of_numbers(statistics.median)(array)


@function("A", "A", example=(([3, "b", 1, "a"],), (), [1, 3, "a", "b"]))
def array_sorted(array: Array) -> Array:
    """The elements in order: numbers, then texts; others are left out."""
    texts = [x for x in array if isinstance(x, str)]
    return [*sorted(numbers(array)), *sorted(texts)]


@function("A", "A", example=(([1, 2, 1.0, "1"],), (), [1, 2, "1"]))
def array_unique(array: Array) -> Array:
    """The distinct elements, in order of their first occurrence."""
    first: dict[Any, Any] = {}
    for element in array:
        first.setdefault(key(element), element)
    return list(first.values())


@function("A", "A", example=(([1, 2],), (), [2, 1]))
def array_reverse(array: Array) -> Array:
    """The elements from the last to the first."""
    return array[::-1]


@function("A", "S", args=[Arg("separator", TEXT, ",")], example=((["a", 1, None],), (), "a,1"))
def array_join(array: Array, separator: str) -> str:
    """The elements as one text, written as in a string field; nulls are left out."""
    from mona_server.config.casts import to_text

    return separator.join(to_text(element) for element in array if element is not None)


@function("A", "B", args=[Arg("value", ANY)], example=(([1, "a"],), (1.0,), True))
def array_contains(array: Array, value: Any) -> bool:
    """Whether an element equals the value."""
    wanted = key(value)
    return any(key(element) == wanted for element in array)


@function("A", "N", args=[Arg("value", ANY)], example=(([1, 2, 1],), (1,), 2))
def array_count_if(array: Array, value: Any) -> int:
    """How many elements equal the value."""
    wanted = key(value)
    return sum(1 for element in array if key(element) == wanted)


@function("A", "A", args=[Arg("key", FULL_TEXT)], example=(([{"a": 1}, {"b": 2}],), ("a",), [1, None]))
def array_pluck(array: Array, key: str) -> Array:
    """The value under a key of each element; null for elements that lack it."""
    return [element.get(key) if isinstance(element, dict) else None for element in array]


@function(
    "A",
    "A",
    args=[Arg("key", FULL_TEXT), Arg("value", ANY)],
    example=(([{"role": "user", "n": 1}, {"role": "system"}],), ("role", "user"), [{"role": "user", "n": 1}]),
)
def array_filter(array: Array, key: str, value: Any) -> Array:
    """The objects whose value under a key equals the given one."""
    wanted = _key(value)
    return [element for element in array if isinstance(element, dict) and _key(element.get(key)) == wanted]


_key = key


@function("A A+", "A", nulls="skip", example=(([1], [2, 3]), (), [1, 2, 3]))
def array_concat(*arrays: Array) -> Array:
    """All elements in one array; null sources are left out."""
    return [element for array in arrays for element in array]


@function(
    "A",
    "X",
    args=[Arg("score_key", FULL_TEXT, None), Arg("result_key", FULL_TEXT, None)],
    example=(([{"class": "cat", "score": 0.7}, {"class": "dog", "score": 0.2}],), ("score", "class"), "cat"),
)
def array_argmax(array: Array, score_key: str | None, result_key: str | None) -> Any:
    """What an array of objects holds under result_key where score_key is largest; for an array of numbers the index
    of the largest. The first of equals counts."""
    scores = [element.get(score_key) if isinstance(element, dict) else element for element in array]
    best = max((i for i, x in enumerate(scores) if _is_number(x)), key=lambda i: (scores[i], -i), default=None)
    if best is None:
        return None
    if not isinstance(array[best], dict):
        return best
    if result_key is None:
        raise Problem("an array of objects needs score_key and result_key")
    return array[best].get(result_key)


def _is_number(x: Any) -> bool:
    return isinstance(x, int | float) and not isinstance(x, bool)


def scores(value: Any, score_key: str) -> list[float]:
    """Numbers of an array of numbers, of an array of objects (under a key) or of an object; largest first."""
    if isinstance(value, dict):
        found = list(value.values())
    elif isinstance(value, list):
        found = [element.get(score_key) if isinstance(element, dict) else element for element in value]
    else:
        raise Problem("the source is neither an array nor an object")
    return sorted((x for x in found if _is_number(x)), reverse=True)


SCORE_KEY = Arg("score_key", FULL_TEXT, "score")


@function("X", "N", args=[Arg("k", COUNT), SCORE_KEY], example=(([0.2, 0.7, 0.1],), (2,), 0.2))
def top_k(value: Any, k: int, score_key: str) -> float | None:
    """The k-th largest number, from 1, of an array, of a key of an array of objects, or of an object."""
    found = scores(value, score_key)
    return found[k - 1] if k <= len(found) else None


@function(
    "X",
    "N",
    args=[Arg("k1", COUNT, 1), Arg("k2", COUNT, 2), SCORE_KEY],
    example=(({"cat": 0.75, "dog": 0.25, "cow": 0.0},), (), 0.5),
)
def top_k_gap(value: Any, k1: int, k2: int, score_key: str) -> float | None:
    """Difference of the k1-th and the k2-th largest number."""
    found = scores(value, score_key)
    return found[k1 - 1] - found[k2 - 1] if max(k1, k2) <= len(found) else None


@function("X", "N", example=(([1, 1],), (), 1.0))
def entropy(value: Any) -> float | None:
    """Shannon entropy of the normalised numbers over the logarithm of their count: 0 = one has it all, 1 = all are
    equal. One number has 0."""
    found = scores(value, "")
    total = math.fsum(found)
    if not found or total <= 0 or found[-1] < 0:
        raise Problem("needs numbers of at least 0 that are not all 0")
    if len(found) == 1:
        return 0.0
    shares = [x / total for x in found]
    return abs(math.fsum(p * math.log(p) for p in shares if p > 0) / math.log(len(shares)))


@function("A", "N", example=(([1, 2, 1],), (), 2))
def set_size(array: Array) -> int:
    """Number of distinct elements that are not null."""
    return len(_set(array))


def _set(array: Array) -> set[Any]:
    return {key(element) for element in array if element is not None}


@function("A A", "N", example=(([1, 2], [2, 3]), (), 1 / 3))
def set_overlap(a: Array, b: Array) -> float:
    """Jaccard index: shared distinct elements over all distinct elements; two empty arrays have 1."""
    left, right = _set(a), _set(b)
    return len(left & right) / len(left | right) if left or right else 1.0


@function("A A", "N", example=(([1, 2], [2, 3]), (), 1))
def set_difference_size(a: Array, b: Array) -> int:
    """Distinct elements of the first that the second lacks."""
    return len(_set(a) - _set(b))


def _pair(a: Array, b: Array) -> tuple[list[float], list[float]]:
    if len(a) != len(b):
        raise Problem("the vectors differ in length")
    return vector(a), vector(b)


@function("A A", "N", example=(([1, 0], [0, 1]), (), 0.0))
def cosine_similarity(a: Array, b: Array) -> float:
    """Cosine of the angle between two vectors; null for a vector of length 0."""
    left, right = _pair(a, b)
    lengths = math.hypot(*left) * math.hypot(*right)
    if lengths == 0:
        raise Problem("a vector has the length 0")
    return _dot(left, right) / lengths


def _dot(a: list[float], b: list[float]) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


@function("A A", "N", example=(([0, 0], [3, 4]), (), 5.0))
def euclidean_distance(a: Array, b: Array) -> float:
    """Distance of two points."""
    return math.dist(*_pair(a, b))


@function("A A", "N", example=(([1, 2], [3, 4]), (), 11.0))
def dot_product(a: Array, b: Array) -> float:
    """Sum of the products of the elements."""
    return _dot(*_pair(a, b))


@function("A", "N", args=[Arg("p", POSITIVE, 2)], example=(([3, 4],), (), 5.0))
def norm(array: Array, p: float) -> float:
    """Length of a vector: the p-th root of the sum of |x|^p."""
    xs = vector(array)
    if p == 2:
        return math.hypot(*xs)
    return float(math.fsum(abs(x) ** p for x in xs) ** (1 / p))


@function("X", "X", args=[Arg("path", PATH)], example=(({"a": [{"b": 1}]},), ("a[0].b",), 1))
def get(value: Any, path: Callable[[Any], Any]) -> Any:
    """What lies at a path inside of an object or array; null where a step is missing."""
    if not isinstance(value, dict | list):
        raise Problem("the source is neither an object nor an array")
    return path(value)


@function("O", "A", example=(({"a": 1, "b": 2},), (), ["a", "b"]))
def keys(given: Object) -> list[str]:
    """The keys of an object."""
    return list(given)


@function("O", "A", example=(({"a": 1, "b": 2},), (), [1, 2]))
def values_of(given: Object) -> Array:
    """The values of an object."""
    return list(given.values())


@function("O", "B", args=[Arg("key", TEXT)], example=(({"a": None},), ("a",), True))
def has_key(given: Object, key: str) -> bool:
    """Whether the object has the key, even with a null."""
    return key in given


@function("O", "S", example=(({"dog": 0.7, "cat": 0.7},), (), "cat"))
def object_argmax(given: Object) -> str | None:
    """The key of the largest number; of equals the first in text order."""
    found = {name: x for name, x in given.items() if _is_number(x)}
    return min(found, key=lambda name: (-found[name], name), default=None)
