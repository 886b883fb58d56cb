"""Finest detail of a magnitude image on the CPU, in one pass over memory."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from dlqsm.core.passes import FAST, Array


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def detail_of_bright_blocks(first: int, last: int, image: Array, darkest: Any, out: Array) -> tuple[float, float]:
    """Absolute difference along all three axes of each block of eight voxels that are bright; others are left alone.

    A block is bright whose every voxel is above zero and at least ``darkest``.
    """
    _, ny, nz = image.shape
    low, change = np.empty(nz, image.dtype), np.empty(nz, image.dtype)
    scale = image.dtype.type(2.0**-1.5)
    for x in range(first, last):
        for y in range(ny - 1):
            a, b, c, d = image[x, y], image[x + 1, y], image[x, y + 1], image[x + 1, y + 1]
            for z in range(nz):
                low[z] = min(min(a[z], b[z]), min(c[z], d[z]))
                change[z] = (d[z] - c[z]) - (b[z] - a[z])
            row = out[x, y]
            for z in range(nz - 1):
                level = min(low[z], low[z + 1])
                if level > 0 and level >= darkest:
                    row[z] = abs(change[z + 1] - change[z]) * scale
    return 0.0, 0.0
