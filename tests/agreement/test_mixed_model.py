"""The mixed model of differences: closed forms of a balanced study, statsmodels' formulas for one with gaps."""

import warnings

import numpy as np
import pandas as pd
import pytest
import simulated_study as made
import statsmodels.api as sm
import statsmodels.formula.api as smf
from made_up_table import cohort
from scipy import stats

from dlqsm.agreement import columns
from dlqsm.agreement.mixed_model import mixed_model

N, N_ROIS = made.N_PEOPLE, len(made.MEANS_PPB)
FLAT = dict.fromkeys(made.BIAS_PPB, 0.0)
ERROR = 2.5


@pytest.fixture(scope="module")
def balanced():
    return mixed_model(made.study(slope_difference=FLAT), reference="PI2", repeat="PI2rep")


def rows_of(found, kind):
    return found.table[found.table["kind"] == kind]


class TestBalancedStudy:
    def test_it_converges_and_says_what_it_is(self, balanced):
        assert balanced.is_converged and balanced.reason is None
        assert balanced.account["Participants"] == N and balanced.account["Differences"] == N * N_ROIS * 4
        assert "(1 | participant:nucleus)" in balanced.account["Model"] and "arm:nucleus" in balanced.account["Model"]
        assert list(balanced.table.columns) == list(columns.MIXED_MODEL)

    def test_variance_components_are_those_put_in(self, balanced):
        found = rows_of(balanced, "sd").set_index("effect")["estimate"]
        expected = {"participant": made.PERSON_PPB, "participant:nucleus": made.PERSON_NUCLEUS_PPB, "residual": ERROR}
        for name, value in expected.items():
            assert found[name] == pytest.approx(value, rel=2e-3), name

    def test_means_of_arms_nuclei_and_cells(self, balanced):
        variance = (made.PERSON_PPB**2 + (made.PERSON_NUCLEUS_PPB**2 + ERROR**2) / N_ROIS) / N
        for row in rows_of(balanced, "arm").itertuples():
            assert row.estimate == pytest.approx(made.BIAS_PPB[row.arm])
            assert row.standard_error == pytest.approx(np.sqrt(variance), rel=1e-3)
            half = stats.t.ppf(0.975, N - 1) * row.standard_error
            assert (row.low, row.high) == pytest.approx((row.estimate - half, row.estimate + half))
            assert row.p == pytest.approx(2 * stats.t.sf(abs(row.estimate / row.standard_error), N - 1))
        assert rows_of(balanced, "nucleus")["estimate"].to_numpy() == pytest.approx(
            np.mean(list(made.BIAS_PPB.values()))
        )
        assert len(rows_of(balanced, "cell")) == 4 * N_ROIS

    def test_arms_are_compared_within_people(self, balanced):
        found = rows_of(balanced, "against_repeat").set_index("arm")
        assert list(found.index) == ["DL3", "DL4", "DL5"]
        assert found.loc["DL5", "estimate"] == pytest.approx(-1.6)
        # Neither the person nor the person's nucleus counts: both arms share them.
        assert found["standard_error"].to_numpy() == pytest.approx(np.sqrt(2 * ERROR**2 / N_ROIS / N), rel=1e-3)

    def test_the_trend_is_the_slope_on_the_factor(self, balanced):
        trends = rows_of(balanced, "trend")
        whole = trends[trends["roi"].isna()]
        assert list(whole["arm"]) == ["DL#"], "the repeat is in no family, and one factor is no trend"
        assert whole["estimate"].iloc[0] == pytest.approx((-1.5 - 0.2) / 2)
        assert whole["standard_error"].iloc[0] == pytest.approx(np.sqrt(ERROR**2 / 2 / N_ROIS / N), rel=1e-3)
        assert set(trends["roi"].dropna()) == set(made.MEANS_PPB)

    def test_tests_are_those_of_the_analysis_of_variance(self, balanced):
        found = rows_of(balanced, "test").set_index("effect")
        biases = np.array(list(made.BIAS_PPB.values()))
        mean_square = N * N_ROIS * ((biases - biases.mean()) ** 2).sum() / 3
        row = found.loc["arm"]
        assert (row["statistic"], row["freedom_above"]) == (pytest.approx(mean_square / ERROR**2, rel=2e-3), 3)
        assert row["p"] == pytest.approx(stats.f.sf(row["statistic"], 3, N - 1))
        assert found.loc["nucleus", "freedom_above"] == 6 and found.loc["arm:nucleus", "freedom_above"] == 18
        assert found.loc[["nucleus", "arm:nucleus"], "p"].to_numpy() == pytest.approx(1.0)

    def test_accelerations_that_were_measured_replace_named_ones(self):
        factors = {"DL3": 2.95, "DL4": 4.16, "DL5": 6.2}
        found = mixed_model(made.study(slope_difference=FLAT), reference="PI2", accelerations=factors)
        row = rows_of(found, "trend").iloc[0]
        assert row["estimate"] == pytest.approx(np.polyfit(list(factors.values()), [0.2, -0.8, -1.5], 1)[0])


