"""What tests of a run look at: records, tables, and participants made by copying."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

Run = Callable[..., int]
THREADS = ("--threads", "1")
"""Bytes are compared between processes, and sums over one thread and two differ in the last digits."""


def copy_participant(top: Path, label: str, new: str) -> None:
    """Copy the folder of a participant to another label."""
    for path in (top / label).rglob("*"):
        if path.is_file():
            target = top / new / path.relative_to(top / label).parent / path.name.replace(label, new)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)


def records(out: Path) -> dict[str, tuple[str, int]]:
    """Key and time of writing of each record: what shows whether a stage has run again."""
    found = sorted((out / "logs" / "records").glob("sub-*/*_*.json"))
    return {str(p.relative_to(out)): (json.loads(p.read_text())["key"], p.stat().st_mtime_ns) for p in found}


def tables(out: Path) -> dict[str, bytes]:
    """Content of every table of the participants and the group."""
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*.tsv")) if "logs" not in p.parts}
