"""The search as a method of an outside benchmark: tables with injected anomalies, judged by what a user sees.

``find(table, config)`` translates a case into one configuration with fixed parameters, asks the public offline API and
returns the insights as the benchmark's reports. Nothing here is fitted to a table: levels are 0, so that chance and
folding alone decide. A table is one question, so its verses, and the days of a sudden change, share the rate of false
findings that one verse has by default in one run.

    python run_bench.py CASES benchmarks.insight_search:find        # from the benchmark's folder, with PYTHONPATH
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

Report = dict[str, Any]
Json = dict[str, Any]


def find(table: Any, config: Json) -> list[Report]:
    """Reports of one case. ``table``: a polars frame; ``config``: time column, dims, metrics, verses and periods."""
    from mona_server import check

    end = date.fromisoformat(config["target"][1])
    wanted = list(config["verses"])
    settled = [verse for verse in wanted if verse != "AverageSuddenChange"]
    reports: list[Report] = []
    if settled:
        found = check(
            table, configuration(config, settled), now=_midnight(end), time=config["ts"], progress=False, explain=False
        )
        reports += [_report(insight["main_signal"], config) for insight in found]
    if "AverageSuddenChange" in wanted:
        days = [end - timedelta(days=back) for back in range(config["sudden_days"])]
        setup = configuration(config, ["AverageSuddenChange"])
        found = check(table, setup, now=[_midnight(d) for d in days], time=config["ts"], progress=False, explain=False)
        reports += [_report(insight["main_signal"], config, with_day=True) for insight in found]
    return reports


def configuration(config: Json, verses: list[str]) -> Json:
    """A context class with one stanza that holds the wanted verses."""
    begin, split, end = (date.fromisoformat(day) for day in (config["baseline"][0], *config["target"]))
    target, benchmark = f"{(end - split).days}d", f"{(split - begin).days}d"
    common = {
        "segment_by": list(config["dims"]),
        "max_segment_depth": config["max_dims"],
        "min_segment_size_fraction": config["min_segment_share"],
        "min_anomaly_level": 0,
        "max_false_discovery_rate": 0.05 / len(config["verses"]),
        "create_extra_adjacent_signals": False,
    }
    metrics = {"metrics": list(config["metrics"])}
    windows = {"target_set_period": target, "benchmark_set_period": benchmark}
    sudden = {
        "time_series_points": (end - begin).days,
        "percentile": 60,
        "max_false_discovery_rate": common["max_false_discovery_rate"] / config["sudden_days"],
    }
    parameters: dict[str, Json] = {
        "AverageDrift": common | metrics | windows,
        "SumDrift": common | metrics | windows,
        "SegmentSizeDrift": common | windows,
        "NewSegments": common | {"time_period": target, "backfill_points": 1},
        "AverageOutlier": common | metrics | {"time_period": target},
        "AverageSuddenChange": common | metrics | sudden,
    }
    fields: Json = {name: {"type": "string"} for name in config["dims"]}
    fields |= {name: {"type": "numeric"} for name in config["metrics"]}
    listed = [{"type": verse} | parameters[verse] for verse in verses]
    return {"CASE": {"fields": fields, "stanzas": {"bench": {"verses": listed}}}}


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _report(signal: Json, config: Json, *, with_day: bool = False) -> Report:
    """A signal as the benchmark writes it; the direction is left out where it may only be everybody's."""
    values = {name: options[0]["value"] for name, options in signal["segment"].items()}
    report: Report = {
        "verse": signal["signal_type"].removeprefix("Kapi").removesuffix("InSegment"),
        "metric": signal["kapi"] if signal["kapi"] in config["metrics"] else None,
        "segment": values,
        "score": signal["score"],
    }
    if with_day:
        at = datetime.fromtimestamp(signal["timestamp"], UTC).date()
        report["day"] = str(at - timedelta(days=1))
    return report
