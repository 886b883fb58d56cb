"""NIfTI volumes: the only file that imports nibabel."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray

from dlqsm.core.checks import InputError
from dlqsm.core.scan import Grid
from dlqsm.io.outputs import whole_file

_UNREADABLE = (OSError, EOFError, zlib.error, gzip.BadGzipFile, ValueError, ImageFileError)

_TEXTS = ("descrip", "aux_file", "intent_name", "db_name", "data_type")


@dataclass(frozen=True, slots=True)
class Image:
    """A NIfTI file in memory.

    Parameters
    ----------
    values
        Scaled values, axes as stored ``(x, y, z[, echo[, coil]])``, float32 (float64 where stored so).
    grid
        The voxel grid of the first three axes.
    slope, intercept
        The header's scaling, already applied to ``values``.
    path
        Where it was read.
    """

    values: NDArray[Any]
    grid: Grid
    slope: float
    intercept: float
    path: Path


def read_image(path: Path) -> Image:
    """Read a NIfTI file with the header's scaling applied.

    Raises
    ------
    InputError
        If the file is absent or damaged, is no NIfTI, or has other than three to five axes.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    try:
        stored = nib.load(path)
        data = stored.dataobj
        dtype = np.float64 if stored.get_data_dtype() == np.float64 else np.float32
        values = np.asarray(data, dtype=dtype)
    except _UNREADABLE as error:
        raise InputError(f"{path}: expected a whole NIfTI file, but it cannot be read ({error})") from None
    if not 3 <= values.ndim <= 5:
        raise InputError(f"{path}: expected 3 to 5 axes (x, y, z[, echo[, coil]]); got shape {values.shape}")
    try:
        grid = Grid.from_affine(tuple(values.shape[:3]), np.asarray(stored.affine))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return Image(values, grid, float(getattr(data, "slope", 1.0)), float(getattr(data, "inter", 0.0)), path)


def read_shape(path: Path) -> tuple[int, ...]:
    """Shape of the array in a NIfTI file, from its header alone.

    Raises
    ------
    InputError
        If the file is no NIfTI.
    """
    try:
        return tuple(int(n) for n in nib.load(path).shape)
    except _UNREADABLE as error:
        raise InputError(f"{path}: expected a NIfTI file, but its header cannot be read ({error})") from None


def read_grid(path: Path) -> Grid:
    """The voxel grid of a NIfTI file, from its header alone.

    Raises
    ------
    InputError
        If the file is no NIfTI, or has fewer than three axes.
    """
    shape = read_shape(path)
    if len(shape) < 3:
        raise InputError(f"{path}: expected at least 3 axes (x, y, z); got shape {shape}")
    return Grid.from_affine((shape[0], shape[1], shape[2]), np.asarray(nib.load(path).affine))


def has_texts(path: Path) -> bool:
    """Whether the header of a NIfTI file holds texts of its maker, in which dates and names may stand.

    Raises
    ------
    InputError
        If the file is no NIfTI.
    """
    try:
        header = nib.load(path).header
    except _UNREADABLE as error:
        raise InputError(f"{path}: expected a NIfTI file, but its header cannot be read ({error})") from None
    texts = [bytes(header[name].tobytes()).strip(b"\0 ") for name in _TEXTS if name in header]
    return any(texts) or bool(getattr(header, "extensions", ()))


def read_volume(path: Path) -> tuple[torch.Tensor, Grid]:
    """Read a 3-D NIfTI file as a tensor ``(x, y, z)`` and its grid; trailing axes of length one are dropped."""
    image = read_image(path)
    if any(n != 1 for n in image.values.shape[3:]):
        raise InputError(f"{path}: expected one 3-D volume; got shape {image.values.shape}")
    return torch.from_numpy(np.ascontiguousarray(image.values.reshape(image.grid.shape))), image.grid


def read_mask(path: Path, grid: Grid, whose: str) -> torch.Tensor:
    """Read a mask (non-zero is inside) on ``grid``."""
    values, own = read_volume(path)
    require_same_grid(path, own, grid, whose)
    return values.nan_to_num(0.0) != 0


def require_same_grid(path: Path, own: Grid, expected: Grid, whose: str) -> None:
    """Raise `InputError` unless two grids have one shape and one affine (within 1 % of a voxel)."""
    if own.shape != expected.shape:
        raise InputError(f"{path}: has shape {own.shape}; expected {expected.shape}, the shape of {whose}")
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in own.shape], [1])).reshape(4, -1)
    moved = np.abs((own.affine - expected.affine) @ corners).max()
    if moved > 0.1 * min(expected.voxel_size_mm):
        raise InputError(
            f"{path}: its affine puts voxels up to {moved:.2g} mm away from those of {whose}; "
            "expected the same grid: resample it first"
        )


def read_series(path: Path) -> tuple[torch.Tensor, Grid]:
    """Read a 4-D NIfTI file as a tensor ``(n, x, y, z)`` and its grid."""
    image = read_image(path)
    if image.values.ndim != 4:
        raise InputError(f"{path}: expected a 4-D series of volumes; got shape {image.values.shape}")
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(image.values, -1, 0))), image.grid


def write_volume(path: Path, values: torch.Tensor, grid: Grid) -> None:
    """Write a volume ``(x, y, z)`` or ``(x, y, z, echo)``; float32, or uint8 for masks and labels."""
    integral = values.dtype in (torch.bool, torch.uint8)
    array = values.detach().cpu().numpy().astype(np.uint8 if integral else np.float32)
    image = nib.Nifti1Image(array, grid.affine)
    image.header.set_xyzt_units("mm")
    with whole_file(path) as partial:
        image.to_filename(partial)
