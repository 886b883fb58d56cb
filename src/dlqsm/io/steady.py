"""Input that stays as it is while a command reads it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dlqsm.core.checks import InputError
from dlqsm.io.files import visible

Stamps = Mapping[Path, tuple[int, int, int] | None]


def stamps_of(*paths: Path | None) -> Stamps:
    """Size, time and number of files, or of the files of folders, before they are read; None is passed over."""
    given = [path for path in paths if path is not None]
    files = [file for path in given for file in (visible(path.iterdir()) if path.is_dir() else [path])]
    return {file: _stamp(file) for file in files}


def require_unchanged(stamps: Stamps) -> None:
    """Raise `InputError` if one of the files was written anew: what was read of it would be a mix of two."""
    for path, stamp in stamps.items():
        if _stamp(path) != stamp:
            raise InputError(
                f"{path}: was changed while it was read, and nothing was made of it; give the same command again"
            )


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ino
