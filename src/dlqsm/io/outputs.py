"""Output that is whole or absent: files renamed when complete, folders locked while a command writes them."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dlqsm.core.checks import InputError
from dlqsm.io.files import require_file

LOCK_NAME = ".dlqsm.lock"
PARTIAL = ".partial-"


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary name beside ``path`` to write to, and rename it to ``path`` once the block ends well.

    The temporary name keeps the suffixes, which writers use to choose a format.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{PARTIAL}{socket.gethostname()}-{os.getpid()}-{path.name}")
    try:
        yield partial
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, content: object) -> None:
    """Write a JSON file, whole or not at all; NaN is refused since JSON has none."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False, default=_plain) + "\n")


def read_json(path: Path) -> dict[str, object]:
    """Read a JSON object, or raise `InputError` with the place of the mistake."""
    require_file(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    # Beside its own error the parser lets those of too long numbers and too deep nesting through.
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected JSON, but it cannot be read ({error})") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a JSON object; got {type(content).__name__}")
    return content


@contextmanager
def output_folder(path: Path, *, overwrite: bool, produces: tuple[str, ...]) -> Iterator[Path]:
    """Make and lock the folder a command writes to, for as long as the block runs.

    Parameters
    ----------
    path
        The folder; made where absent.
    overwrite
        Whether files named in ``produces`` may be replaced.
    produces
        Names that mark the folder as holding results of this command.

    Raises
    ------
    InputError
        If a file is in the way, another live process holds the lock, or results exist and ``overwrite`` is off.
    """
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: expected a folder for the output; this is a file")
    present = [name for name in produces if (path / name).exists()]
    if present and not overwrite:
        raise InputError(f"{path}: already holds {present[0]}; give --overwrite to replace it, or another folder")
    made = _make(path)
    lock = path / LOCK_NAME
    _take(lock)
    try:
        yield path
    finally:
        lock.unlink(missing_ok=True)
        _remove_empty(made)


def remove_partial_files(folder: Path) -> None:
    """Remove what a killed process left half written below a folder; to be called by who holds its lock."""
    for partial in folder.rglob(f"{PARTIAL}*"):
        partial.unlink(missing_ok=True)


def _make(path: Path) -> list[Path]:
    """Make a folder with its parents; return those that were new, deepest first."""
    new = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: the output folder cannot be made ({error.strerror})") from None
    return new


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        if any(folder.iterdir()):
            return
        folder.rmdir()


def _take(lock: Path) -> None:
    owner = f"{socket.gethostname()} {os.getpid()}"
    for _ in range(2):
        try:
            with lock.open("x", encoding="utf-8") as file:
                file.write(owner)
            return
        except FileExistsError:
            held_by = lock.read_text(encoding="utf-8")
            if _is_alive(held_by):
                raise InputError(
                    f"{lock.parent}: another dlqsm process ({held_by}) is writing here; "
                    "wait for it, or choose another folder"
                ) from None
            lock.unlink(missing_ok=True)
        except OSError as error:
            raise InputError(f"{lock.parent}: cannot be written to ({error.strerror})") from None
    raise InputError(f"{lock.parent}: the lock changes hands too quickly; try again")


def _is_alive(owner: str) -> bool:
    """Whether the process that took a lock still runs; a lock of another machine counts as alive."""
    host, _, pid = owner.rpartition(" ")
    if host != socket.gethostname() or not pid.isdigit():
        return bool(host)
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):
        return value.item()
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
