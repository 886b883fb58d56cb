"""R2* on the CPU in one pass over the magnitude."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from dlqsm.core.passes import FAST, Array


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def _slope(values: Array, times: Array, weights: Array, least_spread: Any) -> tuple[Any, Any]:
    """Slope and intercept of the weighted straight line; slope 0 where only one point has weight, but for rounding."""
    zero = values.dtype.type(0)
    total, time, value = zero, zero, zero
    for e in range(values.size):
        total += weights[e]
        time += weights[e] * times[e]
        value += weights[e] * values[e]
    if not total > 0:
        return zero, zero
    time /= total
    value /= total
    spread, product = zero, zero
    for e in range(values.size):
        away = weights[e] * (times[e] - time)
        spread += away * (times[e] - time)
        product += away * (values[e] - value)
    slope = product / spread if spread > least_spread * total else zero
    return slope, value - slope * time


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def fit_decay(
    first: int,
    last: int,
    magnitude: Array,
    sigma: Array,
    times: Array,
    more_channels: Any,
    least_snr: Any,
    largest_hz: Any,
    out: Array,
) -> tuple[float, float]:
    """Negative slope of log s over time, within 0 .. ``largest_hz``; see `dlqsm.qsm.relaxation.r2star`."""
    n_echoes, _, ny, nz = magnitude.shape
    kind = magnitude.dtype.type
    signal, weights = np.empty(n_echoes, magnitude.dtype), np.empty(n_echoes, magnitude.dtype)
    none, half, two = kind(0), kind(0.5), kind(2)
    least_spread = np.finfo(magnitude.dtype).eps * times[-1] ** 2
    for x in range(first, last):
        for y in range(ny):
            for z in range(nz):
                sd = sigma[x, y, z]
                surplus = two * more_channels * sd * sd
                for e in range(n_echoes):
                    size = magnitude[e, x, y, z]
                    power = size * size - surplus if np.isfinite(size) else none
                    weights[e] = max(power, none)
                    signal[e] = half * np.log(power) if power > 0 else none
                slope, level = _slope(signal, times, weights, least_spread)
                # Relative to the largest, since only ratios of weights matter and an exponential can overflow.
                largest = kind(-np.inf)
                for e in range(n_echoes):
                    if weights[e] > 0:
                        largest = max(largest, level + slope * times[e])
                floor = np.log(least_snr * sd) if sd > 0 else kind(-np.inf)
                for e in range(n_echoes):
                    fitted = level + slope * times[e]
                    counts = weights[e] > 0 and (e < 2 or fitted > floor)
                    weights[e] = np.exp(two * (fitted - largest)) if counts else none
                slope, level = _slope(signal, times, weights, least_spread)
                out[x, y, z] = min(max(none - slope, none), largest_hz)
    return 0.0, 0.0
