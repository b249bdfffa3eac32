"""Date and time. Timestamps are Unix milliseconds; units are ms, s, m, h, d, w; weeks begin on Monday."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from mona_server.config.functions.declare import Arg, Group, Problem
from mona_server.config.functions.kinds import CLOCK, FULL_TEXT, UNIT, UNITS_MS, ZONE
from mona_server.config.timestamps import from_ms, parse_timestamp, to_ms

GROUP = Group("Date and time")
function = GROUP.function
TZ = Arg("tz", ZONE, "")
SECONDS = Arg("unit", UNIT, "s")
FRIDAY_MS = 1611930299000
"""2021-01-29 14:24:59 UTC, the moment of the examples."""


@function(
    "X",
    "T",
    args=[Arg("format", FULL_TEXT, None)],
    example=(("29.01.2021 14:24:59",), ("%d.%m.%Y %H:%M:%S",), FRIDAY_MS),
)
def to_timestamp(value: object, format: str | None) -> int:  # noqa: A002 - the argument's public name
    """The moment that a number or text means: Unix seconds (10 digits) or milliseconds (13), ISO 8601, or a strptime
    format. Without a zone it is UTC."""
    moment: int | None
    if format is None:
        moment = parse_timestamp(value)
    elif isinstance(value, str):
        try:
            parsed = datetime.strptime(value, format)  # noqa: DTZ007 - a format may hold a zone
            moment = to_ms(parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC))
        except ValueError:
            moment = None
    else:
        raise Problem("the source is not a text")
    if moment is None:
        raise Problem("the source is not a timestamp")
    return moment


@function("T T", "N", args=[SECONDS], example=((FRIDAY_MS, "2021-01-29T14:23:59Z"), (), 60.0))
def time_delta(a: int, b: int, unit: str) -> float:
    """First minus second, in the unit."""
    return (a - b) / UNITS_MS[unit]


@function("T", "N", args=[SECONDS], uses_context_time=True, example=((FRIDAY_MS,), (), 0.0))
def since_context_time(moment: int, unit: str, context_time_ms: int) -> float:
    """The moment minus the time of the context, in the unit."""
    return (moment - context_time_ms) / UNITS_MS[unit]


@function("", "T", uses_context_time=True, example=((), (), FRIDAY_MS))
def context_time(context_time_ms: int) -> int:
    """The time of the context."""
    return context_time_ms


def _local(ms: int, tz: ZoneInfo) -> datetime:
    return from_ms(ms).astimezone(tz)


@function("T", "N", args=[TZ], example=((FRIDAY_MS,), ("Asia/Jerusalem",), 16))
def hour_of_day(moment: int, tz: ZoneInfo) -> int:
    """0 to 23."""
    return _local(moment, tz).hour


@function("T", "N", args=[TZ], example=((FRIDAY_MS,), (), 5))
def day_of_week(moment: int, tz: ZoneInfo) -> int:
    """1 = Monday to 7 = Sunday."""
    return _local(moment, tz).isoweekday()


@function("T", "N", args=[TZ], example=((FRIDAY_MS,), (), 29))
def day_of_month(moment: int, tz: ZoneInfo) -> int:
    """1 to 31."""
    return _local(moment, tz).day


@function("T", "N", args=[TZ], example=((FRIDAY_MS,), (), 4))
def week_of_year(moment: int, tz: ZoneInfo) -> int:
    """The ISO 8601 week, 1 to 53."""
    return _local(moment, tz).isocalendar().week


@function("T", "N", args=[TZ], example=((FRIDAY_MS,), (), 1))
def month(moment: int, tz: ZoneInfo) -> int:
    """1 to 12."""
    return _local(moment, tz).month


@function("T", "N", args=[TZ], example=((FRIDAY_MS,), (), 2021))
def year(moment: int, tz: ZoneInfo) -> int:
    """The calendar year."""
    return _local(moment, tz).year


@function("T", "B", args=[TZ], example=((FRIDAY_MS,), (), False))
def is_weekend(moment: int, tz: ZoneInfo) -> bool:
    """Whether it is Saturday or Sunday."""
    return _local(moment, tz).isoweekday() >= 6


@function(
    "T", "B", args=[Arg("from", CLOCK), Arg("to", CLOCK), TZ], example=((FRIDAY_MS,), ("22:00", "15:00", "UTC"), True)
)
def in_time_range(moment: int, tz: ZoneInfo, **bounds: time) -> bool:
    """Whether the time of day lies from the first to before the second; the range may cross midnight."""
    now, start, end = _local(moment, tz).time(), bounds["from"], bounds["to"]
    return start <= now < end if start <= end else now >= start or now < end


@function("T", "T", args=[Arg("unit", UNIT), TZ], example=((FRIDAY_MS,), ("d",), 1611878400000))
def truncate_time(moment: int, unit: str, tz: ZoneInfo) -> int:
    """The beginning of the unit that holds the moment, by the clock of the zone; weeks begin on Monday."""
    if unit in ("ms", "s"):
        return moment - moment % UNITS_MS[unit]
    local = _local(moment, tz)
    if unit in ("m", "h"):
        # Subtracting keeps the side of an hour that the clock shows twice.
        past = timedelta(
            minutes=local.minute if unit == "h" else 0, seconds=local.second, microseconds=local.microsecond
        )
        return moment - past // timedelta(milliseconds=1)
    day = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    return to_ms((day - timedelta(days=day.weekday() if unit == "w" else 0)).astimezone(UTC))


@function("T", "S", args=[Arg("format", FULL_TEXT, "%Y-%m-%d"), TZ], example=((FRIDAY_MS,), ("%Y-%m",), "2021-01"))
def date_string(moment: int, format: str, tz: ZoneInfo) -> str:  # noqa: A002 - the argument's public name
    """The moment by a strftime format, on the clock of the zone."""
    return _local(moment, tz).strftime(format)
