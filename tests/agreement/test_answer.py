"""The answer in words: what passes, what fails and why, for studies made to be so."""

import numpy as np
import pandas as pd
import pytest
import simulated_study as made
from scipy import stats

from dlqsm.agreement.answer import BIAS, FEW, SPREAD, UNTESTED, answers, in_words, people_needed
from dlqsm.agreement.floor import spread_ratio
from dlqsm.agreement.study import agreement_table

FLAT = dict.fromkeys(made.BIAS_PPB, 0.0)


def answer(table, *, repeat="PI2rep", **options):
    agreement = agreement_table(table, reference="PI2", repeat=repeat, n_resamples=50)
    return answers(agreement, reference="PI2", margin_ppb=3.0, repeat=repeat, **options)


def of_arm(found, arm):
    return next(one for one in found.arms if one.arm == arm)


class TestAnswer:
    def test_all_pass(self):
        (found,) = answer(made.study(slope_difference=FLAT))
        assert found.largest == 5.0
        assert [one.arm for one in found.arms] == ["DL3", "DL4", "DL5"]
        assert found.sentences == (
            "Up to an acceleration of AF 5 (DL5), every nucleus stays within ±3 ppb of PI2 on average (TOST, p < 0.05) "
            "and none is shown to scatter more than PI2rep, the repeat of PI2.",
        )

    def test_a_bias_ends_it_and_is_named(self):
        (found,) = answer(made.study(bias_ppb={("DL5", "SNr"): -4.2, ("DL5", "RN"): 2.8}, slope_difference=FLAT))
        assert found.largest == 4.0
        failures = of_arm(found, "DL5").failures
        assert [(one.roi, one.reason) for one in failures] == [("RN", BIAS), ("SNr", BIAS)]
        assert found.sentences[0].startswith("Up to an acceleration of AF 4 (DL4), every nucleus stays")
        assert "AF 5 (DL5): not shown in 2 of 7 nuclei: " in found.sentences[1]
        assert "SNr (bias: mean difference −4.2 ppb)" in found.sentences[1]

    def test_a_spread_wider_than_the_repeats(self):
        (found,) = answer(made.study(error_ppb={("DL4", "GPi"): 6.0}, slope_difference=FLAT))
        (failure,) = of_arm(found, "DL4").failures
        assert (failure.roi, failure.reason, found.largest) == ("GPi", SPREAD, 3.0)
        ratio = np.sqrt(41.0 / 11.25)
        assert failure.words == f"SD {np.sqrt(41.0):.1f} ppb, {ratio:.1f} times that of PI2rep"
        assert any(s.startswith("AF 5 (DL5) would pass, but a lower") for s in found.sentences)

    def test_a_spread_that_hides_the_mean_is_named_before_a_small_bias(self):
        (found,) = answer(made.study(error_ppb={("DL5", "SNc"): 9.0}, slope_difference=FLAT))
        (failure,) = of_arm(found, "DL5").failures
        assert failure.reason == SPREAD and failure.words.endswith("; mean difference −1.5 ppb")

    def test_too_few_people_and_how_many_it_would_take(self):
        wide = made.study(error_ppb=dict.fromkeys(made.ERROR_PPB, 14.0), slope_difference=FLAT)
        (found,) = answer(wide)
        failure = of_arm(found, "DL3").failures[0]
        assert found.largest is None and failure.reason == FEW
        sd = np.sqrt(1 + 4 + 14.0**2)
        assert f"at this bias and spread {people_needed(0.2, sd, 3.0)} would be needed" in failure.words
        assert found.sentences[0].startswith("At no acceleration that was tried (AF 3 (DL3), AF 4 (DL4), AF 5 (DL5))")
        assert found.sentences[-1].startswith(
            "Even PI2rep, PI2 measured again, is not shown to stay within the margin in Pu"
        )

    def test_a_bias_that_is_not_shown_is_no_bias(self):
        """With twelve people a mean difference of 1.5 ppb may be chance: the page's table calls it undecided."""
        table = made.study(slope_difference=FLAT)
        few = table[table["participant_id"] <= "sub-12"].sort_values("participant_id")
        wide = stats.zscore(np.random.default_rng(0).normal(size=12), ddof=1)
        is_gpe = (few["roi"] == "GPe") & (few["arm"] == "DL3")
        reference = few.loc[(few["roi"] == "GPe") & (few["arm"] == "PI2"), "mean_ppb"].to_numpy()
        few.loc[is_gpe, "mean_ppb"] = reference + 1.56 + 3.44 * wide
        (found,) = answer(few)
        row = agreement_table(few, reference="PI2", n_resamples=50).query("arm == 'DL3' and roi == 'GPe'").iloc[0]
        failure = next(one for one in of_arm(found, "DL3").failures if one.roi == "GPe")
        assert row["p_holm"] > 0.05 and failure.reason == FEW and "12 people" in failure.words

    def test_a_repeat_of_few_people_sets_no_limit(self):
        table = made.study(slope_difference=FLAT)
        some = table[(table["arm"] != "PI2rep") | (table["participant_id"] <= "sub-03")]
        (found,) = answer(some)
        assert found.largest == 5.0
        assert found.sentences[0].endswith("; whether any scatters more than PI2rep, the repeat of PI2, could not be "
                                           "tested.")  # fmt: skip
        assert found.sentences[-1].startswith("PI2rep, PI2 measured again, is of too few people to show")
        assert "Pu (3)" in found.sentences[-1] and not any("set the limit" in words for words in found.sentences)

    def test_nuclei_whose_scatter_was_not_tested_are_named(self):
        table = made.study(slope_difference=FLAT)
        lacking = (table["arm"] == "PI2rep") & (table["roi"] == "RN") & (table["participant_id"] > "sub-03")
        (found,) = answer(table[~lacking])
        assert (
            "none is shown to scatter more than PI2rep, the repeat of PI2, where that could be tested (not in RN)."
            in (found.sentences[0])
        )

    def test_copies_of_the_reference_pass(self):
        table = made.study(slope_difference=FLAT)
        same = table[table["arm"] == "PI2"].assign(arm="DL3")
        (found,) = answer(pd.concat([table[table["arm"] != "DL3"], same]))
        assert found.largest == 5.0 and of_arm(found, "DL3").failures == ()

    def test_untested_is_no_pass(self):
        table = made.study(slope_difference=FLAT)
        some = table[~((table["arm"] == "DL3") & (table["participant_id"] > "sub-04"))]
        (found,) = answer(some)
        assert {one.reason for one in of_arm(found, "DL3").failures} == {UNTESTED}
        assert found.largest is None

    def test_without_a_repeat_that_is_said(self):
        table = made.study(slope_difference=FLAT)
        (found,) = answer(table[table["arm"] != "PI2rep"], repeat=None)
        assert "scatter" not in found.sentences[0]
        assert found.sentences[-1].startswith("No arm is known to be a repeat of PI2:")

    def test_measured_factors_go_before_names_and_order_the_arms(self):
        (found,) = answer(made.study(slope_difference=FLAT), accelerations={"DL3": 6.2, "DL4": 4.16})
        assert [one.arm for one in found.arms] == ["DL4", "DL5", "DL3"] and found.largest == 6.2

    def test_families_are_answered_apart(self):
        table = made.study(slope_difference=FLAT).replace({"arm": {"DL3": "PI2_recAF3joint", "DL4": "PI2_recAF3cs",
                                                                   "DL5": "PI2_recAF5cs"}})  # fmt: skip
        found = answer(table)
        assert sorted(len(one.arms) for one in found) == [1, 2]

    def test_names_without_a_factor_give_no_answer(self):
        table = made.study().replace({"arm": {"DL3": "a", "DL4": "b", "DL5": "c"}})
        assert answer(table) == []


