"""Files of QSM-CI, the public benchmark: which stage reads and writes which, with their units, and ``params.json``.

References
----------
github.com/QSMxT/QSM-CI, CONTRACT.md (August 2026).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from dlqsm.core.checks import InputError
from dlqsm.core.scan import Grid, Scan
from dlqsm.io.nifti import read_grid, read_mask, read_volume, require_same_grid
from dlqsm.io.outputs import read_json

STAGES: Final[Mapping[str, tuple[tuple[str, ...], str]]] = {
    "brain-extraction": (("magnitude",), "mask"),
    "field-mapping": (("phase", "magnitude", "mask"), "totalfield"),
    "bfr": (("totalfield", "mask"), "localfield"),
    "dipole": (("localfield", "mask"), "chimap"),
    "unwrap+bfr": (("phase", "magnitude", "mask"), "localfield"),
    "bfr+dipole": (("totalfield", "magnitude", "mask"), "chimap"),
    "end-to-end": (("phase", "magnitude", "mask"), "chimap"),
}
"""Stage or span to what it reads, beside params.json, and what it writes. Phase in rad, fields and chi in ppm."""
PARAMS: Final = "params.json"
OVERRIDES: Final = "config.json"
_ENTRIES: Final = {
    "TE": (None, "echo times in seconds"),
    "B0": (1, "the field in tesla"),
    "B0_dir": (3, "the direction of B0 along the array axes, three numbers"),
    "voxel_size": (3, "three edges in mm"),
}
_SAME_SIZE: Final = 0.01


def artefact(folder: Path, name: str) -> Path:
    """File of an artefact."""
    return folder / f"{name}.nii.gz"


def require_artefacts(folder: Path, stage: str) -> None:
    """Raise `InputError` unless all that a stage reads is there."""
    needed = [*(artefact(folder, name) for name in STAGES[stage][0]), folder / PARAMS]
    missing = [path.name for path in needed if not path.is_file()]
    if missing:
        names = ", ".join(path.name for path in needed)
        raise InputError(f"{folder}: lacks {missing[0]}; the stage {stage} reads {names}")


def read_scan_of(folder: Path, stage: str) -> Scan:
    """The scan as ``params.json`` tells it, on the grid that all artefacts share: that of the mask where there is one.

    Raises
    ------
    InputError
        If an entry is missing or of the wrong kind, or the voxel size is not that of the images.
    """
    grid = read_grid(artefact(folder, "mask" if "mask" in STAGES[stage][0] else "magnitude"))
    path = folder / PARAMS
    content = read_json(path)
    times, strength, direction, size = (_numbers(path, content, name) for name in _ENTRIES)
    if not np.allclose(size, grid.voxel_size_mm, rtol=_SAME_SIZE, atol=0):
        told, own = (" x ".join(f"{edge:.4g}" for edge in edges) for edges in (size, grid.voxel_size_mm))
        raise InputError(f"{path}: tells voxels of {told} mm; expected {own} mm, which the affine of the images tells")
    if not any(direction):
        raise InputError(f"{path}: expected B0_dir to be a direction; got zeros")
    try:
        return Scan(grid, times, strength[0], (direction[0], direction[1], direction[2]))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def read_overrides(folder: Path) -> dict[str, object]:
    """What the optional ``config.json`` sets: names of parameters to their values."""
    return read_json(folder / OVERRIDES) if (folder / OVERRIDES).is_file() else {}


def read_field(folder: Path, name: str, grid: Grid) -> tuple[torch.Tensor, torch.Tensor]:
    """A field [ppm] and where it is known: in the mask, finite, not exactly zero as beyond a rim; zero elsewhere."""
    path = artefact(folder, name)
    values, own = read_volume(path)
    require_same_grid(path, own, grid, "the mask")
    known = read_mask(artefact(folder, "mask"), grid, "itself") & torch.isfinite(values) & (values != 0)
    if not bool(known.any()):
        raise InputError(f"{path}: is zero or not finite everywhere in the mask; expected a field in ppm")
    return torch.where(known, values, 0.0).float(), known


def _numbers(path: Path, content: Mapping[str, Any], name: str) -> tuple[float, ...]:
    n, meaning = _ENTRIES[name]
    value = content.get(name)
    values = value if isinstance(value, list) else [value]
    numbers = [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if not numbers or len(numbers) != len(values) or (n is not None and len(numbers) != n):
        raise InputError(f"{path}: expected {name} to be {meaning}; got {value}")
    return tuple(numbers)
