"""Bootstrap intervals: SciPy's BCa from the same resamples, sums instead of samples, and what joint draws keep."""

import math

import numpy as np
import pytest
from scipy import stats
from worked_examples import MINI, WRIGHT, pairs_of

from dlqsm.agreement.bootstrap import bca_interval, bootstrap_intervals, statistics
from dlqsm.agreement.concordance import icc_a1, lin_ccc
from dlqsm.agreement.pairs import Pairs


def _pairs(values, reference):
    people = tuple(f"sub-{i}" for i in range(values.size))
    return Pairs("DL3", "Pu", "both", people, values, reference)


def _sums(x, y):
    return np.array([x.size, x.sum(), y.sum(), (x * x).sum(), (y * y).sum(), (x * y).sum()])


def _ccc(x, y, axis=-1):
    mean_x, mean_y = x.mean(axis=axis, keepdims=True), y.mean(axis=axis, keepdims=True)
    s_xy = ((x - mean_x) * (y - mean_y)).mean(axis=axis)
    shift = (mean_x - mean_y).squeeze(axis)
    return 2 * s_xy / (x.var(axis=axis) + y.var(axis=axis) + shift**2)


def test_sums_give_the_statistics_of_the_samples():
    offset = MINI.mean()
    found = statistics(_sums(WRIGHT - offset, MINI - offset), offset)
    assert float(found["bias_ppb"]) == pytest.approx(np.mean(WRIGHT - MINI))
    assert float(found["icc"]) == pytest.approx(icc_a1(np.stack([WRIGHT, MINI], 1)).estimate)
    assert float(found["ccc"]) == pytest.approx(lin_ccc(WRIGHT, MINI).estimate)
    percent = 100 * (WRIGHT.mean() - MINI.mean()) / MINI.mean()
    assert float(found["signed_percent_difference"]) == pytest.approx(percent)


def test_bca_is_scipy_s_from_the_same_resamples():
    theirs = stats.bootstrap(
        (WRIGHT, MINI), _ccc, paired=True, vectorized=True, n_resamples=2000, method="BCa", rng=np.random.default_rng(1)
    )
    kept = ~np.eye(WRIGHT.size, dtype=bool)
    left_out = np.array([_ccc(WRIGHT[k], MINI[k]) for k in kept])
    ours = bca_interval(theirs.bootstrap_distribution, float(_ccc(WRIGHT, MINI)), left_out)
    assert ours == pytest.approx((theirs.confidence_interval.low, theirs.confidence_interval.high), rel=1e-9)


def test_the_whole_agrees_with_scipy_within_the_noise_of_resampling():
    x, y = pairs_of(np.random.default_rng(2), 40, bias=2.0)
    ours = bootstrap_intervals([_pairs(x, y)], seed=3, n_resamples=10_000)[0]
    theirs = stats.bootstrap(
        (x, y), _ccc, paired=True, vectorized=True, n_resamples=10_000, method="BCa", rng=np.random.default_rng(4)
    )
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert ours["ccc"] == pytest.approx(tuple(theirs.confidence_interval), abs=0.05 * width)


def test_the_interval_of_the_bias_is_near_the_t_interval():
    x, y = pairs_of(np.random.default_rng(5), 60)
    low, high = bootstrap_intervals([_pairs(x, y)], seed=0, n_resamples=10_000)[0]["bias_ppb"]
    half = stats.t.ppf(0.975, 59) * np.std(x - y, ddof=1) / math.sqrt(60)
    assert (low, high) == pytest.approx((np.mean(x - y) - half, np.mean(x - y) + half), abs=0.12 * half)


def test_seeds_decide():
    pairs = [_pairs(*pairs_of(np.random.default_rng(6), 20))]
    first, again, other = (bootstrap_intervals(pairs, seed=seed, n_resamples=500) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_two_arms_that_are_equal_get_equal_intervals():
    # Participants are drawn once for all arms; independent draws would tell equal arms apart.
    one = _pairs(*pairs_of(np.random.default_rng(7), 25))
    found = bootstrap_intervals([one, one], seed=0, n_resamples=1000)
    assert found[0] == found[1]


def test_missing_values_take_no_part():
    x, y = pairs_of(np.random.default_rng(8), 30)
    x[:5] = np.nan
    low, high = bootstrap_intervals([_pairs(x, y)], seed=0, n_resamples=4000)[0]["bias_ppb"]
    assert low < np.mean((x - y)[5:]) < high


def test_what_does_not_vary_has_no_interval():
    x = np.linspace(10.0, 50.0, 8)
    found = bootstrap_intervals([_pairs(x + 1.0, x), _pairs(x[:2].repeat(4), x[:2].repeat(4))], seed=0, n_resamples=200)
    assert all(math.isnan(found[i]["bias_ppb"].low) for i in (0, 1))
    assert math.isnan(bootstrap_intervals([_pairs(x[:2], x[:2])], seed=0, n_resamples=50)[0]["icc"].low)
    assert bootstrap_intervals([], seed=0, n_resamples=50) == []
