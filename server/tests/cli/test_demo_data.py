"""The flights of the demo: what they are, and the numbers published about them."""

from __future__ import annotations

import itertools
from collections import Counter
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mona_server.cli import demo_data
from mona_server.cli.demo_data import Columns, Event, Model

TODAY = date(2026, 11, 24)
FOG = datetime(2013, 12, 5, tzinfo=UTC)


@pytest.fixture(scope="module")
def year() -> Columns:
    return demo_data.read()


@pytest.fixture(scope="module")
def parts(year: Columns) -> tuple[Columns, Columns]:
    return demo_data.split(year)


@pytest.fixture(scope="module")
def sent(parts: tuple[Columns, Columns]) -> list[Event]:
    learnt, served = parts
    return demo_data.events(served, Model.fit(learnt), TODAY)


def sudden_change(events: list[Event], **segment: str) -> float:
    """AverageSuddenChange of the arrival delay over 30 daily frames that end with the fog, in plain numpy."""
    last = (FOG + demo_data.weeks_moved(TODAY)).date()
    contexts: dict[str, tuple[date, dict[str, object]]] = {}
    for event in events:
        day, values = contexts.get(event.context_id, (event.at.date(), {}))
        contexts[event.context_id] = day, {**values, **event.values}
    frames: dict[date, list[float]] = {last - timedelta(days=back): [] for back in range(30)}
    for day, values in contexts.values():
        delay = values.get("arrival_delay")
        if day in frames and isinstance(delay, int) and all(values[name] == v for name, v in segment.items()):
            frames[day].append(delay)
    series = np.array([np.mean(frames[day]) for day in sorted(frames)])
    top, middle = np.percentile(series, 95), np.median(series)
    return float(abs(series[-1] - top) / abs(top - middle))


@pytest.mark.parametrize(
    ("segment", "level"), [({"carrier": "EV"}, 4.22), ({"origin": "EWR"}, 2.84), ({}, 1.69)], ids=["EV", "EWR", "all"]
)
def test_published_levels_of_the_fog(sent: list[Event], segment: dict[str, str], level: float) -> None:
    """The messages hold the sudden change of 5 December 2013 exactly as it was published."""
    assert round(sudden_change(sent, **segment), 2) == level


def test_every_flight_is_one_context(sent: list[Event], parts: tuple[Columns, Columns]) -> None:
    """Each served flight has one context id with one or two messages; the label is in the second."""
    messages = Counter(event.context_id for event in sent)
    assert len(messages) == len(parts[1]["carrier"]) == 84_292
    assert set(messages.values()) == {1, 2}
    labels = [event for event in sent if "arrival_delay" in event.values]
    assert len(labels) == 82_609
    assert all(set(event.values) == {"arrival_delay", "prediction_error"} for event in labels)


def test_messages_come_in_the_order_of_events(sent: list[Event]) -> None:
    """A landing is never told before its departure, and time never runs backwards."""
    assert all(a.at <= b.at for a, b in itertools.pairwise(sent))
    left: set[str] = set()
    for event in sent:
        if "arrival_delay" in event.values:
            assert event.context_id in left
        left.add(event.context_id)


def test_a_cancelled_flight_has_no_prediction(sent: list[Event]) -> None:
    """What never left has neither delay nor prediction nor label, and says why."""
    cancelled = [event for event in sent if event.values.get("cancelled")]
    assert len(cancelled) == 1_494
    assert not any({"predicted_delay", "departure_delay", "arrival_delay"} & set(event.values) for event in cancelled)


def test_label_is_prediction_plus_error(sent: list[Event]) -> None:
    """Both messages of a flight together: actual = predicted + error, to the rounding of a tenth of a minute."""
    predicted = {event.context_id: event.values["predicted_delay"] for event in sent if "model_version" in event.values}
    for event in sent:
        if "arrival_delay" in event.values:
            together = predicted[event.context_id] + event.values["prediction_error"]
            assert together == pytest.approx(event.values["arrival_delay"], abs=0.11)


def test_the_model_is_worth_serving(parts: tuple[Columns, Columns]) -> None:
    """On the months that it has not seen it halves the spread of the delay, and has hardly a bias."""
    learnt, served = parts
    error = served["arrival_delay"] - Model.fit(learnt).predict(served)
    assert np.nanstd(error) < np.nanstd(served["arrival_delay"]) / 2
    assert abs(np.nanmean(error)) < 3


def test_the_model_learns_from_the_past_only(parts: tuple[Columns, Columns]) -> None:
    """No flight of the served months is among those the model was fitted on."""
    learnt, served = parts
    assert learnt["scheduled"].max() < np.datetime64(demo_data.FIRST_SERVED) <= served["scheduled"].min()


@given(st.dates(date(2020, 1, 1), date(2040, 12, 31)))
def test_dates_move_by_whole_weeks_to_the_latest_tuesday(today: date) -> None:
    """Weekdays stay weekdays, and the last day of the data is the latest Tuesday before today."""
    moved = demo_data.weeks_moved(today)
    last = demo_data.LAST_DAY + moved
    assert moved.days % 7 == 0
    assert last.weekday() == demo_data.LAST_DAY.weekday()
    assert timedelta(1) <= today - last <= timedelta(7)


def test_configuration_describes_what_is_sent(sent: list[Event]) -> None:
    """Each field of the configuration occurs in the messages, and each variable has a field."""
    fields = demo_data.configuration()[demo_data.CONTEXT_CLASS]["fields"]
    assert set(fields) == {name for event in sent[:2000] for name in event.values}
