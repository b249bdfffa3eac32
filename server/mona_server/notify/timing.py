"""When a notice is due: at once, in a digest, after quiet hours. Pure functions of an aware ``now``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
_SCHEDULE = re.compile(r"(daily|weekly)@(?:(Mon|Tue|Wed|Thu|Fri|Sat|Sun) )?([01]\d|2[0-3]):([0-5]\d)")


@dataclass(frozen=True, slots=True)
class Schedule:
    """``immediate``, ``hourly``, ``daily@HH:MM`` or ``weekly@Mon HH:MM``; times of day are UTC."""

    every: str = "immediate"
    at: time = time(0)
    weekday: int = 0

    @classmethod
    def parse(cls, text: str) -> Schedule:
        """Raises ValueError with an example when the text is none of the four forms."""
        if text in ("immediate", "hourly"):
            return cls(text)
        match = _SCHEDULE.fullmatch(text) if isinstance(text, str) else None
        if match is None or (match[1] == "weekly") != (match[2] is not None):
            raise ValueError("must be immediate, hourly, daily@HH:MM or weekly@Mon HH:MM")
        return cls(match[1], time(int(match[3]), int(match[4])), _DAYS.index(match[2]) if match[2] else 0)

    @property
    def digest(self) -> bool:
        return self.every != "immediate"

    def due(self, now: datetime) -> datetime:
        """The first moment after ``now`` at which the digest is sent; ``now`` itself when immediate.

        >>> Schedule.parse("weekly@Mon 08:00").due(datetime(2026, 11, 24, 12, tzinfo=UTC)).isoformat()
        '2026-11-30T08:00:00+00:00'
        """
        now = now.astimezone(UTC)
        if not self.digest:
            return now
        if self.every == "hourly":
            return now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
        due = datetime.combine(now.date(), self.at, UTC)
        step = timedelta(days=1)
        if self.every == "weekly":
            due += timedelta(days=(self.weekday - now.weekday()) % 7)
            step = timedelta(days=7)
        return due if due > now else due + step


IMMEDIATELY = Schedule()


@dataclass(frozen=True, slots=True)
class QuietHours:
    """``{"from": "22:00", "to": "07:00", "time_zone": "Europe/Berlin"}``; urgent insights pass."""

    start: time
    end: time
    zone: ZoneInfo

    @classmethod
    def parse(cls, given: object) -> QuietHours:
        """Raises ValueError that says what is missing or wrong."""
        if not isinstance(given, dict) or not {"from", "to"} <= set(given) <= {"from", "to", "time_zone"}:
            raise ValueError('must be {"from": "HH:MM", "to": "HH:MM", "time_zone": "UTC"}')
        clocks = [_CLOCK.fullmatch(str(given[key])) for key in ("from", "to")]
        if not all(clocks):
            raise ValueError("from and to are times of day such as 22:00")
        start, end = (time(int(c[1]), int(c[2])) for c in clocks if c)
        try:
            return cls(start, end, ZoneInfo(given.get("time_zone", "UTC")))
        except (ZoneInfoNotFoundError, ValueError, TypeError):
            raise ValueError(f"{given['time_zone']!r} is not a time zone such as Europe/Berlin") from None

    def end_of(self, moment: datetime) -> datetime:
        """``moment`` itself outside of the quiet hours, else their end.

        >>> quiet = QuietHours(time(22), time(7), ZoneInfo("UTC"))
        >>> quiet.end_of(datetime(2026, 11, 24, 23, tzinfo=UTC)).isoformat()
        '2026-11-25T07:00:00+00:00'
        """
        local = moment.astimezone(self.zone)
        clock = local.time().replace(tzinfo=None)
        overnight = self.start > self.end
        quiet = clock >= self.start or clock < self.end if overnight else self.start <= clock < self.end
        if not quiet:
            return moment
        day = local.date() + timedelta(days=1 if overnight and clock >= self.start else 0)
        return datetime.combine(day, self.end, self.zone).astimezone(UTC)


def next_midnight(now: datetime) -> datetime:
    """When the rest of a day with too many messages goes out."""
    return datetime.combine(now.astimezone(UTC).date() + timedelta(days=1), time(0), UTC)
