"""The floor: how much an arm scatters about the reference, over how much the reference's own repeat does."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import stats

from dlqsm.agreement.pairs import MIN_PAIRS, Pairs
from dlqsm.agreement.sample import NOWHERE, Interval, Values, is_constant

FLOOR_LEVEL: Final = 0.90
"""Confidence of the interval of the ratio: its lower end above 1 and the one-sided test at 0.05 say the same."""


@dataclass(frozen=True, slots=True)
class SpreadRatio:
    """SD over the floor's SD, its 90 % interval, and one-sided p that it is no larger; NaN where nothing varies."""

    ratio: float
    interval: Interval
    p: float


UNKNOWN_RATIO: Final = SpreadRatio(math.nan, NOWHERE, math.nan)


def spread_ratio(differences: Values, floor_differences: Values) -> SpreadRatio:
    """Compare the SDs of two differences of the same people (Pitman and Morgan).

    With F = s1^2 / s2^2, r the correlation of the two and n people, t = (F - 1) sqrt(n - 2) / (2 sqrt(F (1 - r^2)))
    has n - 2 degrees of freedom where the variances are equal. With K = 1 + 2 (1 - r^2) t_q^2 / (n - 2) the interval of
    the ratio is sqrt(F (K -+ sqrt(K^2 - 1))). The two share the reference's own error, which r accounts for.

    Parameters
    ----------
    differences, floor_differences
        Arm minus reference and repeat minus reference, ``(n,)``, people in the same order.

    References
    ----------
    Pitman, Biometrika 31:9 (1939), doi:10.1093/biomet/31.1-2.9; Morgan, Biometrika 31:13 (1939),
    doi:10.1093/biomet/31.1-2.13.
    """
    n = differences.size
    if n < MIN_PAIRS or is_constant(differences) or is_constant(floor_differences):
        return UNKNOWN_RATIO
    f = float(differences.var(ddof=1) / floor_differences.var(ddof=1))
    apart = 1.0 - float(np.corrcoef(differences, floor_differences)[0, 1]) ** 2
    if apart <= 1e-12:
        return SpreadRatio(math.sqrt(f), NOWHERE, math.nan)
    t = (f - 1.0) * math.sqrt(n - 2) / (2.0 * math.sqrt(f * apart))
    k = 1.0 + 2.0 * apart * float(stats.t.ppf(0.5 + FLOOR_LEVEL / 2, n - 2)) ** 2 / (n - 2)
    low, high = (math.sqrt(f * (k + sign * math.sqrt(k**2 - 1.0))) for sign in (-1.0, 1.0))
    return SpreadRatio(math.sqrt(f), Interval(low, high), float(stats.t.sf(t, n - 2)))


def ratio_of_pairs(pairs: Pairs, floor: Pairs) -> SpreadRatio:
    """`spread_ratio` over the people who have arm, reference and repeat."""
    both = pairs.is_pair & floor.is_pair
    return spread_ratio(
        (pairs.every_arm_ppb - pairs.every_reference_ppb)[both],
        (floor.every_arm_ppb - floor.every_reference_ppb)[both],
    )
