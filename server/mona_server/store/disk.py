"""How much of the disk the data directory takes, and how much it may."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from mona_server.errors import BadRequest

_UNITS = {
    "": 1,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}


def bytes_of(path: Path) -> int:
    """Bytes that a file, or all files of a folder, take on their volume; 0 where it does not exist."""
    total = 0
    files = path.rglob("*") if path.is_dir() else [path]
    for file in files:
        try:
            total += file.stat().st_blocks * 512
        except FileNotFoundError:
            continue
    return total


def budget_bytes(text: str, data_dir: Path) -> int:
    """``80%`` of the volume, or bytes such as ``50GB``. Raises BadRequest.

    >>> budget_bytes("1.5GB", Path("."))
    1500000000
    """
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(%|[KMGT]?i?B|)\s*", text, re.IGNORECASE)
    if match is None:
        raise BadRequest(f"storage.disk_budget: {text!r} is no size", hint="for example 80% or 50GB")
    number, unit = float(match[1]), match[2].upper()
    if unit == "%":
        return round(shutil.disk_usage(data_dir).total * number / 100)
    return round(number * _UNITS[unit])