@pytest.fixture(scope="module")
def gaps():
    table = made.study(slope_difference=FLAT)
    drop = (table["participant_id"].isin(["sub-03", "sub-07"]) & (table["arm"] == "DL5")) | (
        (table["participant_id"] == "sub-11") & (table["roi"] == "RN")
    )
    return table[~drop]


def differences(table):
    wide = table.pivot(index=["participant_id", "roi"], columns="arm", values="mean_ppb")
    return wide.drop(columns="PI2").sub(wide["PI2"], axis=0).stack().dropna().rename("d").reset_index()


def by_formula(table, formula):
    long = differences(table)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = smf.mixedlm(formula, long, groups="participant_id", re_formula="1", vc_formula={"roi": "0 + C(roi)"})
        return model.fit(reml=True, method=["lbfgs", "bfgs", "powell"])


class TestGaps:
    def test_unbalanced_is_statsmodels_formula(self, gaps):
        found, expected = mixed_model(gaps, reference="PI2", repeat="PI2rep"), by_formula(gaps, "d ~ 0 + arm:roi")
        cells = rows_of(found, "cell").set_index(["arm", "roi"])
        for (arm, roi), row in cells.iterrows():
            assert row["estimate"] == pytest.approx(expected.fe_params[f"arm[{arm}]:roi[{roi}]"], abs=1e-3)
        spreads = rows_of(found, "sd").set_index("effect")["estimate"]
        assert spreads["residual"] == pytest.approx(np.sqrt(expected.scale), rel=1e-3)
        assert found.account["Participants"] == N

    def test_standard_errors_are_those_of_clusters_of_people(self, gaps):
        """Rows of each person whitened by the fitted spreads, then least squares with statsmodels' clustered errors."""
        found = mixed_model(gaps, reference="PI2", repeat="PI2rep")
        spread = rows_of(found, "sd").set_index("effect")["estimate"]
        long, whitened = differences(gaps), []
        design = pd.get_dummies(long["arm"] + long["roi"]).astype(float)
        for rows in long.groupby("participant_id").indices.values():
            rois = long["roi"].to_numpy()[rows]
            covariance = spread["residual"] ** 2 * np.eye(rows.size) + spread["participant"] ** 2
            covariance += spread["participant:nucleus"] ** 2 * (rois[:, None] == rois[None, :])
            root = np.linalg.cholesky(np.linalg.inv(covariance)).T
            whitened.append(
                (root @ long["d"].to_numpy()[rows], root @ design.to_numpy()[rows], np.full(rows.size, rows[0]))
            )
        d, x, who = (np.concatenate(parts) for parts in zip(*whitened, strict=True))
        fitted = sm.OLS(d, x).fit(cov_type="cluster", cov_kwds={"groups": who, "use_correction": False})
        expected = pd.Series(fitted.bse * np.sqrt(N / (N - 1)), design.columns)
        for (arm, roi), row in rows_of(found, "cell").set_index(["arm", "roi"]).iterrows():
            assert row["standard_error"] == pytest.approx(expected[arm + roi], rel=1e-3)

    def test_nuclei_that_scatter_unlike_each_other_have_errors_of_their_own(self):
        """The trend of one nucleus is the mean of the people's own slopes, with that mean's standard error."""
        wide = {(arm, "SNr"): 10.0 for arm in ("DL3", "DL4", "DL5")}
        table = made.study(slope_difference=FLAT, error_ppb=wide)
        found = rows_of(mixed_model(table, reference="PI2", repeat="PI2rep"), "trend").set_index("roi")
        for roi in ("Pu", "SNr"):
            own = table[table["roi"] == roi].pivot(index="participant_id", columns="arm", values="mean_ppb")
            slopes = (own["DL5"] - own["DL3"]) / 2
            expected = stats.ttest_1samp(slopes, 0.0)
            assert found.loc[roi, "estimate"] == pytest.approx(slopes.mean())
            assert found.loc[roi, "standard_error"] == pytest.approx(stats.sem(slopes), rel=1e-6)
            assert found.loc[roi, "p"] == pytest.approx(expected.pvalue, rel=1e-6)

    def test_an_empty_cell_leaves_the_interaction_out_and_says_so(self, gaps):
        holed = gaps[~((gaps["arm"] == "DL5") & (gaps["roi"] == "Ca"))]
        found, expected = mixed_model(holed, reference="PI2"), by_formula(holed, "d ~ 0 + arm + C(roi, Sum)")
        assert "arm:nucleus" not in found.account["Model"].split(" + (1")[0]
        arms = rows_of(found, "arm").set_index("arm")["estimate"]
        for arm in arms.index:
            assert arms[arm] == pytest.approx(expected.fe_params[f"arm[{arm}]"], abs=1e-3)
        assert "arm:nucleus" not in set(found.table["effect"].dropna())

    @pytest.mark.parametrize("kept", [{"arm": ["PI2", "DL3"]}, {"roi": ["Pu"]}])
    def test_one_arm_or_nucleus_has_no_effect_of_its_own(self, gaps, kept):
        ((name, values),) = kept.items()
        found = mixed_model(gaps[gaps[name].isin(values)], reference="PI2")
        assert list(rows_of(found, "sd")["effect"]) == ["participant", "residual"]
        assert "participant:nucleus" not in found.account["Model"]


