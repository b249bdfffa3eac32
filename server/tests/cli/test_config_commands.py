"""``mona import-config``."""

from __future__ import annotations

import json
from pathlib import Path

from mona_server.config import revisions
from mona_server.store import Store
from tests.cli.test_commands import mona

OLD = """{"default": {"LOAN": {"fields": {
  "amount": {"type": "numeric"},
  "blend": {"type": "numeric", "function": "secret_sauce", "source": "amount"}},
  "stanzas": {"s": {"metrics": ["amount"], "verses": [{"type": "AverageDrift"}, {"type": "AverageDream"}]}}}}}
"""


def test_an_older_file_is_taken_as_it_is(tmp_path: Path) -> None:
    """What is unknown rests, and is listed; the rest works."""
    file = tmp_path / "config.json"
    file.write_text(OLD, encoding="utf-8")
    tried = json.loads(mona("import-config", file, "--data", tmp_path / "d", "--dry-run", "--json").stdout)
    assert tried["config_id"] is None
    done = json.loads(mona("import-config", file, "--data", tmp_path / "d", "--json").stdout)
    assert done["inactive"] == ["LOAN.fields.blend", "LOAN: verse AverageDream"]
    assert {issue["severity"] for issue in done["issues"]} == {"warning"}
    with Store.open(tmp_path / "d") as store:
        active = revisions.active(store.meta, "default")
    assert active is not None
    assert active.id == done["config_id"]
    assert active.text == OLD
    assert [verse.name for verse in active.classes["LOAN"].verses] == ["s__AverageDrift"]


def test_errors_are_shown_with_their_lines_and_nothing_is_stored(tmp_path: Path) -> None:
    """As an editor understands them."""
    file = tmp_path / "config.json"
    file.write_text('{"LOAN": {"fields": {\n  "amount": {"type": "number"}}}}', encoding="utf-8")
    done = mona("import-config", file, "--data", tmp_path / "d", code=2)
    assert f"{file}:2:14: error: LOAN.fields.amount.type" in done.stderr
    assert not (tmp_path / "d" / "meta.db").exists()
    mona("import-config", tmp_path / "none.json", code=2)
