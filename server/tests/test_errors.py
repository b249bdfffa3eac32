"""Errors of the file system as the people outside see them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from mona_server.errors import MonaError, Overloaded, Unavailable, file_errors


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, Overloaded),
        (errno.EDQUOT, Overloaded),
        (errno.EROFS, Unavailable),
        (errno.EIO, Unavailable),
        (errno.EACCES, Unavailable),
        (errno.EPERM, Unavailable),
    ],
)
def test_a_disk_that_takes_no_writes(number: int, error: type[MonaError]) -> None:
    """Full: come back later. Not writable: where, why, and that it needs somebody."""
    with pytest.raises(error) as caught, file_errors(Path("some/folder")):
        raise OSError(number, os.strerror(number), "/a/path")
    if error is Unavailable:
        assert str(caught.value).startswith(f"some/folder cannot be written ({os.strerror(number)})")
        assert "restart Mona" in caught.value.hint
    else:
        assert caught.value.message == "the disk is full"


def test_other_errors_pass(tmp_path: Path) -> None:
    """A file that is missing says nothing of the disk."""
    with pytest.raises(FileNotFoundError), file_errors(tmp_path):
        (tmp_path / "missing").read_bytes()
