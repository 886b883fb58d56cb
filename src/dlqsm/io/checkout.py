"""The commit of a checkout, by git. The build runs this file too, so it imports the standard library alone."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

RECORDED: Final = "commit.txt"
"""File beside the package's modules that the build writes; a checkout has none."""
_CHANGED: Final = "changed"
_LIMIT_S: Final = 10


@dataclass(frozen=True, slots=True)
class Commit:
    """A state of the source.

    Parameters
    ----------
    name
        Hash of the commit, 40 hexadecimal digits.
    changed
        Whether files of the package differ from it.
    """

    name: str
    changed: bool

    @property
    def short(self) -> str:
        """The first twelve digits."""
        return self.name[:12]

    def as_text(self) -> str:
        """The line that `read_commit` reads."""
        return f"{self.name} {_CHANGED}\n" if self.changed else f"{self.name}\n"


def read_commit(text: str) -> Commit | None:
    """The commit that a recorded line tells; None where it tells none."""
    found = re.fullmatch(rf"([0-9a-f]{{40}})( {_CHANGED})?\s*", text)
    return None if found is None else Commit(found[1], found[2] is not None)


def commit_of_checkout(root: Path) -> Commit | None:
    """The commit that a checkout of dlqsm is at; None where the folder is none, or git cannot tell."""
    if not (root / ".git").exists():
        return None
    name, changes = _git(root, "rev-parse", "HEAD"), _git(root, "status", "--porcelain", "--", "src", "pyproject.toml")
    return None if name is None or changes is None else read_commit(f"{name} {_CHANGED}" if changes else name)


def _git(root: Path, *words: str) -> str | None:
    """What git says; None where it fails, as for a checkout of another user."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "--no-optional-locks", *words],
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
