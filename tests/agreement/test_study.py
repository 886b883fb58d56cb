"""The study's tables: columns of the contract, pairs of what exists, and rows too small for statistics."""

import math

import numpy as np
import pandas as pd
import pytest
from made_up_table import cohort
from scipy import stats

from dlqsm.agreement import columns
from dlqsm.agreement.concordance import icc_a1
from dlqsm.agreement.correlation import pearson, williams_test
from dlqsm.agreement.multiplicity import benjamini_hochberg, holm
from dlqsm.agreement.study import age_table, agreement_table
from dlqsm.core.checks import InputError

PROMISED = [
    *("arm", "roi", "side", "n", "pearson_r", "pearson_p", "bias_ppb", "bias_low_ppb", "bias_high_ppb", "sd_ppb"),
    *("loa_low_ppb", "loa_high_ppb", "percent_difference", "t", "p", "icc", "icc_low", "icc_high", "ccc", "tost_p"),
    *("p_holm", "p_bh"),
]
PROMISED_AGE = ["arm", "roi", "n", "pearson_r", "p", "slope_ppb_per_year", "low", "high", "p_against_reference"]


@pytest.fixture(scope="module")
def table():
    return cohort()


@pytest.fixture(scope="module")
def found(table):
    return agreement_table(table, reference="PI2", n_resamples=500)


@pytest.fixture(scope="module")
def ageing(table):
    return age_table(table, reference="PI2")


def _wide(table, roi="Pu", side="both"):
    return table[(table["roi"] == roi) & (table["side"] == side)].pivot(
        index="participant_id", columns="arm", values="mean_ppb"
    )