class TestToldHonestly:
    def test_a_variance_of_zero_is_found_and_told(self):
        # Differences whose mean over a person is the same for all: people differ by less than chance would have it.
        noise = np.random.default_rng(0).normal(0, 3.0, (N, N_ROIS, 4))
        noise -= noise.mean(axis=(1, 2), keepdims=True)
        table = made.study().set_index(["arm", "participant_id", "roi"])["mean_ppb"].unstack("arm").sort_index()
        table[list(made.BIAS_PPB)] = table[["PI2"]].to_numpy() + noise.reshape(-1, 4)
        long = table.stack().rename("mean_ppb").reset_index().assign(side="both")
        found = mixed_model(long, reference="PI2")
        assert found.is_converged and "participant" in found.account["VariancesAtZero"]
        spreads = rows_of(found, "sd").set_index("effect")["estimate"]
        assert spreads["participant"] == 0 and spreads["residual"] == pytest.approx(3.0, rel=0.05)

    @pytest.mark.parametrize(
        ("table", "said"),
        [
            (cohort(4), "4 participants"),
            (cohort(9).query("side != 'both'"), "no row is of side both"),
            (cohort(9).assign(mean_ppb=50.0), "do not vary"),
            (cohort(9).query("arm in ('PI2', 'DL3') and roi == 'Pu'"), "nobody has more than one difference"),
        ],
    )
    def test_no_model_of_nothing(self, table, said):
        found = mixed_model(table, reference="PI2")
        assert said in found.reason and found.table.empty and not found.is_converged
