"""Lag sums on the CPU in one pass over the images."""

from __future__ import annotations

import numba
import numpy as np

from dlqsm.core.passes import FAST, Array


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def _part(row: Array, real: Array, imag: Array, total: Array) -> None:
    """Write real and imaginary parts of a row, and add its power."""
    for z in range(row.size):
        re, im = row[z].real, row[z].imag
        real[z], imag[z] = re, im
        total[z] += re * re + im * im


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def add_lags(first: int, last: int, images: Array, start: int, lags: Array, power: Array) -> tuple[float, float]:
    """Lags and power of rows along z: all products of a row are summed while its echoes are in the cache.

    The images begin at x = ``start`` of lags and power. Real and imaginary parts are parted first, so that the products
    are vector instructions.
    """
    n_echoes, n_channels, _, ny, nz = images.shape
    real, imag = np.empty((n_echoes, nz), power.dtype), np.empty((n_echoes, nz), power.dtype)
    sums = np.empty((n_echoes, 2, nz), power.dtype)
    for x in range(first, last):
        for y in range(ny):
            sums[:] = 0
            power[:, start + x, y] = 0
            for c in range(n_channels):
                for e in range(n_echoes):
                    _part(images[e, c, x, y], real[e], imag[e], power[e, start + x, y])
                for m in range(1, n_echoes):
                    for e in range(n_echoes - m):
                        a, b, p, q = real[e], imag[e], real[e + m], imag[e + m]
                        re, im = sums[m, 0], sums[m, 1]
                        for z in range(nz):
                            re[z] += a[z] * p[z] + b[z] * q[z]
                            im[z] += a[z] * q[z] - b[z] * p[z]
            for m in range(1, n_echoes):
                out = lags[m - 1, start + x, y]
                for z in range(nz):
                    out[z] = complex(sums[m, 0, z], sums[m, 1, z])
    return 0.0, 0.0
