"""Batches on disk (Q10, Q13)."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from mona_sdk import Client
from mona_sdk.delivery import spool as spool_module
from mona_sdk.delivery.attempt import Batch
from mona_sdk.delivery.spool import Spool
from mona_sdk.tests.conftest import a_message, wait_until
from mona_sdk.tests.servers import Keeper, RecordingServer, accept_all, always

SPOOLING: dict[str, Any] = {"background": True, "flush_interval": 0.01, "max_retries": 0}


def a_batch(number: int, size: int = 2) -> Batch:
    """A batch that can be told from others."""
    return Batch([b'{"n":%d}' % (number * 10 + i) for i in range(size)], b'],"userId":"U"}', f"key-{number}")


def drained(spool: Spool) -> list[Batch]:
    """All that a spool holds, in its order."""
    batches = []
    while (batch := spool.first()) is not None:
        batches.append(batch)
        spool.remove_first()
    return batches


def test_batches_come_back_in_order(tmp_path: Path) -> None:
    """Messages, end, and key are the same; the files are gone afterwards."""
    spool = Spool(str(tmp_path), "owner", 1 << 20)
    assert spool.first() is None
    batches = [a_batch(n) for n in range(5)]
    assert all(spool.append(batch) for batch in batches)
    assert spool.pending
    assert spool.bytes_waiting > 100
    assert drained(spool) == batches
    assert (spool.pending, spool.bytes_waiting) == (False, 0)
    assert list(tmp_path.iterdir()) == []


def test_a_later_process_takes_over(tmp_path: Path) -> None:
    """From where the first one stopped; not while it lives, and not what belongs to others."""
    first = Spool(str(tmp_path), "owner", 1 << 20)
    for number in range(4):
        first.append(a_batch(number))
    first.first()
    first.remove_first()
    assert not Spool(str(tmp_path), "owner", 1 << 20).pending
    first.close()
    assert not Spool(str(tmp_path), "another", 1 << 20).pending
    assert drained(Spool(str(tmp_path), "owner", 1 << 20)) == [a_batch(n) for n in (1, 2, 3)]


@pytest.mark.parametrize("damage", ["cut", "flip", "noise"])
def test_damage_ends_a_file_and_nothing_else(tmp_path: Path, damage: str) -> None:
    """What stands before a half-written or damaged record is sent; the next file is read."""
    spool = Spool(str(tmp_path), "owner", 1 << 20)
    for number in range(3):
        spool.append(a_batch(number))
    spool.close()
    (path,) = tmp_path.glob("*.spool")
    content = path.read_bytes()
    changed = {
        "cut": content[:-5],
        "flip": content[:-5] + b"\x00" + content[-4:],
        "noise": content[: len(content) * 2 // 3] + os.urandom(50),
    }
    path.write_bytes(changed[damage])
    later = Spool(str(tmp_path), "owner", 1 << 20)
    later.append(a_batch(9))
    assert drained(later) == [a_batch(0), a_batch(1), a_batch(9)]


def test_the_oldest_give_way_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And are counted by the message."""
    monkeypatch.setattr(spool_module, "FILE_BYTES", 300)
    dropped: list[int] = []
    spool = Spool(str(tmp_path), "owner", 1000, dropped.append)
    for number in range(50):
        assert spool.append(a_batch(number))
        assert spool.bytes_waiting <= 1000
    kept = drained(spool)
    assert kept[-1] == a_batch(49)
    assert kept == [a_batch(n) for n in range(50 - len(kept), 50)]
    assert sum(dropped) == 2 * (50 - len(kept)) > 0
    assert not spool.append(a_batch(1, size=1000))


