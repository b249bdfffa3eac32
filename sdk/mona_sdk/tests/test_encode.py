"""Values on the wire: conversion, names, sizes (Q28 to Q35)."""

from __future__ import annotations

import base64
import dataclasses
import enum
import json
import logging
import uuid
from collections import OrderedDict, deque, namedtuple
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mona_sdk import Client, MonaSingleMessage, encode
from mona_sdk.convert import NotSerializable
from mona_sdk.encode import encode_plain, encode_wire, to_plain
from mona_sdk.tests.conftest import a_message
from mona_sdk.tests.servers import RecordingServer

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")
pa = pytest.importorskip("pyarrow")


class Color(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass
class Point:
    x: float
    label: str


Pair = namedtuple("Pair", "a b")
UTC_TEXT = "2024-01-02T03:04:05+00:00"
MOMENT = datetime(2024, 1, 2, 3, 4, 5, tzinfo=timezone.utc)

KINDS: list[tuple[Any, Any]] = [
    (MOMENT, UTC_TEXT),
    (MOMENT.replace(tzinfo=None), UTC_TEXT),
    (date(2024, 1, 2), "2024-01-02"),
    (time(3, 4, 5), "03:04:05"),
    (timedelta(minutes=1, milliseconds=500), 60.5),
    (Decimal("1.25"), 1.25),
    (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (b"caf\xc3\xa9", "café"),
    (b"\xff\x00", base64.b64encode(b"\xff\x00").decode()),
    (bytearray(b"a"), "a"),
    ({3, 1, 2}, [1, 2, 3]),
    (frozenset({"a"}), ["a"]),
    ((1, "a"), [1, "a"]),
    (Pair(1, 2), [1, 2]),
    (deque([1, 2]), [1, 2]),
    (Color.RED, "red"),
    (Level.HIGH, 3),
    (Point(1.5, "p"), {"x": 1.5, "label": "p"}),
    (OrderedDict(a=1), {"a": 1}),
    (np.float32(0.5), 0.5),
    (np.int64(7), 7),
    (np.bool_(True), True),
    (np.str_("s"), "s"),
    (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
    (np.datetime64("2024-01-02T03:04:05"), UTC_TEXT),
    (np.datetime64("2024-01-02T03:04:05.123456789"), "2024-01-02T03:04:05.123456+00:00"),
    (np.array(["2024-01-02"], dtype="datetime64[D]"), ["2024-01-02T00:00:00+00:00"]),
    (np.timedelta64(1500, "ms"), 1.5),
    (pd.Timestamp("2024-01-02T03:04:05"), UTC_TEXT),
    (pd.Timestamp("2024-01-02T03:04:05", tz="UTC"), UTC_TEXT),
    (pd.Timedelta(seconds=2), 2.0),
    (pd.Series([1, 2]), [1, 2]),
    (pd.Index(["a"]), ["a"]),
    (pd.DataFrame({"a": [1]}), [{"a": 1}]),
    (pl.Series([1, None]), [1, None]),
    (pl.DataFrame({"a": [1]}), [{"a": 1}]),
    (pa.scalar(5), 5),
    (pa.array([1, 2]), [1, 2]),
    (2**70, 2**70),
    ("\ud800x", "?x"),
]
MISSING = [
    float("nan"),
    float("inf"),
    Decimal("NaN"),
    np.float64("nan"),
    np.datetime64("NaT"),
    np.timedelta64("NaT"),
    pd.NA,
    pd.NaT,
    pa.scalar(None),
]


@pytest.fixture(params=["orjson", "json"])
def _both_encoders(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "json":
        monkeypatch.setattr(encode, "orjson", None)
        monkeypatch.setattr(encode, "dumps", encode._choose())


def wire(message: Any) -> Any:
    """The message as it arrives, by the way that the client takes."""
    given_wire = {"arcClass": "C", "message": message}
    raw = encode_plain(given_wire, 1 << 20) or encode_wire(given_wire, 1 << 20).raw
    return json.loads(raw)["message"]


@pytest.mark.usefixtures("_both_encoders")
@pytest.mark.parametrize(("value", "expected"), KINDS, ids=lambda value: type(value).__name__)
def test_every_kind_arrives_as_documented(value: Any, expected: Any) -> None:
    """At top level, in a list and in an object."""
    assert wire({"v": value, "l": [value], "o": {"v": value}}) == {"v": expected, "l": [expected], "o": {"v": expected}}


@pytest.mark.usefixtures("_both_encoders")
@pytest.mark.parametrize("value", MISSING, ids=lambda value: type(value).__name__)
def test_what_is_missing_becomes_null_and_is_counted(value: Any) -> None:
    """NaN, NA, NaT and infinities."""
    given_wire = {"arcClass": "C", "message": {"a": 1, "v": value, "l": [value]}}
    assert encode_plain(given_wire, 1 << 20) is None
    encoded = encode_wire(given_wire, 1 << 20)
    assert json.loads(encoded.raw)["message"] == {"a": 1, "v": None, "l": [None]}
    assert encoded.coerced == 2


def test_a_data_frame_row_with_a_missing_value_is_accepted(
    server: RecordingServer, make_client: Callable[..., Client]
) -> None:
    """The usual way into a pipeline; the missing cell is null and counted."""
    row = pd.DataFrame({"amount": [1.5], "income": [float("nan")], "n": [3]}).iloc[0]
    client = make_client()
    assert client.export(MonaSingleMessage(message=row.to_dict(), contextClass="LOAN", contextId="i"))
    assert server.messages[0]["message"] == {"amount": 1.5, "income": None, "n": 3.0}
    assert client.stats()["coerced"] == 1


@pytest.mark.usefixtures("_both_encoders")
def test_keys_become_text() -> None:
    """Integers, booleans, None, Enums and numpy integers."""
    assert wire({True: "b", None: "c", Color.RED: "d", np.int64(5): "e", 2.5: "f"}) == {
        "true": "b",
        "null": "c",
        "red": "d",
        "5": "e",
        "2.5": "f",
    }
    assert wire({1: {2: 3}}) == {"1": {"2": 3}}


def _circular() -> dict[str, Any]:
    inner: list[Any] = []
    inner.append(inner)
    return {"a": inner}


def _deep(levels: int) -> dict[str, Any]:
    value: Any = 1
    for _ in range(levels - 1):
        value = [value]
    return {"a": value}


@pytest.mark.usefixtures("_both_encoders")
@pytest.mark.parametrize(
    ("message", "path"),
    [
        ({"a": object()}, "message.a: object"),
        ({"a": [1, {"b": 1j}]}, "message.a[1].b: complex"),
        ({"f": print}, "message.f: builtin_function_or_method"),
        ({(1, 2): 3}, "message: key of type tuple"),
        (_circular(), "message.a[0]: list contains itself"),
        (_deep(33), "nested deeper than 32"),
        (_deep(5000), "nested deeper than 32"),
    ],
)
def test_what_has_no_json_form_fails_with_path_and_type(message: dict[Any, Any], path: str) -> None:
    """The text names the place and the type, and never shows the value."""
    given_wire = {"arcClass": "C", "message": message}
    assert encode_plain(given_wire, 1 << 20) is None
    with pytest.raises(NotSerializable) as caught:
        encode_wire(given_wire, 1 << 20)
    assert path in str(caught.value)


@pytest.mark.usefixtures("_both_encoders")
def test_the_deepest_allowed_message_passes() -> None:
    """32 levels, as the server allows."""
    assert wire(_deep(32)) == _deep(32)


plain_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=20,
)


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=8).filter(lambda name: not name.startswith("MONA_")), plain_values, max_size=8
    )
)
def test_plain_json_passes_unchanged(message: dict[str, Any]) -> None:
    """Whatever is JSON already arrives as it is, and conversion gives the same."""
    try:
        json.dumps(message, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return  # lone surrogates are no JSON text
    assert wire(message) == message
    assert to_plain(message, "message")[0] == message


def test_the_callers_objects_are_not_changed(make_client: Callable[..., Client]) -> None:
    """Renaming, filtering and masking work on copies."""
    message = {"MONA_a": 1, "b": None, "n": {"t": (1, 2)}}
    event = MonaSingleMessage(message=message, contextClass="LOAN")
    client = make_client(filter_none_fields_on_export=True, before_send=lambda m: {**m, "message": {"z": 1}})
    assert client.export(event)
    assert message == {"MONA_a": 1, "b": None, "n": {"t": (1, 2)}}
    assert event == MonaSingleMessage(message=message, contextClass="LOAN")


def test_reserved_names_are_renamed(
    server: RecordingServer, make_client: Callable[..., Client], caplog: pytest.LogCaptureFixture
) -> None:
    """`MONA_` at top level gets `MY_`; other spellings and nested keys stay; a taken name gets a number and a warning."""
    client = make_client()
    assert client.export(a_message(MONA_x=1, MONAy=2, mona_z=3, inner={"MONA_n": 4}))
    assert server.messages[-1]["message"] == {"MY_MONA_x": 1, "MONAy": 2, "mona_z": 3, "inner": {"MONA_n": 4}}
    with caplog.at_level(logging.WARNING, "mona-logger"):
        assert client.export(a_message(MONA_x=1, MY_MONA_x=2))
    assert server.messages[-1]["message"] == {"MY_MONA_x_2": 1, "MY_MONA_x": 2}
    assert "reserved name" in caplog.text


def test_a_too_long_text_is_cut(
    server: RecordingServer, make_client: Callable[..., Client], caplog: pytest.LogCaptureFixture
) -> None:
    """A text of 2 MiB is cut to fit, marked, counted, and warned about once."""
    client = make_client()
    with caplog.at_level(logging.WARNING, "mona-logger"):
        for number in range(2):
            assert client.export(a_message(number, text="é" * (1 << 20), other="kept"))
    for message in server.messages:
        assert message["message"]["text"].endswith("…[cut]")
        assert message["message"]["other"] == "kept"
        assert 800 << 10 < len(encode.dumps(message)) <= 900 << 10
    assert client.stats()["truncated"] == 2
    assert caplog.text.count("longest texts were cut") == 1


def test_a_message_that_stays_too_large_fails_alone(
    server: RecordingServer, make_client: Callable[..., Client]
) -> None:
    """Numbers cannot be cut; the other message arrives."""
    result = make_client().export_batch([a_message(1, numbers=list(range(300_000))), a_message(2)])
    assert (result["failed"], result["sent"]) == (1, 1)
    assert "too large" in result["failure_reasons"]["0"]
    assert len(server.messages) == 1


def test_one_bad_message_fails_alone(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """999 good and 1 bad: 999 are sent, and the reason stands under the place of the bad one."""
    events = [a_message(n) for n in range(1000)]
    events[417] = a_message(417, bad=object())
    result = make_client().export_batch(events)
    assert (result["total"], result["sent"], result["failed"]) == (1000, 999, 1)
    assert list(result["failure_reasons"]) == ["417"]
    assert result["failure_reasons"][417].startswith(  # type: ignore[index]
        "All fields in MonaSingleMessage must be JSON serializable. message.bad: object"
    )
    assert len(server.messages) == 999


def test_timestamps(
    server: RecordingServer, make_client: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers and texts are sent as they are, times as ISO text, and the time of the call when there is none."""
    client = make_client()

    def sent(**times: Any) -> dict[str, Any]:
        client.export(MonaSingleMessage(message={"a": 1}, contextClass="C", **times))
        return {name: server.messages[-1].get(name) for name in ("exportTimestamp", "sendTimestamp")}

    for value in (1700000000, 1700000000123, 1700000000.5, "1700000000", "2024-01-02T03:04:05Z"):
        assert sent(exportTimestamp=value) == {"exportTimestamp": value, "sendTimestamp": None}
    for moment in (MOMENT, pd.Timestamp(MOMENT), np.datetime64("2024-01-02T03:04:05")):
        assert sent(exportTimestamp=moment)["exportTimestamp"] == UTC_TEXT
    assert sent(exportTimestamp=date(2024, 1, 2))["exportTimestamp"] == "2024-01-02"
    assert sent(exportTimestamp=np.int64(1700000000))["exportTimestamp"] == 1700000000
    assert sent(sendTimestamp=5000000000) == {"exportTimestamp": 5000000000, "sendTimestamp": None}
    assert sent(sendTimestamp=1, exportTimestamp=2) == {"exportTimestamp": 2, "sendTimestamp": 1}
    before = datetime.now(timezone.utc).timestamp()
    for nothing in (None, float("nan"), pd.NaT):
        stamped = sent(exportTimestamp=nothing)["exportTimestamp"]
        assert isinstance(stamped, float)
        assert before - 0.001 <= stamped <= before + 5
        assert round(stamped, 3) == stamped
    monkeypatch.setenv("MONA_SDK_USE_SEND_TIMESTAMP_FIELD", "true")
    client = make_client()
    assert sent(exportTimestamp=7) == {"exportTimestamp": None, "sendTimestamp": 7}
    assert sent()["sendTimestamp"] >= before - 0.001


def test_none_filter(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """Off by default; top level only; an emptied message is skipped, an empty one is sent."""
    client = make_client()
    client.export(a_message(a=None, b=1))
    assert server.messages[-1]["message"] == {"a": None, "b": 1}
    assert client.export(a_message(a=None, b={"c": None}, d=float("nan")), filter_none_fields=True)
    assert server.messages[-1]["message"] == {"b": {"c": None}}
    count = len(server.messages)
    result = client.export_batch([a_message(a=None), a_message(7)], filter_none_fields=True)
    assert (result["total"], result["sent"], result["skipped"]) == (1, 1, 1)
    assert client.export(a_message(a=None), filter_none_fields=True) is True
    assert len(server.messages) == count + 1
    contents: list[Any] = [{}, None]
    for content in contents:
        client.export(MonaSingleMessage(message=content, contextClass="C"), filter_none_fields=True)
        assert server.messages[-1]["message"] == content
    assert make_client(filter_none_fields_on_export=True).export(a_message(a=None, b=1))
    assert server.messages[-1]["message"] == {"b": 1}


def test_before_send_masks(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """The hook gets a converted copy and decides what leaves the process."""
    seen: list[Any] = []

    def mask(message: dict[str, Any]) -> Any:
        seen.append(message["message"]["when"])
        message["message"]["card"] = "***"
        return message

    client = make_client(before_send=mask)
    assert client.export(a_message(card="4111", when=MOMENT))
    assert seen == [UTC_TEXT]
    assert server.messages[0]["message"] == {"card": "***", "when": UTC_TEXT}


@pytest.mark.parametrize("result", ["raise", "drop", "unknown keys", "no dict"])
def test_before_send_fails_closed(server: RecordingServer, make_client: Callable[..., Client], result: str) -> None:
    """None drops a message on purpose; a hook that fails drops it, counts it and reports it."""
    reported: list[str] = []

    def hook(message: dict[str, Any]) -> Any:
        if result == "raise":
            raise RuntimeError("card 4111")
        return {"drop": None, "unknown keys": {**message, "card": "4111"}, "no dict": 5}[result]

    client = make_client(before_send=hook, on_error=lambda reason, messages: reported.append(reason))
    assert client.export(a_message(card="4111")) is (result == "drop")
    assert server.sends == []
    stats = client.stats()
    if result == "drop":
        assert (stats["skipped"], stats["dropped"], reported) == (1, 0, [])
    else:
        assert stats["lost"] == {"before_send": 1}
        assert len(reported) == 1
        assert "4111" not in reported[0]
