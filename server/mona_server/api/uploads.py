"""Files that come with a request: streamed to a spool folder in the data directory, then imported by a job.

The body is never held in memory and not read before its sender is known. What is spooled goes when its import ended;
what no import took goes after a week.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

from fastapi.concurrency import run_in_threadpool

from mona_server.api.body import IDLE_S, TooSlow
from mona_server.api.edge import Edge
from mona_server.api.identity.hashing import new_id
from mona_server.errors import BadRequest, Overloaded, TooLarge, file_errors

FOLDER = "uploads"
KEPT_MS = 7 * 86_400_000
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\x28\xb5\x2f\xfd")
"""Refused: a few bytes that become terabytes are no matter for a person who put the file there, but for a sender."""
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9._-]+")


async def spool(edge: Edge, pieces: AsyncIterator[bytes], file_name: str, *, announced: int | None) -> Path:
    """Write a body to the spool; the file's path from the data directory on.

    Raises TooLarge, TooSlow, BadRequest (nothing came, or a compressed file), Overloaded (the volume is nearly full) and
    Unavailable (it takes no writes); then nothing stays.
    """
    most = edge.settings.imports.max_upload_bytes
    if announced is not None and announced > most:
        raise _too_large(most)
    path = edge.settings.data_dir / FOLDER / new_id("up") / plain_name(file_name)
    try:
        with file_errors(Path(FOLDER)):
            await run_in_threadpool(path.parent.mkdir, parents=True)
            with path.open("xb") as file:
                if await _copy(pieces, file, most) == 0:
                    raise BadRequest("the file is empty")
    except BaseException:  # a client that left, too: nothing half may stay
        shutil.rmtree(path.parent, ignore_errors=True)
        raise
    return path.relative_to(edge.settings.data_dir)


def forget(path: Path) -> None:
    """Remove a spooled file with its folder."""
    shutil.rmtree(path.parent, ignore_errors=True)


def forget_old(data_dir: Path, *, now_ms: int) -> int:
    """Remove what no import took within a week; how many."""
    old = [path for path in (data_dir / FOLDER).glob("*") if path.stat().st_mtime * 1000 < now_ms - KEPT_MS]
    for path in old:
        shutil.rmtree(path, ignore_errors=True)
    return len(old)


def plain_name(file_name: str) -> str:
    """A name without folders, for one on disk.

    >>> plain_name("../../etc/Kredite 2024.csv.gz"), plain_name(".."), plain_name("ü")
    ('Kredite_2024.csv.gz', 'file', 'file')
    """
    last = re.split(r"[/\\\\]", file_name)[-1]
    return _NOT_PLAIN.sub("_", last).strip("._")[-100:] or "file"


async def _copy(pieces: AsyncIterator[bytes], file: BinaryIO, most: int) -> int:
    size = 0
    while True:
        try:
            async with asyncio.timeout(IDLE_S):
                piece = await anext(pieces, None)
        except TimeoutError:
            raise TooSlow("The file did not arrive in time") from None
        if piece is None:
            return size
        if size == 0 and piece.startswith(_COMPRESSED):
            raise BadRequest("compressed files are not taken here", hint="send it plain, or as Parquet")
        size += len(piece)
        if size > most:
            raise _too_large(most)
        await run_in_threadpool(_write, file, piece)


def _write(file: BinaryIO, piece: bytes) -> None:
    volume = shutil.disk_usage(Path(file.name).parent)
    # Twice what sending keeps free, so that an upload never stops it.
    if volume.free - len(piece) < min(512 * 2**20, volume.total // 25):
        raise Overloaded("the volume is nearly full", retry_after_s=60)
    file.write(piece)


def _too_large(most: int) -> TooLarge:
    return TooLarge(f"the file is larger than {most} bytes", hint="raise imports.max_upload_bytes, or split the file")
