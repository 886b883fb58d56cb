"""Planes of a volume along its own axes, named by the closest anatomical ones; nothing is resampled.

All planes are shown as radiologists look at them: from the feet and from the front, so that the participant's left is
on the right; sagittal planes face left.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from dlqsm.core.fourier import bounding_box
from dlqsm.core.scan import Grid, Vector

Image = NDArray[np.float64]
PLANES: Final = ("axial", "coronal", "sagittal")
MARKS: Final = {"axial": ("R", "L"), "coronal": ("R", "L"), "sagittal": ("A", "P")}
"""Letters at the left and right edge of a plane as shown."""
_ACROSS: Final = {"axial": 2, "coronal": 1, "sagittal": 0}


@dataclass(frozen=True)
class Orientation:
    """Array axes closest to right, anterior, superior; signs +1 where the index grows towards them."""

    axes: tuple[int, int, int]
    signs: tuple[int, int, int]


@dataclass(frozen=True)
class View:
    """A box round a point in scanner space: what every panel of a row shows.

    Parameters
    ----------
    centre_mm
        RAS position that the planes pass through [mm].
    before_mm, after_mm
        Reach from the centre towards left, posterior, inferior, and towards right, anterior, superior [mm].
    """

    centre_mm: Vector
    before_mm: Vector
    after_mm: Vector


def orientation(grid: Grid) -> Orientation:
    """Match array axes to anatomical ones so that the sum of the cosines is largest."""
    rotation = np.asarray(grid.rotation)
    axes = max(itertools.permutations(range(3)), key=lambda p: sum(abs(rotation[i, p[i]]) for i in range(3)))
    signs = [1 if rotation[i, axes[i]] >= 0 else -1 for i in range(3)]
    return Orientation((axes[0], axes[1], axes[2]), (signs[0], signs[1], signs[2]))


def tilt_deg(grid: Grid) -> float:
    """Largest angle between an array axis and the anatomical axis it is named after [degree]."""
    rotation, found = np.asarray(grid.rotation), orientation(grid)
    cosines = [abs(rotation[i, found.axes[i]]) for i in range(3)]
    return float(np.degrees(np.arccos(np.clip(min(cosines), -1.0, 1.0))))


def centroid_mm(region: torch.Tensor, grid: Grid) -> Vector:
    """RAS position of the centre of mass of a bool region [mm]."""
    index = torch.nonzero(region).double().mean(dim=0).cpu().numpy()
    x, y, z = (float(v) for v in (grid.affine @ np.append(index, 1.0))[:3])
    return x, y, z


def view_of(region: torch.Tensor, grid: Grid, *, margin_mm: float, centre_mm: Vector | None = None) -> View:
    """The box round a bool region; planes pass through its centroid unless ``centre_mm`` is given."""
    centre = centre_mm or centroid_mm(region, grid)
    box = bounding_box(region, margin_mm, grid.voxel_size_mm)
    index, found = _index_of(centre, grid), orientation(grid)
    before, after = [], []
    for axis, sign in zip(found.axes, found.signs, strict=True):
        low = (index[axis] - box[axis].start) * grid.voxel_size_mm[axis]
        high = (box[axis].stop - 1 - index[axis]) * grid.voxel_size_mm[axis]
        before.append(low if sign > 0 else high)
        after.append(high if sign > 0 else low)
    return View(centre, (before[0], before[1], before[2]), (after[0], after[1], after[2]))


def squared(view: View) -> View:
    """Widen left-right and front-back to one width, so that planes side by side have one scale in mm."""
    widths = [view.before_mm[i] + view.after_mm[i] for i in range(2)]
    room = [(max(widths) - width) / 2 for width in widths]
    before, after = view.before_mm, view.after_mm
    return View(
        view.centre_mm,
        (before[0] + room[0], before[1] + room[1], before[2]),
        (after[0] + room[0], after[1] + room[1], after[2]),
    )


def cut(volume: torch.Tensor, grid: Grid, view: View, plane: str, *, offset_mm: float = 0.0) -> Image:
    """The plane through the view's centre (moved by ``offset_mm`` across the plane) as rows and columns of pixels.

    What lies outside the volume is NaN.
    """
    found = orientation(grid)
    array = _along_anatomy(volume, found)
    bounds = _bounds(grid, found, view)
    across = _ACROSS[plane]
    step = round(offset_mm / grid.voxel_size_mm[found.axes[across]])
    at = bounds[across][1] + step
    bounds[across] = (at, at, at + 1)
    piece = _crop(array, [(low, high) for low, _, high in bounds]).squeeze(axis=across)
    # Rows run from superior (or anterior) down; columns from right to left, sagittal from anterior to posterior.
    return piece[::-1, ::-1].T


def box(volume: torch.Tensor, grid: Grid, view: View) -> Image:
    """All axial planes of the view's box, ``(slice, row, column)`` from inferior, anterior and right; NaN outside."""
    found = orientation(grid)
    bounds = [(low, high) for low, _, high in _bounds(grid, found, view)]
    return _crop(_along_anatomy(volume, found), bounds)[::-1, ::-1].T


