"""Published packages beside the search of `benchmarks.search_speed`.

Their whole-column drift between the last two weeks and the time before. They say which column changed,
never in which segment. Each is used where ``benchmarks/.peers/NAME/bin/python`` exists; make one by
``python -m venv benchmarks/.peers/evidently`` and installing the package, pyarrow and ``pandas<3`` (NannyML also
``statsmodels``, whylogs as ``whylogs[viz]``; whylogs and alibi-detect ``numpy<2`` and ``pyarrow<18``). Tried with
Evidently 0.7.23, NannyML 0.13.1, whylogs 1.6.4 and alibi-detect 0.13.0.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

PEERS = Path(os.environ.get("MONA_BENCH_PEERS", Path(__file__).parent / ".peers"))


def each(folder: Path, columns: Sequence[str], split_ms: int) -> Iterator[tuple[str, dict[str, float] | str]]:
    """The name of each package with its seconds, CPU seconds, peak MiB and judged columns, or why there are none.

    Columns whose names begin with x are numbers, all others texts.
    """
    setting = f"columns = {list(columns)!r}\nfolder = {str(folder)!r}\nsplit = {split_ms}\n"
    for name, (imports, work) in SCRIPTS.items():
        python = PEERS / name / "bin" / "python"
        if not python.exists():
            yield name, f"not installed ({python})"
            continue
        script = setting + LOAD + imports + START + work + REPORT
        done = subprocess.run([str(python), "-c", script], capture_output=True, text=True, check=False)
        if done.returncode:
            yield name, f"failed: {(done.stderr.strip().splitlines() or ['?'])[-1][:100]}"
        else:
            yield name, json.loads(done.stdout.splitlines()[-1])


LOAD = """
import json, resource, time, warnings
warnings.filterwarnings("ignore")
import pandas as pd, pyarrow.parquet as pq
table = pq.read_table(folder, columns=columns + ["MONA_TIMESTAMP"]).to_pandas()
before, after = table[table["MONA_TIMESTAMP"] < split][columns], table[table["MONA_TIMESTAMP"] >= split][columns]
"""
START = "\nstarted, cpu = time.perf_counter(), time.process_time()\n"
REPORT = """
print(json.dumps({"seconds": time.perf_counter() - started, "cpu": time.process_time() - cpu,
                  "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "columns": judged}))
"""
SCRIPTS = {
    "evidently": (
        """
from evidently import Dataset, DataDefinition, Report
from evidently.presets import DataDriftPreset
""",
        """
numbers = [c for c in columns if c.startswith("x")]
definition = DataDefinition(numerical_columns=numbers, categorical_columns=[c for c in columns if c not in numbers])
sides = [Dataset.from_pandas(part, data_definition=definition) for part in (after, before)]
found = Report([DataDriftPreset()]).run(*sides).dict()["metrics"]
judged = sum(one["metric_name"].startswith("ValueDrift") for one in found)
""",
    ),
    "nannyml": (
        "import nannyml",
        """
calculator = nannyml.UnivariateDriftCalculator(column_names=columns, chunk_number=1)
found = calculator.fit(before).calculate(after).to_df()
judged = len(set(found.columns.get_level_values(0)) - {"chunk"})
""",
    ),
    "whylogs": (
        """
import whylogs
from whylogs.viz.drift.column_drift_algorithms import calculate_drift_scores
""",
        """
judged = len(calculate_drift_scores(whylogs.log(after).view(), whylogs.log(before).view()))
""",
    ),
    "alibi-detect": (
        """
import numpy as np
from alibi_detect.cd import TabularDrift
""",
        """
def coded(part):
    return np.column_stack([part[c].fillna(0) if c.startswith("x") else codes[c][part.index] for c in columns])
codes = {c: pd.Series(pd.factorize(table[c])[0], index=table.index) for c in columns if not c.startswith("x")}
categories = {i: None for i, c in enumerate(columns) if not c.startswith("x")}
found = TabularDrift(coded(before), p_val=0.05, categories_per_feature=categories).predict(coded(after))
judged = len(found["data"]["p_val"])
""",
    ),
}
