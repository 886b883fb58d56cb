"""Absolute agreement in one number: the intraclass correlation ICC(A,1) and Lin's concordance correlation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from dlqsm.agreement.sample import LEVEL, NOWHERE, Interval, Values, is_constant


@dataclass(frozen=True, slots=True)
class Concordance:
    """A coefficient of agreement, 1 where all pairs are equal, and its interval; NaN where nothing varies."""

    estimate: float
    interval: Interval


NOTHING_VARIES = Concordance(math.nan, NOWHERE)


def icc_a1(ratings: NDArray[np.float64]) -> Concordance:
    """Intraclass correlation of single measurements, two-way random effects, absolute agreement.

    With the mean squares of subjects MS_R, methods MS_C and error MS_E of the n x k table,
    ICC(A,1) = (MS_R - MS_E) / (MS_R + (k - 1) MS_E + k (MS_C - MS_E) / n). The interval is an F interval whose
    degrees of freedom come from Satterthwaite's approximation.

    Parameters
    ----------
    ratings
        ``(n, k)``: subjects by methods, finite.

    References
    ----------
    McGraw & Wong, Psychol Methods 1:30 (1996), doi:10.1037/1082-989X.1.1.30, ICC(A,1); the same as ICC(2,1) of
    Shrout & Fleiss, Psychol Bull 86:420 (1979), doi:10.1037/0033-2909.86.2.420.
    """
    n, k = ratings.shape
    if n < 2 or is_constant(ratings.ravel()):
        return NOTHING_VARIES
    rows, columns, error = mean_squares(ratings)
    below = rows + (k - 1) * error + k * (columns - error) / n
    if below <= 0:
        return NOTHING_VARIES
    return Concordance((rows - error) / below, _icc_interval(rows, columns, error, n, k))


def mean_squares(ratings: NDArray[np.float64]) -> tuple[float, float, float]:
    """Mean squares of rows, columns and error of a two-way table without repeats."""
    n, k = ratings.shape
    grand = ratings.mean()
    by_row, by_column = ratings.mean(axis=1) - grand, ratings.mean(axis=0) - grand
    residual = ratings - grand - by_row[:, None] - by_column[None, :]
    rows, columns = k * (by_row**2).sum() / (n - 1), n * (by_column**2).sum() / (k - 1)
    error = (residual**2).sum() / ((n - 1) * (k - 1))
    return float(rows), float(columns), float(error)


def _icc_interval(rows: float, columns: float, error: float, n: int, k: int) -> Interval:
    icc = (rows - error) / (rows + (k - 1) * error + k * (columns - error) / n)
    if not -1.0 < icc < 1.0 or error <= 0:
        return NOWHERE
    a = k * icc / (n * (1 - icc))
    b = 1 + k * icc * (n - 1) / (n * (1 - icc))
    spread = (a * columns) ** 2 / (k - 1) + (b * error) ** 2 / ((n - 1) * (k - 1))
    freedom = (a * columns + b * error) ** 2 / spread
    f_low = float(stats.f.ppf(0.5 + LEVEL / 2, n - 1, freedom))
    f_high = float(stats.f.ppf(0.5 + LEVEL / 2, freedom, n - 1))
    rest = k * columns + (k * n - k - n) * error
    low = n * (rows - f_low * error) / (f_low * rest + n * rows)
    high = n * (f_high * rows - error) / (rest + n * f_high * rows)
    return Interval(low, high)


def lin_ccc(values: Values, reference: Values) -> Concordance:
    """Lin's concordance correlation coefficient, with the interval by Fisher's z.

    CCC = 2 s_xy / (s_x^2 + s_y^2 + (m_x - m_y)^2), with divisor n in the moments as in Lin's paper. With r Pearson's
    correlation and u = (m_x - m_y) / sqrt(s_x s_y), z = atanh(CCC) has the variance
    [(1 - r^2) c^2 / ((1 - c^2) r^2) + 2 c^3 (1 - c) u^2 / (r (1 - c^2)^2) - c^4 u^4 / (2 r^2 (1 - c^2)^2)] / (n - 2).

    Parameters
    ----------
    values, reference
        ``(n,)``, pairs in the same order, finite.

    References
    ----------
    Lin, Biometrics 45:255 (1989), doi:10.2307/2532051, with the correction of Biometrics 56:324 (2000),
    doi:10.1111/j.0006-341X.2000.00324.x.
    """
    n = values.size
    if n < 2 or (is_constant(values) and is_constant(reference)):
        return NOTHING_VARIES
    s_xx, s_yy = float(values.var()), float(reference.var())
    s_xy = float(((values - values.mean()) * (reference - reference.mean())).mean())
    shift = float(values.mean() - reference.mean())
    ccc = 2 * s_xy / (s_xx + s_yy + shift**2)
    if n < 3 or min(s_xx, s_yy) == 0 or s_xy == 0 or 1 - ccc**2 < 1e-12:
        return Concordance(ccc, NOWHERE)
    r, u2 = s_xy / math.sqrt(s_xx * s_yy), shift**2 / math.sqrt(s_xx * s_yy)
    rest = 1 - ccc**2
    variance = (1 - r**2) * ccc**2 / (rest * r**2) + 2 * ccc**3 * (1 - ccc) * u2 / (r * rest**2)
    variance = (variance - ccc**4 * u2**2 / (2 * r**2 * rest**2)) / (n - 2)
    half = float(stats.norm.ppf(0.5 + LEVEL / 2)) * math.sqrt(max(variance, 0.0))
    return Concordance(ccc, Interval(math.tanh(math.atanh(ccc) - half), math.tanh(math.atanh(ccc) + half)))
