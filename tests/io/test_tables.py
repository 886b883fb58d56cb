"""Tables: names are text whatever they look like, numbers are numbers, missing values are missing."""

from pathlib import Path

import pandas as pd
import pytest

from dlqsm.core.checks import InputError
from dlqsm.io.tables import read_table, write_table


def test_names_that_look_like_numbers_or_missing_values_stay_names(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {
            "participant_id": ["sub-01", "sub-02", "sub-03"],
            "arm": ["02", "NA", "1e3"],
            "reference": ["1", "2", None],
            "mean_ppb": [1.5, None, -3.0],
        }
    )
    write_table(tmp_path / "table.tsv", table)
    found = read_table(tmp_path / "table.tsv", ("arm",))
    assert list(found["arm"]) == ["02", "NA", "1e3"]
    assert list(found["reference"][:2]) == ["1", "2"] and pd.isna(found["reference"][2])
    assert found["mean_ppb"].dtype == float and found["mean_ppb"].isna().tolist() == [False, True, False]


def test_numbers_of_other_programs_may_be_missing_in_their_words(tmp_path: Path) -> None:
    (tmp_path / "table.tsv").write_text("participant_id\tmean_ppb\n7\tNA\n8\tNaN\n09\t1.5\n")
    found = read_table(tmp_path / "table.tsv", ("mean_ppb",))
    assert list(found["participant_id"]) == ["7", "8", "09"]
    assert found["mean_ppb"].isna().tolist() == [True, True, False]


def test_rows_longer_than_the_header_are_refused(tmp_path: Path) -> None:
    (tmp_path / "table.tsv").write_text("participant_id\tmean_ppb\nsub-01\t1.0\t2.0\nsub-02\t1.0\t2.0\n")
    with pytest.raises(InputError, match="more cells than its header of 2 names"):
        read_table(tmp_path / "table.tsv", ("mean_ppb",))


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "table.tsv").write_text('participant_id\tmean_ppb\tarm\t"mean_ppb"\nsub-01\t1.0\tPI2\t2.0\n')
    with pytest.raises(InputError, match=r"table\.tsv: has the column mean_ppb twice; keep one of them"):
        read_table(tmp_path / "table.tsv", ("mean_ppb",))
    with pytest.raises(InputError, match=r"table\.tsv: has the column mean_ppb twice; keep one of them"):
        read_table(tmp_path / "table.tsv", (), as_text=True)


def test_names_that_only_look_doubled_are_read(tmp_path: Path) -> None:
    (tmp_path / "table.tsv").write_bytes("\ufeffa\ta.1\tA\t\t\r\n1\t2\t3\t\t\r\n".encode())
    assert read_table(tmp_path / "table.tsv", ("a",))[["a", "a.1", "A"]].to_numpy().tolist() == [[1, 2, 3]]
