"""Straight lines: ordinary regression on a variable without error, and Deming's with error in both."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from dlqsm.agreement.equivalence import Equivalence, tost
from dlqsm.agreement.sample import LEVEL, NOWHERE, Interval, Values, is_constant


@dataclass(frozen=True, slots=True)
class Line:
    """Slope with its interval and p-value of slope 0, and intercept; NaN where there is no line."""

    slope: float
    interval: Interval
    p: float
    intercept: float


NO_LINE = Line(math.nan, NOWHERE, math.nan, math.nan)


def regress(x: Values, y: Values) -> Line:
    """Least squares y = a + b x, with the t interval of b (n - 2 degrees of freedom)."""
    if x.size < 3 or is_constant(x):
        return NO_LINE
    if is_constant(y):
        return Line(0.0, NOWHERE, math.nan, float(y.mean()))
    fit = stats.linregress(x, y)
    half = float(stats.t.ppf(0.5 + LEVEL / 2, x.size - 2)) * float(fit.stderr)
    interval = Interval(float(fit.slope) - half, float(fit.slope) + half)
    return Line(float(fit.slope), interval, float(fit.pvalue), float(fit.intercept))


def slope_equivalence(x: Values, y: Values, margin: float) -> Equivalence:
    """Two one-sided tests that the slope of y on x lies within -margin .. margin.

    Of a paired difference y this tests whether two arms have the same slope.
    """
    if x.size < 3 or is_constant(x) or is_constant(y):
        return Equivalence(math.nan, NOWHERE, math.nan)
    fit = stats.linregress(x, y)
    if fit.stderr == 0:
        return Equivalence(math.nan, NOWHERE, math.nan)
    return tost(float(fit.slope), float(fit.stderr), x.size - 2, margin)


def deming(values: Values, reference: Values, *, variance_ratio: float = 1.0) -> Line:
    """Deming regression of values on reference, both with error; slope 1 where the scale is kept.

    With the (co)variances s and l = ``variance_ratio``, error variance of values over that of reference,
    b = (s_yy - l s_xx + sqrt((s_yy - l s_xx)^2 + 4 l s_xy^2)) / (2 s_xy). The interval is the jackknife's, with
    n - 2 degrees of freedom; p is of slope 1, not of slope 0.

    References
    ----------
    Linnet, Stat Med 9:1463 (1990), doi:10.1002/sim.4780091210.
    """
    n = values.size
    if n < 4 or is_constant(values) or is_constant(reference):
        return NO_LINE
    x, y = reference - reference.mean(), values - values.mean()
    sums = np.stack([x * x, y * y, x * y])
    slope = float(_deming_slope(sums.sum(axis=1), variance_ratio))
    # Leaving i out takes n / (n - 1) times its product of deviations off each sum.
    without = _deming_slope(sums.sum(axis=1)[:, None] - sums * n / (n - 1), variance_ratio)
    pseudo = n * slope - (n - 1) * without
    intercept = float(values.mean() - slope * reference.mean())
    error = float(pseudo.std(ddof=1)) / math.sqrt(n)
    if not math.isfinite(error) or error <= 1e-12 * abs(slope):
        return Line(slope, NOWHERE, math.nan, intercept)
    half = float(stats.t.ppf(0.5 + LEVEL / 2, n - 2)) * error
    p = 2.0 * float(stats.t.sf(abs(slope - 1.0) / error, n - 2))
    return Line(slope, Interval(slope - half, slope + half), p, intercept)


def _deming_slope(sums: Values, ratio: float) -> Values:
    """Slope from the sums of squares and products ``(3, ...)``; NaN where x and y do not vary together."""
    s_xx, s_yy, s_xy = sums
    excess = s_yy - ratio * s_xx
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (excess + np.sqrt(excess**2 + 4 * ratio * s_xy**2)) / (2 * s_xy)
    return np.where(np.isfinite(slope), slope, math.nan)