@pytest.mark.parametrize(("bias", "sd"), [(0.0, 10.0), (1.5, 4.0), (-2.9, 1.0)])
def test_people_needed_is_the_first_number_that_is_enough(bias, sd):
    n = people_needed(bias, sd, 3.0)

    def is_enough(people):
        return abs(bias) + stats.t.ppf(0.95, people - 1) * sd / np.sqrt(people) < 3.0

    assert is_enough(n) and (n == 2 or not is_enough(n - 1))


def test_no_number_of_people_moves_a_bias():
    assert people_needed(3.0, 1.0, 3.0) is None
    assert people_needed(2.999, 50.0, 3.0) is None


class TestSpreadRatio:
    def test_it_is_the_correlation_of_sum_and_difference(self):
        rng = np.random.default_rng(3)
        shared = rng.normal(size=40)
        x, y = shared + 2.0 * rng.normal(size=40), shared + rng.normal(size=40)
        found = spread_ratio(x, y)
        assert found.ratio == pytest.approx(x.std() / y.std())
        assert found.p == pytest.approx(stats.pearsonr(x + y, x - y, alternative="greater").pvalue)

    def test_the_interval_holds_the_ratios_that_are_not_rejected(self):
        rng = np.random.default_rng(4)
        x, y = 1.5 * rng.normal(size=30), rng.normal(size=30)
        low, high = spread_ratio(x, y).interval
        for edge, side in ((low, "greater"), (high, "less")):
            scaled = x / edge
            assert stats.pearsonr(scaled + y, scaled - y, alternative=side).pvalue == pytest.approx(0.05)

    def test_nothing_to_compare(self):
        assert np.isnan(spread_ratio(np.zeros(9), np.arange(9.0)).ratio)
        assert np.isnan(spread_ratio(np.arange(4.0), np.arange(4.0) ** 2).ratio)
        same = np.random.default_rng(0).normal(size=9)
        assert spread_ratio(2 * same, same).ratio == pytest.approx(2.0) and np.isnan(spread_ratio(2 * same, same).p)


