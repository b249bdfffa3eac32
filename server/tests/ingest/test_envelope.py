"""Reading a request body: every message gets its own verdict, and a bad one never takes its batch down."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mona_server.errors import TooLarge
from mona_server.ingest.envelope import CUT, BadEnvelope, Envelope, read
from mona_server.ingest.limits import Limits, parse_limits
from mona_server.ingest.pruning import prune
from mona_server.settings import Settings

NOW = 1_700_000_000_000
LIMITS = Limits()


def envelope(*messages: Any, limits: Limits = LIMITS, **batch: Any) -> Envelope:
    return read(json.dumps({"messages": messages, **batch}).encode(), NOW, limits)


def message(**parts: Any) -> dict[str, Any]:
    return {"arcClass": "LOAN", "contextId": "1", "message": {"a": 1}, **parts}


def reason(limits: Limits = LIMITS, **parts: Any) -> str | None:
    return envelope(message(**parts), limits=limits).refused.get(0)


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ({"message": [1]}, "message must be a JSON object"),
        ({"message": None}, "message must be a JSON object"),
        ({"message": "{}"}, "message must be a JSON object"),
        ({"arcClass": None}, "contextClass must be a non-empty string"),
        ({"arcClass": ""}, "contextClass must be a non-empty string"),
        ({"arcClass": 5}, "contextClass must be a non-empty string"),
        ({"arcClass": "A B"}, "contextClass has characters that are not allowed"),
        ({"arcClass": "A/B"}, "contextClass has characters that are not allowed"),
        ({"arcClass": "A."}, "contextClass must not end with '.'"),
        ({"arcClass": ".A"}, "contextClass must not end with '.'"),
        ({"arcClass": "A" * 129}, "contextClass is too long"),
        ({"contextId": 7}, "contextId must be a string"),
        ({"contextId": ""}, "contextId must be a string"),
        ({"contextId": "x" * 513}, "contextId is too long"),
        ({"contextId": "p.c"}, "contextId has more sub-context parts than contextClass"),
        ({"exportTimestamp": 12345}, "exportTimestamp is not a valid timestamp"),
        ({"exportTimestamp": True}, "exportTimestamp is not a valid timestamp"),
        ({"exportTimestamp": "yesterday"}, "exportTimestamp is not a valid timestamp"),
        ({"sendTimestamp": "never"}, "exportTimestamp is not a valid timestamp"),
        ({"exportTimestamp": NOW + 8 * 86_400_000}, "exportTimestamp is in the future"),
        ({"action": "UPSERT"}, "unknown action"),
        ({"action": 1}, "unknown action"),
        ({"message": {"a": [[[[0]]]] * 2, "b": {"c": {"d": {}}}}}, None),
    ],
)
def test_reason_of_each_refusal(parts: dict[str, Any], text: str | None) -> None:
    """The reason texts are stable: clients and the ingestion report rely on them."""
    assert reason(**parts) == text


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"a": "x" * 2000}, "message is too large"),
        ({"a": {"b": {"c": {"d": {"e": 1}}}}}, "message is nested too deeply"),
        ({f"k{i}": i for i in range(50)}, "message has too many keys"),
        ({"a": list(range(40))}, "message has an array that is too long"),
    ],
)
def test_limits_refuse_one_message(values: dict[str, Any], text: str) -> None:
    """A message beyond a limit is refused alone, with the limit's own reason."""
    limits = Limits(max_message_bytes=1000, max_depth=4, max_keys=40, max_array_length=30)
    found = envelope(message(message=values), message(), limits=limits)
    assert found.refused == {0: text}
    assert [m.index for m in found.messages] == [1]


def test_good_message_in_our_words() -> None:
    """Old and new names of the wire come out as one."""
    (old,) = envelope(message(sendTimestamp=1_600_000_000)).messages
    (new,) = envelope(
        {"contextClass": "LOAN", "contextId": "1", "exportTimestamp": 1_600_000_000, "message": {"a": 1}}
    ).messages
    assert old == new
    assert (old.context_class, old.context_id, old.export_ms, old.action) == (
        "LOAN",
        "1",
        1_600_000_000_000,
        "OVERWRITE",
    )
    assert old.values() == {"a": 1}