class TestAgreementTable:
    def test_the_columns_of_the_contract_come_first(self, found):
        assert list(found.columns)[: len(PROMISED)] == PROMISED
        assert list(found.columns) == list(columns.AGREEMENT)
        assert all(columns.AGREEMENT[name].strip() for name in found.columns)

    def test_one_row_an_arm_nucleus_and_side(self, found):
        assert len(found) == 3 * 4 * 3
        assert not found.duplicated(["arm", "roi", "side"]).any()
        assert "PI2" not in set(found["arm"])
        assert list(found["side"][:3]) == ["both", "left", "right"]

    def test_a_row_holds_the_statistics_of_its_pairs(self, table, found):
        wide = _wide(table, "GPe", "left")
        x, y = wide["DL5"].to_numpy(), wide["PI2"].to_numpy()
        row = found[(found["arm"] == "DL5") & (found["roi"] == "GPe") & (found["side"] == "left")].iloc[0]
        test = stats.ttest_rel(x, y)
        assert (row["t"], row["p"]) == pytest.approx((test.statistic, test.pvalue))
        assert row["pearson_r"] == pytest.approx(np.corrcoef(x, y)[0, 1])
        assert row["icc"] == pytest.approx(icc_a1(np.stack([x, y], 1)).estimate)
        assert row["percent_difference"] == pytest.approx(100 * abs(x.mean() - y.mean()) / abs(y.mean()))
        assert row["signed_percent_difference"] < 0
        assert row["loa_high_ppb"] - row["bias_ppb"] == pytest.approx(stats.norm.ppf(0.975) * np.std(x - y, ddof=1))

    def test_a_side_is_a_family(self, found):
        both = found[found["side"] == "both"]
        assert both["p_holm"].to_numpy() == pytest.approx(holm(both["p"].to_numpy()))
        assert (both["p_bh"] <= both["p_holm"] + 1e-12).all()
        assert (both["p_bh"] >= both["p"]).all()

    def test_the_repeat_is_a_family_of_its_own(self, table, found):
        rows = agreement_table(table, reference="PI2", n_resamples=50, repeat="PI2rep")
        both = rows[rows["side"] == "both"]
        for family in (both[both["arm"] != "PI2rep"], both[both["arm"] == "PI2rep"]):
            assert family["p_holm"].to_numpy() == pytest.approx(holm(family["p"].to_numpy()))
            assert family["p_bh"].to_numpy() == pytest.approx(benjamini_hochberg(family["p"].to_numpy()))
            assert family["tost_p_holm"].to_numpy() == pytest.approx(holm(family["tost_p"].to_numpy()))
        assert len(both) == 12 and (rows["p_holm"] < found["p_holm"] - 1e-6).any()
        # An arm's scatter is set against the repeat by itself: that has a family an arm.
        wider = rows[(rows["side"] == "both") & (rows["arm"] == "DL5")]
        assert wider["sd_over_repeat_p_holm"].to_numpy() == pytest.approx(holm(wider["sd_over_repeat_p"].to_numpy()))

    def test_the_margin_decides_on_equivalence(self, table, found):
        wide = agreement_table(table, reference="PI2", margin_ppb=30.0, n_resamples=50)
        assert (wide["tost_p"] < 1e-6).all()
        biased = found[(found["arm"] == "DL5") & (found["side"] == "both")]
        assert (biased["tost_p"] > 0.05).all()

    def test_swapping_arm_and_reference_mirrors(self, table):
        two = table[table["arm"].isin(["PI2", "DL5"])]
        forth, back = (agreement_table(two, reference=name, n_resamples=50) for name in ("PI2", "DL5"))
        assert forth["bias_ppb"].to_numpy() == pytest.approx(-back["bias_ppb"].to_numpy())
        for name in ("pearson_r", "icc", "ccc", "p", "tost_p"):
            assert forth[name].to_numpy() == pytest.approx(back[name].to_numpy())
        assert forth["deming_slope"].to_numpy() == pytest.approx(1 / back["deming_slope"].to_numpy())

    def test_order_of_rows_does_not_matter(self, table, found):
        mixed = table.sample(frac=1.0, random_state=1)
        pd.testing.assert_frame_equal(agreement_table(mixed, reference="PI2", n_resamples=500), found)
        assert list(age_table(mixed, reference="PI2")["arm"].unique()) == ["PI2", "DL3", "DL5", "PI2rep"]

    def test_arms_come_by_number(self, table):
        renamed = table.replace({"arm": {"DL3": "DL10", "DL5": "DL9"}})
        rows = agreement_table(renamed, reference="PI2", n_resamples=10)
        assert list(rows["arm"].unique()) == ["DL9", "DL10", "PI2rep"]

    def test_pairs_are_made_of_what_exists(self, table):
        some = table[~((table["arm"] == "DL3") & (table["participant_id"] == "sub-03"))].copy()
        some.loc[(some["participant_id"] == "sub-04") & (some["roi"] == "Pu") & (some["arm"] == "PI2"), "mean_ppb"] = (
            np.nan
        )
        rows = agreement_table(some, reference="PI2", n_resamples=50).set_index(["arm", "roi", "side"])
        assert rows.loc[("DL3", "Pu", "both"), ["n", "n_arm", "n_reference", "n_missing"]].tolist() == [22, 23, 23, 2]
        assert rows.loc[("DL3", "Ca", "both"), "n"] == 23
        assert rows.loc[("DL5", "Ca", "both"), "n"] == 24

    @pytest.mark.parametrize("n", [1, 2, 3, 4])
    def test_few_pairs_keep_their_row(self, n):
        small = cohort(n)
        found = agreement_table(small, reference="PI2", n_resamples=50)
        wide = _wide(small)
        assert len(found) == 36
        assert found.loc[0, "n"] == n
        assert found.loc[0, "bias_ppb"] == pytest.approx((wide["DL3"] - wide["PI2"]).mean())
        assert found[["p", "icc", "tost_p", "p_holm", "loa_low_ppb"]].isna().all().all()
        assert age_table(small, reference="PI2")["pearson_r"].isna().all()

    def test_five_pairs_are_enough(self):
        assert agreement_table(cohort(5), reference="PI2", n_resamples=200)["tost_p"].notna().all()

    def test_equal_arms_are_no_crash(self, table):
        reference = table[table["arm"] == "PI2"]
        row = agreement_table(pd.concat([reference, reference.assign(arm="copy")]), reference="PI2").iloc[0]
        assert (row["bias_ppb"], row["sd_ppb"], row["icc"], row["ccc"]) == (0, 0, 1, 1)
        assert row["pearson_r"] == pytest.approx(1)
        assert (row["p"], row["tost_p"]) == (1, 0) and math.isnan(row["bias_bca_low_ppb"])

    def test_constant_values_are_no_crash(self, table):
        row = agreement_table(table.assign(mean_ppb=50.0), reference="PI2", n_resamples=50).iloc[0]
        assert row["bias_ppb"] == 0
        assert math.isnan(row["pearson_r"]) and math.isnan(row["icc"]) and math.isnan(row["deming_slope"])
        assert age_table(table.assign(mean_ppb=50.0), reference="PI2")["p_against_reference"].isna().all()

    def test_refused(self, table):
        with pytest.raises(InputError, match="reference arm 'PI3' is not in the table; it has DL3, DL5, PI2"):
            agreement_table(table, reference="PI3")
        with pytest.raises(InputError, match="arm PI2 alone"):
            agreement_table(table[table["arm"] == "PI2"], reference="PI2")
        other = table[table["arm"] == "DL3"].assign(participant_id=lambda t: t["participant_id"] + "x")
        with pytest.raises(InputError, match="different people"):
            agreement_table(pd.concat([table[table["arm"] == "PI2"], other]), reference="PI2")
        with pytest.raises(InputError, match="margin"):
            agreement_table(table, reference="PI2", margin_ppb=0.0)


