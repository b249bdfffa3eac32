"""A small PNG of an insight's time chart, for mail: programs that read mail show neither SVG nor scripts.

Only lines and one shaded window, so it is drawn here: no library of this server writes pictures, and those
that do would add tens of megabytes for it.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from mona_server.notify.notice import Series

WIDTH, HEIGHT = 1200, 300
"""Twice the shown size, for sharp screens."""
_GROUND, _SHADE, _GREY, _LINE, _ANOMALY = (
    np.array(c, dtype=np.float64)
    for c in ((255, 255, 255), (253, 236, 228), (153, 153, 153), (28, 29, 31), (196, 50, 10))
)
_MARGIN = 16


def draw(series: Series) -> bytes:
    """PNG bytes, 1200 x 300: baseline grey, segment dark, the judged window shaded, its last point marked."""
    pixels = np.tile(_GROUND, (HEIGHT, WIDTH, 1))
    values = np.array([np.nan if v is None else v for v in series.values], dtype=np.float64)
    baseline = np.array([np.nan if v is None else v for v in series.baseline], dtype=np.float64)
    known = np.concatenate([values, baseline])
    known = known[np.isfinite(known)]
    if len(values) and len(known):
        low, high = known.min(), known.max()
        steps = max(len(values) - 1, 1)

        def place(line: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            x = _MARGIN + np.arange(len(line)) * (WIDTH - 2 * _MARGIN) / steps
            y = HEIGHT - _MARGIN - (line - low) / ((high - low) or 1) * (HEIGHT - 2 * _MARGIN)
            return x, y

        left = int(max(0, _MARGIN + (series.target_from - 0.5) * (WIDTH - 2 * _MARGIN) / steps))
        pixels[:, left:] = _SHADE
        for line, colour, thick in ((baseline, _GREY, 1.5), (values, _LINE, 2.5)):
            _stroke(pixels, *place(line), colour, thick)
        x, y = place(values)
        if np.isfinite(y[-1]):
            _stroke(pixels, x[-1:].repeat(2), y[-1:].repeat(2), _ANOMALY, 7)
    return _png(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


def _stroke(
    pixels: NDArray[np.float64],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    colour: NDArray[np.float64],
    radius: float,
) -> None:
    """A line through the points, smooth at its edges: each pixel is covered by its distance to the segment."""
    for i in range(len(x) - 1):
        if not (np.isfinite(y[i]) and np.isfinite(y[i + 1])):
            continue
        reach = radius + 1
        left, right = int(max(x[i] - reach, 0)), int(min(x[i + 1] + reach, WIDTH - 1)) + 1
        top, bottom = sorted((y[i], y[i + 1]))
        top, bottom = int(max(top - reach, 0)), int(min(bottom + reach, HEIGHT - 1)) + 1
        px, py = np.meshgrid(np.arange(left, right), np.arange(top, bottom))
        dx, dy = x[i + 1] - x[i], y[i + 1] - y[i]
        along = np.clip(((px - x[i]) * dx + (py - y[i]) * dy) / ((dx * dx + dy * dy) or 1), 0, 1)
        far = np.hypot(px - x[i] - along * dx, py - y[i] - along * dy)
        cover = np.clip(radius + 0.5 - far, 0, 1)[..., None]
        area = pixels[top:bottom, left:right]
        area += (colour - area) * cover


def _png(pixels: NDArray[np.uint8]) -> bytes:
    height, width, _ = pixels.shape
    rows = np.hstack([np.zeros((height, 1), np.uint8), pixels.reshape(height, width * 3)])

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(rows.tobytes(), 9))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")