def box_affine(grid: Grid, view: View) -> NDArray[np.float64]:
    """From ``(column, row, slice, 1)`` of the view's box to RAS [mm]."""
    found, to_array = orientation(grid), np.eye(4)
    for i, (axis, sign) in enumerate(zip(found.axes, found.signs, strict=True)):
        low, _, high = _bounds(grid, found, view)[i]
        # Columns and rows count down from right and anterior, slices up from inferior.
        first, step = (low, 1) if i == 2 else (high - 1, -1)
        to_array[axis] = 0.0
        to_array[axis, i] = step * sign
        to_array[axis, 3] = first if sign > 0 else grid.shape[axis] - 1 - first
    return grid.affine @ to_array


def pixel_size_mm(grid: Grid, plane: str) -> tuple[float, float]:
    """Width and height of a pixel of a plane [mm]."""
    sizes = [grid.voxel_size_mm[axis] for axis in orientation(grid).axes]
    width, height = [size for i, size in enumerate(sizes) if i != _ACROSS[plane]]
    return width, height


def across_axis(grid: Grid, plane: str) -> int:
    """Array axis that runs across a plane."""
    return orientation(grid).axes[_ACROSS[plane]]


def position_mm(grid: Grid, near_mm: Vector, axis: int, index: int) -> Vector:
    """RAS position of a point moved along one array axis to a voxel index [mm]."""
    voxel = _index_of(near_mm, grid)
    voxel[axis] = index
    x, y, z = (float(v) for v in (grid.affine @ np.append(voxel, 1.0))[:3])
    return x, y, z


def _along_anatomy(volume: torch.Tensor, found: Orientation) -> NDArray[Any]:
    """The array with axes towards right, anterior, superior."""
    array = volume.detach().cpu().numpy().transpose(found.axes)
    return array[tuple(slice(None, None, sign) for sign in found.signs)]


def _index_of(position_mm: Vector, grid: Grid) -> NDArray[np.float64]:
    return np.asarray(np.linalg.solve(grid.affine, np.append(position_mm, 1.0))[:3])


def _bounds(grid: Grid, found: Orientation, view: View) -> list[tuple[int, int, int]]:
    """First, centre and end index along right, anterior, superior; the flips applied, not yet cropped."""
    index, bounds = _index_of(view.centre_mm, grid), []
    for i, (axis, sign) in enumerate(zip(found.axes, found.signs, strict=True)):
        centre = index[axis] if sign > 0 else grid.shape[axis] - 1 - index[axis]
        size = grid.voxel_size_mm[axis]
        # The width is rounded once, so that arms whose centres differ by a fraction of a voxel get panels of one size.
        first = round(centre - view.before_mm[i] / size)
        width = round((view.before_mm[i] + view.after_mm[i]) / size) + 1
        bounds.append((first, round(centre), first + width))
    return bounds


def _crop(array: NDArray[Any], bounds: list[tuple[int, int]]) -> Image:
    """Cut a box; where it leaves the array the result is NaN."""
    out = np.full([high - low for low, high in bounds], np.nan)
    inside = [(max(low, 0), min(high, n)) for (low, high), n in zip(bounds, array.shape, strict=True)]
    if all(low < high for low, high in inside):
        target = tuple(slice(a - low, b - low) for (a, b), (low, _) in zip(inside, bounds, strict=True))
        out[target] = array[tuple(slice(a, b) for a, b in inside)]
    return out
