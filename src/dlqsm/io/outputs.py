"""Output that is whole or absent: files renamed when complete, folders locked while a command writes them."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from dlqsm.core.checks import InputError
from dlqsm.io.disk_errors import REASONS, disk_error_number, disk_sentence
from dlqsm.io.files import require_file
from dlqsm.io.locks import held
from dlqsm.io.refusals import unwritable
from dlqsm.io.staging import READY, finish, staged

LOCK_NAME: Final = ".dlqsm.lock"
PARTIAL: Final = ".partial-"


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary name beside ``path`` to write to, and rename it to ``path`` once the block ends well.

    The temporary name keeps the suffixes, which writers use to choose a format. Within another such block, for its
    temporary name, nothing is left to do: what goes wrong is told of the name that the file will have.

    Raises
    ------
    InputError
        If the disk refuses the file; what was there before stays, and folders made for it go.
    """
    if path.name.startswith(PARTIAL):
        yield path
        return
    partial = path.with_name(f"{PARTIAL}{socket.gethostname()}-{os.getpid()}-{path.name}")
    made = _missing(path.parent)
    is_whole = False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(path)
        is_whole = True
    except (OSError, RuntimeError) as error:
        if not _is_about(error, partial):
            raise
        raise unwritable(path, error) from None
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        if not is_whole:
            _remove_empty(made)


def _is_about(error: OSError | RuntimeError, partial: Path) -> bool:
    """Whether an error is the disk's with the file being written, or a folder of it, and not with one being read."""
    if disk_error_number(error) not in REASONS:
        return False
    named = error.filename if isinstance(error, OSError) else None
    return named is None or isinstance(named, int) or Path(os.fsdecode(named)) in (partial, *partial.parents)


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
def output_folder(path: Path, *, overwrite: bool, produces: Sequence[str]) -> Iterator[Path]:
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
    if not (path / READY).is_dir():
        _require_free(path, produces, overwrite=overwrite)
    made = _missing(path)
    try:
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{path}: the output folder cannot be made {disk_sentence(error)}") from None
        with held(path / LOCK_NAME, path):
            finish(path)
            _require_free(path, produces, overwrite=overwrite)  # another process may have ended since
            _remove_lost(path, "*")
            yield path
    finally:
        _remove_empty(made)


@contextmanager
def whole_folder(
    path: Path, *, overwrite: bool, produces: Sequence[str], replaces: Sequence[str] = ()
) -> Iterator[Path]:
    """As `output_folder`, but give an empty folder, whose files come to ``path`` together once the block ends well.

    Parameters
    ----------
    path, overwrite, produces
        As for `output_folder`; files named in ``produces`` come last, the first of them last of all.
    replaces
        Further files of earlier results, which go where the new results have none of that name.
    """
    with (
        output_folder(path, overwrite=overwrite, produces=produces) as folder,
        staged(
            folder, overwrite=overwrite, last=tuple(reversed(produces)), replaces=replaces if overwrite else ()
        ) as new,
    ):
        yield new


@contextmanager
def output_files(first: Path, *others: Path, overwrite: bool) -> Iterator[None]:
    """Lock the files a command writes where it has no folder of its own, by the first of them.

    Raises
    ------
    InputError
        If another live process writes them, or one exists and ``overwrite`` is off.
    """
    for target in (first, *others):
        require_named(target)
    if not _ready(first).is_dir():
        require_free(first, *others, overwrite=overwrite)
    made = _missing(first.parent)
    try:
        try:
            first.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(first, error) from None
        with held(first.with_name(f".{first.name}{LOCK_NAME}"), first):
            finish(first.parent, _key(first))
            require_free(first, *others, overwrite=overwrite)
            for target in (first, *others):
                _remove_lost(target.parent, f"-{target.name}")
            yield
    finally:
        _remove_empty(made)


@contextmanager
def whole_files(first: Path, *others: Path, overwrite: bool, replaces: Sequence[str] = ()) -> Iterator[Path]:
    """As `output_files`, of one folder; give another folder to write to, whose files come there together at the end.

    Files of earlier results that are named in ``replaces`` go, where there is no new one and ``overwrite`` is on.
    """
    with (
        output_files(first, *others, overwrite=overwrite),
        staged(
            first.parent,
            overwrite=overwrite,
            last=(first.name,),
            replaces=replaces if overwrite else (),
            of=_key(first),
        ) as new,
    ):
        yield new / first.name


def _key(first: Path) -> str:
    return f".{first.name}"


def _ready(first: Path) -> Path:
    return first.with_name(f"{_key(first)}{READY}")


def require_named(target: Path) -> None:
    """Raise `InputError` if a path is no place of a file, as ``.`` or ``..``."""
    if target.name in ("", ".."):
        raise InputError(f"{target}: expected the name of a file for the output; this is a folder")


def require_free(*targets: Path, overwrite: bool) -> None:
    """Raise `InputError` if an output exists and may not be replaced."""
    for target in targets:
        if target.exists() and not overwrite:
            raise InputError(f"{target}: exists already; give --overwrite to replace it")


def remove_partial_files(folder: Path) -> None:
    """Remove what a killed process left half written below a folder; to be called by who holds its lock."""
    for place, folders, _ in os.walk(folder):
        _remove_lost(Path(place), "*")
        folders[:] = [name for name in folders if not (Path(place) / name / LOCK_NAME).exists()]


def _remove_lost(folder: Path, ending: str) -> None:
    """Remove half-written files in a folder that is locked; of all names only where no file has a lock of its own."""
    if ending == "*" and any(folder.glob(f".*{LOCK_NAME}")):
        return
    for partial in folder.glob(f"{PARTIAL}*"):
        if ending == "*" or partial.name.endswith(ending):
            with suppress(OSError):
                partial.unlink(missing_ok=True)


def _require_free(path: Path, produces: Sequence[str], *, overwrite: bool) -> None:
    present = [name for name in produces if (path / name).exists()]
    if present and not overwrite:
        raise InputError(f"{path}: already holds {present[0]}; give --overwrite to replace it, or another folder")


def _missing(path: Path) -> list[Path]:
    """A folder and its parents as far as they do not exist, deepest first."""
    return [folder for folder in (path, *path.parents) if not folder.exists()]


def _remove_empty(folders: list[Path]) -> None:
    """Remove folders that were made for nothing; another process may be using or removing them."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):
        return value.item()
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
