"""What a signal says."""

from __future__ import annotations

from typing import Any

import pytest

from mona_server.detect.verses import VERSES
from mona_server.web import sentences
from mona_server.web.charts import Windows

from .conftest import DAY, MakeInsight, T


def test_a_sudden_change_judges_its_last_frame(insight: MakeInsight) -> None:
    """The window of the verse is the whole series; what was judged is its last frame, the rest is the comparison."""
    assert sentences.windows(insight()["main_signal"]) == Windows((T - DAY, T), (T - 30 * DAY, T - DAY))


def test_a_drift_judges_its_target(insight: MakeInsight) -> None:
    """Target and benchmark are the two windows."""
    window = {"from": T - 14 * DAY, "to": T, "benchmark_from": T - 56 * DAY, "benchmark_to": T - 14 * DAY}
    drift = insight(signal={"window": window, "verse": {"type": "AverageDrift", "time_resolution": "1d"}})
    expected = Windows((T - 14 * DAY, T), (T - 56 * DAY, T - 14 * DAY))
    assert sentences.windows(drift["main_signal"]) == expected


@pytest.mark.parametrize("kind", sorted(VERSES))
def test_every_verse_type_has_words(insight: MakeInsight, kind: str) -> None:
    """Formula, head, unit and statistic exist for each registered type; one whose verse is gone is read from its name."""
    for verse in ({"type": kind, "time_resolution": "1d"}, {}):
        signal = insight(signal={"verse": verse, "signal_type": VERSES[kind].signal_type})["main_signal"]
        assert sentences.verse_type(signal) == kind
        assert sentences.formula(signal).startswith("level = ")
        assert all(sentences.head_words(signal))
        assert sentences.unit(signal)
        assert sentences.statistic(signal) in ("average", "sum", "std", "existence_ratio", "count")


def test_gates_tell_value_limit_and_verdict(insight: MakeInsight) -> None:
    """Level, chance and size, each with its limit in words."""
    found = sentences.gates(insight()["main_signal"])
    assert [(gate.name, gate.value, gate.verdict) for gate in found] == [
        ("Anomaly level", "4.22", "passed, at least 2"),
        ("Chance (q-value)", "0.0004", "passed, at most 0.05"),
        ("Contexts", "4\u202f546", "passed, at least 300"),
    ]


def test_a_gate_that_was_not_asked(insight: MakeInsight) -> None:
    """With the chance gate off nothing is claimed about chance."""
    off: dict[str, Any] = {"chance": {"q_value": None, "max": 1, "passed": True, "method": "off"}}
    (gate,) = [g for g in sentences.gates(insight(signal={"gates": off})["main_signal"]) if "Chance" in g.name]
    assert (gate.value, gate.bar, gate.verdict) == ("–", None, "not asked by this verse")


def test_an_infinite_level_is_said(insight: MakeInsight) -> None:
    """1e9 stands for a zero divisor; people read ∞."""
    endless = insight(signal={"is_score_inf": True, "anomaly_level": 1e9})["main_signal"]
    assert sentences.formula(endless).endswith("= ∞")
    assert sentences.gates(endless)[0].value == "∞"
