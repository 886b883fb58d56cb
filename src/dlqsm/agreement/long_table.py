"""What a long table of nucleus values must hold before anything is computed from it."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from dlqsm.agreement.pairs import BOTH, in_order
from dlqsm.core.checks import InputError
from dlqsm.core.labels import SIDES
from dlqsm.core.units import LARGEST_AGE_YEARS

KEY: Final = ("participant_id", "arm", "roi", "side")
VALUE: Final = "mean_ppb"
OF_A_PERSON: Final = ("age", "sex")
SMALLEST_PLAUSIBLE_PPB: Final = 1.0
"""Iron-rich nuclei have tens to hundreds of ppb: a table whose largest value is below this is in ppm."""


def check_table(table: pd.DataFrame, where: str, *, is_unit_known: bool = False) -> pd.DataFrame:
    """Check a long table and return it with plain types: names as text, values and ages as floats.

    A value that is absent (n/a) stays, as NaN: the nucleus was not measured there. Columns beyond those needed stay.
    A participant's age, told in some rows, holds for all their rows; 89+, as BIDS hides higher ones, counts as 89.

    Parameters
    ----------
    table
        Columns ``participant_id arm roi side mean_ppb``, and ``age`` [years] and ``sex`` where known.
    where
        The file, for messages.
    is_unit_known
        Whether the unit ppb was stated elsewhere, so that small values are believed.

    Raises
    ------
    InputError
        If columns are missing, the unit is not ppb, names are missing, a side is unknown, values are no finite
        numbers, rows are doubled, or a participant has two ages or sexes.
    """
    _require_columns(table, where)
    if table.empty:
        raise InputError(f"{where}: has no rows; expected one a participant, arm, nucleus and side")
    checked = table.copy()
    _name_rows(checked, where)
    checked[VALUE] = _numbers(table, VALUE, where, "ppb")
    _require_single_rows(checked, where)
    if not is_unit_known:
        _require_ppb(checked, where)
    if "age" in checked:
        checked["age"] = _numbers(table.assign(age=table["age"].map(_closed)), "age", where, "years")
        _require_plausible_ages(checked, where)
    for name in OF_A_PERSON:
        if name in checked:
            _require_one_a_person(checked, name, where)
            checked[name] = checked.groupby("participant_id")[name].transform("first")
    return checked.reset_index(drop=True)


def open_ages(table: pd.DataFrame) -> list[str]:
    """Sentences on ages such as 89+ in a table that `check_table` takes: whose they are, and what they count as."""
    if "age" not in table:
        return []
    people = table.groupby(table["age"].where(table["age"] != table["age"].map(_closed)))["participant_id"].nunique()
    return [
        f"the age of {n} participants is told as {age}, which counts as {_closed(age)}" for age, n in people.items()
    ]


def _closed(age: object) -> object:
    return age.removesuffix("+") if isinstance(age, str) else age


def _require_columns(table: pd.DataFrame, where: str) -> None:
    names = [str(name) for name in table.columns]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise InputError(f"{where}: has the column {doubled[0]} twice; keep one of them")
    if VALUE not in names:
        in_ppm = [name for name in names if name.lower() in ("mean_ppm", "chi_ppm", "ppm")]
        unnamed = [n for n in names if n.lower() in ("mean", "chi", "chi_mean", "mean_chi", "value", "susceptibility")]
        if in_ppm:
            raise InputError(
                f"{where}: has {in_ppm[0]} where mean_ppb is expected; multiply by 1000 and name it mean_ppb"
            )
        if unnamed:
            raise InputError(
                f"{where}: the column {unnamed[0]} does not tell its unit; give the values in ppb and name it mean_ppb"
            )
    missing = [name for name in (*KEY, VALUE) if name not in names]
    if missing:
        raise InputError(f"{where}: has no column {', '.join(missing)}; it has {', '.join(names)}")


def _name_rows(table: pd.DataFrame, where: str) -> None:
    """Turn the key columns into text, in place."""
    for name in KEY:
        empty = table[name].isna()
        if empty.any():
            raise InputError(f"{where}: {int(empty.sum())} rows have no {name}; fill it in or remove them")
        table[name] = table[name].astype(str).str.strip()
    unknown = [side for side in in_order(table["side"]) if side not in (BOTH, *SIDES)]
    if unknown:
        raise InputError(f"{where}: side '{unknown[0]}' is unknown; expected left, right or both")


def _numbers(table: pd.DataFrame, name: str, where: str, unit: str) -> pd.Series[float]:
    numbers = pd.to_numeric(table[name], errors="coerce").astype(float)
    text = table[name].notna() & numbers.isna()
    if text.any():
        raise InputError(
            f"{where}: {name} holds '{table.loc[text, name].iloc[0]}' in row {_line(text)}; "
            f"expected a number in {unit}, or n/a where there is none"
        )
    infinite = numbers.abs() == np.inf
    if infinite.any():
        raise InputError(f"{where}: {name} is infinite in row {_line(infinite)}; put n/a where there is no value")
    return numbers


def _line(is_found: pd.Series[bool]) -> int:
    """Line of the file of the first row found; the header is line 1."""
    return int(np.flatnonzero(is_found.to_numpy())[0]) + 2


def _require_single_rows(table: pd.DataFrame, where: str) -> None:
    doubled = table.duplicated(list(KEY))
    if doubled.any():
        person, arm, roi, side = (str(table.loc[doubled, name].iloc[0]) for name in KEY)
        raise InputError(
            f"{where}: {int(doubled.sum())} rows are doubled, first {person}, arm {arm}, {roi}, side {side}; "
            "keep one row for each, or give repeats an arm of their own"
        )


def _require_ppb(table: pd.DataFrame, where: str) -> None:
    largest = table[VALUE].abs().max()
    if pd.isna(largest):
        raise InputError(f"{where}: mean_ppb holds no value; every nucleus is n/a")
    if 0 < largest < SMALLEST_PLAUSIBLE_PPB:
        raise InputError(
            f"{where}: the largest mean_ppb is {largest:.3g}, which looks like ppm; multiply by 1000, "
            "or state the unit ppb in the JSON beside the table if the values are right"
        )


def _require_plausible_ages(table: pd.DataFrame, where: str) -> None:
    odd = table[(table["age"] < 0) | (table["age"] > LARGEST_AGE_YEARS)]
    if len(odd):
        person, age = odd["participant_id"].iloc[0], float(odd["age"].iloc[0])
        raise InputError(f"{where}: {person} has the age {age:g}; expected years from 0 to {LARGEST_AGE_YEARS:g}")


def _require_one_a_person(table: pd.DataFrame, name: str, where: str) -> None:
    count = table.groupby("participant_id", sort=False)[name].nunique()
    several = count[count > 1]
    if len(several):
        person = str(several.index[0])
        values = in_order(map(str, table.loc[table["participant_id"] == person, name].dropna()))
        raise InputError(
            f"{where}: {person} has {len(values)} values of {name} ({', '.join(values[:4])}); "
            f"give the one that holds for all arms"
        )
