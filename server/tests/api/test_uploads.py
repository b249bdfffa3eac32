"""Files that are sent for an import."""

from __future__ import annotations

import gzip
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from mona_server.api import background, uploads
from tests.api.conftest import NOW_MS, Api

PATH = "/api/v1/imports/file?context_class=LOAN"
CSV = b"contextId,timestamp,amount\na,1700000000,1\nb,1700000001,2\nc,never,3\n"


def spooled(api: Api) -> list[Path]:
    return [path for path in (api.store.data_dir / uploads.FOLDER).rglob("*") if path.is_file()]


def test_a_file_that_is_sent_is_imported_and_forgotten(api: Api) -> None:
    """Two good rows, one refused by line; the name is shown without its folders; the spool is empty afterwards."""
    started = api.post(f"{PATH}&file_name=../my/loans%201.csv", CSV)
    assert started.status_code == 202, started.text
    assert (started.json()["state"], started.json()["file"]) == ("queued", "loans_1.csv")
    assert [path.read_bytes() for path in spooled(api)] == [CSV]
    background.work(api.edge.settings)
    api.work()
    shown = api.get(f"/api/v1/imports/{started.json()['id']}").json()
    assert (shown["state"], shown["accepted"], shown["refused"], shown["reasons"][0]["line"]) == ("done", 2, 1, 3)
    assert api.get("/api/v1/classes/LOAN").json()["contexts"] == 2
    assert spooled(api) == []


def test_a_file_that_cannot_be_read_fails_its_job_and_is_forgotten(api: Api) -> None:
    """A column that is not there: the job says so and the file goes."""
    started = api.post(f"{PATH}&id_column=nope", CSV).json()
    background.work(api.edge.settings)
    shown = api.get(f"/api/v1/imports/{started['id']}").json()
    assert shown["state"] == "failed"
    assert "nope" in shown["error"]
    assert spooled(api) == []


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"", 400, "empty"),
        (b"a,b\n" + b"1,2\n" * 1_000, 413, "imports.max_upload_bytes"),
        (gzip.compress(CSV, mtime=0), 400, "compressed"),
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
def test_what_is_refused_leaves_nothing(
    make_api: Callable[..., Api], body: bytes, status: int, text: str, chunked: bool
) -> None:
    """Empty, too large (announced or not), compressed: refused with what to do, no file and no job stay."""

    async def pieces() -> AsyncIterator[bytes]:
        for place in range(0, len(body), 500):
            yield body[place : place + 500]

    api = make_api(imports={"max_upload_bytes": 1_000})
    content = pieces() if chunked else body
    answer = api.client.post(PATH, content=content, headers=api.token())
    assert answer.status_code == status
    assert text in answer.json()["error_message"]
    assert spooled(api) == []
    assert api.get("/api/v1/imports").json()["items"] == []


@pytest.mark.parametrize(
    ("role", "status"),
    [
        (None, 401),
        ("Viewer", 403),
        ({"role": "Context Class Admin", "arc_class": "TAXI"}, 403),
        ({"role": "Context Class Admin", "arc_class": "LOAN"}, 202),
    ],
)
def test_of_strangers_nothing_is_read(api: Api, role: object, status: int) -> None:
    """Without the right to the data of this class the body stays unread."""
    read: list[int] = []

    async def pieces() -> AsyncIterator[bytes]:
        read.append(1)
        yield CSV

    answer = api.client.post(PATH, content=pieces(), headers={} if role is None else api.token(role))
    assert answer.status_code == status
    assert bool(read) is (status == 202)
    assert len(spooled(api)) == len(read)


def test_what_no_import_took_goes_after_a_week(api: Api) -> None:
    """A cancelled import leaves its file: a week later it is removed, a younger one stays."""
    for name in ("old", "young"):
        assert api.post(f"{PATH}&file_name={name}", CSV).status_code == 202
    old = next(path for path in spooled(api) if path.name == "old")
    now_s = NOW_MS / 1000
    for path in spooled(api):
        os.utime(path.parent, (now_s, now_s))
    os.utime(old.parent, (now_s, now_s - 8 * 86_400))
    assert uploads.forget_old(api.store.data_dir, now_ms=NOW_MS) == 1
    assert [path.name for path in spooled(api)] == ["young"]
