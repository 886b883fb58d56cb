"""Whether a path is a file that can be read, in the words that all readers share."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from dlqsm.core.checks import InputError

LARGEST_DEFLATION: Final = 1032
"""How many bytes one byte of a gzip or zlib stream can stand for at most: 258 bytes for two bits."""
_LONGEST_SHOWN: Final = 60


def require_file(path: Path, expected: str = "") -> None:
    """Raise `InputError` unless ``path`` is a file, or leads to one; ``expected`` says of what kind."""
    if path.is_file():
        return
    wanted = expected or "a file"
    if path.is_dir():
        raise InputError(f"{path}: is a folder; expected {wanted}")
    if path.is_symlink():
        raise InputError(f"{path}: is a symbolic link that leads to no file; expected {wanted}")
    if path.exists():
        raise InputError(f"{path}: is a device or a pipe; expected {wanted}")
    raise InputError(f"{path}: there is no such file" + (f"; expected {expected}" if expected else ""))


def visible(paths: Iterable[Path]) -> list[Path]:
    """Paths in their order but those whose name begins with a dot: what a system keeps beside files, or half a file."""
    return sorted(path for path in paths if not path.name.startswith("."))


def shown(value: object) -> str:
    """A value that was read, as a sentence shows it: short, on one line."""
    text = " ".join(repr(value).split())
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def number_of(path: Path, key: str, value: object) -> float:
    """A number that a file gives for ``key``; text, truth values and what no float holds raise `InputError`."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            pass
    raise InputError(f"{path}: its {key} is {shown(value)}; expected a number")
