"""What the statistics of paired values share: the type of a sample, an interval, and when a sample does not vary."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

LEVEL: Final = 0.95
"""Confidence of every interval."""
RELATIVE_ROUNDING: Final = 1e-10
"""Spread over size below which values differ by rounding only."""


class Interval(NamedTuple):
    """Lower and upper end; both NaN where there is none."""

    low: float
    high: float


NOWHERE: Final = Interval(math.nan, math.nan)


def is_constant(values: Values, size: float | None = None) -> bool:
    """Whether values do not vary beyond rounding of numbers of the given size (default: their own largest)."""
    if values.size < 2:
        return True
    largest = float(np.abs(values).max()) if size is None else size
    return float(np.ptp(values)) <= RELATIVE_ROUNDING * largest


def mean_square_products(first: Values, second: Values) -> tuple[float, float, float]:
    """Sample variances and covariance (divisor n - 1): ``(s_xx, s_yy, s_xy)``."""
    covariance = np.cov(first, second)
    return float(covariance[0, 0]), float(covariance[1, 1]), float(covariance[0, 1])
