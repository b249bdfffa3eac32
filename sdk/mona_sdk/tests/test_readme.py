"""The promises on paper: the seed README's snippets and the code of our own README run."""

from __future__ import annotations

import logging
import re
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mona_sdk.testing import FakeServer
from mona_sdk.tests import seed_snippets
from mona_sdk.tests.servers import RecordingServer, always

README = Path(__file__).parents[2] / "README.md"
SEED = Path(__file__).parents[4] / "shared" / "spec" / "seed-readme.txt"
DATA = [
    SimpleNamespace(relevant_monitoring_information={"x": n}, unique_id=f"u-{n}", timestamp=int(time.time()) - n)
    for n in range(3)
]
CONFIG = {"MY_CONTEXT_CLASS_NAME": {"fields": {"x": {"type": "numeric"}}}}


def test_seed_snippets_against_a_recorded_server(server: RecordingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unchanged code, and the results that the seed promises."""
    monkeypatch.setenv("MONA_SDK_SERVER_URL", server.url)
    client, exported, result = seed_snippets.quick_start("key", "secret", DATA)
    assert exported
    assert result["failed"] == 0
    assert [m["contextId"] for m in server.messages] == ["CONTEXT_INSTANCE_UNIQUE_ID", "u-0", "u-1", "u-2"]
    server.routes["/upload_config"] = always(200, {"response_data": {"new_config_id": "n-1", "diffs": []}})
    server.routes["/configs"] = always(200, {"response_data": {"raw_configuration_data": CONFIG}})
    upload_result, config = seed_snippets.configuration(client, CONFIG)
    assert (upload_result["success"], upload_result["new_config_id"]) == (True, "n-1")
    assert config == {"tenant-1": CONFIG}
    assert seed_snippets.logging_example() is logging.getLogger("mona-logger")


def test_the_snippets_are_those_of_the_seed() -> None:
    """Line by line: each line of code of the seed stands in what is tested."""
    if not SEED.exists():
        pytest.skip("the folder `shared` with the seed's README is not beside the checkout")
    ours = re.sub(r"\s+", "", Path(seed_snippets.__file__).read_text()).replace('"', "'")
    lines = SEED.read_text().splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("from mona_sdk.client"))
    end = next(n for n, line in enumerate(lines) if line.startswith("export_result"))
    code = [line for line in lines[start : end + 1] if not line.startswith(("api_key =", "secret =", "#"))]
    code += [line for line in lines if line.startswith(("upload_result = my_client", "my_current_mona_config"))]
    assert len(code) > 20
    for line in code:
        compact = re.sub(r"\s+", "", line).replace('"', "'")
        assert compact.strip(",)") in ours, line


def snippets() -> list[Any]:
    """The Python blocks of our README."""
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    return [pytest.param(block, id=block.strip().splitlines()[0][:40]) for block in blocks]


@pytest.mark.parametrize("code", snippets())
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_our_readme_runs(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every Python block, on its own, against the fake server."""
    monkeypatch.chdir(tmp_path)
    with FakeServer() as mona:
        mona.services.update(
            upload_config={"new_config_id": "n-1"},
            configs={"raw_configuration_data": CONFIG},
            get_new_config_fields={"suggested_config": CONFIG},
            insights=[],
        )
        exec(compile(code, str(README), "exec"), {"__name__": "readme"})
    assert len(snippets()) >= 5
