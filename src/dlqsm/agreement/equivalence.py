"""Equivalence: whether the mean difference is smaller than a margin that was set beforehand."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import stats

from dlqsm.agreement.sample import NOWHERE, Interval, Values, is_constant

ALPHA: Final = 0.05
"""Size of each one-sided test; the interval that decides has confidence 1 - 2 ALPHA."""


@dataclass(frozen=True, slots=True)
class Equivalence:
    """Outcome of two one-sided tests.

    ``p`` below `ALPHA` shows equivalence within the margin; ``interval`` is the 90 % interval of the mean difference,
    which then lies inside the margin; ``smallest_margin`` is the one at which p would be `ALPHA`.
    """

    p: float
    interval: Interval
    smallest_margin: float


def tost_paired(values: Values, reference: Values, margin: float) -> Equivalence:
    """Two one-sided t-tests of the mean difference against -margin and +margin.

    p = max(P(T > (bias + margin) sqrt(n) / s), P(T < (bias - margin) sqrt(n) / s)), T Student's t with n - 1 degrees
    of freedom.

    Parameters
    ----------
    values, reference
        ``(n,)``, pairs in the same order, finite.
    margin
        Largest difference that does not matter, above zero, in their unit.

    References
    ----------
    Schuirmann, J Pharmacokinet Biopharm 15:657 (1987), doi:10.1007/BF01068419.
    """
    difference = values - reference
    size = max(float(np.abs(values).max()), float(np.abs(reference).max())) if values.size else 0.0
    if difference.size < 2:
        return Equivalence(math.nan, NOWHERE, math.nan)
    bias = float(difference.mean())
    if is_constant(difference, size):  # As s goes to 0, p goes to 0 inside the margin and to 1 beyond.
        return Equivalence(float(abs(bias) >= margin), Interval(bias, bias), abs(bias))
    return tost(bias, float(difference.std(ddof=1)) / math.sqrt(difference.size), difference.size - 1, margin)


def tost(estimate: float, standard_error: float, freedom: int, margin: float) -> Equivalence:
    """Two one-sided t-tests of any estimate with a known standard error; see `tost_paired`."""
    below = float(stats.t.sf((estimate + margin) / standard_error, freedom))
    above = float(stats.t.cdf((estimate - margin) / standard_error, freedom))
    half = float(stats.t.ppf(1 - ALPHA, freedom)) * standard_error
    return Equivalence(max(below, above), Interval(estimate - half, estimate + half), abs(estimate) + half)
