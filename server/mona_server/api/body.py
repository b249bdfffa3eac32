"""Request bodies: read within the byte budget, decompressed within a ratio, never larger than the limits."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import zstandard
from starlette.types import Receive

from mona_server.api.work import ByteBudget
from mona_server.errors import BadRequest, MonaError, TooLarge
from mona_server.settings import Limits

IDLE_S = 20.0
"""A body of which nothing comes for so long is given up: it would hold its share of the budget."""
PEEK_S = 2.0
"""So long a refusal waits for the beginning of a body that it will not read."""
_PEEK_PIECES = 16
_PEEK_BYTES = 192 * 1024
"""A block of zstd has up to 128 KiB, and nothing comes out before all of it is there."""
_PIECE = 2**20


class UnsupportedEncoding(MonaError):
    """A Content-Encoding that is not known here."""

    status = 415


class TooSlow(MonaError):
    """The body did not come in time."""

    status = 408


class Gone(Exception):
    """The client closed the connection in the middle of its body; nobody waits for an answer."""


@asynccontextmanager
async def read_body(
    receive: Receive, headers: dict[bytes, bytes], limits: Limits, budget: ByteBudget
) -> AsyncIterator[bytes]:
    """The decompressed body; its bytes count against the budget until the block ends.

    Raises :class:`TooLarge`, :class:`UnsupportedEncoding`, :class:`BadRequest` (damaged compression),
    :class:`TooSlow`, ``Overloaded`` (no room in time) and :class:`Gone`.
    """
    encoding = headers.get(b"content-encoding", b"identity").strip().lower()
    if encoding not in {b"identity", b"", b"gzip", b"x-gzip", b"zstd"}:
        raise UnsupportedEncoding("Content-Encoding is not supported", hint="send gzip, zstd or no encoding")
    plain = encoding in {b"identity", b""}
    wire_limit = limits.max_body_bytes if plain else limits.max_compressed_bytes
    announced = _announced(headers)
    if announced is not None and announced > wire_limit:
        raise _too_large("body", limits)
    expected = wire_limit if announced is None else announced
    if not plain:
        # What it may become, so that decompressing never has to wait for more room while holding some.
        expected = min(expected * limits.max_expansion_ratio, limits.max_body_bytes)
    async with budget.reserve(expected, timeout_s=limits.max_wait_s) as reservation:
        raw = await _read(receive, wire_limit, limits)
        if not plain:
            small = len(raw) <= 4096
            work = (raw, encoding == b"zstd", limits)
            raw = _decompress(*work) if small else await asyncio.to_thread(_decompress, *work)
        reservation.shrink(len(raw))
        yield raw


async def first_character(receive: Receive, headers: dict[bytes, bytes]) -> bytes:
    """The first character of a body that is refused unread; empty when its beginning does not tell.

    Takes what has arrived, at most some pieces and 192 KiB, and decompresses no more than a few characters of it.
    """
    encoding = headers.get(b"content-encoding", b"").strip().lower()
    start = b""
    try:
        async with asyncio.timeout(PEEK_S):
            for _ in range(_PEEK_PIECES):
                message = await receive()
                start = (start + message.get("body", b""))[:_PEEK_BYTES]
                first = _beginning(start, encoding).lstrip()[:1]
                if first or not message.get("more_body", False) or len(start) == _PEEK_BYTES:
                    return first
    except (TimeoutError, zlib.error, zstandard.ZstdError):
        pass
    return b""


def _beginning(start: bytes, encoding: bytes) -> bytes:
    """At most 256 bytes of what a body decompresses to; fewer where its start is too short for more."""
    if encoding in {b"gzip", b"x-gzip"}:
        return zlib.decompressobj(wbits=zlib.MAX_WBITS | 16).decompress(start, 256)
    if encoding == b"zstd":
        # A smaller window than elsewhere: this memory is outside of the budget.
        return zstandard.ZstdDecompressor(max_window_size=2**23).stream_reader(start).read(256)
    return start[:256]


def _announced(headers: dict[bytes, bytes]) -> int | None:
    length = headers.get(b"content-length")
    return int(length) if length is not None and length.isdigit() else None


async def _read(receive: Receive, wire_limit: int, limits: Limits) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while True:
        try:
            async with asyncio.timeout(IDLE_S):
                message = await receive()
        except TimeoutError:
            raise TooSlow("The body did not arrive in time") from None
        if message["type"] == "http.disconnect":
            raise Gone
        piece = message.get("body", b"")
        size += len(piece)
        if size > wire_limit:
            raise _too_large("body", limits)
        pieces.append(piece)
        if not message.get("more_body", False):
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _decompress(raw: bytes, zstd: bool, limits: Limits) -> bytes:
    """Bounded by the ratio and the body limit before the memory is used, not after."""
    allowed = min(max(len(raw) * limits.max_expansion_ratio, 4096), limits.max_body_bytes)
    try:
        return _zstd(raw, allowed, limits) if zstd else _gzip(raw, allowed, limits)
    except (zlib.error, zstandard.ZstdError, EOFError):
        raise BadRequest("The body does not decompress as its Content-Encoding says") from None


def _gzip(raw: bytes, allowed: int, limits: Limits) -> bytes:
    out = bytearray()
    rest = raw
    while rest:
        machine = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        out += machine.decompress(rest, allowed - len(out) + 1)
        if len(out) > allowed:
            raise _too_large("decompressed body", limits)
        if not machine.eof:
            raise EOFError
        rest = machine.unused_data
    return bytes(out)


def _zstd(raw: bytes, allowed: int, limits: Limits) -> bytes:
    # The window is bounded as well: a frame header may ask for gigabytes.
    reader = zstandard.ZstdDecompressor(max_window_size=2**27).stream_reader(raw, read_across_frames=True)
    out = bytearray()
    while piece := reader.read(_PIECE):
        out += piece
        if len(out) > allowed:
            raise _too_large("decompressed body", limits)
    if not out and raw:
        raise EOFError
    return bytes(out)


def _too_large(what: str, limits: Limits) -> TooLarge:
    return TooLarge(
        f"The {what} is larger than {limits.max_body_bytes} bytes or expands more than {limits.max_expansion_ratio} times",
        hint="send smaller batches",
    )
