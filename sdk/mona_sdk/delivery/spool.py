"""Batches on disk, for the time when nobody takes them.

A folder holds files `mona-<owner>-<pid>-<n>.spool`; a process appends to files of its own and holds a lock on them.
Files whose lock is free belong to a process that has ended: the next one with the same owner (address and key) takes
them over. A record is `length, crc32, JSON head, body parts`; what does not match its checksum ends the file. How far
a file has been sent is in a small file beside it. When that is lost some batches are sent again, under the same
idempotency key, and the server ignores them. Nothing here raises: a disk that fails is counted and logged.
"""

from __future__ import annotations

import json
import os
import struct
import threading
import zlib
from typing import Any, BinaryIO, Callable, Optional

from mona_sdk.delivery.attempt import Batch
from mona_sdk.log import warn_limited

HEADER = struct.Struct(">4sII")
MAGIC = b"MSP1"
FILE_BYTES = 16 << 20
# At most 50 batches a second are drained.
PAUSE_S = 0.02


class Spool:
    """The batches on disk of one owner, oldest first. Shared by the lanes of a worker."""

    pause_s = PAUSE_S

    def __init__(self, folder: str, owner: str, max_bytes: int, on_drop: Callable[[int], Any] = lambda _: None) -> None:
        self._folder, self._owner, self._max_bytes, self._on_drop = folder, owner, max_bytes, on_drop
        self._start()

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._files: list[_File] = []
        self._head: Optional[Batch] = None
        self._writer: Optional[_File] = None
        self._number = 0
        try:
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
            names = sorted(name for name in os.listdir(self._folder) if self._is_ours(name))
        except OSError as problem:
            self._failed(problem)
            return
        # By age, so that the order of the process that has ended is kept.
        paths = [os.path.join(self._folder, name) for name in names]
        for path in sorted(paths, key=lambda path: (_age(path), path)):
            file = _File.adopt(path)
            if file is not None:
                self._files.append(file)

    def _is_ours(self, name: str) -> bool:
        return name.startswith(f"mona-{self._owner}-") and name.endswith(".spool")

    def renew_after_fork(self) -> None:
        """The files stay the parent's; the child begins its own."""
        for file in self._files:
            file.forget()
        self._lock = threading.Lock()
        self._files, self._head, self._writer = [], None, None

    @property
    def pending(self) -> bool:
        """Whether anything waits on disk."""
        return bool(self._files)

    @property
    def bytes_waiting(self) -> int:
        """Bytes not yet sent."""
        with self._lock:
            return sum(file.size - file.position for file in self._files)

    def append(self, batch: Batch) -> bool:
        """Keep a batch; False when the disk does not take it. The oldest batches give way at the limit."""
        record = _record(batch)
        with self._lock:
            try:
                if len(record) > self._max_bytes:
                    return False
                while self._files and sum(f.size - f.position for f in self._files) + len(record) > self._max_bytes:
                    self._drop_oldest()
                writer = self._writer
                if writer is None or writer not in self._files or writer.size + len(record) > FILE_BYTES:
                    writer = self._writer = self._new_file()
                    self._files.append(writer)
                writer.append(record)
            except OSError as problem:
                self._failed(problem)
                return False
            return True

    def first(self) -> Optional[Batch]:
        """The oldest batch, which stays until `remove_first`; None when nothing readable is left."""
        with self._lock:
            if self._head is None:
                self._head = self._read_head()
            return self._head

    def remove_first(self) -> None:
        """The oldest batch has arrived."""
        with self._lock:
            if self._head is not None and self._files:
                self._head = None
                self._advance()

    def close(self) -> None:
        """Give the files free for the next process."""
        with self._lock:
            for file in self._files:
                file.forget()
            self._files, self._writer, self._head = [], None, None

    def _read_head(self) -> Optional[Batch]:
        while self._files:
            file = self._files[0]
            try:
                batch = file.read()
            except OSError as problem:
                self._failed(problem)
                batch = None
            if batch is not None:
                return batch
            self._files.pop(0).delete()
        return None

    def _advance(self) -> None:
        file = self._files[0]
        try:
            file.advance()
        except OSError as problem:
            self._failed(problem)
        if file.position >= file.size:
            self._files.pop(0).delete()

    def _drop_oldest(self) -> None:
        self._head = None
        head = self._read_head()
        if head is None:
            return
        self._on_drop(len(head.raws))
        warn_limited("spool", "the spool is full; its oldest messages are dropped")
        self._advance()

    def _new_file(self) -> _File:
        while True:
            self._number += 1
            path = os.path.join(self._folder, f"mona-{self._owner}-{os.getpid()}-{self._number:06d}.spool")
            try:
                return _File.create(path)
            except FileExistsError:
                continue

    def _failed(self, problem: OSError) -> None:
        warn_limited("spool", "the spool does not work: %s", problem.strerror or type(problem).__name__)


