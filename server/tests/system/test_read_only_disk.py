"""A disk that takes no writes any more while the server runs: nothing is acknowledged that is not kept, and it says why."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mona_server import settings
from mona_server.errors import Unavailable
from mona_server.store import Store, verify
from mona_server.store.inbox import Accepted, Inbox
from tests.support import PATIENCE_S, RunningServer, eventually, free_port

START_S = 1_700_000_000


@dataclass(frozen=True)
class Disk:
    """An ext4 file system of its own in a file. The kernel makes such a one read-only when its device fails."""

    image: Path
    folder: Path

    def mount(self, *options: str) -> str:
        """Empty, or why it may not be mounted."""
        device = [] if "remount" in options else [str(self.image)]
        command = ["mount", "-o", ",".join(options or ("loop",)), *device, str(self.folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stderr.strip() if done.returncode else ""

    def fail(self) -> None:
        """What the kernel does on an error of the device: read-only at once, under open files, until it is mounted anew."""
        assert self.mount("remount", "abort") == ""

    def freeze_files(self, *, frozen: bool) -> None:
        """No byte of the databases can be written, also by who has them open; taken back, all is as before."""
        files = list(self.folder.rglob("*.db")) + list(self.folder.rglob("*.db-wal"))
        subprocess.run(["chattr", "+i" if frozen else "-i", *files], check=True)


@contextlib.contextmanager
def failing_disk(folder: Path) -> Iterator[Disk]:
    """A mounted one; the test is skipped where nothing may be mounted."""
    made = Disk(folder / "image", folder / "data0")  # where the first server of a test has its data
    made.folder.mkdir(parents=True)
    with made.image.open("wb") as file:
        file.truncate(96 * 2**20)
    try:
        subprocess.run(["mkfs.ext4", "-q", made.image], check=True)
        problem = made.mount()
    except FileNotFoundError as missing:  # who may not mount has often no such program in reach
        problem = str(missing)
    if problem:
        pytest.skip(f"no file system can be mounted here: {problem}")
    try:
        yield made
    finally:
        subprocess.run(["umount", "-l", made.folder], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with failing_disk(tmp_path) as made:
        yield made


class Site:
    """A running server whose data are on the disk, and one who sends to it."""

    def __init__(self, server: RunningServer) -> None:
        self.server = server
        self.key = self.server.token()
        self.access = self.call("/identity/resources/auth/v1/api-token", self.secret)[1]["accessToken"]
        self.sent: list[str] = []
        self.acknowledged: set[str] = set()

    @property
    def secret(self) -> dict[str, str]:
        return {"clientId": self.key["client_id"], "secret": self.key["secret"]}

    def call(self, path: str, body: Any = None) -> tuple[int, Any]:
        headers = {"Content-Type": "application/json"}
        if not path.startswith("/identity"):
            headers["Authorization"] = f"Bearer {self.access}"
        data = None if body is None else json.dumps(body).encode()
        try:
            request = urllib.request.Request(self.server.url + path, data, headers)
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, json.load(refusal)

    def send(self) -> tuple[int, Any]:
        name = f"c{len(self.sent)}"
        self.sent.append(name)
        message = {"contextClass": "LOAN", "contextId": name, "exportTimestamp": START_S, "message": {"a": 1}}
        status, answer = self.call("/export", {"userId": self.key["user_id"], "messages": [message]})
        if status == 200:
            self.acknowledged.add(name)
        return status, answer

    def stored(self) -> set[str]:
        """What can be read from the data directory, folded or not: nothing but what was sent, nothing twice."""
        with Store.open(self.server.data, settings.load(self.server.data, environ={})) as store:
            eventually(lambda: store.inbox.backlog().rows == 0)
            facts = store.snapshot(self.key["user_id"], "LOAN")
            assert [
                f for f in verify.verify(store, now_ms=time.time_ns() // 1_000_000) if f.id != "file_unlisted"
            ] == []
            assert facts is not None
            names = [str(name) for name in facts.pending["MONA_ID"]]
        assert len(set(names)) == len(names)
        return set(names)

    def refuses_clearly(self) -> None:
        """Whatever would have to be written is answered 503 with the file and what to do; what is read still works."""
        event = {"time": START_S, "title": "deploy", "kind": "deploy"}
        for path, body, file in (
            ("/export", None, "inbox.db"),
            ("/api/v1/events", event, "meta.db"),
            ("/identity/resources/auth/v1/api-token", self.secret, "meta.db"),
        ):
            status, answer = self.send() if path == "/export" else self.call(path, body)
            assert status == 503, answer
            assert f"{file} cannot be written" in str(answer)
            assert "restart Mona" in str(answer)
        assert self.call("/health") == (
            503,
            {"status": "failing", "version": self.call("/health")[1]["version"], "failures": ["accept: Unavailable"]},
        )
        assert self.call("/api/v1/classes")[0] == 200


def test_a_failed_disk(disk: Disk, start_server: Callable[[], RunningServer]) -> None:
    """The kernel makes the disk read-only while messages arrive: what was acknowledged is there after the next mount."""
    site = Site(start_server())
    for _ in range(20):
        assert site.send()[0] == 200
    eventually(lambda: [one["contexts"] for one in site.call("/api/v1/classes")[1]["items"]] == [20])
    answers: list[int] = []
    sender = threading.Thread(target=lambda: answers.extend(iter(lambda: site.send()[0], 503)))
    sender.start()
    eventually(lambda: len(site.acknowledged) > 50)
    disk.fail()
    sender.join(PATIENCE_S)
    assert set(answers) == {200}
    site.refuses_clearly()
    status, answer = site.call("/api/v1/imports/file?context_class=LOAN&file_name=loans.csv", {"a": 1})
    assert status == 503
    assert "uploads cannot be written" in str(answer)
    assert site.server.stop() == 0

    again = [sys.executable, "-m", "mona_server.cli", "up", "--data", str(site.server.data), "--port", str(free_port())]
    start = subprocess.run(again, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert start.returncode == 1
    assert start.stderr.startswith("mona: ")
    assert len(start.stderr.splitlines()) == 1

    subprocess.run(["umount", disk.folder], check=True)
    assert disk.mount() == ""
    site.server.start()
    assert site.call("/health")[0] == 200
    assert site.send()[0] == 200
    assert site.acknowledged <= site.stored() <= set(site.sent)
    assert site.server.stop() == 0


def test_many_failed_disks(tmp_path: Path) -> None:
    """An fsync may return without an error in the moment in which the kernel gives up a disk: then nothing is acknowledged.

    Without the witness of a commit (``store/sqlite.py``) four of four runs of this test lost a message.
    """
    for number in range(30):
        with failing_disk(tmp_path / str(number)) as disk:
            acknowledged: list[bytes] = []
            inbox = Inbox(disk.folder / "inbox.db")
            sender = threading.Thread(target=_append_until_refused, args=(inbox, acknowledged))
            sender.start()
            eventually(lambda: len(acknowledged) > 20)  # noqa: B023 - within this round
            disk.fail()
            sender.join(PATIENCE_S)
            with contextlib.suppress(Unavailable):
                inbox.close()
            subprocess.run(["umount", disk.folder], check=True)
            assert disk.mount() == ""
            inbox = Inbox(disk.folder / "inbox.db")
            kept = [row.body for row in inbox.read("T", 0)]
            inbox.close()
            assert acknowledged == kept[: len(acknowledged)]
            assert len(kept) <= len(acknowledged) + 1


def _append_until_refused(inbox: Inbox, acknowledged: list[bytes]) -> None:
    while True:
        body = str(len(acknowledged)).encode() * 1000
        try:
            inbox.append([Accepted("T", body, START_S * 1000, 1)])
        except Unavailable:
            return
        acknowledged.append(body)


def test_files_that_cannot_be_written_for_a_while(disk: Disk, start_server: Callable[[], RunningServer]) -> None:
    """Once the files take writes again, so does the server that ran all the time."""
    site = Site(start_server())
    for _ in range(20):
        assert site.send()[0] == 200
    disk.freeze_files(frozen=True)
    try:
        site.refuses_clearly()
    finally:
        disk.freeze_files(frozen=False)
    assert site.call("/health")[0] == 200
    assert site.send()[0] == 200
    assert site.acknowledged <= site.stored() <= set(site.sent)
    assert site.server.stop() == 0
