"""Bland-Altman analysis: bias, limits of agreement with exact intervals, proportional bias, repeatability."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import optimize, stats

from dlqsm.agreement.sample import LEVEL, NOWHERE, RELATIVE_ROUNDING, Interval, Values, is_constant

COVERAGE: Final = 0.95
"""Share of the differences that the limits of agreement are to hold."""


@dataclass(frozen=True, slots=True)
class BlandAltman:
    """Bias and limits of agreement, all in the unit of the values; NaN where the sample is too small for them."""

    bias: float
    bias_interval: Interval
    sd: float
    t: float
    p: float
    limits: Interval
    low_limit_interval: Interval
    high_limit_interval: Interval


@dataclass(frozen=True, slots=True)
class ProportionalBias:
    """Slope of the difference on the mean (a pure number), its interval and p-value."""

    slope: float
    interval: Interval
    p: float


@dataclass(frozen=True, slots=True)
class Repeatability:
    """Within-subject SD (in percent too) and repeatability coefficient with its interval, in the unit of the values."""

    within_subject_sd: float
    within_subject_cv_percent: float
    coefficient: float
    interval: Interval


def bland_altman(values: Values, reference: Values) -> BlandAltman:
    """Bias, its t-test, and limits of agreement of paired values.

    d = values - reference; bias = mean d, with the t interval bias +- t_{n-1} s / sqrt(n); limits bias +- 1.96 s; and
    the paired t-test t = bias sqrt(n) / s. The intervals of the limits are those of `limit_interval`, each limit
    alone.

    Parameters
    ----------
    values, reference
        ``(n,)``, pairs in the same order, finite.

    References
    ----------
    Bland & Altman, Lancet 327:307 (1986), doi:10.1016/S0140-6736(86)90837-8.
    Carkeet, Optom Vis Sci 92:e71 (2015), doi:10.1097/OPX.0000000000000513.
    """
    difference = values - reference
    n = difference.size
    bias = float(difference.mean()) if n else math.nan
    if n < 2:
        return BlandAltman(bias, NOWHERE, math.nan, math.nan, math.nan, NOWHERE, NOWHERE, NOWHERE)
    size = max(float(np.abs(values).max()), float(np.abs(reference).max()))
    if is_constant(difference, size):
        is_zero = abs(bias) <= RELATIVE_ROUNDING * size  # As s goes to 0, p goes to 0 unless the bias is none.
        return BlandAltman(bias, NOWHERE, 0.0, math.nan, float(is_zero), Interval(bias, bias), NOWHERE, NOWHERE)
    sd = float(difference.std(ddof=1))
    error = sd / math.sqrt(n)
    half = float(stats.t.ppf(0.5 + LEVEL / 2, n - 1)) * error
    width = float(stats.norm.ppf(0.5 + COVERAGE / 2)) * sd
    low, high = limit_interval(n)
    return BlandAltman(
        bias,
        Interval(bias - half, bias + half),
        sd,
        bias / error,
        2.0 * float(stats.t.sf(abs(bias / error), n - 1)),
        Interval(bias - width, bias + width),
        Interval(bias - high * sd, bias - low * sd),
        Interval(bias + low * sd, bias + high * sd),
    )


def limit_interval(n: int, *, coverage: float = COVERAGE, level: float = LEVEL) -> Interval:
    """Exact interval of the upper limit of agreement, in SDs above the bias (the lower limit mirrors it).

    The limit mu + z sigma, z = z_{(1 + coverage) / 2}, is a quantile of a normal distribution, and
    (limit - bias) sqrt(n) / s follows the noncentral t with n - 1 degrees of freedom and noncentrality z sqrt(n).
    The ends are its (1 -+ level) / 2 quantiles over sqrt(n): one-sided tolerance factors. They hold for each limit
    taken alone; for both taken as a pair see `pair_factor`.

    References
    ----------
    Carkeet, Optom Vis Sci 92:e71 (2015), doi:10.1097/OPX.0000000000000513.
    """
    shift = float(stats.norm.ppf(0.5 + coverage / 2)) * math.sqrt(n)
    low, high = stats.nct.ppf([0.5 - level / 2, 0.5 + level / 2], n - 1, shift) / math.sqrt(n)
    return Interval(float(low), float(high))


@functools.cache
def pair_factor(n: int, confidence: float, *, coverage: float = COVERAGE) -> float:
    """Two-sided tolerance factor k: bias +- k s holds ``coverage`` of the differences with the given confidence.

    k solves E_x[P(chi2_{n-1} > (n - 1) r(x)^2 / k^2)] = confidence, where x ~ N(0, 1/n) is the error of the bias in
    SDs and r(x) is the half width about it that holds the coverage, Phi(x + r) - Phi(x - r) = coverage. The expectation
    is a Gauss-Hermite sum. With confidences 0.025 and 0.975 these are the exact intervals of both limits as a pair.

    References
    ----------
    Odeh, Commun Stat Simul Comput 7:183 (1978), and Carkeet, Optom Vis Sci 92:e71 (2015),
    doi:10.1097/OPX.0000000000000513.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(64)
    half_widths_squared = stats.ncx2.ppf(coverage, 1, nodes**2 / n)

    def excess(log_factor: float) -> float:
        inside = stats.chi2.sf((n - 1) * half_widths_squared * math.exp(-2.0 * log_factor), n - 1)
        return float((weights * inside).sum() / weights.sum()) - confidence

    return math.exp(float(optimize.brentq(excess, math.log(0.1), math.log(1e4), xtol=1e-12)))


