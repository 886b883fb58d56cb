"""TOST and the adjustment of p-values: identities, statsmodels' own answers, error rates on a null cohort."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired
from worked_examples import FIRST_DRUG, MINI, SECOND_DRUG, WRIGHT, pairs_of

from dlqsm.agreement.bland_altman import bland_altman
from dlqsm.agreement.equivalence import tost_paired
from dlqsm.agreement.multiplicity import benjamini_hochberg, holm


class TestTost:
    def test_the_sleep_data_of_student(self):
        # R's t.test on them, paired: t = -4.0621, 9 degrees of freedom, p = 0.002833, mean of the differences -1.58; so
        # that the standard error is 1.58 / 4.0621, and the larger one-sided p at a margin of 0.5 that of (-1.58 + 0.5).
        published = stats.t.sf((-1.58 + 0.5) / (1.58 / 4.0621), 9)
        assert tost_paired(FIRST_DRUG, SECOND_DRUG, 0.5).p == pytest.approx(published, abs=1e-5)
        assert bland_altman(FIRST_DRUG, SECOND_DRUG).p == pytest.approx(0.002833, abs=5e-7)

    @pytest.mark.parametrize("margin", [5.0, 20.0, 60.0])
    def test_it_is_statsmodels(self, margin):
        assert tost_paired(WRIGHT, MINI, margin).p == pytest.approx(ttost_paired(WRIGHT, MINI, -margin, margin)[0])

    def test_p_is_below_alpha_where_the_90_percent_interval_lies_inside(self):
        found = tost_paired(WRIGHT, MINI, 10.0)
        for margin in (found.smallest_margin * 0.999, found.smallest_margin * 1.001):
            low, high = tost_paired(WRIGHT, MINI, margin).interval
            assert (tost_paired(WRIGHT, MINI, margin).p < 0.05) == (-margin < low and high < margin)

    def test_error_rates_on_a_null_cohort(self):
        # At a true difference that just equals the margin TOST must not claim equivalence in more than 5 %; without a
        # difference the t-test must not claim one in more than 5 %.
        rng, runs, n = np.random.default_rng(9), 2500, 20
        false_equivalence = sum(tost_paired(*pairs_of(rng, n, bias=6.0), 6.0).p < 0.05 for _ in range(runs))
        false_difference = sum(bland_altman(*pairs_of(rng, n)).p < 0.05 for _ in range(runs))
        low, high = stats.binom.ppf([1e-4, 1 - 1e-4], runs, 0.05)
        assert low <= false_equivalence <= high
        assert low <= false_difference <= high

    def test_a_difference_that_does_not_vary_lies_inside_the_margin_or_beyond(self):
        barely = np.random.default_rng(0).normal(0, 1e-6, WRIGHT.size)
        for bias, p in ((0.0, 0.0), (2.999, 0.0), (3.001, 1.0), (-4.0, 1.0)):
            found = tost_paired(WRIGHT + bias, WRIGHT, 3.0)
            assert found.p == p == pytest.approx(tost_paired(WRIGHT + bias + barely, WRIGHT, 3.0).p, abs=1e-12)
            assert found.interval == pytest.approx((bias, bias)) and found.smallest_margin == pytest.approx(abs(bias))
        assert math.isnan(tost_paired(WRIGHT[:1], WRIGHT[:1], 3.0).p)


class TestMultiplicity:
    def test_by_hand(self):
        p = np.array([0.01, 0.04, 0.03])
        # Holm: 3 x 0.01; then 2 x 0.03 and 1 x 0.04, made monotone. BH: 3 x 0.01 / 1, 3 x 0.03 / 2 and 3 x 0.04 / 3.
        assert holm(p) == pytest.approx([0.03, 0.06, 0.06])
        assert benjamini_hochberg(p) == pytest.approx([0.03, 0.04, 0.04])

    def test_they_are_statsmodels(self):
        p = np.random.default_rng(10).uniform(0, 0.2, 21)
        assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])
        assert benjamini_hochberg(p) == pytest.approx(multipletests(p, method="fdr_bh")[1])

    def test_what_was_not_tested_does_not_count(self):
        p = np.array([0.01, math.nan, 0.03])
        assert holm(p) == pytest.approx([0.02, math.nan, 0.03], nan_ok=True)
        assert np.isnan(holm(np.array([math.nan]))).all()
