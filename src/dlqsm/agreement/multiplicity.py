"""Many tests: p-values adjusted over a family of them."""

from __future__ import annotations

import math

import numpy as np
from statsmodels.stats.multitest import multipletests  # type: ignore[import-untyped]

from dlqsm.agreement.sample import Values


def holm(p_values: Values) -> Values:
    """Holm's step-down adjusted p-values: they control the chance of any false rejection in the family.

    NaN marks a test that could not be made: it stays NaN and the family does not count it.

    References
    ----------
    Holm, Scand J Stat 6:65 (1979).
    """
    # statsmodels' Holm runs the garbage collector on every call, a third of a second in a process as large as ours.
    adjusted = np.full(p_values.shape, math.nan)
    made = np.flatnonzero(np.isfinite(p_values))
    order = made[np.argsort(p_values[made], kind="stable")]
    steps = p_values[order] * np.arange(order.size, 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def benjamini_hochberg(p_values: Values) -> Values:
    """Benjamini and Hochberg's adjusted p-values: they control the expected share of false rejections.

    NaN marks a test that could not be made: it stays NaN and the family does not count it.

    References
    ----------
    Benjamini & Hochberg, J R Stat Soc B 57:289 (1995), doi:10.1111/j.2517-6161.1995.tb02031.x.
    """
    adjusted = np.full(p_values.shape, math.nan)
    made = np.isfinite(p_values)
    if made.any():
        adjusted[made] = multipletests(p_values[made], method="fdr_bh")[1]
    return adjusted
