"""Linear models with random effects within people, by restricted maximum likelihood.

statsmodels' MixedLM stops with a singular matrix where a variance is zero, which here is the ordinary case: arms that
agree share no error. On the likelihood below zero is a bound like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, optimize

from dlqsm.core.checks import InputError

Matrix = NDArray[np.float64]

STARTS: Final = (1.0, 0.1)
"""Square roots of the variance ratios from which the optimiser starts; the better end counts."""
LARGEST_ROOT: Final = 1e3
AT_ZERO: Final = 1e-3
"""Square root of a variance ratio below which the variance is called zero."""


@dataclass(frozen=True, slots=True, eq=False)
class RandomEffectsFit:
    """Outcome of `fit_reml`.

    Parameters
    ----------
    effects, covariance
        Fixed effects b and their covariance by the model, ``(p,)`` and ``(p, p)``.
    covariance_by_people
        Their covariance by how people differ from each other, whatever the variances of single rows, ``(p, p)``.
    standard_deviations
        Of each random effect, in the order given.
    residual
        Standard deviation of the rest.
    is_converged
        Whether the optimiser says that it found the optimum.
    message
        What it says.
    """

    effects: Matrix
    covariance: Matrix
    covariance_by_people: Matrix
    standard_deviations: tuple[float, ...]
    residual: float
    is_converged: bool
    message: str


@dataclass(frozen=True, slots=True, eq=False)
class _Pattern:
    """People whose rows have the same effects and groups: their sums need one matrix inverse for all."""

    effects: Matrix
    same: Matrix
    values: Matrix


def fit_reml(
    values: Matrix, effects: Matrix, people: Sequence[str], groups: Sequence[Sequence[str]]
) -> RandomEffectsFit:
    """Fit y = X b + sum_c Z_c u_c + e with independent normal u_c and e, people independent of each other.

    With H = I + sum_c l_c Z_c Z_c' of a person, l_c the variance of u_c over that of e, the criterion is
    (n - p) log s2 + sum log |H| + log |sum X' H^-1 X|, s2 = (y - X b)' H^-1 (y - X b) / (n - p) and b the weighted
    least squares solution; it is minimised over sqrt(l_c) >= 0.

    The covariance by people is that of Liang and Zeger, m / (m - 1) B (sum g g') B of m people, with
    B = (sum X' H^-1 X)^-1 and g = X' H^-1 (y - X b) of one person. Where all have all rows it is that of the mean of
    what each person has alone, with m - 1 degrees of freedom.

    Parameters
    ----------
    values
        y, ``(n,)``.
    effects
        X, ``(n, p)``, of full rank.
    people
        Person of each row.
    groups
        One sequence a random effect: rows of one person with the same entry share a value of u_c.

    Raises
    ------
    InputError
        If there are no more rows than fixed effects, or these cannot be told apart.

    References
    ----------
    Patterson & Thompson, Biometrika 58:545 (1971), doi:10.1093/biomet/58.3.545; Liang & Zeger, Biometrika 73:13
    (1986), doi:10.1093/biomet/73.1.13.
    """
    n, p = effects.shape
    if n <= p or np.linalg.matrix_rank(effects) < p:
        raise InputError(f"{n} differences cannot tell {p} effects apart")
    patterns = _patterns(values, effects, people, groups)

    def criterion(roots: Matrix) -> float:
        log_size, inner, _, rest = _sums(patterns, roots)
        return float((n - p) * np.log(rest / (n - p)) + log_size + np.linalg.slogdet(inner)[1])

    bounds = [(0.0, LARGEST_ROOT)] * len(groups)
    options = {"ftol": 1e-13, "gtol": 1e-7, "maxiter": 500}
    found = [
        optimize.minimize(criterion, np.full(len(groups), start), method="L-BFGS-B", bounds=bounds, options=options)
        for start in STARTS
    ]
    best = min(found, key=lambda one: float(one.fun))
    _, inner, b, rest = _sums(patterns, best.x)
    variance = rest / (n - p)
    spreads = tuple(float(root) * variance**0.5 if root > AT_ZERO else 0.0 for root in best.x)
    inverse = np.linalg.inv(inner)
    by_people = inverse @ _scores_squared(patterns, best.x, b) @ inverse
    return RandomEffectsFit(
        b, variance * inverse, by_people, spreads, variance**0.5, bool(best.success), str(best.message)
    )


def _patterns(
    values: Matrix, effects: Matrix, people: Sequence[str], groups: Sequence[Sequence[str]]
) -> list[_Pattern]:
    rows_of: dict[str, list[int]] = {}
    for row, person in enumerate(people):
        rows_of.setdefault(person, []).append(row)
    found: dict[tuple[bytes, bytes], list[Matrix]] = {}
    kept: dict[tuple[bytes, bytes], tuple[Matrix, Matrix]] = {}
    for rows in rows_of.values():
        names = [np.array([group[row] for row in rows]) for group in groups]
        same = np.stack([name[:, None] == name[None, :] for name in names]).astype(np.float64)
        key = effects[rows].tobytes(), same.tobytes()
        kept[key] = effects[rows], same
        found.setdefault(key, []).append(values[rows])
    return [_Pattern(*kept[key], np.stack(ys, axis=1)) for key, ys in found.items()]


def _sums(patterns: list[_Pattern], roots: Matrix) -> tuple[float, Matrix, Matrix, float]:
    """Sum log |H|, X' H^-1 X, the effects b, and the weighted sum of squares about X b."""
    p = patterns[0].effects.shape[1]
    log_size, total = 0.0, 0.0
    inner: Matrix = np.zeros((p, p))
    right: Matrix = np.zeros(p)
    for one in patterns:
        n_people = one.values.shape[1]
        factor, x, y = _whitened(one, roots)
        log_size += 2.0 * n_people * float(np.log(np.diag(factor)).sum())
        inner += n_people * x.T @ x
        right += x.T @ y.sum(axis=1)
        total += float((y**2).sum())
    b = np.asarray(np.linalg.solve(inner, right), np.float64)
    return log_size, inner, b, total - float(right @ b)


def _scores_squared(patterns: list[_Pattern], roots: Matrix, b: Matrix) -> Matrix:
    """Sum of g g' over the m people, times m / (m - 1)."""
    scores = [x.T @ (y - (x @ b)[:, None]) for _, x, y in (_whitened(one, roots) for one in patterns)]
    every = np.concatenate(scores, axis=1)
    m = every.shape[1]
    return np.asarray(m / (m - 1) * (every @ every.T), np.float64)


def _whitened(one: _Pattern, roots: Matrix) -> tuple[Matrix, Matrix, Matrix]:
    """Cholesky factor C of H, C^-1 X and C^-1 y."""
    spread = np.eye(one.effects.shape[0]) + np.tensordot(roots**2, one.same, axes=1)
    factor = linalg.cholesky(spread, lower=True)
    x, y = (linalg.solve_triangular(factor, rows, lower=True) for rows in (one.effects, one.values))
    return factor, x, y
