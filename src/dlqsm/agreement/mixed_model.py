"""One model of all differences from the reference: arms and nuclei as fixed effects, people as random ones."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from dlqsm.agreement import columns
from dlqsm.agreement.pairs import BOTH, MIN_PAIRS, Pairs, make_pairs
from dlqsm.agreement.sample import LEVEL, is_constant
from dlqsm.agreement.variance_components import RandomEffectsFit, fit_reml
from dlqsm.core.arm_names import family_of, named_acceleration
from dlqsm.core.checks import InputError

Matrix = NDArray[np.float64]
Row = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class MixedModel:
    """Outcome of `mixed_model`.

    ``table`` has the columns of `columns.MIXED_MODEL`, no rows where the model could not be fitted; ``account`` tells
    model, numbers, convergence and which variances are zero; ``reason`` why there is no table.
    """

    table: pd.DataFrame
    account: Row = field(default_factory=dict)
    reason: str | None = None

    @property
    def is_converged(self) -> bool:
        """Whether the optimiser says that it found the optimum."""
        return bool(self.account.get("Converged"))


@dataclass(frozen=True, slots=True, eq=False)
class _Design:
    """Differences [ppb] with arm and nucleus of each, the fixed effects, and the row of the effects of each cell."""

    difference_ppb: Matrix
    people: list[str]
    rois: list[str]
    effects: Matrix
    cells: dict[tuple[str, str], Matrix]
    arm_names: tuple[str, ...]
    roi_names: tuple[str, ...]
    has_interaction: bool

    @property
    def has_nucleus_effect(self) -> bool:
        """Whether several arms and nuclei tell what a nucleus of a person shares from the rest."""
        return len(self.arm_names) > 1 and len(self.roi_names) > 1

    @property
    def n_people(self) -> int:
        return len(set(self.people))


def mixed_model(
    table: pd.DataFrame,
    *,
    reference: str,
    repeat: str | None = None,
    accelerations: Mapping[str, float] | None = None,
) -> MixedModel:
    """Fit difference ~ arm x nucleus + (1 | participant) + (1 | participant:nucleus) by restricted likelihood.

    The difference of participant p, arm a and nucleus r is d_par = m_ar + u_p + v_pr + e_par with independent normal
    u, v and e of one variance each. What an arm's differences share in a person, such as the error of the reference
    scan itself, is v: tests between arms do not count it as noise, and do not take 7 nuclei of a person for 7 people.

    Parameters
    ----------
    table
        As `check_table` returns it; side ``both`` is used.
    reference
        Arm that is taken off the others.
    repeat
        Second scan by the reference: an arm like others here, and what they are compared with by contrasts.
    accelerations
        Arm to acceleration factor; the name tells it where an arm is missing here.

    Returns
    -------
    Means of arms, nuclei and cells, contrasts with the repeat, trends with the acceleration factor in each family of
    arms, Wald tests and standard deviations. Where a cell is empty the model is additive. Nuclei scatter unlike each
    other, which one variance of e does not tell: standard errors are those by people (`fit_reml`), with participants -
    1 degrees of freedom; the Wald tests of many contrasts at once keep the model's covariance.

    References
    ----------
    Laird & Ware, Biometrics 38:963 (1982), doi:10.2307/2529876.
    """
    pairs = [one for one in make_pairs(table, reference) if one.side == BOTH]
    reason = _why_not(pairs)
    if reason:
        return _nothing(reason)
    design = _design(pairs)
    try:
        fitted = _fit(design)
    except InputError as error:
        return _nothing(str(error))
    factors = {arm: (accelerations or {}).get(arm, named_acceleration(arm)) for arm in design.arm_names}
    rows = [*_means(design, fitted), *_contrasts(design, fitted, factors, repeat), *_tests(design, fitted)]
    found = pd.DataFrame([*rows, *_spreads(design, fitted)]).reindex(columns=list(columns.MIXED_MODEL))
    return MixedModel(found, _account(design, fitted))


def _nothing(reason: str) -> MixedModel:
    return MixedModel(pd.DataFrame(columns=list(columns.MIXED_MODEL)), {"Converged": False}, reason)


def _why_not(pairs: list[Pairs]) -> str | None:
    if not pairs:
        return "no row is of side both"
    n_people = int(np.any([one.is_pair for one in pairs], axis=0).sum())
    if n_people < MIN_PAIRS:
        return f"{n_people} participants have a difference; expected at least {MIN_PAIRS}"
    differences = [one.arm_ppb - one.reference_ppb for one in pairs if one.n]
    size = max(float(np.abs(one.reference_ppb).max()) for one in pairs if one.n)
    if all(is_constant(d, size) for d in differences):
        return "the differences do not vary"
    if int(np.sum([one.is_pair for one in pairs], axis=0).max()) < 2:
        return "nobody has more than one difference, which the table of agreement tells already"
    return None


def _design(pairs: list[Pairs]) -> _Design:
    filled = [one for one in pairs if one.n]
    arms, rois = (tuple(dict.fromkeys(getattr(one, name) for one in filled)) for name in ("arm", "roi"))
    present = {(one.arm, one.roi) for one in filled}
    has_interaction = len(present) == len(arms) * len(rois)
    cells = {(a, r): _effects_of(i, j, len(arms), len(rois), has_interaction)
             for i, a in enumerate(arms) for j, r in enumerate(rois)}  # fmt: skip
    rows = [
        (difference, person, one.arm, one.roi)
        for one in filled
        for difference, person in zip(
            one.arm_ppb - one.reference_ppb, np.array(one.participants)[one.is_pair], strict=True
        )
    ]
    effects = np.stack([cells[(arm, roi)] for _, _, arm, roi in rows])
    difference = np.array([row[0] for row in rows])
    return _Design(
        difference, [str(row[1]) for row in rows], [row[3] for row in rows], effects, cells, arms, rois, has_interaction
    )


def _effects_of(arm: int, roi: int, n_arms: int, n_rois: int, has_interaction: bool) -> Matrix:
    """Row of the fixed effects: one of a cell, or the arm's mean and the nucleus' deviation (which sum to zero)."""
    if has_interaction:
        return np.eye(n_arms * n_rois)[arm * n_rois + roi]
    deviation = np.full(n_rois - 1, -1.0) if roi == n_rois - 1 else np.eye(n_rois)[roi, :-1]
    return np.concatenate([np.eye(n_arms)[arm], deviation])


def _fit(design: _Design) -> RandomEffectsFit:
    """Fit with the random effects that arms and nuclei suffice to tell apart."""
    groups: list[list[str]] = [["all"] * len(design.people)]
    if design.has_nucleus_effect:
        groups.append(design.rois)
    return fit_reml(design.difference_ppb, design.effects, design.people, groups)


def _estimate(design: _Design, fitted: RandomEffectsFit, weights: Matrix, **key: str) -> Row:
    """Estimate, interval and test against zero of a linear combination of the effects."""
    estimate = float(weights @ fitted.effects)
    error = math.sqrt(float(weights @ fitted.covariance_by_people @ weights))
    freedom = design.n_people - 1
    half = float(stats.t.ppf(0.5 + LEVEL / 2, freedom)) * error
    t = estimate / error if error > 0 else math.nan
    row = {**key, "estimate": estimate, "standard_error": error, "low": estimate - half, "high": estimate + half}
    return {**row, "statistic": t, "freedom": freedom, "p": 2.0 * float(stats.t.sf(abs(t), freedom))}


def _arm_weights(design: _Design, arm: str) -> Matrix:
    """Mean of an arm's cells, every nucleus with the same weight."""
    return np.mean([design.cells[(arm, roi)] for roi in design.roi_names], axis=0)


