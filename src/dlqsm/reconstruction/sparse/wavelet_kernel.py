"""The shrinkage of Haar coefficients, cell by cell in the processor's cache: `wavelets.shrink_details` for the CPU.

Inside a cell the third axis holds the four coarse nodes of the first level and then its four details, so that what
follows runs over neighbouring numbers and becomes vector instructions.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
_CELL = 8
_FAST = True


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def shrink_cells(
    source: Floats, result: Floats, threshold: float, shift: NDArray[np.int64], weights: tuple[Floats, ...]
) -> None:
    """Add the volumes with shrunk details to ``result``.

    Parameters
    ----------
    source, result
        ``(member, x, y, z, 2)``: real and imaginary parts; the members' coefficients shrink by their common norm.
    threshold
        Of that norm.
    shift
        Voxels of the first cells that lie before the volume.
    weights
        Of the merges along x, y, z: six arrays of `wavelets.merge_weights`.
    """
    cx, sx, cy, sy, cz, sz = weights
    members = source.shape[0]
    parts = np.zeros((members, 2, _CELL, _CELL, _CELL), np.float32)
    norms = np.zeros((_CELL, _CELL, _CELL), np.float32)
    cut = np.zeros((_CELL, _CELL, _CELL, 2), np.float32)
    _, nx, ny, nz, _ = source.shape
    for i in range(cx.shape[0]):
        x = i * _CELL - shift[0]
        # Planes of the cell inside the volume: slabs are few planes, and half of the planes of their cells lie outside.
        first, end = max(0, -x), min(_CELL, nx - x)
        parts[:] = 0.0
        for j in range(cy.shape[0]):
            for k in range(cz.shape[0]):
                y, z = j * _CELL - shift[1], k * _CELL - shift[2]
                y0, z0, y1, z1 = max(y, 0), max(z, 0), min(y + _CELL, ny), min(z + _CELL, nz)
                whole = (y1 - y0) * (z1 - z0) == _CELL**2
                norms[:] = 0.0
                for member in range(members):
                    if whole:
                        _load(source[member], x, y, z, first, end, parts[member], cz[k], sz[k])
                    else:
                        cut[first:end] = 0.0
                        cut[first:end, y0 - y : y1 - y, z0 - z : z1 - z] = source[
                            member, x + first : x + end, y0:y1, z0:z1
                        ]
                        _load(cut, 0, 0, 0, first, end, parts[member], cz[k], sz[k])
                    for part in range(2):
                        volume = parts[member, part]
                        _merge_finest(volume, first, end, cx[i], sx[i], cy[j], sy[j])
                        _merge_coarse(volume, 2, 4, cx[i], sx[i], cy[j], sy[j], cz[k], sz[k])
                        _merge_coarse(volume, 4, 6, cx[i], sx[i], cy[j], sy[j], cz[k], sz[k])
                    _add_power(parts[member], norms)
                _keep_from(norms, threshold)
                for member in range(members):
                    for part in range(2):
                        volume = parts[member, part]
                        _multiply(volume, norms)
                        _merge_coarse(volume, 4, 6, cx[i], sx[i], cy[j], sy[j], cz[k], sz[k])
                        _merge_coarse(volume, 2, 4, cx[i], sx[i], cy[j], sy[j], cz[k], sz[k])
                        _merge_finest(volume, first, end, cx[i], sx[i], cy[j], sy[j])
                    if whole:
                        _store(result[member], x, y, z, first, end, parts[member], cz[k], sz[k])
                    else:
                        cut[first:end] = 0.0
                        _store(cut, 0, 0, 0, first, end, parts[member], cz[k], sz[k])
                        inside = cut[first:end, y0 - y : y1 - y, z0 - z : z1 - z]
                        result[member, x + first : x + end, y0:y1, z0:z1] += inside


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def _merge_finest(part: Floats, first: int, end: int, cx: Floats, sx: Floats, cy: Floats, sy: Floats) -> None:
    """The first level along x and y, in place; a merge is its own inverse, and axes commute."""
    for p in range(first // 2, (end + 1) // 2):
        c, s = cx[p], sx[p]
        for y in range(8):
            for z in range(8):
                u, v = part[2 * p, y, z], part[2 * p + 1, y, z]
                part[2 * p, y, z] = c * u + s * v
                part[2 * p + 1, y, z] = s * u - c * v
    for x in range(first // 2 * 2, end):
        for p in range(4):
            c, s = cy[p], sy[p]
            for z in range(8):
                u, v = part[x, 2 * p, z], part[x, 2 * p + 1, z]
                part[x, 2 * p, z] = c * u + s * v
                part[x, 2 * p + 1, z] = s * u - c * v


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def _merge_coarse(
    part: Floats, step: int, start: int, cx: Floats, sx: Floats, cy: Floats, sy: Floats, cz: Floats, sz: Floats
) -> None:
    """The second (``step`` 2) or third (4) level along x, y, z; coarse nodes lie at 0 .. 3 along z."""
    nodes, gap = 8 // step, step // 2
    for p in range(nodes // 2):
        a, b = 2 * p * step, (2 * p + 1) * step
        for y in range(0, 8, step):
            for z in range(0, 4, gap):
                u, v = part[a, y, z], part[b, y, z]
                part[a, y, z] = cx[start + p] * u + sx[start + p] * v
                part[b, y, z] = sx[start + p] * u - cx[start + p] * v
    for x in range(0, 8, step):
        for p in range(nodes // 2):
            a, b = 2 * p * step, (2 * p + 1) * step
            for z in range(0, 4, gap):
                u, v = part[x, a, z], part[x, b, z]
                part[x, a, z] = cy[start + p] * u + sy[start + p] * v
                part[x, b, z] = sy[start + p] * u - cy[start + p] * v
    for x in range(0, 8, step):
        for y in range(0, 8, step):
            for p in range(nodes // 2):
                a, b = 2 * p * gap, (2 * p + 1) * gap
                u, v = part[x, y, a], part[x, y, b]
                part[x, y, a] = cz[start + p] * u + sz[start + p] * v
                part[x, y, b] = sz[start + p] * u - cz[start + p] * v


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def _add_power(parts: Floats, norms: Floats) -> None:
    for x in range(8):
        for y in range(8):
            for z in range(8):
                norms[x, y, z] += parts[0, x, y, z] ** 2 + parts[1, x, y, z] ** 2


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def _keep_from(norms: Floats, weight: float) -> None:
    """Turn squared norms into the factors max(1 - weight / norm, 0); 1 for the coarse node."""
    threshold, tiny = np.float32(weight), np.float32(1e-30)
    for x in range(8):
        for y in range(8):
            for z in range(8):
                size = np.sqrt(norms[x, y, z] + tiny)
                norms[x, y, z] = max(np.float32(0.0), np.float32(1.0) - threshold / size)
    norms[0, 0, 0] = 1.0


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def _multiply(part: Floats, factors: Floats) -> None:
    for x in range(8):
        for y in range(8):
            for z in range(8):
                part[x, y, z] *= factors[x, y, z]


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def _load(
    volume: Floats, x0: int, y0: int, z0: int, first: int, end: int, parts: Floats, cz: Floats, sz: Floats
) -> None:
    """Take planes of a cell apart and merge the first level along z."""
    for x in range(first, end):
        for y in range(8):
            for p in range(4):
                c, s, z = cz[p], sz[p], z0 + 2 * p
                for part in range(2):
                    u, v = volume[x0 + x, y0 + y, z, part], volume[x0 + x, y0 + y, z + 1, part]
                    parts[part, x, y, p] = c * u + s * v
                    parts[part, x, y, 4 + p] = s * u - c * v


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def _store(
    volume: Floats, x0: int, y0: int, z0: int, first: int, end: int, parts: Floats, cz: Floats, sz: Floats
) -> None:
    """Undo the first level along z and add to the volume."""
    for x in range(first, end):
        for y in range(8):
            for p in range(4):
                c, s, z = cz[p], sz[p], z0 + 2 * p
                for part in range(2):
                    u, v = parts[part, x, y, p], parts[part, x, y, 4 + p]
                    volume[x0 + x, y0 + y, z, part] += c * u + s * v
                    volume[x0 + x, y0 + y, z + 1, part] += s * u - c * v