def proportional_bias(values: Values, reference: Values) -> ProportionalBias:
    """Regress the difference on the mean, to see whether the bias grows with the value.

    (values - reference) = a + b (values + reference) / 2. The test of b = 0 is the Pitman-Morgan test of equal
    variances: a method that only adds noise gives a slope above zero too, so that the slope is no proof of scaling.

    References
    ----------
    Bland & Altman, Stat Methods Med Res 8:135 (1999), doi:10.1177/096228029900800204.
    """
    mean, difference = (values + reference) / 2.0, values - reference
    size = float(np.abs(mean).max()) if mean.size else 0.0
    if mean.size < 3 or is_constant(mean) or is_constant(difference, size):
        return ProportionalBias(math.nan, NOWHERE, math.nan)
    fit = stats.linregress(mean, difference)
    half = float(stats.t.ppf(0.5 + LEVEL / 2, mean.size - 2)) * float(fit.stderr)
    return ProportionalBias(float(fit.slope), Interval(fit.slope - half, fit.slope + half), float(fit.pvalue))


def repeatability(values: Values, reference: Values) -> Repeatability:
    """Within-subject SD and repeatability coefficient of two measurements of the same kind.

    S_w = sqrt(mean(d^2) / 2), and two measurements differ by less than 1.96 sqrt(2) S_w = 2.77 S_w in 95 % of
    pairs. A bias between the two counts as error. The interval is that of a variance with n degrees of freedom. The
    within-subject coefficient of variation is the root mean square of the pairs' own, 100 sqrt(mean(d^2 / (2 m^2)))
    with the mean m of a pair; NaN where a pair's mean is not positive.

    References
    ----------
    Bland & Altman, BMJ 312:1654 (1996), doi:10.1136/bmj.312.7047.1654;
    Quan & Shih, Biometrics 52:1195 (1996), doi:10.2307/2532835.
    """
    difference = values - reference
    n = difference.size
    if n < 2:
        return Repeatability(math.nan, math.nan, math.nan, NOWHERE)
    mean = (values + reference) / 2.0
    cv_percent = 100.0 * math.sqrt(float(np.mean((difference / mean) ** 2)) / 2.0) if (mean > 0).all() else math.nan
    within = math.sqrt(float(np.mean(difference**2)) / 2.0)
    coefficient = float(stats.norm.ppf(0.5 + COVERAGE / 2)) * math.sqrt(2.0) * within
    high, low = np.sqrt(n / stats.chi2.ppf([0.5 - LEVEL / 2, 0.5 + LEVEL / 2], n))
    return Repeatability(within, cv_percent, coefficient, Interval(coefficient * float(low), coefficient * float(high)))