class TestSeveralMasks:
    """One scan undersampled under several masks: what holds with each of them comes first."""

    def under_masks(self, *biases):
        first = made.study(slope_difference=FLAT)
        tables = [first[first["arm"] == "PI2"].assign(arm="FULL")]
        for seed, bias_ppb in enumerate(biases):
            table = made.study(bias_ppb=bias_ppb, slope_difference=FLAT)
            names = {"DL3": f"FULL_recAF3s{seed}", "DL4": f"FULL_recAF4s{seed}"}
            tables.append(table[table["arm"].isin(list(names))].assign(arm=lambda t, names=names: t["arm"].map(names)))
        agreement = agreement_table(pd.concat(tables), reference="FULL", n_resamples=50)
        return in_words(answers(agreement, reference="FULL", margin_ppb=3.0))

    def test_the_least_of_the_masks_counts(self):
        told = self.under_masks({}, {("DL4", "RN"): 6.0})
        assert told[0] == (
            "With each of 2 sampling masks: up to an acceleration of AF 3, every nucleus stays within ±3 ppb of FULL "
            "on average (TOST, p < 0.05)."
        )
        assert "AF 4 (FULL_recAF4s0), every nucleus" in told[1] and "AF 3 (FULL_recAF3s1), every" in told[2]
        assert "AF 4 (FULL_recAF4s1): not shown in 1 of 7 nuclei" in told[3]
        assert [s.startswith("No arm is known to be a repeat of FULL") for s in told] == [False] * 4 + [True]

    def test_one_mask_that_fails_at_once_leaves_no_acceleration(self):
        told = self.under_masks({("DL3", "RN"): 6.0}, {})
        assert told[0].startswith("With each of 2 sampling masks: at no acceleration that was tried is it shown that")

    def test_one_mask_is_told_as_ever(self):
        told = self.under_masks({})
        assert told[0].startswith("Up to an acceleration of AF 4 (FULL_recAF4s0)") and len(told) == 2
