"""Numba kernels of Poisson-disk sampling: dart throwing, and the removal of samples that are too near to others."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

Cells = NDArray[np.bool_]


@numba.njit(cache=True)
def throw_darts(centre: Cells, order: NDArray[np.int64], radius: NDArray[np.float64]) -> Cells:
    """One pass of dart throwing: take each cell of ``order`` with nothing taken closer than its radius."""
    taken = centre.copy()
    for cell in order:
        y, z = divmod(cell, taken.shape[1])
        if _nearest(taken, y, z, radius[y, z]) >= radius[y, z]:
            taken[y, z] = True
    return taken


@numba.njit(cache=True)
def _nearest(taken: Cells, y: int, z: int, limit: float) -> float:
    """Distance [cells] to the nearest other taken cell; ``limit`` where none is closer."""
    reach, best = int(np.ceil(limit)), limit * limit
    for j in range(max(y - reach, 0), min(y + reach + 1, taken.shape[0])):
        for k in range(max(z - reach, 0), min(z + reach + 1, taken.shape[1])):
            if taken[j, k] and not (j == y and k == z):
                best = min(best, float((j - y) ** 2 + (k - z) ** 2))
    return np.sqrt(best)


@numba.njit(cache=True)
def trim_crowded(mask: Cells, centre: Cells, growth: NDArray[np.float64], n_excess: int) -> None:
    """Remove the ``n_excess`` samples that are, one after another, nearest to another for their radius."""
    if n_excess <= 0:
        return
    ny, nz = mask.shape
    reach = ny + nz
    crowding = np.full(mask.shape, np.inf)
    for y in range(ny):
        for z in range(nz):
            if mask[y, z] and not centre[y, z]:
                crowding[y, z] = _spacing(mask, y, z, reach) / growth[y, z]
    for _ in range(n_excess):
        y, z = divmod(int(np.argmin(crowding)), nz)
        mask[y, z], crowding[y, z] = False, np.inf
        window = 2 + int(np.ceil(_spacing(mask, y, z, reach))) * 3
        for j in range(max(y - window, 0), min(y + window + 1, ny)):
            for k in range(max(z - window, 0), min(z + window + 1, nz)):
                if mask[j, k] and not centre[j, k]:
                    crowding[j, k] = _spacing(mask, j, k, reach) / growth[j, k]


@numba.njit(cache=True)
def _spacing(mask: Cells, y: int, z: int, reach: int) -> float:
    """Distance to the nearest other sample, searched in windows that double."""
    limit = 2.0
    while limit < reach:
        distance = _nearest(mask, y, z, limit)
        if distance < limit:
            return distance
        limit *= 2.0
    return limit
