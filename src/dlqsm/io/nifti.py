"""NIfTI volumes: the only file that imports nibabel."""

from __future__ import annotations

import gzip
import logging
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
import torch
from nibabel.filebasedimages import ImageFileError
from nibabel.imageglobals import logger as nibabel_logger
from nibabel.spatialimages import HeaderDataError, HeaderTypeError
from numpy.typing import NDArray

from dlqsm.core.checks import InputError
from dlqsm.core.scan import Grid
from dlqsm.io.files import LARGEST_DEFLATION, require_file
from dlqsm.io.outputs import whole_file

nibabel_logger.setLevel(logging.CRITICAL)
"""What it would print of a bad header comes as an exception too."""

_UNREADABLE: Final = (
    OSError, EOFError, zlib.error, gzip.BadGzipFile, ValueError, TypeError, KeyError, IndexError, ArithmeticError,
    struct.error, ImageFileError, HeaderDataError, HeaderTypeError,
)  # fmt: skip
_ENDINGS: Final = (".nii", ".nii.gz", ".nii.bz2", ".hdr", ".img", ".hdr.gz", ".img.gz")
_LENGTH_UNITS: Final = {1: "metres", 3: "micrometres"}
"""Codes of xyzt_units that are not millimetres; 0 is unknown, 2 millimetres."""
_SMALLEST_MM, _LARGEST_MM = 0.005, 100.0
"""Voxel edges beyond these are metres or micrometres taken for millimetres."""
_MOST_SHEAR_DEG: Final = 1.0
_BLOCK_BYTES: Final = 2**20

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
    with _opened(path) as stored:
        dtype = np.float64 if stored.get_data_dtype() == np.float64 else np.float32
        with np.errstate(all="ignore"):
            values = _values(path, stored, dtype)
        if not 3 <= values.ndim <= 5:
            raise InputError(f"{path}: expected 3 to 5 axes (x, y, z[, echo[, coil]]); got shape {values.shape}")
        grid, data = _grid(path, stored), stored.dataobj
        slope, intercept = float(getattr(data, "slope", 1.0)), float(getattr(data, "inter", 0.0))
    return Image(values, grid, slope, intercept, path)


def read_shape(path: Path) -> tuple[int, ...]:
    """Shape of the array in a NIfTI file, from its header alone.

    Raises
    ------
    InputError
        If the file is no NIfTI, or cannot hold what its header declares.
    """
    with _opened(path) as stored:
        return tuple(int(n) for n in stored.shape)


def read_grid(path: Path) -> Grid:
    """The voxel grid of a NIfTI file, from its header alone.

    Raises
    ------
    InputError
        If the file is no NIfTI, or has fewer than three axes.
    """
    with _opened(path) as stored:
        if len(stored.shape) < 3:
            raise InputError(f"{path}: expected at least 3 axes (x, y, z); got shape {tuple(stored.shape)}")
        return _grid(path, stored)


@contextmanager
def _opened(path: Path) -> Iterator[nib.Nifti1Pair]:
    """The image with its values still in the file; what is wrong with it in the block is raised as `InputError`."""
    require_file(path)
    if path.stat().st_size == 0:
        raise InputError(f"{path}: is empty; expected a NIfTI file: copy it again")
    if not path.name.lower().endswith(_ENDINGS):
        raise InputError(f"{path}: expected a NIfTI file, whose name ends with .nii or .nii.gz; convert it to NIfTI")
    try:
        stored = nib.load(path)
        _require_real_numbers(path, stored)
        _require_stored(path, stored)
        yield stored
    except InputError:
        raise
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: expected a whole NIfTI file, but it cannot be read ({reason})") from None


def _require_real_numbers(path: Path, stored: Any) -> None:
    if not isinstance(stored, nib.Nifti1Pair):
        kind = type(stored).__name__.removesuffix("Image")
        raise InputError(f"{path}: is an image of the format {kind}; expected NIfTI (.nii or .nii.gz): convert it")
    dtype = stored.get_data_dtype()
    if dtype.kind == "c":
        raise InputError(
            f"{path}: holds complex numbers ({dtype}); expected one real number a voxel: give real and imaginary "
            "parts, or magnitude and phase, as two files"
        )
    if dtype.kind not in "iuf":
        raise InputError(f"{path}: holds colours or records ({dtype}); expected one real number a voxel")