def test_a_full_disk_is_a_counter(
    tmp_path: Path, server: RecordingServer, make_client: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No exception anywhere; the loss is counted; when there is room again, it works again."""

    def no_space(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    server.routes["/export"] = always(503, {})
    client = make_client(spool_dir=str(tmp_path), **SPOOLING)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", no_space)
        assert client.export(a_message(1))
        assert client.flush(5) is False
        assert client.stats()["dropped"] == 1
    assert client.export(a_message(2))
    assert client.flush(5) is True
    assert client.stats()["spooled"] == 1
    assert client.stats()["spool_bytes"] > 0
    server.routes["/export"] = accept_all
    wait_until(lambda: client.stats()["spool_bytes"] == 0)
    assert [m["contextId"] for m in server.messages][-1] == "id-2"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB, for root on Linux."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mounting, capture_output=True, text=True, check=False)
    except OSError as problem:
        pytest.skip(f"no file system can be mounted here: {problem}")
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_disk_fills_up(small_disk: Path, server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """A real one: what fits is kept, what does not is counted, and when the server is back all that was kept arrives,
    once."""
    server.routes["/export"] = always(503, {})
    client = make_client(spool_dir=str(small_disk), **SPOOLING)
    exported = 0
    while client.stats()["dropped"] == 0:
        assert client.export_batch([a_message(exported + n, text="x" * 500) for n in range(10)])["failed"] == 0
        exported += 10
        client.flush(30)
        assert exported < 1000
    kept = client.stats()["spooled"]
    assert kept + client.stats()["dropped"] == exported
    assert kept > 0
    refused = len(server.sends)
    server.routes["/export"] = accept_all
    wait_until(lambda: client.stats()["sent"] == kept)
    identities = [m["contextId"] for request in server.sends[refused:] for m in request.json["messages"]]
    assert len(identities) == len(set(identities)) == kept
    assert client.export(a_message(exported))
    assert client.flush(30) is True


def test_a_folder_that_cannot_be_made_is_contained(
    tmp_path: Path, server: RecordingServer, make_client: Callable[..., Client]
) -> None:
    """The client works without its spool."""
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    client = make_client(spool_dir=str(blocked / "spool"), **SPOOLING)
    assert client.export(a_message())
    assert client.flush(5)
    assert len(server.messages) == 1


def test_an_outage_goes_to_disk_and_comes_back(
    tmp_path: Path, server: RecordingServer, make_client: Callable[..., Client]
) -> None:
    """`flush` is True when all is on disk; the order of a context holds; the time is that of the call."""
    port = server.port
    server.close()
    client = make_client(spool_dir=str(tmp_path), **SPOOLING, access_token="t", user_id="U")
    before = time.time()
    for number in range(100):
        assert client.export_batch([a_message(number % 5, n=number)])["failed"] == 0
    from mona_sdk import MonaSingleMessage

    assert client.export(MonaSingleMessage(message={"a": 1}, contextClass="C", contextId="stamped"))
    after = time.time()
    assert client.flush(10) is True
    assert client.stats()["spooled"] == 101
    assert client.stats()["bytes_on_disk"] > 0
    with RecordingServer(port=port) as back:
        client.export_batch([a_message(number % 5, n=number) for number in range(100, 120)])
        wait_until(lambda: len(back.messages) == 121, 20)
        by_context: dict[str, list[int]] = {}
        for message in back.messages:
            if message["contextId"] == "stamped":
                assert before - 0.001 <= message["exportTimestamp"] <= after
            else:
                by_context.setdefault(message["contextId"], []).append(message["message"]["n"])
        assert all(numbers == sorted(numbers) for numbers in by_context.values())
        # What has arrived is counted when its answer is there, so the server stays until then.
        wait_until(lambda: client.stats()["spool_bytes"] == 0 and client.stats()["sent"] == 121)


def test_what_is_left_at_the_end_goes_to_disk(
    tmp_path: Path, server: RecordingServer, make_client: Callable[..., Client]
) -> None:
    """`close` keeps it, and the next process sends it."""
    server.routes["/export"] = always(503, {})
    client = make_client(spool_dir=str(tmp_path), background=True)
    client.export_batch([a_message(n) for n in range(50)])
    assert client.close(0.3) is True
    assert client.stats()["dropped"] == 0
    server.routes["/export"] = accept_all
    before = len(server.messages)
    later = make_client(spool_dir=str(tmp_path), background=True)
    wait_until(lambda: later.stats()["sent"] == 50)
    assert {m["contextId"] for m in server.messages[before:]} == {f"id-{n}" for n in range(50)}


def test_a_synchronous_client_keeps_nothing(
    tmp_path: Path, server: RecordingServer, make_client: Callable[..., Client]
) -> None:
    """It says that it failed, so its caller knows."""
    server.close()
    client = make_client(spool_dir=str(tmp_path), access_token="t", user_id="U", max_retries=0)
    assert client.export(a_message()) is False
    assert list(tmp_path.iterdir()) == []


WRITER = """
import sys, time
sys.path[:0] = {path!r}
from mona_sdk import Client, MonaSingleMessage
url, folder, first, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
client = Client(server_url=url, background=True, should_use_authentication=False, user_id="U", spool_dir=folder,
                flush_interval=0.01, max_retries=0, batch_max_messages=50, connect_timeout=1, read_timeout=1)
for start in range(first, first + count, 50):
    client.export_batch([MonaSingleMessage(message={{"n": n}}, contextClass="C", contextId=f"{{sys.argv[5]}}-{{n}}")
                         for n in range(start, start + 50)])
    if client.flush(20):
        print(start, flush=True)
print("done", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("messages", [4_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_kill_9_of_client_and_server_loses_and_doubles_nothing(tmp_path: Path, messages: int) -> None:
    """Both are killed at random; each message that `flush` has vouched for is stored exactly once."""
    store, chance = Keeper(lost_answers=0.1, seed=5), random.Random(5)
    server = RecordingServer(keep_requests=False, routes={"/monaExport": store})
    port, script = server.port, textwrap.dedent(WRITER.format(path=sys.path))
    vouched: set[str] = set()
    first, kills = 0, 0
    while first < messages:
        process = subprocess.Popen(
            [sys.executable, "-c", script, server.url, str(tmp_path), str(first), str(messages - first), str(kills)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        patience = chance.randint(5, max(6, messages // 300))
        for line in process.stdout:
            if line.strip() == "done":
                first = messages
                break
            start = int(line)
            vouched.update(f"{kills}-{n}" for n in range(start, start + 50))
            first = start + 50
            patience -= 1
            if patience % 7 == 0:
                server.close()
                server = RecordingServer(keep_requests=False, port=port, routes={"/monaExport": store})
            if patience <= 0:
                break
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        process.stdout.close()
        kills += 1
    last = Client(
        server_url=server.url,
        background=True,
        should_use_authentication=False,
        user_id="U",
        spool_dir=str(tmp_path),
    )
    wait_until(lambda: not list(tmp_path.glob("*.spool")), 60 + messages / 200)
    last.close()
    server.close()
    assert kills > 3
    assert vouched <= set(store.stored)
    assert set(store.stored.values()) == {1}