def _means(design: _Design, fitted: RandomEffectsFit) -> Iterator[Row]:
    for arm in design.arm_names:
        yield _estimate(design, fitted, _arm_weights(design, arm), kind="arm", arm=arm)
    for roi in design.roi_names:
        weights = np.mean([design.cells[(arm, roi)] for arm in design.arm_names], axis=0)
        yield _estimate(design, fitted, weights, kind="nucleus", roi=roi)
    for (arm, roi), weights in design.cells.items():
        yield _estimate(design, fitted, weights, kind="cell", arm=arm, roi=roi)


def _contrasts(
    design: _Design, fitted: RandomEffectsFit, factors: dict[str, float | None], repeat: str | None
) -> Iterator[Row]:
    if repeat in design.arm_names:
        for arm in design.arm_names:
            if arm != repeat:
                weights = _arm_weights(design, arm) - _arm_weights(design, str(repeat))
                yield _estimate(design, fitted, weights, kind="against_repeat", arm=arm)
    for family, arms in _families(design, factors, repeat).items():
        slopes = _slope_weights([float(factors[arm] or 0.0) for arm in arms])
        parts = np.array([_arm_weights(design, arm) for arm in arms])
        yield _estimate(design, fitted, slopes @ parts, kind="trend", arm=family)
        if design.has_interaction:
            for roi in design.roi_names:
                of_roi = np.array([design.cells[(arm, roi)] for arm in arms])
                yield _estimate(design, fitted, slopes @ of_roi, kind="trend", arm=family, roi=roi)


