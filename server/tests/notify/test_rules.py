"""Rules: which insights an entry is about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mona_server.config import read_notifications
from mona_server.notify import entries
from mona_server.notify.channels import DESTINATION_KEYS
from mona_server.notify.notice import InsightEvent
from mona_server.notify.rules import RULES, inside
from mona_server.segment import Segment

MakeEvent = Callable[..., InsightEvent]

CASES = [
    ("stanza_names", ["loan"], ["general"]),
    ("verse_name", "loan__AverageDrift", "loan__Other"),
    ("verse_name", ["x", "loan_AverageDrift"], ["x"]),
    ("verse_name", "loanAverageDrift", "loan__average_drift"),
    ("verse_types", ["AverageDrift"], ["SumDrift"]),
    ("min_segment_size", 861, 862),
    ("min_segment_size", 0.0351, 0.04),
    ("min_segment_size", 0, 1e9),
    ("min_score", 3.6, 3.7),
    ("min_anomaly_level", 0.1, 0.2),
    ("metrics", ["offered_amount"], ["credit_score"]),
    ("segments", [{"purpose": [{"value": "Vacation costs"}]}], [{"purpose": [{"value": "Education"}]}]),
    ("segments", [{}], [{"purpose": [{"value": "Vacation costs"}], "city": [{"value": "Haifa"}]}]),
    ("segment_fields", ["purpose"], ["city"]),
    ("urgency", "normal", "high"),
    ("trend_directions", ["desc"], ["asc"]),
    ("timestamp_field_name", "MONA_TIMESTAMP", "paid_at"),
]


@pytest.mark.parametrize(("rule", "holds", "fails"), CASES)
def test_each_rule_holds_and_fails(event: MakeEvent, rule: str, holds: Any, fails: Any) -> None:
    """Every rule has a value under which the insight is told, and one under which it is not."""
    for value, expected in ((holds, True), (fails, False)):
        (entry,) = entries.read({"team": {"emails": ["a@example.org"], rule: value}})
        assert entry.wants(event()) is expected


def test_every_rule_has_cases() -> None:
    """A rule that is added to the registry needs its line above."""
    assert {rule for rule, *_ in CASES} == set(RULES)


def test_all_rules_must_hold(event: MakeEvent) -> None:
    """Two rules are joined by AND; no rule at all lets every insight through."""
    given = {"emails": ["a@example.org"], "min_score": 1, "metrics": ["other"]}
    (both,) = entries.read({"team": given})
    (none,) = entries.read({"team": {"emails": ["a@example.org"]}})
    assert not both.wants(event())
    assert none.wants(event())


@pytest.mark.parametrize(
    ("kind", "told"),
    [("new", True), ("reopened", True), ("urgency_raised", True), ("ongoing", False), ("resolved", False)],
)
def test_states_told_by_default(event: MakeEvent, kind: str, told: bool) -> None:
    """Unless the entry says otherwise, only what is new, back or more urgent is told."""
    (entry,) = entries.read({"team": {"emails": ["a@example.org"]}})
    assert entry.wants(event(kind)) is told


@pytest.mark.parametrize(
    ("narrow", "wide", "expected"),
    [
        ({"a": [{"value": 5}]}, {"a": [{"min_value": 0, "max_value": 10}]}, True),
        ({"a": [{"value": 10}]}, {"a": [{"min_value": 0, "max_value": 10}]}, False),
        ({"a": [{"min_value": 2, "max_value": 3}]}, {"a": [{"min_value": 2}]}, True),
        ({"a": [{"min_value": 2}]}, {"a": [{"min_value": 2, "max_value": 9}]}, False),
        ({"a": [{"value": "x"}, {"value": "y"}]}, {"a": [{"values": ["x", "y", "z"]}]}, True),
        ({"a": [{"values": ["x", "q"]}]}, {"a": [{"values": ["x", "y"]}]}, False),
        ({}, {"a": [{"value": 1}]}, False),
        ({"a": [{"not_value": "x"}]}, {"a": [{"not_value": "x"}]}, True),
    ],
)
def test_inside(narrow: Any, wide: Any, expected: bool) -> None:
    """A segment lies inside another when its conditions imply the other's."""
    assert inside(Segment.parse(narrow), Segment.parse(wide)) is expected


@pytest.mark.parametrize(
    ("given", "path", "words"),
    [
        ({}, "team", "needs a destination"),
        ({"emails": ["nobody"]}, "team.emails", "mail address"),
        ({"emails": []}, "team", "needs a destination"),
        ({"webhook": "ftp://x"}, "team.webhook", "https://"),
        ({"webhook": {"url": "http://x.example", "headers": {"a": "b\r\nc"}}}, "team.webhook", "headers"),
        ({"emails": "a@b.example", "schedule": "monthly"}, "team.schedule", "daily@HH:MM"),
        ({"emails": "a@b.example", "quiet_hours": {"from": "22:00", "to": "7"}}, "team.quiet_hours", "22:00"),
        ({"emails": "a@b.example", "min_score": "high"}, "team.min_score", "number"),
        ({"emails": "a@b.example", "urgency": "urgent"}, "team.urgency", "high"),
        ({"emails": "a@b.example", "only_states": ["gone"]}, "team.only_states", "resolved"),
        ({"emails": "a@b.example", "min_scores": 3}, "team.min_scores", "min_score?"),
        ({"emails": "a@b.example", "segments": [{"a": 1}]}, "team.segments", "list"),
        ({"emails": "a@b.example", "max_per_day": 0}, "team.max_per_day", "1 or more"),
        ({"telegram": "nonsense"}, "team.telegram", "tgram://"),
        ("anna@example.org", "team", "object"),
    ],
)
def test_problems_say_where_and_what(given: Any, path: str, words: str) -> None:
    """Each mistake in an entry is named with its path, and with what would be right."""
    (problem,) = entries.check({"team": given})
    assert problem.path == path
    assert words in problem.message


def test_the_configuration_knows_the_same_words() -> None:
    """Validation of configurations and this room name the same destinations, rules and options."""
    assert set(read_notifications.DESTINATIONS) == set(DESTINATION_KEYS)
    assert set(read_notifications.RULES) == {*RULES, *entries.OPTIONS}


def test_a_disabled_entry_is_silent() -> None:
    """It stays in the configuration and tells nobody; an empty list beside another destination is no mistake."""
    given = {"webhook": "https://x.example", "emails": [], "description": "ops"}
    assert [entry.name for entry in entries.read({"off": {**given, "disabled": True}, "on": given})] == ["on"]
    assert entries.check({"on": given}) == []


def test_a_broken_entry_does_not_silence_the_others() -> None:
    """What cannot be read is left out; the rest of the notifications goes on."""
    good = {"emails": ["a@example.org"]}
    assert [entry.name for entry in entries.read({"bad": {"min_score": 1}, "good": good})] == ["good"]
