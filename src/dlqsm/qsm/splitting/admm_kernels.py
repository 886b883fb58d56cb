"""The voxel-wise halves of an ADMM iteration on the CPU: each one pass over memory, in slabs of x shared by threads."""

from __future__ import annotations

from typing import Any

import numba

from dlqsm.core.passes import FAST, Array


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def split_gradients(
    first: int, last: int, chi: Array, split: Array, smooth: Array, limits: Array, scales: Array, relax: Any
) -> tuple[float, float]:
    """V <- v + relax (G chi - z), z = v - clamp(v); returns the squared norms of G chi - z and of v, scaled."""
    nx, ny, nz = chi.shape
    change, size = 0.0, 0.0
    for x in range(first, last):
        for y in range(ny):
            here = chi[x, y]
            for axis in range(3):
                limit, v, s = limits[axis], split[axis, x, y], smooth[axis, x, y]
                there, n = here[1:], nz - 1
                if axis < 2:
                    there, n = (chi[(x + 1) % nx, y], nz) if axis == 0 else (chi[x, (y + 1) % ny], nz)
                row_change, row_size = limit * 0, limit * 0
                for z in range(n):
                    top = limit * s[z]
                    missed = there[z] - here[z] + min(max(v[z], -top), top) - v[z]
                    v[z] += relax * missed
                    row_change += missed * missed
                    row_size += v[z] * v[z]
                if axis == 2:
                    top = limit * s[n]
                    missed = here[0] - here[n] + min(max(v[n], -top), top) - v[n]
                    v[n] += relax * missed
                    row_change += missed * missed
                    row_size += v[n] * v[n]
                change += scales[axis] * row_change
                size += scales[axis] * row_size
    return change, size


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def divergence(
    first: int, last: int, split: Array, smooth: Array, limits: Array, scales: Array, out: Array
) -> tuple[float, float]:
    """Out = sum_d scale_d (y_d(x - 1) - y_d(x)) with y = z - dual = v - 2 clamp(v), periodic."""
    nx, ny, nz = out.shape
    for x in range(first, last):
        for y in range(ny):
            row = out[x, y]
            row[:] = 0
            for axis in range(3):
                limit, scale, v, s = limits[axis], scales[axis], split[axis, x, y], smooth[axis, x, y]
                if axis == 2:
                    top = limit * s[nz - 1]
                    before = v[nz - 1] - 2 * min(max(v[nz - 1], -top), top)
                    for z in range(nz):
                        top = limit * s[z]
                        value = v[z] - 2 * min(max(v[z], -top), top)
                        row[z] += scale * (before - value)
                        before = value
                else:
                    px, py = ((x - 1) % nx, y) if axis == 0 else (x, (y - 1) % ny)
                    v0, s0 = split[axis, px, py], smooth[axis, px, py]
                    for z in range(nz):
                        top, top0 = limit * s[z], limit * s0[z]
                        value = v[z] - 2 * min(max(v[z], -top), top)
                        value0 = v0[z] - 2 * min(max(v0[z], -top0), top0)
                        row[z] += scale * (value0 - value)
    return 0.0, 0.0


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def split_field(
    first: int, last: int, fitted: Array, aim: Array, q: Array, weights: Array, field: Array, mu: Any, relax: Any
) -> tuple[float, float]:
    """Aim <- aim + relax (D chi - q), then q = (W^2 b + mu aim) / (W^2 + mu); returns norms as the other."""
    _, ny, nz = fitted.shape
    change, size = 0.0, 0.0
    for x in range(first, last):
        for y in range(ny):
            f, a, v, w, b = fitted[x, y], aim[x, y], q[x, y], weights[x, y], field[x, y]
            row_change, row_size = mu * 0, mu * 0
            for z in range(nz):
                missed = f[z] - v[z]
                a[z] += relax * missed
                v[z] = (w[z] * b[z] + mu * a[z]) / (w[z] + mu)
                row_change += missed * missed
                row_size += a[z] * a[z]
            change += mu * row_change
            size += mu * row_size
    return change, size


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def solve_spectrum(
    first: int, last: int, gradients: Array, data: Array, kernel: Array, inverse: Array, mu: Any
) -> tuple[float, float]:
    """Gradients <- chi^ = (gradients + mu D data) inverse and data <- D chi^, in k-space."""
    _, ny, nz = gradients.shape
    for x in range(first, last):
        for y in range(ny):
            g, d, k, i = gradients[x, y], data[x, y], kernel[x, y], inverse[x, y]
            for z in range(nz):
                g[z] = (g[z] + mu * k[z] * d[z]) * i[z]
                d[z] = k[z] * g[z]
    return 0.0, 0.0
