"""Bootstrap intervals (BCa) over participants, for all nuclei and arms from the same draws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from dlqsm.agreement.pairs import Pairs
from dlqsm.agreement.sample import LEVEL, NOWHERE, Interval, Values, is_constant

Moments = NDArray[np.float64]
"""Sums over pairs ``(..., 6)``: n, x, y, x^2, y^2, x y; x the arm and y the reference, both less an offset."""

MOST_UNDEFINED: Final = 0.05
"""Share of resamples without a value (all pairs alike) above which no interval is given."""


def bootstrap_intervals(pairs: Sequence[Pairs], *, seed: int, n_resamples: int) -> list[dict[str, Interval]]:
    """BCa intervals of bias, percent difference, ICC(A,1) and CCC of every set of pairs.

    Participants are drawn, not values: one draw holds for all nuclei, arms and sides, so that what belongs to a
    person stays together. All four statistics are functions of six sums, which makes a resample one row of a matrix
    product instead of a copy of the data.

    Parameters
    ----------
    pairs
        Sets of pairs of the same participants, in the same order.
    seed
        Of the draws.
    n_resamples
        Number of draws.

    Returns
    -------
    One dictionary a set, with the keys of `statistics`.

    References
    ----------
    Efron, J Am Stat Assoc 82:171 (1987), doi:10.1080/01621459.1987.10478410.
    """
    if not pairs:
        return []
    n_people = len(pairs[0].participants)
    draws = np.random.default_rng(seed).multinomial(n_people, np.full(n_people, 1 / n_people), size=n_resamples)
    weights = draws.astype(np.float64)
    return [_intervals(one, weights) for one in pairs]


def statistics(moments: Moments, offset: float) -> dict[str, Values]:
    """Bias, signed percent difference, ICC(A,1) and CCC from sums over pairs; NaN where one has no value.

    With k = 2 methods the mean squares of the ICC are MS_R = (s_xx + s_yy + 2 s_xy) / 2,
    MS_E = (s_xx + s_yy - 2 s_xy) / 2 and MS_C = n (m_x - m_y)^2 / 2.

    Parameters
    ----------
    moments
        ``(..., 6)``, see `Moments`.
    offset
        What was taken off both x and y.
    """
    n, x, y, xx, yy, xy = np.moveaxis(moments, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        m_x, m_y = x / n, y / n
        # Divisor n - 1; rounding must not make a variance negative.
        s_xx = np.maximum(xx - n * m_x**2, 0.0) / (n - 1)
        s_yy = np.maximum(yy - n * m_y**2, 0.0) / (n - 1)
        s_xy = (xy - n * m_x * m_y) / (n - 1)
        bias = m_x - m_y
        rows, error, columns = (s_xx + s_yy) / 2 + s_xy, (s_xx + s_yy) / 2 - s_xy, n * bias**2 / 2
        shrink = (n - 1) / n
        found = {
            "bias_ppb": bias,
            "signed_percent_difference": 100.0 * bias / np.abs(m_y + offset),
            "icc": (rows - error) / (rows + error + 2 * (columns - error) / n),
            "ccc": 2 * shrink * s_xy / (shrink * (s_xx + s_yy) + bias**2),
        }
    return {name: np.where(np.isfinite(value), value, math.nan) for name, value in found.items()}


def bca_interval(resampled: Values, estimate: float, left_out: Values, *, level: float = LEVEL) -> Interval:
    """Bias-corrected and accelerated interval from resampled, estimated and leave-one-out values of a statistic.

    With z0 = Phi^-1(share of resamples below the estimate, ties by half) and the acceleration
    a = sum(e_i^3) / (6 (sum e_i^2)^(3/2)) of e_i = mean(left out) - left out_i, the ends are the quantiles
    Phi(z0 + (z0 + z) / (1 - a (z0 + z))) of the resamples, z the normal quantiles of the level.

    References
    ----------
    Efron, J Am Stat Assoc 82:171 (1987), doi:10.1080/01621459.1987.10478410.
    """
    known = resampled[np.isfinite(resampled)]
    too_few = known.size < (1 - MOST_UNDEFINED) * resampled.size
    if too_few or not math.isfinite(estimate) or not np.isfinite(left_out).all() or is_constant(known):
        return NOWHERE
    share = ((known < estimate).sum() + (known <= estimate).sum()) / (2 * known.size)
    deviation = left_out.mean() - left_out
    size = float((deviation**2).sum())
    if not 0 < share < 1 or size == 0:
        return NOWHERE
    acceleration = float((deviation**3).sum()) / (6 * size**1.5)
    z0 = float(stats.norm.ppf(share))
    z = z0 + stats.norm.ppf([0.5 - level / 2, 0.5 + level / 2])
    low, high = np.quantile(known, stats.norm.cdf(z0 + z / (1 - acceleration * z)))
    return Interval(float(low), float(high))


def _intervals(pairs: Pairs, draws: NDArray[np.float64]) -> dict[str, Interval]:
    names = ("bias_ppb", "signed_percent_difference", "icc", "ccc")
    if pairs.n < 3:
        return dict.fromkeys(names, NOWHERE)
    offset = float(pairs.reference_ppb.mean())
    x, y = pairs.arm_ppb - offset, pairs.reference_ppb - offset
    sums = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=-1)
    estimate = statistics(sums.sum(axis=0), offset)
    resampled = statistics(draws[:, pairs.is_pair] @ sums, offset)
    left_out = statistics(sums.sum(axis=0) - sums, offset)
    return {name: bca_interval(resampled[name], float(estimate[name]), left_out[name]) for name in names}
