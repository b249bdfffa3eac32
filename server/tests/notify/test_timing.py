"""When word goes out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mona_server.notify.timing import QuietHours, Schedule

MOMENTS = st.datetimes(datetime(2024, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC))


@pytest.mark.parametrize(
    ("text", "due"),
    [
        ("immediate", "2026-11-24T12:00"),
        ("hourly", "2026-11-24T13:00"),
        ("daily@08:30", "2026-11-25T08:30"),
        ("daily@18:00", "2026-11-24T18:00"),
        ("daily@12:00", "2026-11-25T12:00"),
        ("weekly@Tue 12:01", "2026-11-24T12:01"),
        ("weekly@Tue 12:00", "2026-12-01T12:00"),
        ("weekly@Mon 08:00", "2026-11-30T08:00"),
    ],
)
def test_schedules(text: str, due: str) -> None:
    """A digest is due at the first such moment after now; immediate is now."""
    now = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
    assert Schedule.parse(text).due(now) == datetime.fromisoformat(due).replace(tzinfo=UTC)


@given(MOMENTS, st.sampled_from(["hourly", "daily@00:00", "weekly@Sun 23:59"]))
def test_a_digest_is_never_due_in_the_past(now: datetime, text: str) -> None:
    """Strictly after now, and at most a week away; asking at the due moment gives the next one."""
    schedule = Schedule.parse(text)
    due = schedule.due(now)
    assert now < due <= now + timedelta(days=7)
    assert schedule.due(due) > due


@given(MOMENTS)
def test_quiet_hours_move_to_their_end(moment: datetime) -> None:
    """What falls into the quiet hours is moved to their end, local time; all else stays where it is."""
    quiet = QuietHours.parse({"from": "22:00", "to": "07:00", "time_zone": "Europe/Berlin"})
    local = moment.astimezone(quiet.zone)
    moved = quiet.end_of(moment)
    if 7 <= local.hour < 22:
        assert moved == moment
    else:
        assert moment < moved <= moment + timedelta(hours=10)
        assert (moved.astimezone(quiet.zone).hour, moved.astimezone(quiet.zone).minute) == (7, 0)


def test_quiet_hours_within_a_day() -> None:
    """From 12 to 14 is two hours, not twenty-two."""
    quiet = QuietHours.parse({"from": "12:00", "to": "14:00"})
    noon = datetime(2026, 11, 24, 12, tzinfo=UTC)
    assert quiet.end_of(noon) == noon + timedelta(hours=2)
    assert quiet.end_of(noon + timedelta(hours=2)) == noon + timedelta(hours=2)