class _File:
    """One file: records from `position` to `size` wait. `next_position` is the end of the record read last."""

    def __init__(self, path: str, handle: BinaryIO, position: int, size: int) -> None:
        self.path, self.position, self.size = path, position, size
        self.next_position = position
        self._handle = handle

    @classmethod
    def create(cls, path: str) -> _File:
        handle = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "w+b", buffering=0)
        _try_lock(handle)
        return cls(path, handle, 0, 0)

    @classmethod
    def adopt(cls, path: str) -> Optional[_File]:
        """The file of a process that has ended; None when it is alive, or when the file cannot be opened."""
        try:
            handle = open(path, "r+b", buffering=0)  # noqa: SIM115 - kept open; pathlib costs import time
        except OSError:
            return None
        if not _try_lock(handle) or not os.path.exists(path):
            handle.close()
            return None
        try:
            with open(f"{path}.sent", "rb") as sent:
                position = int(sent.read() or b"0")
        except (OSError, ValueError):
            position = 0
        return cls(path, handle, position, os.fstat(handle.fileno()).st_size)

    def append(self, record: bytes) -> None:
        self._handle.seek(self.size)
        try:
            written = self._handle.write(record)
            if written != len(record):
                raise OSError(28, "No space left on device")
            os.fsync(self._handle.fileno())
        except OSError:
            # No half record in the middle of the file: later ones would be unreadable.
            self._handle.truncate(self.size)
            raise
        self.size += len(record)

    def read(self) -> Optional[Batch]:
        """The record at `position`; None at the end and at anything damaged."""
        self._handle.seek(self.position)
        header = self._handle.read(HEADER.size)
        if len(header) < HEADER.size:
            return None
        magic, length, checksum = HEADER.unpack(header)
        content = self._handle.read(length) if magic == MAGIC else b""
        if len(content) != length or zlib.crc32(content) != checksum or magic != MAGIC:
            warn_limited("spool", "a damaged record ends a spool file; what came before it was kept")
            return None
        self.next_position = self.position + HEADER.size + length
        return _batch(content)

    def advance(self) -> None:
        self.position = self.next_position
        with open(f"{self.path}.sent", "wb") as sent:
            sent.write(str(self.position).encode())

    def delete(self) -> None:
        self.forget()
        for path in (self.path, f"{self.path}.sent"):
            try:
                os.remove(path)
            except OSError:
                continue

    def forget(self) -> None:
        self._handle.close()


def _record(batch: Batch) -> bytes:
    sizes = [len(raw) for raw in batch.raws]
    head = json.dumps({"key": batch.key, "tail": batch.tail.decode("utf-8"), "sizes": sizes}).encode()
    content = b"".join((struct.pack(">I", len(head)), head, *batch.raws))
    return HEADER.pack(MAGIC, len(content), zlib.crc32(content)) + content


def _batch(content: bytes) -> Batch:
    (length,) = struct.unpack_from(">I", content)
    head: dict[str, Any] = json.loads(content[4 : 4 + length])
    raws, at = [], 4 + length
    for size in head["sizes"]:
        raws.append(content[at : at + size])
        at += size
    return Batch(raws, head["tail"].encode("utf-8"), head["key"])


def _age(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0


def _try_lock(handle: BinaryIO) -> bool:
    """An exclusive lock that ends with the process; False when another one holds it."""
    try:
        import fcntl
    except ImportError:
        return _try_lock_windows(handle)
    try:
        fcntl.flock(handle.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _try_lock_windows(handle: BinaryIO) -> bool:
    import msvcrt  # type: ignore[import-not-found,unused-ignore]

    locking: Any = msvcrt
    try:
        handle.seek(0x7FFFFFFF)
        locking.locking(handle.fileno(), locking.LK_NBLCK, 1)
    except OSError:
        return False
    finally:
        handle.seek(0)
    return True
