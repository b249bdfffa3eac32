"""``mona_server.check``: the same insights as the server, from any kind of table, without a server."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import mona_server
from mona_server.config import ConfigError
from mona_server.detect.table_columns import Coded
from mona_server.errors import BadRequest, NotFound
from mona_server.insights.check import CheckResult, check
from mona_server.insights.raw_columns import raw_columns
from tests.insights.mill import DAY, Mill
from tests.insights.test_runs import CONFIG, NAME, T0, day

AT = T0 + 14 * DAY


def rows() -> list[dict[str, Any]]:
    return [row for number in range(14) for row in day(number, shift=6.0 if number == 13 else 0.0)]


@pytest.fixture(scope="module")
def result() -> CheckResult:
    return check(rows(), {"LOAN": CONFIG}, now=AT)


def comparable(insight: Any) -> Any:
    """An insight without what only a server knows."""
    left_out = ("insight_id", "url", "config_id", "run_id", "as_of", "user_id", "verse", "signal_id", "folded_into")
    if isinstance(insight, dict):
        return {key: comparable(value) for key, value in insight.items() if key not in left_out}
    return [comparable(one) for one in insight] if isinstance(insight, list) else insight


def test_it_is_what_the_server_reports(mill: Mill, result: CheckResult) -> None:
    """Every number and word of the insights, to 12 digits."""
    mill.configure(CONFIG)
    mill.send(rows())
    outcome = mill.run(NAME, AT)
    assert len(result) == len(outcome.insights) == 1
    mine, theirs = comparable(result.insights[0]), comparable(outcome.insights[0])
    assert list(mine) == list(theirs)
    assert json.loads(json.dumps(mine), parse_float=_twelve) == json.loads(json.dumps(theirs), parse_float=_twelve)


def _twelve(number: str) -> float:
    return float(f"{float(number):.11g}")


def frames(tmp_path: Path) -> dict[str, Any]:
    given = rows()
    frame = pd.DataFrame(given)
    frame["timestamp"] = pd.to_datetime(frame["timestamp"], unit="ms", utc=True)
    frame.to_csv(tmp_path / "t.csv", index=False)
    pl.DataFrame(given).write_parquet(tmp_path / "t.parquet")
    with gzip.open(tmp_path / "t.json.gz", "wt") as file:
        json.dump(given, file)
    with (
        pa.OSFile(str(tmp_path / "t.arrow"), "wb") as sink,
        pa.ipc.new_file(sink, pa.Table.from_pylist(given).schema) as out,
    ):
        out.write_table(pa.Table.from_pylist(given))
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps(row) for row in given))
    return {
        "list": given,
        "pandas": frame,
        "pandas, time as index": frame.set_index("timestamp"),
        "pandas, other zone": frame.assign(timestamp=frame["timestamp"].dt.tz_convert("Asia/Tokyo")),
        "pandas, categories": frame.assign(city=frame["city"].astype("category")),
        "polars": pl.DataFrame(given),
        "lazy": pl.DataFrame(given).lazy(),
        "arrow": pa.Table.from_pylist(given),
        "relation": duckdb.sql(f"SELECT * FROM read_parquet('{tmp_path / 't.parquet'}')"),
        "columns": {name: [row[name] for row in given] for name in given[0]},
        "csv": tmp_path / "t.csv",
        "parquet": str(tmp_path / "t.parquet"),
        "json.gz": tmp_path / "t.json.gz",
        "jsonl": tmp_path / "t.jsonl",
        "arrow file": tmp_path / "t.arrow",
    }


def test_every_kind_of_table(tmp_path: Path, result: CheckResult) -> None:
    """Frames, tables, relations, files and lists give the same insights."""
    for kind, table in frames(tmp_path).items():
        found = check(table, {"LOAN": CONFIG}, now=AT)
        assert [comparable(i) for i in found] == [comparable(i) for i in result], kind


@pytest.mark.parametrize("kind", [pl.String, pl.Categorical])
def test_texts_of_polars_are_taken_in_its_own_code(kind: Any) -> None:
    """The same insights as from objects: texts with gaps, times as texts, numbers as texts, rows without a time."""
    given: list[dict[str, Any]] = []
    for i, row in enumerate(rows()):
        at = datetime.fromtimestamp(row["timestamp"] / 1000, UTC).isoformat()
        texts: dict[str, Any] = {"timestamp": at, "score": str(round(row["score"], 1))}
        if i % 9 == 0:
            texts = {"timestamp": at, "city": None, "score": None}
        elif i % 7 == 0:
            texts = {"timestamp": None, "city": "Nowhere"}
        given.append(row | texts)
    frame = pl.DataFrame(given).with_columns(pl.col("city", "timestamp", "score").cast(pl.String).cast(kind))
    assert all(isinstance(raw_columns(frame)[name], Coded) for name in ("city", "timestamp", "score"))
    found, expected = (check(table, {"LOAN": CONFIG}, now=AT) for table in (frame, given))
    assert found.to_json() == expected.to_json()
    assert found.verses[0].report.tests


def test_decimals_are_numbers(result: CheckResult) -> None:
    """To their own precision."""
    frame = pl.DataFrame(rows()).with_columns(pl.col("score").cast(pl.Decimal(30, 12)))
    (found,) = check(frame, {"LOAN": CONFIG}, now=AT)
    assert found["insight_id"] == result.insights[0]["insight_id"]
    assert found["score"] == pytest.approx(result.insights[0]["score"])


@pytest.mark.parametrize(
    "now",
    [AT, AT * 1000, float(AT + 60), str(AT), date(2022, 1, 22), "2022-01-22", "2022-01-22T11:00Z", None],
)
def test_every_kind_of_moment(now: Any, result: CheckResult) -> None:
    """Dates, texts, seconds and datetimes; nothing means the windows that hold the last row."""
    assert datetime.fromtimestamp(AT, UTC).date() == date(2022, 1, 22)
    assert [i["insight_id"] for i in check(rows(), CONFIG, context_class="LOAN", now=now)] == [
        i["insight_id"] for i in result
    ]


def test_several_moments_are_judged_each(result: CheckResult) -> None:
    """One run of each verse per moment; quiet days have no insight."""
    found = check(rows(), {"LOAN": CONFIG}, now=[AT - DAY, AT])
    assert [one.at_s for one in found.verses] == [AT - DAY, AT]
    assert [i["insight_id"] for i in found] == [i["insight_id"] for i in result]


def test_the_package_offers_it(result: CheckResult) -> None:
    """As mona_server.check."""
    assert mona_server.check is check
    with pytest.raises(AttributeError):
        _ = mona_server.nothing


def test_missing_values_stay_missing() -> None:
    """NaN, None, NaT and masked values are no values, whatever the table."""
    given = [dict(row, city=None) if i % 9 == 0 else row for i, row in enumerate(rows())]
    for i, row in enumerate(given):
        if i % 5 == 0:
            row["score"] = None
    config = {
        "LOAN": {
            "fields": {"city": {"type": "string"}, "score": {"type": "numeric"}},
            "stanzas": {
                "s": {
                    "verses": [
                        {
                            "type": "ExistenceRatioThreshold",
                            "metrics": ["score"],
                            "segment_by": ["city"],
                            "threshold": 0.5,
                            "time_period": "2w",
                            "max_false_discovery_rate": 1,
                            "fold_redundant": False,
                        }
                    ]
                }
            },
        }
    }
    tables = {
        "list": given,
        "pandas": pd.DataFrame(given),
        "polars": pl.DataFrame(given),
        "arrow": pa.Table.from_pylist(given),
    }
    for kind, table in tables.items():
        signals = {str(row["segment"]): row for row in check(table, config, now=AT).table}
        assert signals["all data"]["value"] == pytest.approx(0.8, abs=0.002), kind
        assert signals["city is missing"]["contexts"] == len([r for r in given if r["city"] is None]), kind


def test_fields_are_built_as_by_the_server() -> None:
    """Copies are taken as columns, other functions and paths row by row; segmentations as configured."""
    given = [
        row | {"nested": {"deep": row["score"] * 2}, "words": ["a", "b"] if i % 2 else ["b"]}
        for i, row in enumerate(rows())
    ]
    config = {
        "LOAN": {
            "fields": {
                "place": {"type": "string", "source": "city", "segmentations": {"g": {"default": True, "groups": {"north": ["Oslo"]}}}},
                "twice": {"type": "numeric", "source": "nested.deep"},
                "count": {"type": "numeric", "function": "array_length", "source": "words"},
                "words": {"type": "string"},
                "score": {"type": "numeric", "segmentations": {"b": {"default": True, "bucket_boundaries": [0]}}},
            },
            "stanzas": {
                "s": {
                    "verses": [
                        {
                            "type": "SegmentSizeThreshold",
                            "segment_by": ["place", "words", "score", "count"],
                            "threshold": 0,
                            "time_period": "2w",
                            "max_segment_depth": 1,
                            "max_false_discovery_rate": 1,
                            "fold_redundant": False,
                            "create_extra_adjacent_signals": False,
                        },
                        {"type": "AverageThreshold", "metrics": ["twice", "count"], "threshold": -9, "time_period": "2w",
                         "max_false_discovery_rate": 1},
                    ]
                }
            },
        }
    }  # fmt: skip
    found = check(given, config, now=AT).table
    sizes = {row["segment"]: row["contexts"] for row in found if row["verse"] == "s__SegmentSizeThreshold"}
    assert sizes["place = Oslo"] == 280
    assert sizes["words = a"] == 420
    assert "words = b" not in sizes  # the same contexts as everybody
    assert sizes["score < 0"] + sizes["score >= 0"] == 840
    assert {"count = 1", "count = 2"} <= set(sizes) or "1 <= count" in str(sizes)
    means = {row["metric"]: row["value"] for row in found if row["verse"] == "s__AverageThreshold"}
    assert means["twice"] == pytest.approx(2 * np.mean([row["score"] for row in given]))
    assert means["count"] == pytest.approx(1.5)


def test_new_segments_are_told_once() -> None:
    """A new combination enlarges its parents: that is new, not grown."""
    rng = np.random.default_rng(0)
    given = []
    for number in range(70):
        for i in range(300):
            a, b = rng.integers(0, 4), rng.integers(0, 4)
            while a == 1 and b == 1 and number < 56:
                a, b = rng.integers(0, 4), rng.integers(0, 4)
            given.append(
                {"id": f"{number}-{i}", "timestamp": (T0 + number * DAY + i) * 1000, "a": f"a{a}", "b": f"b{b}"}
            )
    config = {
        "C": {
            "fields": {"a": {"type": "string"}, "b": {"type": "string"}},
            "stanzas": {
                "s": {
                    "segment_by": ["a", "b"],
                    "verses": [{"type": "NewSegments"}, {"type": "SegmentSizeDrift", "min_anomaly_level": 0.2}],
                }
            },
        }
    }
    found = check(given, config, now=T0 + 70 * DAY)
    assert [i["verse_name"] for i in found] == ["s__NewSegments"]
    assert found.table[0]["segment"] == "a = a1 and b = b1"


def test_many_signals_of_one_cause_are_one_insight() -> None:
    """Two hundred segments move with the one that changed; one insight names at least the ten strongest of them."""
    rng = np.random.default_rng(0)
    others = "bcdefg"
    given = []
    for number in range(70):
        for i in range(300):
            a = "planted" if i % 5 == 0 else f"a{i % 3}"
            x = rng.normal() + (2.0 if a == "planted" and number >= 56 else 0.0)
            fields = {name: f"{name}{code}" for name, code in zip(others, rng.integers(0, 4, 6), strict=True)}
            given.append({"timestamp": (T0 + number * DAY + i) * 1000, "a": a, "x": x, **fields})
    verse = {"type": "AverageDrift", "metrics": ["x"], "segment_by": ["a", *others], "min_anomaly_level": 1}
    config = {
        "C": {
            "fields": {name: {"type": "string"} for name in f"a{others}"} | {"x": {"type": "numeric"}},
            "stanzas": {"s": {"verses": [verse]}},
        }
    }
    found = check(given, config, now=T0 + 70 * DAY)
    assert [row["segment"] for row in found.table] == ["a = planted"]
    report = found.verses[0].report
    assert report.passed_level >= 200
    related = found.insights[0]["related_signals"]
    assert len(related) == 100  # the strongest of them
    assert {one["relation"] for one in related[:10]} == {"child"}
    assert [one["score"] for one in related] == sorted((one["score"] for one in related), reverse=True)


def test_reports_for_build_servers(result: CheckResult) -> None:
    """JUnit fails the verse that found something; SARIF has one result per insight."""
    suite = ElementTree.fromstring(result.to_junit())
    assert suite.attrib | {"name": ""} == {"name": "", "tests": "1", "failures": "1", "skipped": "0"}
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert failure.attrib["message"] == result.insights[0]["title"]
    sarif = json.loads(json.dumps(result.to_sarif()))
    (one,) = sarif["runs"][0]["results"]
    assert one["message"]["text"] == result.insights[0]["title"]
    assert sarif["runs"][0]["tool"]["driver"]["rules"][one["ruleIndex"]]["id"] == one["ruleId"] == NAME


def test_reports_for_people(result: CheckResult, tmp_path: Path) -> None:
    """Text, table, and a page with a chart that loads nothing."""
    assert result.insights[0]["title"] in result.text() == str(result)
    assert repr(result) == "<CheckResult LOAN: 1 insight from 3 tests>"
    (row,) = result.table
    assert (row["metric"], row["segment"], row["contexts"]) == ("score", "city = Haifa", 220)
    assert pl.DataFrame(result.table).height == len(pd.DataFrame(result.table)) == 1
    page = result.save_html(tmp_path / "found.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "<polyline" in page
    assert "city = Haifa" in page
    for outside in ("http:", "https:", "<script", "<link", "url("):
        assert outside not in page
    assert "<!doctype" not in result._repr_html_()


def test_values_are_escaped_in_the_page() -> None:
    """A value of the data cannot become part of the page."""
    given = [row | {"city": "<b>x</b>" if row["city"] == "Haifa" else row["city"]} for row in rows()]
    page = check(given, {"LOAN": CONFIG}, now=AT).to_html()
    assert "&lt;b&gt;x" in page
    assert "<b>x" not in page


def test_nothing_found_is_said() -> None:
    """An empty result is false, and says what was looked at."""
    quiet = check([row for number in range(14) for row in day(number)], {"LOAN": CONFIG}, now=AT)
    assert not quiet
    assert len(quiet) == 0
    assert "0 insights from 3 tests" in quiet.text()
    none = check(rows(), {"LOAN": CONFIG}, now=AT + 100 * DAY)
    assert none.verses[0].note
    assert ElementTree.fromstring(none.to_junit()).attrib["skipped"] == "1"


def test_what_is_missing_is_said() -> None:
    """A column that is not there, a key that nobody reads, a window without anything before it."""
    odd = json.loads(json.dumps(CONFIG))
    odd["stanzas"]["main"]["verses"][0]["cadenc"] = "1d"
    without = [{key: value for key, value in row.items() if key != "score"} for row in rows()]
    found = check(without, {"LOAN": odd}, now=AT)
    assert "cadenc" in found.warnings[0]
    assert found.warnings[1].startswith(f"field score has no value in any row, so {NAME} cannot judge it")
    assert f"warning: {found.warnings[1]}" in found.text()
    assert found.warnings[1] in found.to_html()
    assert found.to_json()["warnings"] == list(found.warnings)
    one_day = check(day(13), {"LOAN": CONFIG}, now=AT)
    assert one_day.verses[0].note.startswith("there is nothing to compare with: the judged window begins on ")
    assert one_day.verses[0].note in one_day.text()
    assert "from 2" in check(rows(), {"LOAN": CONFIG}, now=AT + 100 * DAY).verses[0].note


def test_the_only_column_of_datetimes_is_the_time(result: CheckResult) -> None:
    """Whatever its name; among several one has to be named."""
    frame = pd.DataFrame(rows())
    frame["seen"] = pd.to_datetime(frame.pop("timestamp"), unit="ms")
    found = check(frame, {"LOAN": CONFIG}, now=AT)
    assert [i["insight_id"] for i in found] == [i["insight_id"] for i in result]
    frame["again"] = frame["seen"]
    with pytest.raises(BadRequest, match="time of the rows"):
        check(frame, {"LOAN": CONFIG}, now=AT)


def test_disabled_verses_are_run_by_name_only() -> None:
    """As on the server, which does not run them."""
    verse = CONFIG["stanzas"]["main"]["verses"][0] | {"disabled": True}
    off = CONFIG | {"stanzas": {"main": {"verses": [verse]}}}
    with pytest.raises(BadRequest, match="nothing to look for"):
        check(rows(), {"LOAN": off}, now=AT)
    assert len(check(rows(), {"LOAN": off}, now=AT, verses=[NAME])) == 1


@pytest.mark.parametrize(
    ("table", "config", "options", "error", "match"),
    [
        (3, CONFIG, {}, BadRequest, "no table"),
        ([], CONFIG, {}, BadRequest, "no rows"),
        ([1], CONFIG, {}, BadRequest, "one object per row"),
        (pd.Series([1]), CONFIG, {}, BadRequest, "Series is no table"),
        (Path("nowhere.csv"), CONFIG, {}, BadRequest, "no file"),
        (Path(__file__).parent, CONFIG, {}, BadRequest, "no file"),
        ([{"a": 1}], CONFIG, {}, BadRequest, "time of the rows"),
        ([{"a": 1, "timestamp": "x"}], CONFIG, {}, BadRequest, "holds no time"),
        ([{"timestamp": AT}], CONFIG, {"time": "when"}, BadRequest, "no column when"),
        ([{"timestamp": AT}], CONFIG, {"now": "yesterday"}, BadRequest, "no time"),
        ([{"timestamp": AT}], CONFIG, {"verses": ["nope"]}, NotFound, "no verse"),
        ([{"timestamp": AT}], {"A": CONFIG, "B": CONFIG}, {}, BadRequest, "2 classes"),
        ([{"timestamp": AT}], {"A": CONFIG}, {"context_class": "B"}, NotFound, "Unknown context class"),
        ([{"timestamp": AT}], {"A": {"fields": {"x": {"type": "nope"}}}}, {}, ConfigError, "A.fields.x.type"),
        ([{"timestamp": AT}], "{", {}, ConfigError, "JSON"),
        ([{"timestamp": AT}], "nowhere.json", {}, BadRequest, "no configuration"),
        ([{"timestamp": AT}], CONFIG | {"stanzas": {}}, {}, BadRequest, "has no verse"),
        ([{"a": AT, "b": AT}], CONFIG, {}, BadRequest, "time of the rows"),
    ],
)
def test_bad_input_is_explained(table: Any, config: Any, options: dict[str, Any], error: Any, match: str) -> None:
    """What is wrong, where, and what would be right."""
    with pytest.raises(error, match=match):
        check(table, config, **options)


def test_a_config_in_any_wrapping(tmp_path: Path, result: CheckResult) -> None:
    """One class, named classes, the whole file with the user id; object, text or file."""
    whole = {"my-user-id": {"LOAN": CONFIG}}
    (tmp_path / "config.json").write_text(json.dumps(whole))
    for config in (whole, json.dumps(whole), tmp_path / "config.json", str(tmp_path / "config.json"), {"LOAN": CONFIG}):
        found = check(rows(), config, now=AT, context_class="LOAN")
        assert [i["insight_id"] for i in found] == [i["insight_id"] for i in result]
