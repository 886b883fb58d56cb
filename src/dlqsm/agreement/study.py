"""The study: one row of statistics a nucleus, arm and side, and the association with age."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import pandas as pd

from dlqsm.agreement import columns
from dlqsm.agreement.bland_altman import bland_altman, pair_factor, proportional_bias, repeatability
from dlqsm.agreement.bootstrap import bootstrap_intervals
from dlqsm.agreement.concordance import icc_a1, lin_ccc
from dlqsm.agreement.correlation import pearson, williams_test
from dlqsm.agreement.equivalence import tost_paired
from dlqsm.agreement.floor import ratio_of_pairs
from dlqsm.agreement.long_table import check_table
from dlqsm.agreement.multiplicity import benjamini_hochberg, holm
from dlqsm.agreement.pairs import BOTH, MIN_PAIRS, Pairs, make_pairs, regions, require_reference
from dlqsm.agreement.sample import LEVEL, Interval, Values
from dlqsm.agreement.slopes import deming, regress, slope_equivalence
from dlqsm.core.arm_names import by_name
from dlqsm.core.checks import InputError, require_positive

MARGIN_PPB: Final = 3.0
"""Mean difference that does not matter, unless another is told."""
N_RESAMPLES: Final = 10_000

Row = dict[str, Any]


def agreement_table(
    table: pd.DataFrame,
    *,
    reference: str,
    margin_ppb: float = MARGIN_PPB,
    seed: int = 0,
    n_resamples: int = N_RESAMPLES,
    repeat: str | None = None,
) -> pd.DataFrame:
    """All statistics of agreement of every arm with the reference.

    Parameters
    ----------
    table
        Long: ``participant_id arm roi side mean_ppb``, values in ppb.
    reference
        Arm that the others are compared with.
    margin_ppb
        Mean difference that does not matter [ppb], set before the data are seen.
    seed, n_resamples
        Of the bootstrap.
    repeat
        Second scan by the reference, whose spread is the floor of the others', and whose p-values are adjusted apart
        from theirs; without it there is no floor.

    Returns
    -------
    One row an arm, nucleus and side; columns as `columns.AGREEMENT` describes them. Rows of fewer than `MIN_PAIRS`
    pairs keep counts, means, bias and percent difference; NaN stands for all that could not be computed.

    Raises
    ------
    InputError
        If the table cannot be used (`check_table`), or the reference is absent or shares nobody with any arm.
    """
    require_positive("the equivalence margin", [margin_ppb], "ppb")
    pairs = make_pairs(check_table(table, "the table", is_unit_known=True), reference)
    intervals = bootstrap_intervals(pairs, seed=seed, n_resamples=n_resamples)
    floors = {(one.roi, one.side): one for one in pairs if one.arm == repeat}
    rows = []
    for one, bca in zip(pairs, intervals, strict=True):
        row = {"arm": one.arm, "roi": one.roi, "side": one.side, "margin_ppb": margin_ppb} | _counts_and_means(one)
        if one.n >= MIN_PAIRS:
            row |= _differences(one) | _coefficients(one) | _equivalence(one, margin_ppb) | _slopes(one) | _bca(bca)
            row |= _over_floor(one, floors.get((one.roi, one.side)))
        rows.append(row)
    found = pd.DataFrame(rows).reindex(columns=list(columns.AGREEMENT))
    return _adjust(found, repeat)


def age_table(table: pd.DataFrame, *, reference: str, slope_margin_ppb_per_year: float = 0.1) -> pd.DataFrame:
    """Association with age of every arm, and whether it differs from the reference's.

    r and slope use all participants with an age and the arm; what compares arms uses those with the reference too.
    Two arms are compared by Williams' test of correlations that share a variable, not by one being significant and
    the other not; the slopes are compared by regressing the paired difference on age, and shown to be equal within a
    margin by two one-sided tests of that slope.

    Parameters
    ----------
    table
        As in `agreement_table`, with ``age`` [years]; side ``both`` is used.
    reference
        Arm that the others are compared with; its own rows have no p_against_reference.
    slope_margin_ppb_per_year
        Difference of two slopes that does not matter [ppb/year], set before the data are seen; the default adds up to
        5 ppb over 50 years.

    Returns
    -------
    One row an arm and nucleus, the reference first; columns as `columns.AGE` describes them.

    Raises
    ------
    InputError
        As `agreement_table`; also if no age is known or no row is of side ``both`` (`why_no_age_table`).
    """
    require_positive("the margin of slopes", [slope_margin_ppb_per_year], "ppb/year")
    table = check_table(table, "the table", is_unit_known=True)
    require_reference(by_name(table["arm"]), reference)
    reason = why_no_age_table(table)
    if reason:
        raise InputError(reason)
    ages = table.groupby("participant_id")["age"].first()
    pairs = [one for one in make_pairs(table, reference) if one.side == BOTH]
    first = pairs[0].arm
    rows = [_age_row(reference, one, one.every_reference_ppb, ages) for one in pairs if one.arm == first]
    margin = slope_margin_ppb_per_year
    rows += [_age_row(one.arm, one, one.every_arm_ppb, ages) | _against_reference(one, ages, margin) for one in pairs]
    return _whole_counts(pd.DataFrame(rows).reindex(columns=list(columns.AGE)))


def why_no_age_table(table: pd.DataFrame) -> str | None:
    """The reason why a checked table gives no association with age, or None where it does."""
    if "age" not in table or not table["age"].notna().any():
        return "no age is known: the table has no column age, or it is empty"
    if not any(side == BOTH for _, side in regions(table)):
        return "no row is of side both, over which the association with age is computed"
    return None


def _counts_and_means(pairs: Pairs) -> Row:
    x, y, n = pairs.arm_ppb, pairs.reference_ppb, pairs.n
    arm_mean, reference_mean = (float(v.mean()) if n else math.nan for v in (x, y))
    signed = 100.0 * (arm_mean - reference_mean) / abs(reference_mean) if n and reference_mean != 0 else math.nan
    return {
        "n": n,
        "n_arm": int(np.isfinite(pairs.every_arm_ppb).sum()),
        "n_reference": int(np.isfinite(pairs.every_reference_ppb).sum()),
        "n_missing": len(pairs.participants) - n,
        "arm_mean_ppb": arm_mean,
        "reference_mean_ppb": reference_mean,
        "bias_ppb": arm_mean - reference_mean,
        "percent_difference": abs(signed),
        "signed_percent_difference": signed,
    }


def _differences(pairs: Pairs) -> Row:
    found = bland_altman(pairs.arm_ppb, pairs.reference_ppb)
    outer = pair_factor(pairs.n, 0.5 + LEVEL / 2) * found.sd
    repeat = repeatability(pairs.arm_ppb, pairs.reference_ppb)
    return {
        "bias_ppb": found.bias,
        **_ends("bias_{}_ppb", found.bias_interval),
        "sd_ppb": found.sd,
        **_ends("loa_{}_ppb", found.limits),
        "t": found.t,
        "p": found.p,
        **_ends("loa_low_{}_ppb", found.low_limit_interval),
        **_ends("loa_high_{}_ppb", found.high_limit_interval),
        **_ends("tolerance_{}_ppb", Interval(found.bias - outer, found.bias + outer)),
        "within_subject_sd_ppb": repeat.within_subject_sd,
        "repeatability_ppb": repeat.coefficient,
        **_ends("repeatability_{}_ppb", repeat.interval),
        "within_subject_cv_percent": repeat.within_subject_cv_percent,
    }


def _coefficients(pairs: Pairs) -> Row:
    x, y = pairs.arm_ppb, pairs.reference_ppb
    correlation, icc, ccc = pearson(x, y), icc_a1(np.stack([x, y], axis=1)), lin_ccc(x, y)
    return {
        "pearson_r": correlation.r,
        "pearson_p": correlation.p,
        **_ends("r_{}", correlation.interval),
        "icc": icc.estimate,
        **_ends("icc_{}", icc.interval),
        "ccc": ccc.estimate,
        **_ends("ccc_{}", ccc.interval),
    }


def _equivalence(pairs: Pairs, margin_ppb: float) -> Row:
    found = tost_paired(pairs.arm_ppb, pairs.reference_ppb, margin_ppb)
    return {"tost_p": found.p, **_ends("tost_{}_ppb", found.interval), "smallest_margin_ppb": found.smallest_margin}


def _slopes(pairs: Pairs) -> Row:
    proportional = proportional_bias(pairs.arm_ppb, pairs.reference_ppb)
    line = deming(pairs.arm_ppb, pairs.reference_ppb)
    return {
        "proportional_slope": proportional.slope,
        **_ends("proportional_{}", proportional.interval),
        "proportional_p": proportional.p,
        "deming_slope": line.slope,
        **_ends("deming_{}", line.interval),
    }


def _over_floor(pairs: Pairs, floor: Pairs | None) -> Row:
    if floor is None or pairs.arm == floor.arm:
        return {}
    found = ratio_of_pairs(pairs, floor)
    return {"sd_over_repeat": found.ratio, **_ends("sd_over_repeat_{}", found.interval), "sd_over_repeat_p": found.p}


def _bca(intervals: dict[str, Interval]) -> Row:
    patterns = {"bias_ppb": "bias_bca_{}_ppb", "signed_percent_difference": "percent_bca_{}"}
    patterns |= {"icc": "icc_bca_{}", "ccc": "ccc_bca_{}"}
    return {key: end for name, pattern in patterns.items() for key, end in _ends(pattern, intervals[name]).items()}


def _ends(pattern: str, interval: Interval) -> Row:
    return {pattern.format("low"): interval.low, pattern.format("high"): interval.high}


def _adjust(found: pd.DataFrame, repeat: str | None) -> pd.DataFrame:
    """Fill in the adjusted p-values: a side is a family, so that asking for sides does not dilute the primary one.

    The repeat is the control, no hypothesis on acceleration: its rows are a family of their own.
    """
    is_repeat = found["arm"] == repeat
    for side in found["side"].unique():
        of_side = found["side"] == side
        for family in (of_side & ~is_repeat, of_side & is_repeat):
            p, tost_p = (found.loc[family, name].to_numpy(np.float64) for name in ("p", "tost_p"))
            found.loc[family, "p_holm"] = holm(p)
            found.loc[family, "p_bh"] = benjamini_hochberg(p)
            found.loc[family, "tost_p_holm"] = holm(tost_p)
        for arm in found.loc[of_side, "arm"].unique():
            of_arm = of_side & (found["arm"] == arm)
            wider = found.loc[of_arm, "sd_over_repeat_p"].to_numpy(np.float64)
            found.loc[of_arm, "sd_over_repeat_p_holm"] = holm(wider)
    return found


def _whole_counts(found: pd.DataFrame) -> pd.DataFrame:
    """Keep counts whole where some are absent, as n_pairs is for the reference."""
    return found.astype({name: "Int64" for name in ("n", "n_without_age", "n_pairs")})


def _age_row(arm: str, pairs: Pairs, values: Values, ages: pd.Series[float]) -> Row:
    age = ages.loc[list(pairs.participants)].to_numpy(np.float64)
    known = np.isfinite(age) & np.isfinite(values)
    row: Row = {"arm": arm, "roi": pairs.roi, "n": int(known.sum())}
    row["n_without_age"] = int((np.isfinite(values) & ~np.isfinite(age)).sum())
    if row["n"] < MIN_PAIRS:
        return row
    correlation, line = pearson(age[known], values[known]), regress(age[known], values[known])
    row |= {"pearson_r": correlation.r, "p": correlation.p, **_ends("r_{}", correlation.interval)}
    row |= {"slope_ppb_per_year": line.slope, **_ends("{}", line.interval), "intercept_ppb": line.intercept}
    return row


def _against_reference(pairs: Pairs, ages: pd.Series[float], margin: float) -> Row:
    age = ages.loc[list(pairs.participants)].to_numpy(np.float64)
    both = pairs.is_pair & np.isfinite(age)
    row: Row = {"n_pairs": int(both.sum()), "slope_margin": margin}
    if row["n_pairs"] < MIN_PAIRS:
        return row
    x, y, age = pairs.every_arm_ppb[both], pairs.every_reference_ppb[both], age[both]
    test = williams_test(pearson(age, x).r, pearson(age, y).r, pearson(x, y).r, age.size)
    line = regress(age, x - y)
    row |= {"williams_t": test.t, "p_against_reference": test.p, "slope_difference_ppb_per_year": line.slope}
    row |= {**_ends("slope_difference_{}", line.interval), "slope_difference_p": line.p}
    equal = slope_equivalence(age, x - y, margin)
    row |= {"smallest_slope_margin": equal.smallest_margin, "slope_tost_p": equal.p}
    return row | _ends("slope_tost_{}", equal.interval)
