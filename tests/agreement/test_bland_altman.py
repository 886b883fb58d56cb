"""Bland-Altman figures against the paper's own example, published tolerance factors, SciPy and simulation."""

import math

import numpy as np
import pytest
from scipy import stats
from worked_examples import MINI, MINI_AGAIN, WRIGHT, WRIGHT_AGAIN, pairs_of

from dlqsm.agreement.bland_altman import bland_altman, limit_interval, pair_factor, proportional_bias, repeatability


class TestBiasAndLimits:
    def test_the_paper_s_example(self):
        # Bland & Altman 1986: bias -2.1 l/min, SD 38.8, limits at 2 SD -79.7 and 75.5, 95 % CI of the bias -22.0..17.8.
        found = bland_altman(WRIGHT, MINI)
        assert round(found.bias, 1) == -2.1
        assert round(found.sd, 1) == 38.8
        assert found.bias - 2 * found.sd == pytest.approx(-79.7, abs=0.06)
        assert found.bias + 2 * found.sd == pytest.approx(75.5, abs=0.11)  # the paper rounds before it adds
        assert found.bias_interval == pytest.approx((-22.0, 17.8), abs=0.06)

    def test_limits_are_1_96_sd_and_exact_intervals_are_wider_outside(self):
        found = bland_altman(WRIGHT, MINI)
        assert found.limits == pytest.approx((found.bias - 1.959964 * found.sd, found.bias + 1.959964 * found.sd))
        low, high = found.high_limit_interval
        assert high - found.limits.high > found.limits.high - low > 0
        # Mirror images about the bias.
        assert np.add(found.low_limit_interval, found.high_limit_interval[::-1]) == pytest.approx([2 * found.bias] * 2)
        # The large-sample interval of the paper, 40.9 to 110.1, for 2 SD: the exact one is no narrower.
        assert high > 110.1

    def test_t_and_p_are_scipy_s(self):
        found, theirs = bland_altman(WRIGHT, MINI), stats.ttest_rel(WRIGHT, MINI)
        assert (found.t, found.p) == pytest.approx((theirs.statistic, theirs.pvalue), rel=1e-12)

    @pytest.mark.parametrize(("n", "factor"), [(10, 2.911), (20, 2.396), (30, 2.220), (50, 2.065)])
    def test_one_sided_tolerance_factors(self, n, factor):
        # Natrella, Experimental Statistics, NBS Handbook 91 (1963), Table A-7: confidence 0.95, proportion 0.95.
        assert limit_interval(n, coverage=0.90, level=0.90).high == pytest.approx(factor, abs=6e-4)

    @pytest.mark.parametrize(
        ("freedom", "inner", "inner_90", "outer"),
        [(2, 1.1051, 1.2333, 13.9396), (10, 1.4102, 1.4938, 3.6100), (58, 1.6708, 1.7157, 2.4181)],
    )
    def test_factors_of_both_limits_as_a_pair(self, freedom, inner, inner_90, outer):
        # Carkeet, Optom Vis Sci 92:e71 (2015), table of exact two-sided factors by degrees of freedom, as reproduced in
        # pyCompare's tests: confidences 0.025, 0.05 and 0.975.
        found = [pair_factor(freedom + 1, confidence) for confidence in (0.025, 0.05, 0.975)]
        assert found == pytest.approx([inner, inner_90, outer], abs=6e-5)

    def test_intervals_cover_the_truth_as_often_as_they_say(self):
        rng, n, runs = np.random.default_rng(1), 12, 1500
        truth_high = -1.0 + stats.norm.ppf(0.975) * 4.0 * math.sqrt(2)
        hits = np.zeros(3)
        factor = pair_factor(n, 0.975)
        for _ in range(runs):
            found = bland_altman(*pairs_of(rng, n, bias=-1.0))
            low, high = found.bias - factor * found.sd, found.bias + factor * found.sd
            held = np.diff(stats.norm.cdf([low, high], -1.0, 4.0 * math.sqrt(2)))[0]
            hits += [
                found.bias_interval.low < -1.0 < found.bias_interval.high,
                found.high_limit_interval.low < truth_high < found.high_limit_interval.high,
                held > 0.95,
            ]
        for count, level in zip(hits, (0.95, 0.95, 0.975), strict=True):
            assert stats.binom.ppf(1e-4, runs, level) <= count <= stats.binom.ppf(1 - 1e-4, runs, level)

    def test_a_difference_that_does_not_vary_has_a_bias_and_no_limits(self):
        found = bland_altman(WRIGHT + 3.0, WRIGHT)
        assert found.bias == pytest.approx(3.0)
        assert found.sd == 0.0
        assert math.isnan(found.t) and math.isnan(found.bias_interval.low)
        assert found.p == 0.0 and bland_altman(WRIGHT, WRIGHT).p == 1.0, "as the spread goes to nothing"

    def test_one_pair_and_none(self):
        assert bland_altman(WRIGHT[:1], MINI[:1]).bias == -18.0
        assert math.isnan(bland_altman(WRIGHT[:0], MINI[:0]).bias)


