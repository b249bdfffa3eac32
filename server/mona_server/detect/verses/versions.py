"""Drift across versions: the newest version of something against the versions before it."""

from __future__ import annotations

from mona_server.detect.parameters import COUNT, FIELD, PERIOD, Group, Parameter, choice
from mona_server.detect.verses.base import Statistic, VerseType, common
from mona_server.detect.verses.drift import SETS, drift_sizes, mean_drift
from mona_server.detect.windows import versions_plan

AVERAGE_DRIFT_ACROSS_VERSIONS = VerseType(
    type="AverageDriftAcrossVersions",
    family="Drift",
    statistic=Statistic.AVERAGE,
    doc="The mean of a field differs between the newest version and the versions before it.",
    parameters=(
        *common(0.25),
        Parameter("version_field", FIELD, None, Group.BASIC, "The field that holds the version.", required=True),
        Parameter("num_versions_benchmark", COUNT, 1, Group.BASIC, "How many preceding versions are the benchmark."),
        Parameter(
            "order_versions_by",
            choice("LATEST_TO_RECEIVE_DATA", "FIRST_SEEN", "ALPHABETICAL", "SEMANTIC"),
            "LATEST_TO_RECEIVE_DATA",
            Group.ADVANCED,
            "Which version is the newest.",
        ),
        Parameter("benchmark_set_period", PERIOD, "6w", Group.BASIC, "Length of the data considered, up to now."),
        *SETS,
    ),
    plan=versions_plan,
    sizes=drift_sizes,
    levels=mean_drift,
    with_baseline=True,
)

TYPES = (AVERAGE_DRIFT_ACROSS_VERSIONS,)