def _families(design: _Design, factors: dict[str, float | None], repeat: str | None) -> dict[str, list[str]]:
    """Arms that differ in acceleration alone, at least two factors in each family."""
    found: dict[str, list[str]] = {}
    for arm in design.arm_names:
        if arm != repeat and factors[arm] is not None:
            found.setdefault(family_of(arm), []).append(arm)
    return {family: arms for family, arms in found.items() if len({factors[arm] for arm in arms}) > 1}


def _slope_weights(factors: list[float]) -> Matrix:
    """Weights of the least-squares slope: (x - mean x) / sum (x - mean x)^2."""
    centred = np.array(factors) - np.mean(factors)
    return centred / float(centred @ centred)


def _tests(design: _Design, fitted: RandomEffectsFit) -> Iterator[Row]:
    arm_means = np.array([_arm_weights(design, arm) for arm in design.arm_names])
    by_roi = [np.mean([design.cells[(a, roi)] for a in design.arm_names], axis=0) for roi in design.roi_names]
    yield from _wald(design, fitted, np.diff(arm_means, axis=0), "arm")
    yield from _wald(design, fitted, np.diff(np.array(by_roi), axis=0), "nucleus")
    if design.has_interaction:
        grid = np.array([[design.cells[(a, r)] for r in design.roi_names] for a in design.arm_names])
        both = np.diff(np.diff(grid, axis=0), axis=1)
        yield from _wald(design, fitted, both.reshape(-1, both.shape[-1]), "arm:nucleus")


def _wald(design: _Design, fitted: RandomEffectsFit, contrasts: Matrix, name: str) -> Iterator[Row]:
    """F = (L b)' (L C L')^-1 (L b) / q that all contrasts are zero; nothing where there are none."""
    n = contrasts.shape[0]
    if n == 0:
        return
    values = contrasts @ fitted.effects
    covariance = contrasts @ fitted.covariance @ contrasts.T
    f = float(values @ np.linalg.solve(covariance, values)) / n
    freedom = design.n_people - 1
    row = {"kind": "test", "effect": name, "statistic": f, "freedom_above": n, "freedom": freedom}
    yield {**row, "p": float(stats.f.sf(f, n, freedom))}


def _spreads(design: _Design, fitted: RandomEffectsFit) -> Iterator[Row]:
    """Standard deviations of the random effects and of the rest [ppb]."""
    for name, value in zip(_random_names(design), fitted.standard_deviations, strict=True):
        yield {"kind": "sd", "effect": name, "estimate": value}
    yield {"kind": "sd", "effect": "residual", "estimate": fitted.residual}


def _random_names(design: _Design) -> list[str]:
    return ["participant", "participant:nucleus"] if design.has_nucleus_effect else ["participant"]


def _account(design: _Design, fitted: RandomEffectsFit) -> Row:
    fixed = "arm + nucleus + arm:nucleus" if design.has_interaction else "arm + nucleus"
    names = _random_names(design)
    zero = [name for name, value in zip(names, fitted.standard_deviations, strict=True) if value == 0]
    return {
        "Model": " + ".join([f"difference ~ {fixed}", *(f"(1 | {name})" for name in names)]),
        "Estimator": "restricted maximum likelihood",
        "Converged": fitted.is_converged,
        "Message": fitted.message,
        "VariancesAtZero": zero,
        "Participants": design.n_people,
        "Differences": int(design.difference_ppb.size),
    }
