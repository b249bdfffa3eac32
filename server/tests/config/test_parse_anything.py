"""Reading a configuration never fails, whatever it is given: it tells."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mona_server.config import ConfigError, parse
from mona_server.config.fields import FieldBuilder
from mona_server.config.openai import template
from tests.config.test_parse import TUTORIAL

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(
        ["", "amount", "purpose", "numeric", "identity", "AverageDrift", "1d", "2w", "desc", "{}", "[", "a[0]"]
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["fields", "type", "verses", "value", "names", "name", "metrics", "left", "x", "default"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)
WHOLE = {**TUTORIAL, "CALLS": template("ChatCompletion")}
WHOLE["CALLS"]["main_kpis"] = [
    {"name": "k", "type": "average", "field": "latency", "segment": {"model": [{"value": "m"}]}}
]
WHOLE["CALLS"]["field_vectors"] = {"v": {"fields": ["latency"]}}
WHOLE["CALLS"]["segmentations"] = {"latency": {"fine": {"bucket_size": 0.1}}}


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a configuration."""
    items = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else [])
    return [path, *(below for key, one in items for below in places(one, (*path, key)))]


PLACES = [place for place in places(WHOLE) if place]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(PLACES), JSON, st.booleans())
def test_any_value_at_any_place(place: tuple[Any, ...], value: Any, lenient: bool) -> None:
    """Issues or a configuration that builds fields; the normal form of what is accepted is accepted too."""
    given = copy.deepcopy(WHOLE)
    target: Any = given
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = value
    parsed = parse(given, user_id="me", lenient=lenient)
    if parsed.errors:
        with pytest.raises(ConfigError):
            parsed.or_raise()
        return
    for context_class in parsed.classes.values():
        FieldBuilder(context_class).build({"amount": 1, "purpose": "x", "response": {"model": "m"}}, 0)
    again = parse(parsed.normal, lenient=lenient)
    assert again.errors == ()
    assert again.normal == parsed.normal
    assert {name: one.fields for name, one in again.classes.items()} == {
        name: one.fields for name, one in parsed.classes.items()
    }
