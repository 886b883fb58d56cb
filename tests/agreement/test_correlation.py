"""Correlations and lines against the paper's p-values, SciPy, published output and simulation."""

import math

import numpy as np
import pytest
from scipy import stats
from worked_examples import MINI, WRIGHT, pairs_of

from dlqsm.agreement.correlation import correlation_interval, correlation_p, pearson, williams_test
from dlqsm.agreement.slopes import deming, regress, slope_equivalence


class TestPearson:
    @pytest.mark.parametrize(("r", "p"), [(0.284, 0.0293), (0.224, 0.0881), (0.247, 0.0593)])
    def test_the_p_values_of_the_study(self, r, p):
        # Zhou et al., Front Neurosci 2025, doi:10.3389/fnins.2025.1522227: age and susceptibility, n = 59.
        assert round(correlation_p(r, 59), 4) == p

    def test_it_is_scipy_s(self):
        ours, theirs = pearson(WRIGHT, MINI), stats.pearsonr(WRIGHT, MINI)
        interval = theirs.confidence_interval(0.95)
        assert (ours.r, ours.p) == pytest.approx((theirs.statistic, theirs.pvalue), rel=1e-9)
        assert ours.interval == pytest.approx((interval.low, interval.high), rel=1e-9)

    def test_intervals_of_the_caudate(self):
        # 0.284 and 0.224 at n 59: [0.03, 0.50] and [-0.03, 0.45]; they differ trivially.
        assert correlation_interval(0.284, 59) == pytest.approx((0.03, 0.50), abs=0.006)
        assert correlation_interval(0.224, 59) == pytest.approx((-0.03, 0.45), abs=0.006)

    def test_what_does_not_vary_has_no_correlation(self):
        assert math.isnan(pearson(np.ones(9), np.arange(9.0)).r)
        assert pearson(np.arange(9.0), np.arange(9.0)).r == pytest.approx(1.0)


class TestWilliams:
    def test_published_output(self):
        # R's psych: r.test(n = 30, r12 = 0.50, r13 = 0.10, r23 = 0.70) prints t value 3.38.
        assert round(williams_test(0.5, 0.1, 0.7, 30).t, 2) == 3.38
        assert williams_test(0.5, 0.1, 0.7, 30).freedom == 27

    def test_it_is_odd_in_its_arms_and_zero_for_equal_ones(self):
        forth, back = williams_test(0.4, 0.5, 0.1, 103), williams_test(0.5, 0.4, 0.1, 103)
        assert (forth.t, forth.p) == pytest.approx((-back.t, back.p))
        assert williams_test(0.3, 0.3, 0.9, 59).p == 1.0

    def test_type_one_error_at_the_nominal_level(self):
        rng, runs, n = np.random.default_rng(6), 3000, 40
        rejected = 0
        for _ in range(runs):
            age = rng.normal(0, 1, n)
            true = 0.5 * age + rng.normal(0, 1, n)
            x, y = true + rng.normal(0, 0.3, (2, n))
            r = np.corrcoef([age, x, y])
            rejected += williams_test(r[0, 1], r[0, 2], r[1, 2], n).p < 0.05
        assert stats.binom.ppf(1e-4, runs, 0.05) <= rejected <= stats.binom.ppf(1 - 1e-4, runs, 0.05)

    def test_equal_arms_have_no_test(self):
        assert math.isnan(williams_test(0.4, 0.4, 1.0, 50).p)
        assert math.isnan(williams_test(math.nan, 0.4, 0.5, 50).p)


class TestLines:
    def test_regression_is_scipy_s(self):
        ours, theirs = regress(WRIGHT, MINI), stats.linregress(WRIGHT, MINI)
        half = stats.t.ppf(0.975, WRIGHT.size - 2) * theirs.stderr
        assert (ours.slope, ours.p, ours.intercept) == pytest.approx((theirs.slope, theirs.pvalue, theirs.intercept))
        assert ours.interval == pytest.approx((theirs.slope - half, theirs.slope + half))

    def test_deming_is_the_first_principal_axis(self):
        # With equal error variances Deming's line is orthogonal regression: the leading eigenvector of the covariance.
        axis = np.linalg.eigh(np.cov(WRIGHT, MINI))[1][:, -1]
        assert deming(MINI, WRIGHT).slope == pytest.approx(axis[1] / axis[0], rel=1e-10)

    def test_deming_treats_both_alike(self):
        assert deming(MINI, WRIGHT).slope == pytest.approx(1 / deming(WRIGHT, MINI).slope, rel=1e-10)

    def test_its_jackknife_leaves_out_one_after_the_other(self):
        kept = ~np.eye(WRIGHT.size, dtype=bool)
        slopes = np.array([deming(MINI[k], WRIGHT[k]).slope for k in kept])
        n, whole = WRIGHT.size, deming(MINI, WRIGHT)
        error = np.std(n * whole.slope - (n - 1) * slopes, ddof=1) / math.sqrt(n)
        half = stats.t.ppf(0.975, n - 2) * error
        assert whole.interval == pytest.approx((whole.slope - half, whole.slope + half), rel=1e-8)

    def test_deming_does_not_flatten_where_regression_does(self):
        x, y = pairs_of(np.random.default_rng(7), 3000, within=10.0)
        assert abs(deming(x, y).slope - 1) < 0.06
        assert regress(y, x).slope < 0.75  # attenuated by 225 / (225 + 100)

    def test_equal_slopes_are_shown_within_the_smallest_margin(self):
        rng = np.random.default_rng(8)
        age = rng.uniform(20, 80, 40)
        difference = 0.02 * age + rng.normal(0, 3, 40)
        margin = slope_equivalence(age, difference, 1.0).smallest_margin
        assert slope_equivalence(age, difference, margin).p == pytest.approx(0.05)
