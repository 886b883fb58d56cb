"""Nonlinear fit of the field to lag sums on the CPU: Newton's steps of a voxel while its lags are at hand."""

from __future__ import annotations

import math

import numba
import numpy as np

from dlqsm.core.passes import Array

CONCAVE = 0.5
"""Share of its upper bound that the curvature needs for a step of Newton's; below it the bound makes the step."""


@numba.njit(cache=True, nogil=True)
def climb(
    first: int, last: int, lags: Array, max_iterations: int, tolerance_rad: float, phase: Array
) -> tuple[int, int]:
    """Move ``phase`` to the maximum of `fit` next to it; returns how many voxels did not get there, and all."""
    n_lags, _, ny, nz = lags.shape
    re, im, size = np.empty(n_lags), np.empty(n_lags), np.empty(n_lags)
    missed, total = 0, 0
    for x in range(first, last):
        for y in range(ny):
            for z in range(nz):
                if _has_lags(lags[:, x, y, z], re, im, size):
                    theta, done = _top(re, im, size, float(phase[x, y, z]), max_iterations, tolerance_rad)
                    phase[x, y, z] = theta
                    missed += not done
                    total += 1
    return missed, total


@numba.njit(cache=True, nogil=True)
def _has_lags(lags: Array, re: Array, im: Array, size: Array) -> bool:
    """Whether a voxel holds lags and nothing that is not finite; parts them and writes their sizes."""
    total = 0.0
    for k in range(lags.size):
        re[k], im[k] = float(lags[k].real), float(lags[k].imag)
        size[k] = math.sqrt(re[k] * re[k] + im[k] * im[k])
        total += size[k]
    return math.isfinite(total) and total > 0.0


@numba.njit(cache=True, nogil=True)
def _top(
    re: Array, im: Array, size: Array, theta: float, max_iterations: int, tolerance_rad: float
) -> tuple[float, bool]:
    bound = 0.0
    for k in range(size.size):
        bound += (k + 1) * size[k] * size[k]
    for _ in range(max_iterations):
        c, s = math.cos(theta), math.sin(theta)
        p, q, slope, curvature = 1.0, 0.0, 0.0, 0.0
        for k in range(size.size):
            p, q = p * c - q * s, p * s + q * c
            slope += size[k] * (im[k] * p - re[k] * q)
            curvature += (k + 1) * size[k] * (re[k] * p + im[k] * q)
        step = slope / (curvature if curvature > CONCAVE * bound else bound)
        theta += step
        if abs(step) <= tolerance_rad:
            return theta, True
    return theta, False