def test_export_timestamp_wins() -> None:
    """``sendTimestamp`` counts only while ``exportTimestamp`` is null."""
    (m,) = envelope(message(exportTimestamp=1_600_000_001, sendTimestamp=1_600_000_002)).messages
    assert m.export_ms == 1_600_000_001_000


def test_default_action() -> None:
    """A message's own action wins over the batch's, and OVERWRITE is the last resort."""
    found = envelope(message(), message(action="NEW"), message(action=None), defaultAction="ADD")
    assert [m.action for m in found.messages] == ["ADD", "NEW", "ADD"]
    assert [m.action for m in envelope(message()).messages] == ["OVERWRITE"]


def test_missing_context_id_is_left_to_the_fold() -> None:
    """The server makes an id from the inbox number, which is not known yet."""
    assert envelope({"arcClass": "A", "message": {}}).messages[0].context_id is None


def test_array_form_counts_through() -> None:
    """The agent's array of batches: indices go on from batch to batch."""
    body = json.dumps([{"messages": [message(), 1], "userId": "T"}, {"messages": [message()]}]).encode()
    found = read(body, NOW, LIMITS)
    assert found.is_array
    assert found.total == 3
    assert found.refused == {1: "message must be a JSON object"}
    assert [m.index for m in found.messages] == [0, 2]
    assert found.user_ids == {"T"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nope",
        b"3",
        b"{}",
        b'{"messages": 1}',
        b'{"messages": [], "userId": 3}',
        b"[3]",
        b"\xff\xfe",
        b'{"messages": [{]}',
    ],
)
def test_body_that_is_no_envelope(body: bytes) -> None:
    """Without a list of messages there is nothing to judge one by one."""
    with pytest.raises(BadEnvelope):
        read(body, NOW, LIMITS)


def test_too_many_messages() -> None:
    """More messages than allowed are refused as a whole, before any is stored."""
    with pytest.raises(TooLarge):
        envelope(message(), message(), message(), limits=Limits(max_messages=2))


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity", "1e999", "1" * 400, "1" * 30_000, "-1e309"])
def test_numbers_that_are_not_finite_refuse_one_message(token: str) -> None:
    """JSON has no NaN; Python's writers send it anyway, and the neighbours must not suffer."""
    body = (
        b'{"messages": [{"arcClass": "A", "message": {"a": %s}}, {"arcClass": "A", "message": {"b": 2}}]}'
        % token.encode()
    )
    found = read(body, NOW, LIMITS)
    assert found.refused == {0: "message has a number that is not finite"}
    assert [m.values() for m in found.messages] == [{"b": 2}]


@given(
    st.from_regex(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,5})?([eE][+-]?[0-9]{1,4})?", fullmatch=True),
    st.sampled_from(["%s", " %s", "\t%s", "\r\n%s", "[%s]", "[1, %s]", "[1,%s]", '{"b":%s}', '"%s"', '"a: %s"']),
)
def test_every_number_is_found_where_json_allows_one(token: str, place: str) -> None:
    """Whatever stands before a number: it is kept as Python reads it, as a float beyond 64 bits, or refused; texts stay."""
    value = place % token
    found = read(b'{"messages":[{"arcClass":"A","message":{"a":%s}}]}' % value.encode(), NOW, LIMITS)
    expected = json.loads(
        value, parse_int=lambda digits: int(digits) if -(2**63) <= int(digits) < 2**63 else float(digits)
    )
    if "inf" in json.dumps(expected, allow_nan=True).lower():
        assert found.refused == {0: "message has a number that is not finite"}
    else:
        (m,) = found.messages
        assert repr(m.values()["a"]) == repr(expected)


def test_integers_beyond_63_bits_become_floats() -> None:
    """No store takes them as integers; as numbers they are still right to 16 digits."""
    (m,) = envelope(message(message={"a": 2**64, "b": [2**63 - 1, -(2**63) - 1]})).messages
    assert m.values() == {"a": float(2**64), "b": [2**63 - 1, float(-(2**63) - 1)]}
    assert isinstance(m.values()["a"], float)


