"""The study of 59 simulated people, whose answers are known: by construction, by scipy and by statsmodels."""

import numpy as np
import pytest
import simulated_study as made
import statsmodels.api as sm
from scipy import stats

from dlqsm.agreement.study import age_table, agreement_table
from dlqsm.core.checks import InputError

N = made.N_PEOPLE


@pytest.fixture(scope="module")
def table():
    return made.study()


@pytest.fixture(scope="module")
def agreement(table):
    return agreement_table(table, reference="PI2", n_resamples=50).set_index(["arm", "roi"])


@pytest.fixture(scope="module")
def ageing(table):
    return age_table(table, reference="PI2").set_index(["arm", "roi"])


def values_of(table, arm, roi):
    return table[(table["arm"] == arm) & (table["roi"] == roi)].sort_values("participant_id")["mean_ppb"].to_numpy()


def ages_of(table):
    return table.groupby("participant_id")["age"].first().sort_index().to_numpy()


@pytest.mark.parametrize("arm", list(made.BIAS_PPB))
@pytest.mark.parametrize("roi", ["Pu", "SNr"])
class TestAgreementByConstruction:
    def test_bias_spread_and_limits(self, agreement, arm, roi):
        row, sd = agreement.loc[(arm, roi)], made.difference_sd_ppb(arm)
        bias = made.BIAS_PPB[arm]
        assert row["n"] == N
        assert (row["bias_ppb"], row["sd_ppb"]) == pytest.approx((bias, sd))
        assert (row["loa_low_ppb"], row["loa_high_ppb"]) == pytest.approx(
            (bias - 1.95996 * sd, bias + 1.95996 * sd), 1e-4
        )
        half = stats.t.ppf(0.975, N - 1) * sd / np.sqrt(N)
        assert (row["bias_low_ppb"], row["bias_high_ppb"]) == pytest.approx((bias - half, bias + half))
        assert row["percent_difference"] == pytest.approx(100 * abs(bias) / made.MEANS_PPB[roi])

    def test_correlation_and_concordance(self, agreement, arm, roi):
        age = made.ages_years().std(ddof=1)
        slope = made.SLOPES_PPB_PER_YEAR[roi], made.SLOPE_DIFFERENCE_PPB_PER_YEAR[arm]
        own = made.BETWEEN_PPB[roi] ** 2 + (slope[0] * age) ** 2
        shared = own + slope[0] * slope[1] * age**2
        of_arm = own + 2 * slope[0] * slope[1] * age**2 + made.difference_sd_ppb(arm) ** 2
        row, shrink = agreement.loc[(arm, roi)], (N - 1) / N
        assert row["pearson_r"] == pytest.approx(shared / np.sqrt(own * of_arm))
        ccc = 2 * shrink * shared / (shrink * (own + of_arm) + made.BIAS_PPB[arm] ** 2)
        assert row["ccc"] == pytest.approx(ccc)

    def test_equivalence_is_statsmodels(self, table, agreement, arm, roi):
        x, y = values_of(table, arm, roi), values_of(table, "PI2", roi)
        expected = sm.stats.DescrStatsW(x - y).ttost_mean(-3.0, 3.0)[0]
        assert agreement.loc[(arm, roi), "tost_p"] == pytest.approx(expected)


@pytest.mark.parametrize("arm", list(made.BIAS_PPB))
@pytest.mark.parametrize("roi", list(made.MEANS_PPB))
class TestAge:
    def test_slopes_by_construction(self, ageing, arm, roi):
        row = ageing.loc[(arm, roi)]
        difference = made.SLOPE_DIFFERENCE_PPB_PER_YEAR[arm]
        assert row["slope_ppb_per_year"] == pytest.approx(made.SLOPES_PPB_PER_YEAR[roi] + difference)
        assert ageing.loc[("PI2", roi), "slope_ppb_per_year"] == pytest.approx(made.SLOPES_PPB_PER_YEAR[roi])
        assert row["slope_difference_ppb_per_year"] == pytest.approx(difference, abs=1e-12)

    def test_the_difference_of_slopes_is_a_paired_regression(self, table, ageing, arm, roi):
        row = ageing.loc[(arm, roi)]
        y = values_of(table, arm, roi) - values_of(table, "PI2", roi)
        fit = sm.OLS(y, sm.add_constant(ages_of(table))).fit()
        assert (row["slope_difference_low"], row["slope_difference_high"]) == pytest.approx(tuple(fit.conf_int()[1]))
        assert row["slope_difference_p"] == pytest.approx(fit.pvalues[1])
        assert (row["slope_tost_low"], row["slope_tost_high"]) == pytest.approx(tuple(fit.conf_int(0.1)[1]))
        upper, lower = (fit.t_test(([0, 1], value)) for value in (0.1, -0.1))
        one_sided = max(stats.t.cdf(upper.tvalue.item(), N - 2), stats.t.sf(lower.tvalue.item(), N - 2))
        assert row["slope_tost_p"] == pytest.approx(one_sided)


def test_slopes_are_equal_where_the_interval_lies_inside_the_margin(ageing):
    shown = ageing["slope_tost_p"] < 0.05
    inside = (ageing["slope_tost_low"] > -0.1) & (ageing["slope_tost_high"] < 0.1)
    assert (shown == inside).all()
    assert shown["DL3"].all() and not shown["DL5"].any(), "DL5 changes slopes by 0.12 ppb/year"
    assert ageing.loc["PI2", ["slope_tost_p", "slope_margin"]].isna().all(axis=None)


def test_the_margin_of_slopes_can_be_set(table):
    wide = age_table(table, reference="PI2", slope_margin_ppb_per_year=0.3).set_index(["arm", "roi"])
    assert (wide.loc["DL5", "slope_tost_p"] < 0.05).all() and (wide.loc["DL5", "slope_margin"] == 0.3).all()
    with pytest.raises(InputError, match="margin of slopes"):
        age_table(table, reference="PI2", slope_margin_ppb_per_year=0.0)
