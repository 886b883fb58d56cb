"""A table that cannot be used is refused by one sentence that names the place and the remedy."""

import numpy as np
import pandas as pd
import pytest
from made_up_table import cohort

from dlqsm.agreement.long_table import check_table, open_ages
from dlqsm.core.checks import InputError


@pytest.fixture
def table():
    return cohort(6, rois=("Pu", "RN"))


def _doubled(table):
    return pd.concat([table, table.iloc[[4]]])


def _with(column, row, value):
    def change(table):
        changed = table.astype({column: object})
        changed.loc[row, column] = value
        return changed

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.drop(columns="roi"), "no column roi"),
        (lambda t: t.rename(columns={"mean_ppb": "mean"}), "does not tell its unit"),
        (lambda t: t.rename(columns={"mean_ppb": "chi"}), "does not tell its unit"),
        (lambda t: t.rename(columns={"mean_ppb": "mean_ppm"}), "multiply by 1000"),
        (lambda t: t.assign(mean_ppb=t["mean_ppb"] / 1000), "looks like ppm"),
        (_doubled, "rows are doubled, first sub-00, arm DL3, Pu, side right"),
        (lambda t: t.iloc[:0], "has no rows"),
        (_with("mean_ppb", 3, "45,1"), "'45,1' in row 5"),
        (_with("mean_ppb", 3, np.inf), "infinite in row 5"),
        (lambda t: t.assign(mean_ppb=np.nan), "holds no value"),
        (_with("age", 3, "old"), "age holds 'old'"),
        (_with("age", 3, 200.0), "has the age 200"),
        (_with("age", 3, 30.0), "sub-00 has 2 values of age"),
        (_with("sex", 3, "X"), "sub-00 has 2 values of sex"),
        (_with("arm", 3, None), "1 rows have no arm"),
        (_with("side", 3, "middle"), "side 'middle' is unknown"),
        (lambda t: pd.concat([t, t["roi"]], axis=1), "column roi twice"),
    ],
)
def test_refused(table, change, said):
    with pytest.raises(InputError, match=r"^table\.tsv: ") as refusal:
        check_table(change(table), "table.tsv")
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_value_that_was_not_measured_stays_absent(table):
    table.loc[2, "mean_ppb"] = np.nan
    assert check_table(table, "t")["mean_ppb"].isna().sum() == 1


def test_small_values_are_believed_where_the_unit_is_stated(table):
    small = table.assign(mean_ppb=table["mean_ppb"] / 1000)
    assert len(check_table(small, "t", is_unit_known=True)) == len(table)


def test_an_age_told_once_holds_for_the_person(table):
    table.loc[1:5, "age"] = np.nan
    checked = check_table(table, "t")
    assert checked["age"].notna().all()


def test_an_age_of_89_or_above_counts_as_89_and_is_told(table):
    table = table.astype({"age": object})
    assert open_ages(table) == []
    table.loc[table["participant_id"] == "sub-00", "age"] = "89+"
    checked = check_table(table, "t")
    assert set(checked[checked["participant_id"] == "sub-00"]["age"]) == {89.0}
    assert open_ages(table) == ["the age of 1 participants is told as 89+, which counts as 89"]
    table.loc[0, "age"] = "old+"
    with pytest.raises(InputError, match="age holds 'old' in row 2"):
        check_table(table, "t")


def test_the_table_given_is_left_as_it_is(table):
    before = table.copy()
    check_table(table, "t")
    pd.testing.assert_frame_equal(table, before)


def test_further_columns_change_nothing(table):
    """Such as noise_sd_ppb, which dlqsm nuclei --uncertainty appends."""
    checked = check_table(table.assign(noise_sd_ppb=0.5), "t")
    pd.testing.assert_frame_equal(checked[list(table.columns)], check_table(table, "t")[list(table.columns)])