def _require_stored(path: Path, stored: nib.Nifti1Pair) -> None:
    """A header may declare anything: no memory is taken before the file is seen to be large enough for it."""
    shape = tuple(int(n) for n in stored.shape)
    if len(shape) >= 3 and min(shape) < 1:
        raise InputError(f"{path}: its header declares the shape {shape}; expected one voxel or more on each axis")
    file = Path(stored.file_map["image"].filename)
    declared = math.prod(shape) * stored.get_data_dtype().itemsize
    size = file.stat().st_size
    most = {".gz": size * LARGEST_DEFLATION, ".bz2": declared}.get(file.suffix.lower(), size)
    if declared > most:
        packed = " compressed" if most != size else ""
        raise InputError(
            f"{path}: its header declares {' x '.join(map(str, shape))} values, {declared} bytes, which {size}{packed} "
            "bytes cannot hold; it is cut off or damaged: copy it again"
        )


def _values(path: Path, stored: nib.Nifti1Pair, dtype: type) -> NDArray[Any]:
    """Scaled values; of a compressed file its checksum is compared too."""
    if path.suffix.lower() != ".gz" or not isinstance(stored, nib.Nifti1Image):
        return np.asarray(stored.dataobj, dtype=dtype)
    with gzip.open(path) as stream:
        values: NDArray[Any] = np.asarray(type(stored).from_stream(stream).dataobj, dtype=dtype)
        while stream.read(_BLOCK_BYTES):
            pass  # gzip compares the checksum once it is at the end
    return values


def _grid(path: Path, stored: nib.Nifti1Pair) -> Grid:
    """The voxel grid, in millimetres and with axes at right angles, or a sentence on why it is none."""
    unit = _LENGTH_UNITS.get(int(stored.header["xyzt_units"]) & 7)
    if unit:
        raise InputError(
            f"{path}: its header gives lengths in {unit}; expected millimetres: correct xyzt_units and the affine"
        )
    x, y, z = (int(n) for n in stored.shape[:3])
    try:
        grid = Grid.from_affine((x, y, z), np.asarray(stored.affine))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    edges = grid.voxel_size_mm
    if min(edges) < _SMALLEST_MM or max(edges) > _LARGEST_MM:
        raise InputError(
            f"{path}: its voxel edges are {' x '.join(f'{edge:.3g}' for edge in edges)} mm; expected {_SMALLEST_MM} to "
            f"{_LARGEST_MM:g} mm: correct the affine in its header"
        )
    shear_deg = grid.shear_deg
    if shear_deg > _MOST_SHEAR_DEG:
        raise InputError(
            f"{path}: its axes are sheared, {shear_deg:.1f} degrees off a right angle; expected axes at right angles, "
            "as scanned: resample it to such a grid"
        )
    return grid


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
    """Read a mask on ``grid``: non-zero is inside, NaN outside.

    Raises
    ------
    InputError
        If it lies on another grid, is empty, or holds what a map, an image or a probability holds.
    """
    values, own = read_volume(path)
    require_same_grid(path, own, grid, whose)
    values = values.nan_to_num(0.0)
    inside = values != 0
    if not bool(inside.any()):
        raise InputError(f"{path}: is zero in every voxel; expected a mask, non-zero inside")
    if found := _unlike_a_mask(values, inside):
        raise InputError(f"{path}: expected a mask, zero outside and one value inside; it holds {found}")
    return inside


def _unlike_a_mask(values: torch.Tensor, inside: torch.Tensor) -> str | None:
    """What tells that values are no mask, None where nothing does; labels and skull-stripped images pass."""
    low, high = float(values[inside].min()), float(values[inside].max())
    if low < 0:
        return f"values below zero, down to {low:g}, as a map does"
    if low < high <= 1:
        return f"values from {low:g} to {high:g}, as a probability does: choose a threshold for it"
    if low < high and bool(inside.all()):
        return f"values from {low:g} to {high:g} and no zero, as an image does"
    return None


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


def require_nifti_name(path: Path) -> None:
    """Raise `InputError` unless a file that is to be written is named as NIfTI."""
    if not path.name.endswith((".nii.gz", ".nii")):
        raise InputError(f"{path}: expected a name that ends with .nii.gz or .nii for a NIfTI file")


def write_volume(path: Path, values: torch.Tensor, grid: Grid) -> None:
    """Write a volume ``(x, y, z)`` or ``(x, y, z, echo)``; float32, or uint8 for masks and labels."""
    integral = values.dtype in (torch.bool, torch.uint8)
    array = values.detach().cpu().numpy().astype(np.uint8 if integral else np.float32)
    image = nib.Nifti1Image(array, grid.affine)
    image.header.set_xyzt_units("mm")
    with whole_file(path) as partial:
        image.to_filename(partial)
