"""The voxel-wise parts of a primal-dual TGV iteration on the CPU: each one pass, in slabs of x shared by threads.

Nothing is linked to the last plane of an axis (`primal_dual.links`), so that no neighbour is taken across an end.
"""

from __future__ import annotations

import math
from typing import Any

import numba

from dlqsm.core.passes import FAST, Array


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def gradient_adjoint(first: int, last: int, p: Array, inverse: Any, out: Array) -> tuple[float, float]:
    """Out = G^T p = sum_d (p_d(x - d) - p_d(x)) / h_d."""
    _, ny, nz = out.shape
    real = out.dtype.type
    ix, iy, iz = inverse
    for x in range(first, last):
        for y in range(ny):
            row, px, py, pz = out[x, y], p[0, x, y], p[1, x, y], p[2, x, y]
            bx, by = p[0, max(x - 1, 0), y], p[1, x, max(y - 1, 0)]
            fx, fy, before = real(x > 0), real(y > 0), real(0)
            for z in range(nz):
                row[z] = (fx * bx[z] - px[z]) * ix + (fy * by[z] - py[z]) * iy + (before - pz[z]) * iz
                before = pz[z]
    return 0.0, 0.0


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def step_field(
    first: int,
    last: int,
    chi: Array,
    fitted: Array,
    down_chi: Array,
    down_fitted: Array,
    s: Array,
    weights: Array,
    field: Array,
    sigma: Any,
    relax: Any,
) -> tuple[float, float]:
    """Step chi and D chi down, leave chi's extrapolation in ``down_chi``, and step the field's dual up."""
    _, ny, nz = chi.shape
    two = chi.dtype.type(2)
    change, size = 0.0, 0.0
    for x in range(first, last):
        for y in range(ny):
            c, f, dc, df, dual = chi[x, y], fitted[x, y], down_chi[x, y], down_fitted[x, y], s[x, y]
            w, b = weights[x, y], field[x, y]
            row_change, row_size = sigma - sigma, sigma - sigma
            for z in range(nz):
                new = w[z] * (dual[z] + sigma * (f[z] - two * df[z] - b[z])) / (w[z] + sigma)
                step = new - dual[z]
                row_change += step * step
                row_size += new * new
                dual[z] += relax * step
                f[z] -= relax * df[z]
                ahead = c[z] - two * dc[z]
                c[z] -= relax * dc[z]
                dc[z] = ahead
            change += row_change / sigma
            size += row_size / sigma
    return change, size


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def step_slopes(
    first: int, last: int, w: Array, ahead: Array, p: Array, r: Array, inverse: Any, tau: Any, relax: Any
) -> tuple[float, float]:
    """Step w down along E^T r - p, and leave its extrapolation in ``ahead``."""
    _, nx, ny, nz = w.shape
    real = w.dtype.type
    two, half = real(2), real(math.sqrt(0.5))
    ix, iy, iz = inverse
    jx, jy, jz = ix * half, iy * half, iz * half
    for x in range(first, last):
        fx, xm, xp = real(x > 0), max(x - 1, 0), min(x + 1, nx - 1)
        for y in range(ny):
            fy, ym, yp = real(y > 0), max(y - 1, 0), min(y + 1, ny - 1)
            wx, wy, wz, ax, ay, az = w[0, x, y], w[1, x, y], w[2, x, y], ahead[0, x, y], ahead[1, x, y], ahead[2, x, y]
            px, py, pz, zz, xz, yz = p[0, x, y], p[1, x, y], p[2, x, y], r[2, x, y], r[4, x, y], r[5, x, y]
            xx, xx_next, yy, yy_next = r[0, x, y], r[0, xp, y], r[1, x, y], r[1, x, yp]
            xy, xy_beside, xy_below, xz_beside, yz_below = (
                r[3, x, y],
                r[3, xm, y],
                r[3, x, ym],
                r[4, xm, y],
                r[5, x, ym],
            )
            xz_before, yz_before = real(0), real(0)
            for z in range(nz - 1):
                right = (xx[z] - xx_next[z]) * ix + (fy * xy_below[z] - xy[z]) * jy + (xz_before - xz[z]) * jz
                down = tau * (right - px[z])
                ax[z] = wx[z] - two * down
                wx[z] -= relax * down
                right = (yy[z] - yy_next[z]) * iy + (fx * xy_beside[z] - xy[z]) * jx + (yz_before - yz[z]) * jz
                down = tau * (right - py[z])
                ay[z] = wy[z] - two * down
                wy[z] -= relax * down
                right = (zz[z] - zz[z + 1]) * iz + (fx * xz_beside[z] - xz[z]) * jx + (fy * yz_below[z] - yz[z]) * jy
                down = tau * (right - pz[z])
                az[z] = wz[z] - two * down
                wz[z] -= relax * down
                xz_before, yz_before = xz[z], yz[z]
    return 0.0, 0.0


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def step_gradients(
    first: int,
    last: int,
    chi: Array,
    w: Array,
    p: Array,
    links: Array,
    inverse: Any,
    sigma: Any,
    limit: Any,
    relax: Any,
) -> tuple[float, float]:
    """Step p up along G chi - w where links hold, its length at most the limit; norms of the step and of its end."""
    nx, ny, nz = chi.shape
    real = chi.dtype.type
    change, size = 0.0, 0.0
    ix, iy, iz = inverse
    for x in range(first, last):
        for y in range(ny):
            here, ahead_x, ahead_y = chi[x, y], chi[min(x + 1, nx - 1), y], chi[x, min(y + 1, ny - 1)]
            wx, wy, wz, link = w[0, x, y], w[1, x, y], w[2, x, y], links[x, y]
            px, py, pz = p[0, x, y], p[1, x, y], p[2, x, y]
            row_change, row_size = limit - limit, limit - limit
            for z in range(nz - 1):
                a = (px[z] + sigma * ((ahead_x[z] - here[z]) * ix - wx[z])) * real(link[z] & 1)
                b = (py[z] + sigma * ((ahead_y[z] - here[z]) * iy - wy[z])) * real((link[z] >> 1) & 1)
                c = (pz[z] + sigma * ((here[z + 1] - here[z]) * iz - wz[z])) * real((link[z] >> 2) & 1)
                shrink = limit / max(limit, math.sqrt(a * a + b * b + c * c))
                a, b, c = a * shrink, b * shrink, c * shrink
                row_size += a * a + b * b + c * c
                a, b, c = a - px[z], b - py[z], c - pz[z]
                row_change += a * a + b * b + c * c
                px[z] += relax * a
                py[z] += relax * b
                pz[z] += relax * c
            change += row_change / sigma
            size += row_size / sigma
    return change, size


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def step_curvatures(
    first: int, last: int, w: Array, r: Array, links: Array, inverse: Any, sigma: Any, limit: Any, relax: Any
) -> tuple[float, float]:
    """Step r up along E w where links hold, its length at most the limit; norms of the step and of its end."""
    _, nx, ny, nz = w.shape
    real = w.dtype.type
    half = real(math.sqrt(0.5))
    change, size = 0.0, 0.0
    ix, iy, iz = inverse
    jx, jy, jz = ix * half, iy * half, iz * half
    for x in range(first, last):
        xm, xp = max(x - 1, 0), min(x + 1, nx - 1)
        for y in range(ny):
            ym, yp, link = max(y - 1, 0), min(y + 1, ny - 1), links[x, y]
            wx, wx_beside, wx_above = w[0, x, y], w[0, xm, y], w[0, x, yp]
            wy, wy_below, wy_ahead = w[1, x, y], w[1, x, ym], w[1, xp, y]
            wz, wz_ahead, wz_above, wz_before = w[2, x, y], w[2, xp, y], w[2, x, yp], real(0)
            r0, r1, r2, r3, r4, r5 = r[0, x, y], r[1, x, y], r[2, x, y], r[3, x, y], r[4, x, y], r[5, x, y]
            row_change, row_size = limit - limit, limit - limit
            for z in range(nz - 1):
                k = link[z]
                a = (r0[z] + sigma * (wx[z] - wx_beside[z]) * ix) * real((k >> 3) & 1)
                b = (r1[z] + sigma * (wy[z] - wy_below[z]) * iy) * real((k >> 4) & 1)
                c = (r2[z] + sigma * (wz[z] - wz_before) * iz) * real((k >> 5) & 1)
                wz_before = wz[z]
                d = r3[z] + sigma * ((wx_above[z] - wx[z]) * jy + (wy_ahead[z] - wy[z]) * jx)
                e = r4[z] + sigma * ((wx[z + 1] - wx[z]) * jz + (wz_ahead[z] - wz[z]) * jx)
                f = r5[z] + sigma * ((wy[z + 1] - wy[z]) * jz + (wz_above[z] - wz[z]) * jy)
                d, e, f = d * real((k >> 6) & 1), e * real((k >> 7) & 1), f * real((k >> 8) & 1)
                shrink = limit / max(limit, math.sqrt(a * a + b * b + c * c + d * d + e * e + f * f))
                a, b, c, d, e, f = a * shrink, b * shrink, c * shrink, d * shrink, e * shrink, f * shrink
                row_size += a * a + b * b + c * c + d * d + e * e + f * f
                a, b, c, d, e, f = a - r0[z], b - r1[z], c - r2[z], d - r3[z], e - r4[z], f - r5[z]
                row_change += a * a + b * b + c * c + d * d + e * e + f * f
                r0[z] += relax * a
                r1[z] += relax * b
                r2[z] += relax * c
                r3[z] += relax * d
                r4[z] += relax * e
                r5[z] += relax * f
            change += row_change / sigma
            size += row_size / sigma
    return change, size
