"""Watched folders over HTTP: made, shown, paused, removed; and their files arrive."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mona_server.api import background
from mona_server.sources import folders
from tests.api.conftest import Api

PATH = "/api/v1/sources"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    (folder / "loans").mkdir(parents=True)
    return folder


@pytest.fixture
def api(make_api: Callable[..., Api], root: Path) -> Api:
    return make_api(imports={"roots": (str(root),)})


def ask(**other: Any) -> dict[str, Any]:
    return {"url": "loans", "pattern": "*.csv", "context_class": "LOAN", "id_column": "id", "time_column": "ts"} | other


def test_files_of_a_folder_arrive(api: Api, root: Path) -> None:
    """From the file to the context, with the counts and reasons of what did not arrive."""
    file = root / "loans" / "a.csv"
    file.write_text("id,ts,amount\n" + "".join(f"c{i},{api.now_ms // 1000 - i},{i}\n" for i in range(30)))
    (root / "loans" / "bad.csv").write_text("other\n1\n")
    for one in (root / "loans").iterdir():
        os.utime(one, (api.now_ms / 1000 - 60,) * 2)
    made = api.post(PATH, ask(poll="1m"))
    assert made.status_code == 201, made.text
    shown = made.json()
    assert (shown["kind"], shown["arc_class"], shown["poll_seconds"], shown["paused"]) == (
        "object_store",
        "LOAN",
        60,
        False,
    )
    folders.look(api.store.meta, (str(root),), now_ms=api.now_ms)
    background.work(api.edge.settings)
    api.work()
    assert api.get("/api/v1/classes/LOAN").json()["contexts"] == 30
    full = api.get(f"{PATH}/{shown['id']}").json()
    assert full["files"] == {"queued": 0, "running": 0, "done": 1, "failed": 1, "set_aside": 0}
    assert [(one["name"], one["tries"]) for one in full["failures"]] == [("bad.csv", 1)]
    assert "no column" in full["failures"][0]["error"]
    assert (full["last_look"], full["error"]) == (api.now_ms / 1000, None)


def test_sources_are_listed_paused_and_removed(api: Api) -> None:
    """Each step is in the audit log."""
    source_id = api.post(PATH, ask()).json()["id"]
    assert [one["id"] for one in api.get(PATH).json()["items"]] == [source_id]
    paused = api.client.request("PATCH", f"{PATH}/{source_id}", json={"paused": True}, headers=api.token())
    assert paused.json()["paused"] is True
    assert api.client.request("DELETE", f"{PATH}/{source_id}", headers=api.token()).status_code == 204
    assert api.get(f"{PATH}/{source_id}").status_code == 404
    actions = [entry["action"] for entry in api.get("/api/v1/audit").json()["items"]]
    assert [action for action in actions if action.startswith("source.")] == [
        "source.remove", "source.change", "source.create",
    ]  # fmt: skip


def test_wrong_sources_are_refused(api: Api) -> None:
    """What is wrong is named; places outside of the roots and other kinds of places are not looked at."""
    for bad, status in (
        ({"url": "../.."}, 403),
        ({"url": "s3://bucket/loans"}, 400),
        ({"kind": "kafka"}, 400),
        ({"pattern": "a/b"}, 400),
        ({"poll": "often"}, 400),
        ({"context_class": ""}, 400),
        ({"nonsense": 1}, 400),
    ):
        refused = api.post(PATH, ask(**bad))
        assert refused.status_code == status, (bad, refused.text)
        assert refused.json()["error_message"]


def test_sources_belong_to_those_who_manage_the_data(api: Api) -> None:
    """Not to viewers, other tenants, or roles of another class."""
    source_id = api.post(PATH, ask()).json()["id"]
    assert api.post(PATH, ask(), token=api.token("Viewer")).status_code == 403
    assert api.get(f"{PATH}/{source_id}", token=api.token(tenant="acme")).status_code == 404
    assert api.get(PATH, token=api.token(tenant="acme")).json()["items"] == []
    other = api.token({"role": "Context Class Admin", "arc_class": "OTHER"})
    assert api.get(PATH, token=other).json()["items"] == []
    for method in ("GET", "DELETE"):
        assert api.client.request(method, f"{PATH}/{source_id}", headers=other).status_code == 403
    assert api.post(PATH, ask(), token=other).status_code == 403
