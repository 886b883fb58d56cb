"""Moving points and volumes between spaces: chains of linear maps and displacement fields, in RAS millimetres.

A chain takes a point of the space where values are wanted to the point of the space where they are read, as images are
resampled. All positions are RAS [mm], whatever the grids' orientation.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn import functional

from dlqsm.core.scan import Affine, Grid, Vector

POINTS_AT_ONCE = 2_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """y = M x, homogeneous; ``matrix`` is 4 x 4 float64."""

    matrix: Affine

    def move(self, points_mm: torch.Tensor) -> torch.Tensor:
        """Map points ``(..., 3)`` [mm]."""
        matrix = torch.from_numpy(self.matrix).to(points_mm)
        return points_mm @ matrix[:3, :3].T + matrix[:3, 3]

    @property
    def inverse(self) -> Linear:
        """The map back."""
        return Linear(np.asarray(np.linalg.inv(self.matrix), dtype=np.float64))


@dataclass(frozen=True, slots=True, eq=False)
class Warp:
    """y = x + u(x), u ``(3, x, y, z)`` [mm] linear between the voxels of ``grid`` and zero outside it."""

    displacement_mm: torch.Tensor
    grid: Grid

    def move(self, points_mm: torch.Tensor) -> torch.Tensor:
        """Map points ``(..., 3)`` [mm]."""
        return points_mm + sample(self.displacement_mm, self.grid, points_mm).movedim(0, -1)


Chain = tuple[Linear | Warp, ...]
IDENTITY: Chain = ()


def move(points_mm: torch.Tensor, chain: Chain) -> torch.Tensor:
    """Take points ``(..., 3)`` [mm] through the chain, its first transform first."""
    for transform in chain:
        points_mm = transform.move(points_mm)
    return points_mm


def sample(volumes: torch.Tensor, grid: Grid, points_mm: torch.Tensor) -> torch.Tensor:
    """Trilinear values ``(channel, ...)`` of ``volumes`` ``(channel, x, y, z)`` at points ``(..., 3)``; zero outside.

    Within one voxel beyond the outermost centres values fall linearly to zero.
    """
    index = to_index(grid).move(points_mm.reshape(-1, 3))
    last = torch.tensor([max(n - 1, 1) for n in grid.shape]).to(index)
    # grid_sample names the last array axis first.
    scaled = (2.0 * index / last - 1.0).flip(-1)[None, None, None].to(volumes)
    found = functional.grid_sample(volumes[None], scaled, padding_mode="zeros", align_corners=True)
    return found.reshape(len(volumes), *points_mm.shape[:-1])


def resample(
    volumes: torch.Tensor,
    grid: Grid,
    target: Grid,
    chain: Chain = IDENTITY,
    *,
    per_axis: tuple[int, int, int] = (1, 1, 1),
) -> torch.Tensor:
    """Bring volumes onto another grid, each of its voxels the mean of points spread over it.

    Parameters
    ----------
    volumes
        ``(channel, x, y, z)`` float.
    grid
        Their grid.
    target
        The grid that is wanted.
    chain
        Takes points of the target's space to the volumes'.
    per_axis
        Points along each edge of a target voxel; 1 reads its centre only. More keep coarse voxels from missing thin
        structures: the mean over the voxel is what a coarse scan would see.

    Returns
    -------
    ``(channel, *target.shape)``, zero where the volumes have nothing.
    """
    out = torch.empty((len(volumes), *target.shape), dtype=volumes.dtype)
    for planes in _slabs(target):
        part = slice_grid(target, (planes, slice(None), slice(None)))
        total = torch.zeros((len(volumes), *part.shape), dtype=volumes.dtype)
        for offset in _offsets(per_axis):
            total += sample(volumes, grid, move(positions(part, offset), chain))
        out[:, planes] = total / math.prod(per_axis)
    return out


def to_index(grid: Grid) -> Linear:
    """RAS positions [mm] to voxel indices."""
    return Linear(grid.affine).inverse


def positions(grid: Grid, offset: Vector = (0.0, 0.0, 0.0)) -> torch.Tensor:
    """RAS positions ``(x, y, z, 3)`` [mm] of the voxels, moved by ``offset`` voxels along the array axes."""
    matrix = torch.from_numpy(grid.affine)
    parts = [
        ((torch.arange(n, dtype=torch.float64) + shift)[:, None] * matrix[:3, axis])
        for axis, (n, shift) in enumerate(zip(grid.shape, offset, strict=True))
    ]
    # float64 up to here: sums of large parts keep micrometres.
    found = parts[0][:, None, None] + parts[1][None, :, None] + parts[2][None, None] + matrix[:3, 3]
    return found.float()


def slice_grid(grid: Grid, box: tuple[slice, slice, slice]) -> Grid:
    """The grid of a box (slices of step 1) cut from a volume."""
    starts, shape = [], []
    for part, n in zip(box, grid.shape, strict=True):
        first, last, _ = part.indices(n)
        starts.append(first)
        shape.append(last - first)
    x, y, z = (float(v) for v in (grid.affine @ np.array([*starts, 1.0]))[:3])
    return replace(grid, shape=(shape[0], shape[1], shape[2]), origin_mm=(x, y, z))


def isotropic_grid(points_mm: torch.Tensor, voxel_mm: float, margin_mm: float) -> Grid:
    """The grid along RAS axes with cubic voxels that holds all points ``(n, 3)`` with a margin."""
    low = points_mm.double().amin(0).numpy() - margin_mm
    high = points_mm.double().amax(0).numpy() + margin_mm
    nx, ny, nz = (int(n) for n in np.ceil((high - low) / voxel_mm) + 1)
    x, y, z = (float(v) for v in low)
    return Grid((nx, ny, nz), (voxel_mm, voxel_mm, voxel_mm), origin_mm=(x, y, z))


def points_per_axis(target: Grid, source: Grid, *, per_source_voxel: float = 1.25) -> tuple[int, int, int]:
    """Points along each edge of a target voxel so that no source voxel is skipped; at least two."""
    finest = min(source.voxel_size_mm)
    x, y, z = (max(2, math.ceil(per_source_voxel * edge / finest)) for edge in target.voxel_size_mm)
    return x, y, z


def _offsets(per_axis: tuple[int, int, int]) -> Iterator[Vector]:
    ticks = [[(k + 0.5) / n - 0.5 for k in range(n)] for n in per_axis]
    yield from itertools.product(*ticks)


def _slabs(grid: Grid) -> Iterator[slice]:
    step = max(1, POINTS_AT_ONCE // (grid.shape[1] * grid.shape[2]))
    for first in range(0, grid.shape[0], step):
        yield slice(first, min(first + step, grid.shape[0]))
