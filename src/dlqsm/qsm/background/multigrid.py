"""Geometric multigrid for Laplace's equation inside a mask of any shape, on voxels of any shape.

Unknowns are the interior voxels; all others are zero. Coarse grids take every second voxel, first along the short voxel
edges alone, until the edges are alike: there a point smoother damps what the next grid cannot show.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from dlqsm.core.scan import Vector

SEMICOARSENING_RATIO = 1.5
"""Axes whose voxel edge is below this many times the shortest are coarsened."""
FEWEST_VOXELS = 64
"""Interior voxels at or below which the smoother alone solves."""
N_COARSEST = 10
"""Smoothing steps on the coarsest grid, which leave less than 1 % of the error there."""
SMOOTHED_FROM = 0.3
"""Lower end of the eigenvalues of A / diagonal, which reach to 2, that the smoother damps."""


@dataclass(frozen=True, slots=True)
class Level:
    """One grid of the hierarchy.

    Parameters
    ----------
    interior
        1 in voxels that are unknown, 0 elsewhere; none of the outermost is unknown.
    couplings
        1 / edge^2 along each axis.
    coarsened
        Axes along which the next grid takes every second voxel; empty on the coarsest.
    """

    interior: torch.Tensor
    couplings: Vector
    coarsened: tuple[int, ...]

    @property
    def diagonal(self) -> float:
        """Diagonal of the negative Laplacian."""
        return 2.0 * sum(self.couplings)

    def laplacian(self, volume: torch.Tensor) -> torch.Tensor:
        """Negative seven-point Laplacian where unknown, zero elsewhere.

        Neighbours are found in the flat array, where lines follow each other: only outermost voxels see wrong ones.
        """
        flat, out = volume.reshape(-1), torch.zeros_like(volume)
        ny, nz = volume.shape[1:]
        first, last = ny * nz, volume.numel() - ny * nz
        inner = out.view(-1)[first:last]
        torch.mul(flat[first:last], self.diagonal, out=inner)
        for stride, coupling in zip((ny * nz, nz, 1), self.couplings, strict=True):
            inner.sub_(flat[first - stride : last - stride], alpha=coupling)
            inner.sub_(flat[first + stride : last + stride], alpha=coupling)
        return out.mul_(self.interior)


def levels(interior: torch.Tensor, voxel_size_mm: Vector, like: torch.Tensor) -> tuple[Level, ...]:
    """Grids from the finest to the coarsest; outermost voxels of ``interior`` must be False."""
    found, edges = [], list(voxel_size_mm)
    while True:
        short = SEMICOARSENING_RATIO * min(edges)
        axes = tuple(axis for axis in range(3) if edges[axis] < short)
        coarse = interior
        for axis in axes:
            coarse = _even(_odd_length(coarse, axis), axis)
        last = int(interior.sum()) <= FEWEST_VOXELS or not bool(coarse.any())
        couplings = (edges[0] ** -2, edges[1] ** -2, edges[2] ** -2)
        found.append(Level(interior.to(like.dtype), couplings, () if last else axes))
        if last:
            return tuple(found)
        interior, edges = coarse, [edge * (2 if axis in axes else 1) for axis, edge in enumerate(edges)]


def v_cycle(grids: tuple[Level, ...], residual: torch.Tensor) -> torch.Tensor:
    """Approximate inverse of the negative Laplacian, symmetric and positive: one V-cycle from zero."""
    grid = grids[0]
    if not grid.coarsened:
        out = _smoothed(grid, residual)
        for _ in range(N_COARSEST - 1):
            out += _smoothed(grid, residual - grid.laplacian(out))
        return out
    out = _smoothed(grid, residual)
    coarse = _restricted(residual - grid.laplacian(out), grid.coarsened).mul_(grids[1].interior)
    correction = _interpolated(v_cycle(grids[1:], coarse), grid.coarsened, residual.shape)
    out += correction.mul_(grid.interior)
    out += _smoothed(grid, residual - grid.laplacian(out))
    return out


def _smoothed(grid: Level, residual: torch.Tensor) -> torch.Tensor:
    """Two Chebyshev steps from zero, as one polynomial.

    With t the eigenvalue of A / diagonal, c the centre and w the half-width of [SMOOTHED_FROM, 2], the error is
    multiplied by T_2((c - t) / w) / T_2(c / w) = 1 - t (4 c - 2 t) / (2 c^2 - w^2).
    """
    centre, half_width = 1.0 + SMOOTHED_FROM / 2.0, 1.0 - SMOOTHED_FROM / 2.0
    scale = 1.0 / (grid.diagonal * (2.0 * centre**2 - half_width**2))
    return grid.laplacian(residual).mul_(-2.0 * scale / grid.diagonal).add_(residual, alpha=4.0 * centre * scale)


def _restricted(volume: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
    """Weights 1/4, 1/2, 1/4 round every second voxel: the transpose of `_interpolated` over 2 an axis."""
    for axis in axes:
        volume = _odd_length(volume, axis)
        coarse, between = 0.5 * _even(volume, axis), _odd(volume, axis)
        n = between.shape[axis]
        coarse.narrow(axis, 0, n).add_(between, alpha=0.25)
        coarse.narrow(axis, 1, n).add_(between, alpha=0.25)
        volume = coarse
    return volume


def _interpolated(coarse: torch.Tensor, axes: tuple[int, ...], shape: torch.Size) -> torch.Tensor:
    """Linear interpolation along each axis."""
    for axis in axes:
        n = coarse.shape[axis]
        fine = coarse.new_empty([2 * n - 1 if a == axis else m for a, m in enumerate(coarse.shape)])
        _even(fine, axis).copy_(coarse)
        torch.add(coarse.narrow(axis, 0, n - 1), coarse.narrow(axis, 1, n - 1), out=_odd(fine, axis)).mul_(0.5)
        coarse = fine.narrow(axis, 0, shape[axis])
    return coarse


def _even(volume: torch.Tensor, axis: int) -> torch.Tensor:
    return volume[(slice(None),) * axis + (slice(None, None, 2),)]


def _odd(volume: torch.Tensor, axis: int) -> torch.Tensor:
    return volume[(slice(None),) * axis + (slice(1, None, 2),)]


def _odd_length(volume: torch.Tensor, axis: int) -> torch.Tensor:
    """Append a layer of zeros where the length is even, so that the last voxel is taken as well."""
    if volume.shape[axis] % 2:
        return volume
    return functional.pad(volume, [int(place == 2 * (2 - axis) + 1) for place in range(6)])
