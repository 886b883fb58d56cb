"""The error for a place that cannot be written."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from dlqsm.core.checks import InputError
from dlqsm.io.disk_errors import disk_sentence

NEW: Final = ".dlqsm-new"
"""Folder of results that are being written, beside where they belong (`io.staging`)."""


def unwritable(path: Path, error: BaseException) -> InputError:
    """The error that tells that a file or folder cannot be written, and what to do; by its name in the end."""
    shown = Path(*(part for part in path.parts if not part.endswith(NEW)))
    return InputError(f"{shown}: cannot be written {disk_sentence(error)}")
