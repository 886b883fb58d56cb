"""ICC(A,1) and Lin's CCC against published tables, algebra and simulated coverage."""

import math

import numpy as np
import pytest
from scipy import stats
from worked_examples import JUDGES, MINI, WRIGHT, pairs_of

from dlqsm.agreement.concordance import icc_a1, lin_ccc, mean_squares


class TestIcc:
    def test_shrout_and_fleiss(self):
        # Their Tables 3 and 4: mean squares 11.24, 32.49 and 1.02, ICC(2,1) 0.29.
        assert mean_squares(JUDGES) == pytest.approx((11.24, 32.49, 1.02), abs=0.005)
        found = icc_a1(JUDGES)
        assert round(found.estimate, 2) == 0.29
        # The interval as R's psych::ICC prints it for this table: 0.019 to 0.761.
        assert found.interval == pytest.approx((0.019, 0.761), abs=6e-4)

    def test_the_mean_squares_are_those_of_an_analysis_of_variance(self):
        n, k = JUDGES.shape
        rows, columns, error = mean_squares(JUDGES)
        total = ((JUDGES - JUDGES.mean()) ** 2).sum()
        assert rows * (n - 1) + columns * (k - 1) + error * (n - 1) * (k - 1) == pytest.approx(total)

    def test_a_constant_shift_lowers_absolute_agreement(self):
        # McGraw & Wong 1996: ICC(C,1) = (MS_R - MS_E) / (MS_R + MS_E) ignores a shift of a method, ICC(A,1) does not.
        x, y = pairs_of(np.random.default_rng(3), 40)
        estimates = [icc_a1(np.stack([x + shift, y], 1)).estimate for shift in (0.0, 5.0, 20.0)]
        assert estimates[0] > estimates[1] > estimates[2]
        squares = [mean_squares(np.stack([x + shift, y], 1)) for shift in (0.0, 20.0)]
        consistency = [(rows - error) / (rows + error) for rows, _, error in squares]
        assert consistency[0] == pytest.approx(consistency[1])

    def test_with_two_methods_it_is_the_ccc_but_for_the_error_of_the_bias(self):
        # ICC(A,1) = 2 s_xy / (s_xx + s_yy + d^2 - s_d^2 / n) with divisors n - 1.
        x, y = WRIGHT, MINI
        c, d = np.cov(x, y), x - y
        expected = 2 * c[0, 1] / (c[0, 0] + c[1, 1] + d.mean() ** 2 - d.var(ddof=1) / d.size)
        assert icc_a1(np.stack([x, y], 1)).estimate == pytest.approx(expected, rel=1e-12)

    def test_the_interval_covers_the_truth_as_often_as_it_says(self):
        rng, runs = np.random.default_rng(4), 1500
        # Bias of a method is a draw too (SD 2): random effects, as the model has it.
        truth = 15.0**2 / (15.0**2 + 2.0**2 + 4.0**2)
        hits = 0
        for _ in range(runs):
            x, y = pairs_of(rng, 30)
            low, high = icc_a1(np.stack([x + rng.normal(0, 2.0), y + rng.normal(0, 2.0)], 1)).interval
            hits += low <= truth <= high
        # Satterthwaite with two methods is an approximation: at least 93 % and not all.
        assert 0.93 * runs <= hits <= 0.985 * runs

    def test_equal_pairs_agree_and_constant_ones_have_no_answer(self):
        equal = icc_a1(np.stack([WRIGHT, WRIGHT], 1))
        assert equal.estimate == 1.0 and math.isnan(equal.interval.low)
        assert math.isnan(icc_a1(np.full((6, 2), 4.0)).estimate)


class TestCcc:
    def test_the_example_of_epir_and_desctools(self):
        # R: epiR::epi.ccc and DescTools::CCC on Bland & Altman's first measurements give 0.942742.
        found = lin_ccc(WRIGHT, MINI)
        assert found.estimate == pytest.approx(0.942742, abs=1e-6)
        assert found.interval.low < found.estimate < found.interval.high

    def test_it_is_correlation_times_accuracy(self):
        # Lin 1989: CCC = r C_b, C_b = 2 / (v + 1 / v + u^2), v the ratio of SDs, u the scaled shift.
        v, u = WRIGHT.std() / MINI.std(), (WRIGHT.mean() - MINI.mean()) / math.sqrt(WRIGHT.std() * MINI.std())
        expected = stats.pearsonr(WRIGHT, MINI).statistic * 2 / (v + 1 / v + u**2)
        assert lin_ccc(WRIGHT, MINI).estimate == pytest.approx(expected, rel=1e-12)

    def test_the_interval_covers_the_truth_as_often_as_it_says(self):
        rng, runs, n = np.random.default_rng(5), 2000, 60
        truth = 2 * 15.0**2 / (2 * (15.0**2 + 4.0**2) + 3.0**2)
        hits = sum(
            low <= truth <= high for low, high in (lin_ccc(*pairs_of(rng, n, bias=3.0)).interval for _ in range(runs))
        )
        # Asymptotic in n: within 2 % of its level at n 60.
        assert 0.93 * runs <= hits <= 0.97 * runs

    def test_symmetry_and_extremes(self):
        assert lin_ccc(WRIGHT, MINI).estimate == pytest.approx(lin_ccc(MINI, WRIGHT).estimate)
        assert lin_ccc(WRIGHT, WRIGHT).estimate == 1.0
        assert lin_ccc(WRIGHT, 2 * WRIGHT.mean() - WRIGHT).estimate == pytest.approx(-1.0)
        assert math.isnan(lin_ccc(np.ones(7), np.ones(7)).estimate)
