"""Tables as TSV with a JSON data dictionary beside, so that every column has its unit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from dlqsm.core.checks import InputError
from dlqsm.io.files import require_file, shown
from dlqsm.io.outputs import whole_file, write_json

COLUMNS = {
    "participant_id": "Participant, with the prefix sub-",
    "session_id": "Session, with the prefix ses-",
    "arm": "Acquisition or reconstruction whose map was measured",
    "roi": "Nucleus: Pu Ca GPe GPi RN SNc SNr",
    "side": "left, right, or both (the voxels of both sides pooled)",
    "mean_ppb": "Mean susceptibility over the label, relative to the reference [ppb]",
    "sd_ppb": "Standard deviation over the voxels of the label [ppb]",
    "median_ppb": "Median over the voxels of the label [ppb]",
    "n_voxels": "Voxels of the label that were measured",
    "volume_mm3": "Their volume [mm3]",
    "truth_ppb": "True mean over the true labels, relative to the same mask [ppb]; of virtual scans only",
    "mean_true_labels_ppb": "Measured mean over the true labels: mean_ppb without the error of registration [ppb]",
    "noise_sd_ppb": "Standard deviation of mean_ppb by noise of the field, through the whole solver [ppb]",
}
_NAMES = ("participant_id", "session_id", "arm", "reference", "roi", "side")
"""Columns of names, which may be all digits (``acq-02``) or spell a missing value (``acq-NA``)."""
_MISSING = ("", "n/a")
_MISSING_NUMBER = (*_MISSING, "N/A", "NA", "NaN", "nan", "-nan", "null", "None")
"""As other programs write it."""


def write_table(
    path: Path,
    table: pd.DataFrame,
    about: dict[str, object] | None = None,
    *,
    columns: Mapping[str, str] = COLUMNS,
) -> None:
    """Write a TSV and, beside it, a JSON with ``about`` and what each column means, of those in ``columns``."""
    with whole_file(path) as partial:
        table.to_csv(partial, sep="\t", index=False, na_rep="n/a", float_format="%.6g")
    told = {name: columns[name] for name in table.columns if name in columns}
    write_json(path.with_suffix(".json"), {**(about or {}), "columns": told})


def read_table(path: Path, required: tuple[str, ...], *, as_text: bool = False) -> pd.DataFrame:
    """Read a TSV, or raise `InputError` naming the columns that are missing; numbers stay text if wanted.

    Names of people, arms and regions are text always: an arm called 02 is not the number 2.
    """
    require_file(path)
    try:
        # As it stands: where it reads a table, pandas renames the second of two equal names.
        header = pd.read_csv(path, sep="\t", header=None, nrows=1, dtype=str, keep_default_na=False)
        columns = pd.read_csv(path, sep="\t", nrows=0).columns
        missing = {name: _MISSING if name in _NAMES else _MISSING_NUMBER for name in columns}
        kinds = dict.fromkeys(columns if as_text else columns.intersection(list(_NAMES)), str)
        table = pd.read_csv(path, sep="\t", na_values=missing, keep_default_na=False, dtype=kinds, low_memory=False)
    # The parser's own errors are of ValueError, as those of text that is not UTF-8.
    except (ValueError, OverflowError) as error:
        raise InputError(f"{path}: expected a tab-separated table, but it cannot be read ({error})") from None
    names = [name for name in header.iloc[0] if name]
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise InputError(f"{path}: has the column {twice} twice; keep one of them")
    if not isinstance(table.index, pd.RangeIndex):  # What stands beyond the header makes columns slip.
        raise InputError(
            f"{path}: its rows have more cells than its header of {len(table.columns)} names; add the names"
        )
    lacking = [name for name in required if name not in table.columns]
    if lacking:
        raise InputError(f"{path}: has no column {', '.join(lacking)}; it has {', '.join(map(str, table.columns))}")
    return table


def write_label_names(path: Path, names: Mapping[int, tuple[str, str]]) -> Path:
    """Write what the numbers of a label image mean; return the table's path."""
    rows = [(index, f"{roi}_{side}", roi, side) for index, (roi, side) in names.items()]
    with whole_file(path) as partial:
        pd.DataFrame(rows, columns=["index", "name", "roi", "side"]).to_csv(partial, sep="\t", index=False)
    return path


def read_label_names(path: Path) -> dict[int, tuple[str, str]]:
    """Read label number to (roi, side) from a TSV.

    Understood are the columns ``index roi side``, ``index abbreviation hemisphere``, and ``index name`` with names such
    as ``Pu_left``, ``L Pu`` or ``Pu``; a name without a side counts as ``both``.
    """
    table = read_table(path, ("index",))
    for roi, side in (("roi", "side"), ("abbreviation", "hemisphere")):
        if {roi, side} <= set(table.columns):
            pairs = [(str(a), str(b)) for a, b in zip(table[roi], table[side], strict=True)]
            break
    else:
        if "name" not in table.columns:
            raise InputError(f"{path}: expected the columns index, roi and side, or index and name")
        pairs = [_split_name(str(name)) for name in table["name"]]
    numbers = [label_number(path, index) for index in table["index"]]
    twice = next((n for place, n in enumerate(numbers) if n in numbers[:place]), None)
    if twice is not None:
        raise InputError(f"{path}: names the label {twice} more than once; expected one row a label")
    return dict(zip(numbers, pairs, strict=True))


def label_number(path: Path, value: object) -> int:
    """The number of a label by the column ``index`` of a table; raises `InputError` where it is no whole number."""
    try:
        number = float(str(value))
    except ValueError:
        number = math.nan
    if not number.is_integer():
        raise InputError(f"{path}: its column index holds {shown(value)}; expected a whole number in each row")
    return int(number)


def _split_name(name: str) -> tuple[str, str]:
    words = name.replace("-", " ").replace("_", " ").split()
    sides = {"l": "left", "left": "left", "lh": "left", "r": "right", "right": "right", "rh": "right"}
    side = next((sides[word.lower()] for word in words if word.lower() in sides), "both")
    return " ".join(word for word in words if word.lower() not in sides) or name, side
