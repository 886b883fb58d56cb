"""One process at a time for a stage, and how often a stage was begun by processes that did not live to end it."""

from __future__ import annotations

import errno
import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final

from dlqsm.io.locks import NO_LOCKS, is_same_file
from dlqsm.io.refusals import unwritable

MARKER: Final = ".running"
LOST: Final = (
    "its process was killed each time that it was tried; too little memory is the usual cause (or, on a cluster, the "
    "job's wall time): use fewer --workers or larger jobs, and run again to go on where it stopped"
)
_PAUSE_S: Final = 0.5
_HELD: Final = (errno.EACCES, errno.EAGAIN)


class LostProcessError(Exception):
    """A stage was begun as often as it may be, and no process lived to end it; its text is `LOST`."""


@contextmanager
def attempt(marker: Path, run: str, retries: int) -> Iterator[None]:
    """Mark a stage as being run, for as long as the block lasts.

    The marker is a file with a lock of the operating system, which ends with its process whatever ends that: another
    process that comes to the same stage waits. Such a process may be left of a run that was interrupted, or its
    scheduler may have lost sight of it. A marker that is found without a lock is of a process that was killed.

    Parameters
    ----------
    marker
        The file; it is gone when the block ends, well or with an error.
    run
        Tries of this run are counted; those of other runs are not.
    retries
        Tries beside the first.

    Raises
    ------
    LostProcessError
        If that many tries were lost already.
    """
    file = _locked(marker)
    try:
        n_lost = _tries(file, run)
        if n_lost > retries:
            raise LostProcessError(LOST)
        try:
            file.seek(0)
            file.truncate()
            json.dump({"run": run, "tries": n_lost + 1}, file)
            file.flush()
        except OSError as error:
            raise unwritable(marker, error) from None
        yield
    finally:
        with suppress(OSError):
            marker.unlink(missing_ok=True)
        with suppress(OSError):  # what could not be written is tried once more
            file.close()


def _locked(marker: Path) -> IO[str]:
    """The marker, opened, with its lock held; where the file system has no locks it is opened alone."""
    marker.parent.mkdir(parents=True, exist_ok=True)
    while True:
        file = marker.open("a+", encoding="utf-8")
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in NO_LOCKS:
                return file
            file.close()
            if error.errno not in _HELD:
                raise
            time.sleep(_PAUSE_S)
            continue
        if is_same_file(file, marker):
            return file
        file.close()  # who held the lock has removed the marker since


def n_tries(marker: Path, run: str) -> int:
    """How often a stage was begun in a run, by a marker that a killed process has left."""
    try:
        with marker.open(encoding="utf-8") as file:
            return _tries(file, run)
    except FileNotFoundError:
        return 0


def _tries(file: IO[str], run: str) -> int:
    """Tries of this run that the marker tells of."""
    file.seek(0)
    try:
        content: dict[str, Any] = json.load(file)
    except json.JSONDecodeError:
        return 0
    return int(content["tries"]) if run and content.get("run") == run else 0


def remove_markers(folder: Path) -> None:
    """Remove the markers of processes that are known to have ended, below a folder."""
    for marker in folder.rglob(f"*{MARKER}"):
        marker.unlink(missing_ok=True)
