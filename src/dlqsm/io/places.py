"""Where files lie, told without the folders of a machine: derivatives are passed on, names of people's folders not."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_SHARED: Final = 3
"""Parts of a path, the root among them, that two files must have in common to be told by the way between them.

With fewer the way leads through folders such as /home, and names whose they are.
"""
_ABSOLUTE: Final = re.compile(r"(?<![\w:/.~>])/(?:[^\s/:;,'\"()<>|]+/)+(?=[^\s/])")


def told_place(path: Path, folder: Path) -> str:
    """The way from a folder to a path; the path's name alone where the way leads through folders of the machine."""
    path, folder = path.resolve(), folder.resolve()
    try:
        shared = Path(os.path.commonpath([path, folder]))
    except ValueError:  # two drives
        return path.name
    return Path(os.path.relpath(path, folder)).as_posix() if len(shared.parts) >= _SHARED else path.name


def without_places(text: str, names: Mapping[Path, str]) -> str:
    """A text in which known folders have short names, and of other absolute paths only the last part stands.

    Parameters
    ----------
    text
        What is to be kept, such as a traceback.
    names
        Folder to what it is called.
    """
    spelled = {str(spelling): name for folder, name in names.items() for spelling in (folder, folder.resolve())}
    for folder in sorted(spelled, key=len, reverse=True):
        text = re.sub(rf"{re.escape(folder)}(?![\w.-])", spelled[folder], text) if len(folder) > 1 else text
    return _ABSOLUTE.sub(".../", text)
