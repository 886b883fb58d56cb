"""What makes a run resumable: a record for each finished stage, with a key that tells what it was made of.

The key of a stage is a hash over the content of its input files, its parameters, the code that runs, and the keys of
the stages before it. It is known before anything is computed: a stage whose record carries its key, and whose outputs
are still there, need not run, even where the files between the stages are gone.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import dlqsm
from dlqsm.core.checks import InputError
from dlqsm.io.derivatives import uri
from dlqsm.io.outputs import read_json, write_json
from dlqsm.io.source_code import code_hash

_ARMS: Final = ("cohort/arm_stages.py", "cohort/chain.py", "cohort/chain_input.py")
CODE: Final = {
    "recon": ("core", "io", "reconstruction", *_ARMS),
    "qsm": (
        "core",
        "io",
        "qsm",
        "pipeline/susceptibility.py",
        "pipeline/phase_trust.py",
        "pipeline/map_figures.py",
        *_ARMS,
    ),
    "nuclei": (
        "core",
        "io",
        "acquisition",
        "nuclei",
        "agreement",
        "pipeline",
        "cohort/accounts.py",
        "cohort/family_alarms.py",
        "cohort/family_files.py",
        "cohort/nuclei_stage.py",
        "cohort/nuclei_sign.py",
        "cohort/similarity_stage.py",
    ),
    "page": ("",),
}
"""Parts of the package whose code a stage runs; a change in them is a reason to run it again.

What schedules the stages is not among them: it moves results about, and makes none.
"""
_NUMERIC: Final = ("torch", "numpy", "scipy", "numba")
PACKAGES: Final = {"recon": _NUMERIC, "qsm": _NUMERIC, "nuclei": (*_NUMERIC, "antspyx"), "page": ()}
"""Other packages whose version is part of a stage's key: they compute what it writes."""
_BLOCK: Final = 2**22
_WORK: Final = "work:"
"""Stands for the folder of files between the stages, wherever it lies."""
_JUST_NOW_NS: Final = 10**8


@dataclass(frozen=True, slots=True)
class Record:
    """A finished stage.

    Parameters
    ----------
    key
        Hash of all that it was made of.
    outputs
        Files it wrote, relative to the folder of the run, with their sizes [bytes].
    seconds
        How long it took.
    about
        What else is worth keeping, plain values.
    """

    key: str
    outputs: Mapping[str, int]
    seconds: float
    about: Mapping[str, Any]


def key_of(stage: str, content: Mapping[str, Any]) -> str:
    """Hash of what a stage is made of, with the code that runs it."""
    versions = {name: metadata.version(name) for name in PACKAGES[stage]}
    whole = {"stage": stage, "code": code_hash(CODE[stage]), "packages": versions, **content}
    return content_hash(whole)


def content_hash(content: Mapping[str, Any]) -> str:
    """Hash of plain values."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def code_state() -> str:
    """Short name of the code on which values depend, for tables that many runs make together."""
    parts = sorted({part for stage, parts in CODE.items() if stage != "page" for part in parts})
    return f"{dlqsm.__version__}+{code_hash(tuple(parts))[:12]}"


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


class Fingerprints:
    """Content hashes of input files, kept in a file so that large ones are read once.

    A file is hashed again where its size or one of its times has changed; a time later or earlier than now is as good.

    Parameters
    ----------
    store
        Where they are kept.
    roots
        Derivatives and dataset: files in them are kept by their BIDS URIs, others by name and a hash of their place, so
        that no folder of the machine is told. Without them whole paths are kept.
    """

    def __init__(self, store: Path, roots: tuple[Path, Path] | None = None) -> None:
        self._store, self._roots = store, roots
        self._known = self._stored()

    def of(self, path: Path) -> str:
        """Hash of a file's content; raises `InputError` where it cannot be read."""
        return str(self._entry(path)["sha256"])

    def remark(self, path: Path, name: str) -> Any:
        """What was noted of a file whose content has not changed since; None where nothing was."""
        return self._entry(path).get(name)

    def note(self, path: Path, name: str, value: Any) -> None:
        """Keep something known of a file's content."""
        self._entry(path)[name] = value
        self._keep(path)

    def _entry(self, path: Path) -> dict[str, Any]:
        try:
            status = path.stat()
            # The time of modification can be set, and a clock set back: the time of change is the system's own.
            stamp = {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "ctime_ns": status.st_ctime_ns}
            known = self._known.get(self._name(path))
            entry: dict[str, Any] = known if isinstance(known, dict) else {}
            if {k: entry.get(k) for k in stamp} != stamp:
                if abs(time.time_ns() - status.st_ctime_ns) < _JUST_NOW_NS:
                    stamp["ctime_ns"] = 0  # what is written in the same tick of the clock would bear the same time
                digest = file_hash(path)
                entry = {**(entry if entry.get("sha256") == digest else {}), **stamp, "sha256": digest}
                self._known[self._name(path)] = entry
                self._keep(path)
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from None
        return entry

    def _keep(self, path: Path) -> None:
        """Write what is known of a file, beside what other processes have written since."""
        name = self._name(path)
        self._known = {**self._known, **self._stored(), name: self._known[name]}
        write_json(self._store, self._known)

    def _stored(self) -> dict[str, Any]:
        """What the file holds; that of an earlier version has whole paths."""
        return {self._name(Path(k)) if Path(k).is_absolute() else k: v for k, v in _read_or_empty(self._store).items()}

    def _name(self, path: Path) -> str:
        if self._roots is None:
            return str(path)
        address = uri(path, *self._roots)
        return address if ":" in address else f"{address}#{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"


def read_record(path: Path) -> Record | None:
    """Read a record; None where there is none or it is not whole."""
    content = _read_or_empty(path)
    try:
        return Record(**content)
    except TypeError:
        return None


def write_record(
    path: Path, key: str, root: Path, outputs: Sequence[Path], seconds: float, *, work: Path | None = None, **about: Any
) -> None:
    """Write the record of a finished stage, the last thing that it does; ``work`` as for `is_current`."""
    sizes = {_relative(output, root, work): output.stat().st_size for output in outputs}
    content = {"key": key, "outputs": sizes, "seconds": seconds, "about": about}
    write_json(path, content)


def is_current(record: Record | None, key: str, root: Path, work: Path | None = None) -> bool:
    """Whether a stage need not run: its record has the key, and its outputs are there in their sizes.

    Parameters
    ----------
    record, key
        What is kept of the stage, and what it would be made of now.
    root, work
        Folders that outputs are relative to: derivatives, and files between the stages.
    """
    if record is None or record.key != key:
        return False
    places = [(_place(name, root, work), size) for name, size in record.outputs.items()]
    return all(place.is_file() and place.stat().st_size == size for place, size in places)


def _relative(path: Path, root: Path, work: Path | None) -> str:
    if work is not None and path.is_relative_to(work):  # first: it may lie in the derivatives, and elsewhere next time
        return f"{_WORK}{path.relative_to(work)}"
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def _place(name: str, root: Path, work: Path | None) -> Path:
    return root / name if work is None or not name.startswith(_WORK) else work / name.removeprefix(_WORK)


def _read_or_empty(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is none, or where a disk lost a part of it."""
    try:
        return dict(read_json(path))
    except InputError:
        return {}
