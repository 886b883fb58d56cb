"""MDI on the CPU: phase, noise and coherence of a voxel in one pass over lag sums and power."""

from __future__ import annotations

import math

import numba
import numpy as np

from dlqsm.core.passes import Array
from dlqsm.core.units import TWO_PI


@numba.njit(cache=True, nogil=True)
def estimate_field(
    first: int,
    last: int,
    lags: Array,
    power: Array,
    sigma: Array,
    times: Array,
    n_channels: int,
    choice: tuple[int, float],
    scales_hz: tuple[float, float],
    phase: Array,
    noise_hz: Array,
    coherence: Array,
) -> tuple[float, float]:
    """Write the three maps of `mdi`.

    ``sigma`` has the shape of the grid; ``times`` are the echo times over their spacing; ``choice`` is how many lags
    enter the phase and the ``lag_snr`` that they need; ``scales_hz`` are the field of 1 rad in one spacing, and the
    largest noise.
    """
    n_echoes, _, ny, nz = power.shape
    up_to, weights = np.empty(n_echoes), np.empty(n_echoes)
    limits = float(np.finfo(phase.dtype).tiny), math.sqrt(np.finfo(phase.dtype).max)
    for x in range(first, last):
        for y in range(ny):
            for z in range(nz):
                products, variance = lags[:, x, y, z], float(sigma[x, y, z]) ** 2
                phase[x, y, z], coherence[x, y, z], noise_hz[x, y, z] = 0.0, 0.0, scales_hz[1]
                if _has_signal(power[:, x, y, z], products, up_to):
                    phase[x, y, z] = _refined(products, up_to, variance, n_channels, *choice)
                    coherence[x, y, z] = _coherence(products[0], up_to)
                    information = _information(power[:, x, y, z], times, variance, n_channels, limits, weights)
                    if information > 0.0:
                        noise_hz[x, y, z] = min(scales_hz[0] / math.sqrt(information), scales_hz[1])
    return 0.0, 0.0


@numba.njit(cache=True, nogil=True)
def _has_signal(power: Array, lags: Array, up_to: Array) -> bool:
    """Whether a voxel holds signal and nothing that is not finite; writes the running sums of its power."""
    total = 0.0
    for e in range(power.size):
        total += power[e]
        up_to[e] = total
    products = 0.0
    for lag in lags:
        products += abs(float(lag.real)) + abs(float(lag.imag))
    return math.isfinite(total) and math.isfinite(products) and total > 0.0


@numba.njit(cache=True, nogil=True)
def _refined(lags: Array, up_to: Array, variance: float, n_channels: int, n_lags: int, lag_snr: float) -> float:
    """Weighted mean of arg(R_m) / m, lag m unwrapped by the mean of the lags below it."""
    n_echoes = up_to.size
    re, im = float(lags[0].real), float(lags[0].imag)
    total = math.sqrt(re * re + im * im)
    if total == 0.0:
        return 0.0
    phase = float(math.atan2(lags[0].imag, lags[0].real))
    for m in range(2, n_lags + 1):
        re, im = float(lags[m - 1].real), float(lags[m - 1].imag)
        squared = re * re + im * im
        power = up_to[n_echoes - 1 - m] + up_to[n_echoes - 1] - up_to[m - 1]
        floor = 4.0 * variance * variance * n_channels * (n_echoes - m)
        if squared > lag_snr * lag_snr * max(2.0 * variance * power - floor, floor):
            weight = m * m * math.sqrt(squared)
            total += weight
            step = math.atan2(lags[m - 1].imag, lags[m - 1].real) - m * phase
            phase += (step - TWO_PI * np.round(step / TWO_PI)) / m * weight / total
    return phase


@numba.njit(cache=True, nogil=True)
def _coherence(lag: complex, up_to: Array) -> float:
    n = up_to.size
    energy = up_to[n - 2] * (up_to[n - 1] - up_to[0])
    re, im = float(lag.real), float(lag.imag)
    return min(math.sqrt((re * re + im * im) / energy), 1.0) if energy > 0.0 else 0.0


@numba.njit(cache=True, nogil=True)
def _information(
    power: Array, times: Array, variance: float, n_channels: int, limits: tuple[float, float], weights: Array
) -> float:
    """Sum_e w_e (t_e - <t>_w)^2: the inverse variance of the slope of phase over ``times``."""
    total, centre, information = 0.0, 0.0, 0.0
    for e in range(power.size):
        weights[e] = min(max(power[e] / max(variance, limits[0]) - 2.0 * n_channels, 0.0), limits[1])
        total += weights[e]
        centre += weights[e] * times[e]
    centre /= max(total, limits[0])
    for e in range(power.size):
        information += weights[e] * (times[e] - centre) ** 2
    return information
