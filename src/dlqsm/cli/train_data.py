"""What ``dlqsm train`` learns from: raw files or folders of slabs that the user names, or virtual heads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from dlqsm.cli.console import Talk
from dlqsm.core.checks import InputError
from dlqsm.io.anatomy import load_anatomy
from dlqsm.io.coil_maps import read_coil_maps
from dlqsm.io.files import visible
from dlqsm.io.outputs import write_json
from dlqsm.io.raw import RawFile, read_raw
from dlqsm.pipeline.memory import TRAINING_HEAD, training_bytes
from dlqsm.pipeline.training_slabs import (
    SlabSettings,
    require_echo_times,
    write_measured_slabs,
    write_virtual_slabs,
)
from dlqsm.reconstruction.training.slabs import SUFFIX, open_slab, slab_paths

VALIDATION_HEADS: Final = 2
_FIRST_VALIDATION_HEAD: Final = 100_000
SLABS: Final = "slabs"
"""Folder of a training, below OUT, that holds what it learns from."""
_PREPARED: Final = "prepared.json"


@dataclass(frozen=True)
class DataSource:
    """What the user named.

    Parameters
    ----------
    virtual
        Number of virtual heads; 0 where data are given.
    data, validation
        Raw files and folders that hold them, or one folder of slabs.
    self_supervised
        Whether the data are undersampled.
    seed
        Of the virtual heads.
    processes
        Processes that make virtual heads.
    coil_maps
        File of measured sensitivities that some virtual heads are scanned with.
    """

    virtual: int = 0
    data: tuple[Path, ...] = ()
    validation: tuple[Path, ...] = ()
    self_supervised: bool = False
    seed: int = 0
    processes: int = 1
    coil_maps: Path | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        named = {
            "data": [str(p.resolve()) for p in self.data],
            "validation": [str(p.resolve()) for p in self.validation],
            "coil_maps": None if self.coil_maps is None else str(self.coil_maps.resolve()),
        }
        return {**vars(self), **named}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DataSource:
        """Undo `as_dict`."""
        named = {name: tuple(Path(text) for text in values[name]) for name in ("data", "validation")}
        maps = values.get("coil_maps")
        return cls(**(values | named | {"coil_maps": None if maps is None else Path(maps)}))


@dataclass(frozen=True)
class Folders:
    """Folders of slabs to learn from and to judge by; the second None where there is nothing to judge by."""

    train: Path
    validation: Path | None


def check_source(source: DataSource) -> None:
    """Raise `InputError` if what was named cannot be learned from; nothing is written."""
    if bool(source.virtual) == bool(source.data):
        raise InputError("give either --data with raw files or a folder of slabs, or --virtual with a number of heads")
    if source.virtual and (source.self_supervised or source.validation):
        raise InputError(
            "--virtual makes fully sampled heads and keeps some to judge by; drop --self-supervised and --validation"
        )
    if source.coil_maps is not None:
        if not source.virtual:
            raise InputError("--coil-maps are what virtual heads are scanned with; drop it, or give --virtual")
        read_coil_maps(source.coil_maps)
    for paths in (source.data, source.validation):
        if not paths:
            continue
        slabs = _slab_folder(paths)
        if slabs is None:
            for file in _raw_files(paths):
                _check_sampling(file.path, bool(file.header.sampling_mask.all()), source.self_supervised)
                require_echo_times(file.header, str(file.path))
        else:
            for path in slab_paths(slabs):
                _check_sampling(path, open_slab(path).fully_sampled, source.self_supervised)


def planned_bytes(source: DataSource, network: str) -> int:
    """Memory for a training and for the slabs that are made for it."""
    if source.virtual:
        heads = min(source.processes, source.virtual + VALIDATION_HEADS)
        _, ny, nz = TRAINING_HEAD.shape
        return training_bytes(network, ny * nz, len(TRAINING_HEAD.echo_times_s), None, n_heads=heads)
    slabs = _slab_folder(source.data)
    if slabs is not None:
        shapes = [open_slab(path).shape for path in slab_paths(slabs)]
        n_echoes, _, _, ny, nz = max(shapes, key=lambda shape: shape[0] * shape[3] * shape[4])
        return training_bytes(network, ny * nz, n_echoes, None)
    headers = [file.header for file in _raw_files(source.data)]
    largest = max(headers, key=lambda header: math.prod(header.grid.shape[1:]) * header.n_echoes)
    return training_bytes(network, math.prod(largest.grid.shape[1:]), largest.n_echoes, largest)


def prepare(source: DataSource, out: Path, talk: Talk, settings: SlabSettings) -> Folders:
    """Make the slabs that are not there yet, below ``out / slabs``; folders of slabs are used where they are."""
    if source.virtual:
        return _virtual(source, out / SLABS, talk, settings)
    train, validation = _slab_folder(source.data), _slab_folder(source.validation)
    if train is not None and (validation is not None or not source.validation):
        return Folders(train, validation)
    return _measured(source, out / SLABS, talk, settings)


def _virtual(source: DataSource, root: Path, talk: Talk, settings: SlabSettings) -> Folders:
    anatomy = load_anatomy()
    if source.coil_maps is not None:
        settings = replace(settings, coil_maps=read_coil_maps(source.coil_maps))
    folders = Folders(root / "train", root / "validation")
    groups = (
        (folders.validation, range(_FIRST_VALIDATION_HEAD, _FIRST_VALIDATION_HEAD + VALIDATION_HEADS)),
        (folders.train, range(source.virtual)),
    )
    for folder, numbers in groups:
        assert folder is not None
        made = write_virtual_slabs(anatomy, folder, source.seed, numbers, settings, source.processes)
        for n, number in enumerate(made, start=1):
            talk.say(f"  {folder.name} head {number} ({n} of {len(numbers)})")
    return folders


def _measured(source: DataSource, root: Path, talk: Talk, settings: SlabSettings) -> Folders:
    """Slabs of raw files; to judge by, where none are named for it, the last file, or the middle slab of a lone one."""
    folders = Folders(root / "train", root / "validation")
    assert folders.validation is not None
    if (root / _PREPARED).is_file():
        return _with_slabs(folders)
    files = _raw_files(source.data)
    judged = _raw_files(source.validation) if source.validation else files[-1:] if len(files) > 1 else []
    learned = files if source.validation or len(files) == 1 else files[:-1]
    for folder, some in ((folders.train, learned), (folders.validation, judged)):
        for number, file in enumerate(some):
            n = write_measured_slabs(folder, f"{number:03d}_{file.path.stem}", file, settings)
            talk.say(f"  {file.path.name}: {n} slabs to {'learn from' if folder is folders.train else 'judge by'}")
    made = slab_paths(folders.train)
    if not made:
        raise InputError(f"{files[0].path}: no slab of it holds enough signal to learn from")
    if not judged and len(made) > 1:
        folders.validation.mkdir(parents=True, exist_ok=True)
        made[len(made) // 2].replace(folders.validation / made[len(made) // 2].name)
    write_json(root / _PREPARED, {"train": len(slab_paths(folders.train))})
    return _with_slabs(folders)


def _with_slabs(folders: Folders) -> Folders:
    """The folders, without that to judge by where it is empty."""
    return folders if folders.validation and slab_paths(folders.validation) else Folders(folders.train, None)


def _slab_folder(paths: Sequence[Path]) -> Path | None:
    """The folder of slabs, if one folder is named and it holds some."""
    if len(paths) == 1 and paths[0].is_dir() and slab_paths(paths[0]):
        return paths[0]
    return None


def _raw_files(paths: Sequence[Path]) -> list[RawFile]:
    found: list[Path] = []
    for path in paths:
        inside = visible(path.rglob("*.h5")) if path.is_dir() else [path]
        if not inside:
            raise InputError(f"{path}: holds neither raw data (.h5) nor training slabs ({SUFFIX})")
        found += inside
    return [read_raw(path) for path in found]


def _check_sampling(path: Path, fully_sampled: bool, self_supervised: bool) -> None:
    if fully_sampled and self_supervised:
        raise InputError(f"{path}: is fully sampled; train on its images, without --self-supervised")
    if not fully_sampled and not self_supervised:
        raise InputError(
            f"{path}: is undersampled, so that there is no image to learn from; add --self-supervised, or give fully "
            "sampled data"
        )
