"""Correlations: Pearson's r with its interval, and whether two correlations with one shared variable differ."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import stats

from dlqsm.agreement.sample import LEVEL, NOWHERE, Interval, Values, is_constant, mean_square_products


@dataclass(frozen=True, slots=True)
class Correlation:
    """Pearson's r, its two-sided p-value and interval; NaN where a variable does not vary."""

    r: float
    p: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class Difference:
    """t, degrees of freedom and two-sided p of the difference of two correlations."""

    t: float
    freedom: int
    p: float


def pearson(x: Values, y: Values) -> Correlation:
    """Pearson's correlation of paired values: p by `correlation_p`, interval by `correlation_interval`."""
    if x.size < 3 or is_constant(x) or is_constant(y):
        return Correlation(math.nan, math.nan, NOWHERE)
    s_xx, s_yy, s_xy = mean_square_products(x, y)
    r = max(-1.0, min(1.0, s_xy / math.sqrt(s_xx * s_yy)))
    return Correlation(r, correlation_p(r, x.size), correlation_interval(r, x.size))


def correlation_p(r: float, n: int) -> float:
    """Two-sided p of r = 0: t = r sqrt((n - 2) / (1 - r^2)) with n - 2 degrees of freedom."""
    if n < 3:
        return math.nan
    if abs(r) >= 1.0:
        return 0.0
    return 2.0 * float(stats.t.sf(abs(r) * math.sqrt((n - 2) / (1 - r**2)), n - 2))


def correlation_interval(r: float, n: int) -> Interval:
    """Interval of a correlation by Fisher's z: tanh(atanh r +- z / sqrt(n - 3)).

    References
    ----------
    Fisher, Biometrika 10:507 (1915), doi:10.1093/biomet/10.4.507.
    """
    if n < 4 or abs(r) >= 1.0:
        return NOWHERE
    half = float(stats.norm.ppf(0.5 + LEVEL / 2)) / math.sqrt(n - 3)
    return Interval(math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half))


def williams_test(r_first: float, r_second: float, r_between: float, n: int) -> Difference:
    """Williams' test that two variables correlate equally with a third, all measured in the same n people.

    t = (r1 - r2) sqrt((n - 1)(1 + r12) / (2 |R| (n - 1) / (n - 3) + m^2 (1 - r12)^3)) with n - 3 degrees of freedom,
    |R| = 1 - r1^2 - r2^2 - r12^2 + 2 r1 r2 r12 and m = (r1 + r2) / 2.

    Parameters
    ----------
    r_first, r_second
        Correlation of the first and of the second variable with the shared one.
    r_between
        Correlation of the two variables.
    n
        Number of people.

    References
    ----------
    Williams, J R Stat Soc B 21:396 (1959), in the form that Steiger, Psychol Bull 87:245 (1980),
    doi:10.1037/0033-2909.87.2.245, equation 7, recommends.
    """
    if n < 4 or not all(math.isfinite(r) for r in (r_first, r_second, r_between)):
        return Difference(math.nan, max(n - 3, 0), math.nan)
    determinant = 1 - r_first**2 - r_second**2 - r_between**2 + 2 * r_first * r_second * r_between
    mean = (r_first + r_second) / 2
    below = 2 * max(determinant, 0.0) * (n - 1) / (n - 3) + mean**2 * (1 - r_between) ** 3
    if below <= 1e-12 or abs(r_between) >= 1:
        return Difference(math.nan, n - 3, math.nan)
    t = (r_first - r_second) * math.sqrt((n - 1) * (1 + r_between) / below)
    return Difference(t, n - 3, 2.0 * float(stats.t.sf(abs(t), n - 3)))