def test_duplicate_keys_last_wins() -> None:
    """As in Python's own parser, on the fast way and on the tolerant one."""
    body = b'{"messages": [{"arcClass": "A", "message": {"a": 1, "a": 2%s}}]}'
    assert read(body % b"", NOW, LIMITS).messages[0].values() == {"a": 2}
    assert read(body % b', "b": "\\ud800"', NOW, LIMITS).messages[0].values() == {"a": 2, "b": "\ufffd"}


def test_reserved_keys_are_renamed() -> None:
    """Keys that begin with MONA_ are ours; another client's come in as MY_MONA_."""
    (m,) = envelope(
        message(message={"MONA_ID": 1, "MY_MONA_ID": 2, "x": {"MONA_ID": 3}, "mona_id": 4, "MONAx": 5})
    ).messages
    assert m.values() == {"MY_MONA_ID": 2, "MY_MONA_ID_2": 1, "x": {"MONA_ID": 3}, "mona_id": 4, "MONAx": 5}


def test_long_text_is_cut_and_counted() -> None:
    """A text beyond the limit is stored up to it, at a character's boundary, with a marker."""
    (m,) = envelope(message(message={"a": "é" * 100, "b": "short"}), limits=Limits(max_text_bytes=51)).messages
    assert m.values() == {"a": "é" * 25 + CUT, "b": "short"}
    assert m.cut == 1
    assert json.loads(m.raw) == m.values()


def test_nesting_bomb_is_one_refusal_in_bounded_time() -> None:
    """A million open brackets make no recursion error and no long wait, and the next message is stored."""
    bomb = b"[" * 1_000_000 + b"]" * 1_000_000
    body = (
        b'{"messages": [{"arcClass": "A", "message": {"a": ' + bomb + b'}}, {"arcClass": "A", "message": {"b": "]]"}}]}'
    )
    started = time.process_time()
    found = read(body, NOW, Limits(max_message_bytes=2**30))
    assert time.process_time() - started < 10
    assert found.refused == {0: "message is nested too deeply"}
    assert found.messages[0].values() == {"b": "]]"}


def test_limits_survive_as_text() -> None:
    """The limits are stored with the body and read back by the fold; where none were, those of the default settings hold."""
    limits = Limits(max_keys=7, max_future_ms=0)
    assert parse_limits(limits.text) == limits
    assert parse_limits("") == Limits()
    assert Limits.of(Settings(data_dir=Path())) == Limits()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(blacklist_categories=[])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional=dict.fromkeys(
                ("arcClass", "contextId", "message", "action", "exportTimestamp", "sendTimestamp"), JSON
            ),
        )
        | JSON,
        max_size=5,
    )
)
def test_any_json_gets_a_verdict_for_each_message(messages: list[Any]) -> None:
    """Whatever the messages are: each is stored or refused, what is stored can be stored, and twice gives the same."""
    body = json.dumps({"messages": messages}).encode()
    found = read(body, NOW, LIMITS)
    assert found == read(body, NOW, LIMITS)
    assert sorted([*found.refused, *(m.index for m in found.messages)]) == list(range(len(messages)))
    for m in found.messages:
        json.dumps(m.values(), allow_nan=False, ensure_ascii=False).encode()
        m.raw.decode()


@given(JSON)
def test_pruning_keeps_what_is_flat_enough(value: Any) -> None:
    """A text without deep nesting comes out as it went in, brackets and quotes in its strings included."""
    text = json.dumps(value).encode()
    assert prune(text, 50) == text


@given(st.integers(1, 60), st.integers(1, 20), st.sampled_from([("[", "]"), ('{"a":', "}"), ('[" ]\\" ", ', "]")]))
def test_pruned_text_is_json_of_that_depth(depth: int, keep: int, kind: tuple[str, str]) -> None:
    """After pruning the text can be parsed and is nested as deeply as allowed, not deeper."""
    text = (kind[0] * depth + "1" + kind[1] * depth).encode()
    value, found = json.loads(prune(text, keep)), 0
    while isinstance(value, list | dict):
        found += 1
        value = (list(value.values()) if isinstance(value, dict) else value)[-1]
    assert found == min(depth, keep)
