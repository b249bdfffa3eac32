"""Imports of files: only below the roots, as a job, done by a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mona_server import settings as settings_module
from mona_server.api import background
from tests.api.conftest import Api


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "files"
    (root / "deep").mkdir(parents=True)
    (root / "loans.csv").write_text("contextId,timestamp,amount\na,1700000000,1\nb,1700000001,x\nc,never,3\n")
    (root / "deep" / "loans.csv").write_text("contextId,amount\nd,4\n")
    (tmp_path / "secret.csv").write_text("contextId,amount\nx,1\n")
    (root / "link.csv").symlink_to(tmp_path / "secret.csv")
    return root


@pytest.fixture
def roots(make_api: Callable[..., Api], folder: Path) -> Api:
    return make_api(imports={"roots": [str(folder)]})


def work(api: Api, folder: Path) -> None:
    background.work(settings_module.load(api.store.data_dir, environ={}, imports={"roots": [str(folder)]}))


def test_a_file_is_imported_once(roots: Api, folder: Path) -> None:
    """The original service queues it; the job tells rows, refusals by line; the same file again changes nothing."""
    ask = {
        "file_path": "loans.csv",
        "context_class": "LOAN",
        "context_id_field": "contextId",
        "export_timestamp_field": "timestamp",
    }
    for _ in range(2):
        told = roots.post("/initiate_csv_upload_request", ask).json()
        assert told == {"request_id": told["request_id"], "status": "queued", "rows": None}
        work(roots, folder)
        roots.work()
        shown = roots.get(f"/api/v1/imports/{told['request_id']}").json()
        assert (shown["state"], shown["accepted"], shown["refused"]) == ("done", 2, 1)
        assert shown["reasons"] == [{"line": 3, "reason": "exportTimestamp is not a valid timestamp"}]
        assert roots.get("/api/v1/classes/LOAN").json()["contexts"] == 2
    assert len(roots.get("/api/v1/imports").json()["items"]) == 2
    assert roots.get("/api/v1/imports", token=roots.token(tenant="acme")).json()["items"] == []


@pytest.mark.parametrize(
    "path",
    ["../secret.csv", "link.csv", "/etc/passwd", "deep/../../secret.csv", "nothing.csv", "deep", "a\0b", "~root/x"],
)
def test_nothing_outside_of_the_roots_can_be_read(roots: Api, path: str) -> None:
    """Climbing, links, absolute paths and folders: one text for all, whether the file exists or not."""
    told = roots.post("/initiate_csv_upload_request", {"file_path": path, "context_class": "LOAN"}).json()
    assert told["error_message"].startswith("file_path: no such file below an import root")
    assert roots.post("/api/v1/imports", {"file_path": path, "context_class": "LOAN"}).status_code == 403


def test_without_roots_nothing_can_be_read(api: Api, folder: Path) -> None:
    """The default: no import root, no import."""
    ask: dict[str, Any] = {"file_path": str(folder / "loans.csv"), "context_class": "LOAN"}
    assert api.post("/api/v1/imports", ask).status_code == 403
    assert api.post("/api/v1/imports", {**ask, "file_path": "s3://bucket/x"}).status_code == 400


def test_an_import_that_cannot_be_done_fails_with_its_reason(roots: Api, folder: Path) -> None:
    """A column that the file does not have: the job fails and says why."""
    ask = {"file_path": "loans.csv", "context_class": "LOAN", "id_column": "nope"}
    job = roots.post("/api/v1/imports", ask).json()
    assert job["state"] == "queued"
    work(roots, folder)
    shown = roots.get(f"/api/v1/imports/{job['id']}").json()
    assert shown["state"] == "failed"
    assert "nope" in shown["error"]
