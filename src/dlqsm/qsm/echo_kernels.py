"""Phase of all echoes as a straight line in echo time, voxel by voxel, in one pass over memory each.

Arrays are flat: ``(echo, voxel)`` for images, ``(voxel,)`` for maps. Times are in units of the shortest echo spacing.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from dlqsm.core.units import TWO_PI

LEAST_INFORMATION = 1e-12
"""Of a voxel without signal, so that its line is defined: far below that of any voxel with signal."""
Array = NDArray[Any]


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def slopes(phase: Array, magnitude: Array, mask: Array, pairs: Array) -> Array:
    """Phase gathered in one echo spacing, in (-pi, pi]: the angle of the sum of s_e* s_(e + 1) over ``pairs`` e."""
    n_voxels = mask.size
    out = np.zeros(n_voxels, phase.dtype)
    real, imaginary = np.zeros(n_voxels, phase.dtype), np.zeros(n_voxels, phase.dtype)
    for e in pairs:
        for i in range(n_voxels):
            if mask[i]:
                size = magnitude[e, i] * magnitude[e + 1, i]
                gathered = phase[e + 1, i] - phase[e, i]
                real[i] += size * math.cos(gathered)
                imaginary[i] += size * math.sin(gathered)
    for i in range(n_voxels):
        if mask[i]:
            out[i] = math.atan2(imaginary[i], real[i])
    return out


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def lines(phase: Array, magnitude: Array, mask: Array, times: Array, slope: Array, pairs: Array) -> tuple[Array, Array]:
    """Offset at time zero, in (-pi, pi], and slope of the weighted line through the phases of each voxel.

    ``slope`` is unwrapped and counts as a measurement of its own while the echoes join one by one, each at the turn
    that is nearest to the line through those before it.
    """
    n_echoes, n_voxels = phase.shape
    offset, refined = np.zeros(n_voxels, phase.dtype), np.zeros(n_voxels, phase.dtype)
    for i in range(n_voxels):
        if not mask[i]:
            continue
        known = LEAST_INFORMATION
        for e in pairs:
            a, b = magnitude[e, i] ** 2, magnitude[e + 1, i] ** 2
            known += a * b / (a + b + LEAST_INFORMATION)
        w0, w1, w2, v0, v1, level, tilt = 0.0, 0.0, known, 0.0, 0.0, 0.0, 0.0
        for e in range(n_echoes):
            w, t = magnitude[e, i] ** 2 + LEAST_INFORMATION, times[e]
            value = phase[e, i] - slope[i] * t
            if e > 0:
                value -= TWO_PI * np.round((value - level - tilt * t) / TWO_PI)
            w0, w1, w2, v0, v1 = w0 + w, w1 + w * t, w2 + w * t * t, v0 + w * value, v1 + w * t * value
            tilt = (w0 * v1 - w1 * v0) / (w0 * w2 - w1 * w1)
            level = (v0 - w1 * tilt) / w0
        offset[i] = level - TWO_PI * np.round(level / TWO_PI)
        refined[i] = slope[i] + tilt
    return offset, refined


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def nearest_to_line(phase: Array, magnitude: Array, mask: Array, time: float, offset: Array, slope: Array) -> Any:
    """Phase of one echo at the turn nearest to offset + slope time, and its mean distance weighted by magnitude."""
    out = np.zeros(mask.size, phase.dtype)
    distance, weight = 0.0, 0.0
    for i in range(mask.size):
        if mask[i]:
            missing = offset[i] + slope[i] * time - phase[i]
            whole = TWO_PI * np.round(missing / TWO_PI)
            out[i] = phase[i] + whole
            distance += magnitude[i] * abs(missing - whole)
            weight += magnitude[i]
    return out, distance / max(weight, 1e-30)
