"""Numbers, changes, ages and times as people read them: the same in pages, messages and the terminal.

Three significant digits, thin spaces between thousands, ``-`` as a true minus only in changes, and ``–`` for no value.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

NO_VALUE = "–"
THIN = "\N{NARROW NO-BREAK SPACE}"

_STEPS = ((60, "s", 1), (3600, "min", 60), (86_400, "h", 3600), (30 * 86_400, "d", 86_400))


def number(value: float | None, digits: int = 3) -> str:
    """With ``digits`` significant digits; from a million on in millions, from a billion on in billions.

    >>> [number(x) for x in (4.2161, 51.666, 7763.6245, 84292, 1_234_567, 0.00012, 0, None, math.inf)]
    ['4.22', '51.7', '7\u202f760', '84\u202f300', '1.23\u202fM', '0.00012', '0', '–', '∞']
    """
    if value is None or math.isnan(value):
        return NO_VALUE
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 999_500:
        short, unit = (value / 1e9, "G") if size >= 999.5e6 else (value / 1e6, "M")
        return f"{number(short, digits)}{THIN}{unit}"
    places = digits - 1 - math.floor(math.log10(size))
    rounded = round(value, places)
    text = f"{rounded:,.{max(places, 0)}f}".replace(",", THIN)
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return text


def count(value: float | None) -> str:
    """A whole number, exact.

    >>> count(84292.0)
    '84\u202f292'
    """
    return NO_VALUE if value is None else f"{value:,.0f}".replace(",", THIN)


def share(ratio: float | None) -> str:
    """A ratio as a percentage of at most three significant digits.

    >>> [share(x) for x in (0.0351, 0.12, 1, 0.00004, None)]
    ['3.5\u202f%', '12\u202f%', '100\u202f%', '< 0.01\u202f%', '–']
    """
    if ratio is None:
        return NO_VALUE
    if 0 < ratio < 0.0001:
        return f"< 0.01{THIN}%"
    return f"{number(ratio * 100, 2 if ratio < 0.995 else 3)}{THIN}%"


def change(value: float | None, reference: float | None) -> str:
    """From ``reference`` to ``value``: arrow, sign and percentage; without a usable reference the difference.

    >>> change(41.0, 12.0), change(9.0, 12.0), change(5.0, 0.0), change(118.8, -3.0)
    ('▲ +242\u202f%', '▼ -25\u202f%', '▲ +5', '▲ +122')
    """
    if value is None or reference is None:
        return NO_VALUE
    difference = value - reference
    if difference == 0:
        return "no change"
    arrow, sign = ("▲", "+") if difference > 0 else ("▼", "-")
    if reference <= 0 or value < 0:
        return f"{arrow} {sign}{number(abs(difference))}"
    return f"{arrow} {sign}{number(abs(difference) / reference * 100)}{THIN}%"


def age(moment_s: float | None, now_s: float) -> str:
    """How long ago, in one unit.

    >>> [age(1000 - s, 1000) for s in (5, 90, 3 * 3600, 3 * 86400, -7200)]
    ['5 s ago', '2 min ago', '3 h ago', '3 d ago', 'in 2 h']
    """
    if moment_s is None:
        return NO_VALUE
    seconds = now_s - moment_s
    text = duration(abs(seconds))
    return f"{text} ago" if seconds >= 0 else f"in {text}"


def duration(seconds: float) -> str:
    """A length of time in one unit, from seconds to months.

    >>> [duration(s) for s in (0.2, 59, 3600, 86400 * 45)]
    ['0 s', '59 s', '1 h', '2 months']
    """
    for limit, unit, size in _STEPS:
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    months = round(seconds / (30 * 86_400))
    return f"{months} month{'s' if months > 1 else ''}"


def moment(seconds: float | None) -> str:
    """The exact time, UTC.

    >>> moment(1619654400)
    '2021-04-29 00:00 UTC'
    """
    return NO_VALUE if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def day(seconds: float | None) -> str:
    """The day, UTC, as in a list.

    >>> day(1619654400)
    'Thu 29 Apr 2021'
    """
    return NO_VALUE if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%a %-d %b %Y}"


def short_day(seconds: float | None, now_s: float) -> str:
    """The day, UTC, without a year that goes without saying.

    >>> short_day(1619654400, 1620000000), short_day(1619654400, 1700000000)
    ('Thu 29 Apr', '29 Apr 2021')
    """
    if seconds is None:
        return NO_VALUE
    then, now = datetime.fromtimestamp(seconds, UTC), datetime.fromtimestamp(now_s, UTC)
    return f"{then:%a %-d %b}" if then.year == now.year else f"{then:%-d %b %Y}"


def span(from_s: float, to_s: float) -> str:
    """A half-open stretch of time, UTC: in whole days where it is one.

    >>> span(1619568000, 1619654400), span(1619049600, 1619654400), span(0, 3600)
    ('28 Apr 2021', '22 Apr to 28 Apr 2021', '1970-01-01 00:00 to 1970-01-01 01:00')
    """
    begin, end = (datetime.fromtimestamp(at, UTC) for at in (from_s, to_s))
    if from_s % 86_400 or to_s % 86_400:
        return f"{begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}"
    last = datetime.fromtimestamp(to_s - 86_400, UTC)
    if last <= begin:
        return f"{begin:%-d %b %Y}"
    return (
        f"{begin:%-d %b} to {last:%-d %b %Y}" if begin.year == last.year else f"{begin:%-d %b %Y} to {last:%-d %b %Y}"
    )


def plural(n: float, noun: str, many: str = "") -> str:
    """
    >>> plural(1, "insight"), plural(1200, "insight")
    ('1 insight', '1\u202f200 insights')
    """
    return f"{count(n)} {noun if n == 1 else many or noun + 's'}"


def exact(value: Any) -> str:
    """For tooltips: every digit that the value has.

    >>> exact(4.216177209898609), exact(None)
    ('4.216177209898609', 'no value')
    """
    return "no value" if value is None else repr(value) if isinstance(value, float) else str(value)
