"""MonaSingleMessage: fields, both positional orders, times."""

from __future__ import annotations

import dataclasses
import logging
from datetime import date, datetime, timezone
from typing import Any

import pytest

from mona_sdk import MonaSingleMessage

FIELDS = ["message", "contextClass", "contextId", "action", "sampleConfigName", "exportTimestamp", "sendTimestamp"]


def test_fields_are_those_of_the_newest_original() -> None:
    """`dataclasses.fields` gives exactly the seven, and `get_dict` their values."""
    assert [field.name for field in dataclasses.fields(MonaSingleMessage)] == FIELDS
    message = MonaSingleMessage(message={"a": 1}, contextClass="C", contextId="i", action="ADD", exportTimestamp=5)
    assert message.get_dict() == {
        "message": {"a": 1},
        "contextClass": "C",
        "contextId": "i",
        "action": "ADD",
        "sampleConfigName": None,
        "exportTimestamp": 5,
        "sendTimestamp": None,
    }


def test_a_subclass_keeps_its_fields_out_of_the_dict() -> None:
    """`get_dict` has the seven fields, whatever a subclass adds."""

    @dataclasses.dataclass
    class Wider(MonaSingleMessage):
        extra: Any = None

        def __init__(self, **kwargs: Any) -> None:
            self.extra = kwargs.pop("extra")
            super().__init__(**kwargs)

    assert list(Wider(message={}, contextClass="C", extra=1).get_dict()) == FIELDS


def test_replace_and_equality_work() -> None:
    """It is an ordinary dataclass to code that treats it as one."""
    message = MonaSingleMessage(message={"a": 1}, contextClass="C")
    assert dataclasses.replace(message, contextId="x") == MonaSingleMessage({"a": 1}, "C", "x")


T = 1700000000
NOW = datetime(2024, 1, 2, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("positions", "expected"),
    [
        # an action in the fourth place: the new order
        (("ADD",), {"action": "ADD"}),
        (("NEW", "cfg"), {"action": "NEW", "sampleConfigName": "cfg"}),
        (("OVERWRITE", None, T), {"action": "OVERWRITE", "exportTimestamp": T}),
        (
            ("DELETE", "cfg", T, T + 1),
            {"action": "DELETE", "sampleConfigName": "cfg", "exportTimestamp": T, "sendTimestamp": T + 1},
        ),
        # a time, or any other text: the old order
        ((T,), {"exportTimestamp": T}),
        ((T + 0.5, "ADD"), {"exportTimestamp": T + 0.5, "action": "ADD"}),
        ((str(T), "ADD", "cfg"), {"exportTimestamp": str(T), "action": "ADD", "sampleConfigName": "cfg"}),
        (("2024-01-02T00:00:00Z", None, "cfg"), {"exportTimestamp": "2024-01-02T00:00:00Z", "sampleConfigName": "cfg"}),
        ((NOW, "NEW"), {"exportTimestamp": NOW, "action": "NEW"}),
        (("add",), {"exportTimestamp": "add"}),
        (("whatever", "ADD"), {"exportTimestamp": "whatever", "action": "ADD"}),
        # nothing in the fourth place
        ((None,), {}),
        ((None, "ADD"), {"action": "ADD"}),
        ((None, "ADD", "cfg"), {"action": "ADD", "sampleConfigName": "cfg"}),
        ((None, None, T), {"exportTimestamp": T}),
        ((None, "cfg", T), {"sampleConfigName": "cfg", "exportTimestamp": T}),
        ((None, None, str(T)), {"exportTimestamp": str(T)}),
        ((None, None, date(2024, 1, 2)), {"exportTimestamp": date(2024, 1, 2)}),
        ((None, "cfg", None, T), {"sampleConfigName": "cfg", "sendTimestamp": T}),
        ((None, "cfg"), {"sampleConfigName": "cfg"}),
        ((None, None, "cfg"), {"sampleConfigName": "cfg"}),
    ],
)
def test_both_orders_by_position(positions: tuple[Any, ...], expected: dict[str, Any]) -> None:
    """Positions four to seven are read by their values, as the table of the specification says."""
    message = MonaSingleMessage({"a": 1}, "C", "i", *positions)
    found = {name: value for name, value in message.get_dict().items() if name in FIELDS[3:] and value is not None}
    assert found == expected


def test_keywords_mean_their_name_beside_positions() -> None:
    """Only positions are interpreted."""
    message = MonaSingleMessage({}, "C", "i", T, action="ADD")
    assert (message.exportTimestamp, message.action) == (T, "ADD")


@pytest.mark.parametrize(
    ("positions", "keywords"), [((T,), {"exportTimestamp": T}), (("ADD",), {"action": "NEW"}), ((1, 2, 3, 4, 5), {})]
)
def test_the_same_name_twice_is_an_error(positions: tuple[Any, ...], keywords: dict[str, Any]) -> None:
    """As of any Python function."""
    with pytest.raises(TypeError):
        MonaSingleMessage({}, "C", "i", *positions, **keywords)


def test_positions_warn_once(caplog: pytest.LogCaptureFixture) -> None:
    """More than three positional arguments recommend keywords, once in a process."""
    with caplog.at_level(logging.WARNING, "mona-logger"):
        for _ in range(3):
            MonaSingleMessage({}, "C", "i", T)
    assert len([record for record in caplog.records if "name the arguments" in record.message]) == 1