class TestAgeTable:
    def test_the_columns_of_the_contract_come_first(self, ageing):
        assert list(ageing.columns)[: len(PROMISED_AGE)] == PROMISED_AGE
        assert list(ageing.columns) == list(columns.AGE)

    def test_the_reference_comes_first_and_is_not_tested_against_itself(self, ageing):
        assert list(ageing["arm"][:4]) == ["PI2"] * 4
        assert ageing.loc[ageing["arm"] == "PI2", "p_against_reference"].isna().all()
        assert ageing.loc[ageing["arm"] != "PI2", "p_against_reference"].notna().all()

    def test_a_row_is_the_regression_of_its_values(self, table, ageing):
        age = table.groupby("participant_id")["age"].first().to_numpy()
        wide = _wide(table, "RN")
        x, y = wide["DL3"].to_numpy(), wide["PI2"].to_numpy()
        row = ageing[(ageing["arm"] == "DL3") & (ageing["roi"] == "RN")].iloc[0]
        line = stats.linregress(age, x)
        assert (row["slope_ppb_per_year"], row["p"], row["pearson_r"]) == pytest.approx(
            (line.slope, line.pvalue, line.rvalue)
        )
        assert row["p_against_reference"] == pytest.approx(
            williams_test(pearson(age, x).r, pearson(age, y).r, pearson(x, y).r, 24).p
        )
        assert row["slope_difference_p"] == pytest.approx(stats.linregress(age, x - y).pvalue)

    def test_people_without_age_are_left_out_and_counted(self, table):
        some = table.copy()
        some.loc[some["participant_id"].isin(["sub-01", "sub-02"]), "age"] = np.nan
        found = age_table(some, reference="PI2")
        assert (found["n"] == 22).all() and (found["n_without_age"] == 2).all()
        assert found["n_pairs"].isna().sum() == 4

    def test_refused(self, table):
        for changed, said in (
            (table.drop(columns="age"), "no age is known"),
            (table.assign(age=np.nan), "no age is known"),
            (table[table["side"] != "both"], "no row is of side both"),
        ):
            with pytest.raises(InputError, match=said):
                age_table(changed, reference="PI2")
