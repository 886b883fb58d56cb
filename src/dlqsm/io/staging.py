"""Results of several files that come to their folder together: written beside it, then moved, whatever stops that.

Until all files are written nothing in the folder changes. From then on they are moved; where that is stopped, the next
command that takes the folder moves the rest before it does anything else.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from dlqsm.core.checks import InputError
from dlqsm.io.refusals import NEW, unwritable

READY: Final = ".dlqsm-ready"
"""Whole files that are being moved to the folder above."""
_LIST: Final = ".files.json"


@contextmanager
def staged(
    folder: Path, *, overwrite: bool, last: Sequence[str], replaces: Sequence[str] = (), of: str = ""
) -> Iterator[Path]:
    """Give an empty folder to write to, and move its files to ``folder`` once the block ends well.

    Parameters
    ----------
    folder
        Where they belong; the caller holds its lock.
    overwrite
        Whether files that are there may be replaced.
    last
        Names of files that tell that the results are complete: removed first and moved last.
    replaces
        Names of files of earlier results that go, where there is no new one; relative to ``folder``.
    of
        Name of the first of the files, where several commands may write to the folder at once.

    Raises
    ------
    InputError
        If a file of the same name is there and ``overwrite`` is off: nothing is moved then.
    """
    new = folder / f"{of}{NEW}"
    shutil.rmtree(new, ignore_errors=True)
    try:
        new.mkdir()
        yield new
        if not overwrite:
            _require_no_other(folder, new)
        _set_ready(new, folder / f"{of}{READY}", last, replaces)
    except OSError as error:
        if error.filename not in (None, str(new)):
            raise
        raise unwritable(folder, error) from None
    finally:
        shutil.rmtree(new, ignore_errors=True)
    finish(folder, of)


def finish(folder: Path, of: str = "") -> None:
    """Move files that are ready, those that a process that was stopped has left too; nothing where there are none."""
    ready = folder / f"{of}{READY}"
    if not ready.is_dir():
        return
    if not (ready / _LIST).is_file():  # it went last, when all else had been moved
        shutil.rmtree(ready)
        return
    told = json.loads((ready / _LIST).read_text(encoding="utf-8"))
    try:
        for name in told["last"]:
            if (ready / name).is_file():
                (folder / name).unlink(missing_ok=True)
        for name in told["removes"]:
            (folder / name).unlink(missing_ok=True)
        for name in told["files"]:
            if (ready / name).is_file():
                if not (folder / name).parent.is_dir():
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (ready / name).replace(folder / name)
    except OSError as error:
        raise unwritable(folder, error) from None
    (ready / _LIST).unlink()
    shutil.rmtree(ready)


def require_settled(folder: Path) -> None:
    """Raise `InputError` where results are half moved to a folder, so that old and new ones lie beside each other."""
    if (folder / READY).is_dir():
        raise InputError(
            f"{folder}: a dlqsm command is putting new results here, or was stopped while it did; wait for it, or give "
            "that command again, which completes them"
        )


def _require_no_other(folder: Path, new: Path) -> None:
    """Raise `InputError` where the folder holds a file that would be replaced: it may be anybody's."""
    for path in sorted(new.rglob("*")):
        target = folder / path.relative_to(new)
        if path.is_file() and target.exists():
            raise InputError(
                f"{target}: exists already, and a result of that name would replace it; give --overwrite for that, or "
                "another place"
            )


def _set_ready(new: Path, ready: Path, last: Sequence[str], replaces: Sequence[str]) -> None:
    files = sorted(str(path.relative_to(new)) for path in new.rglob("*") if path.is_file())
    ordered = [name for name in files if name not in last] + [name for name in last if name in files]
    content = {"files": ordered, "last": list(last), "removes": [name for name in replaces if name not in files]}
    try:
        (new / _LIST).write_text(json.dumps(content), encoding="utf-8")
    except OSError as error:
        raise unwritable(new.parent, error) from None
    new.replace(ready)