class TestProportionalBias:
    def test_a_pure_scale_is_found(self):
        reference = np.linspace(20.0, 100.0, 9)
        # d = 0.2 x and mean = 1.1 x: the slope is 0.2 / 1.1.
        assert proportional_bias(1.2 * reference, reference).slope == pytest.approx(0.2 / 1.1)

    def test_it_is_the_pitman_morgan_test(self):
        # Pitman, Biometrika 31:9 (1939): variances are equal where sum and difference do not correlate.
        rng = np.random.default_rng(2)
        values, reference = pairs_of(rng, 25, within=6.0)
        assert proportional_bias(values, reference).p == pytest.approx(
            stats.pearsonr(values + reference, values - reference).pvalue, rel=1e-9
        )


class TestRepeatability:
    @pytest.mark.parametrize(("first", "second", "published"), [(WRIGHT, WRIGHT_AGAIN, 43.2), (MINI, MINI_AGAIN, 56.4)])
    def test_the_paper_s_coefficients(self, first, second, published):
        # Bland & Altman 1986: 2 SD of the differences with mean taken as 0, 2 x 21.6 and 2 x 28.2; ours has 1.96.
        found = repeatability(first, second)
        assert 2 * math.sqrt(2) * found.within_subject_sd == pytest.approx(published, abs=0.15)
        assert found.coefficient == pytest.approx(2.7718 * found.within_subject_sd, rel=1e-4)
        assert found.interval.low < found.coefficient < found.interval.high

    def test_the_coefficient_of_variation_is_the_root_mean_square_of_the_pairs(self):
        # One pair of 90 and 110: SD sqrt(200) over 100; scaling both measurements changes nothing.
        first, second = np.array([90.0, 90.0, 180.0]), np.array([110.0, 110.0, 220.0])
        found = repeatability(first, second)
        assert found.within_subject_cv_percent == pytest.approx(math.sqrt(200.0))
        assert repeatability(7 * first, 7 * second).within_subject_cv_percent == pytest.approx(math.sqrt(200.0))
        # Multiplicative errors of 5 %: the estimate is consistent.
        rng = np.random.default_rng(3)
        truth = rng.uniform(20, 200, 4000)
        again = [truth * (1 + 0.05 * rng.standard_normal(4000)) for _ in range(2)]
        assert repeatability(*again).within_subject_cv_percent == pytest.approx(5.0, rel=0.04)

    def test_no_coefficient_of_variation_about_zero(self):
        found = repeatability(np.array([1.0, -3.0, 5.0]), np.array([2.0, -1.0, 4.0]))
        assert math.isnan(found.within_subject_cv_percent)
        assert found.within_subject_sd > 0
