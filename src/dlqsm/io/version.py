"""Which dlqsm this is: the version, and the commit where it is known. Nothing heavy is imported."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import dlqsm
from dlqsm.io.checkout import RECORDED, Commit, commit_of_checkout, read_commit


@cache
def commit() -> Commit | None:
    """The commit that was recorded at the build, else that of the checkout which holds the package; None if unknown.

    The record goes first: an unpacked source archive may lie in a repository of somebody else.
    """
    package = Path(dlqsm.__file__).resolve().parent
    if (package / RECORDED).is_file():
        return read_commit((package / RECORDED).read_text(encoding="utf-8", errors="replace"))
    return commit_of_checkout(package.parent.parent) if package.parent.name == "src" else None


def full_version() -> str:
    """Version and commit as PEP 440 writes them, ``0.1.0+g0123456789ab``; the version alone where it is unknown."""
    known = commit()
    if known is None:
        return dlqsm.__version__
    return f"{dlqsm.__version__}+g{known.short}{'.changed' if known.changed else ''}"


def version_line() -> str:
    """Version and commit in words."""
    known = commit()
    if known is None:
        return f"dlqsm {dlqsm.__version__} (commit unknown)"
    return f"dlqsm {dlqsm.__version__} (commit {known.short}{', with changes' if known.changed else ''})"
