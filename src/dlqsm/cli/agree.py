"""Agreement of arms with a reference, per nucleus, from a long table; and their association with age.

TABLE.tsv has the columns participant_id, arm, roi, side and mean_ppb, as dlqsm nuclei writes them, and age [years] and
sex where they are known. Pairs are made of what exists, and counted. OUT_DIR gets agreement.tsv and age.tsv, each with
a JSON that describes every column, the figures as SVG and PNG, and tables.tex. Without ages there is no age.tsv.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd

import dlqsm
from dlqsm.agreement import columns
from dlqsm.agreement.long_table import check_table
from dlqsm.agreement.pairs import by_name
from dlqsm.agreement.study import MIN_PAIRS, age_table, agreement_table, why_no_age_table
from dlqsm.cli.agree_summary import print_summary
from dlqsm.cli.arguments import path, positive
from dlqsm.cli.console import start
from dlqsm.core.checks import InputError
from dlqsm.io.outputs import output_folder, read_json, whole_file, write_json, write_text
from dlqsm.io.tables import read_table
from dlqsm.report.agreement_latex import latex_tables
from dlqsm.report.agreement_pictures import AGE_NAMES, AGREEMENT_NAMES, agreement_pictures

AGREEMENT, AGE, LATEX = "agreement.tsv", "age.tsv", "tables.tex"
MOST_PERCENT: Final = 100.0
"""Width of the interval of a percent difference from which it is called vague."""
REPEAT_ENDING: Final = "rep"
FAMILY: Final = "all nuclei and arms of the same side; side both is the primary family"


@dataclass(frozen=True, slots=True, eq=False)
class Agreement:
    """What `write_agreement` computed: both tables (age None where it could not be made) and remarks on the data."""

    agreement: pd.DataFrame
    age: pd.DataFrame | None
    repeat: str | None
    remarks: tuple[str, ...]


def add_arguments(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Declare the arguments."""
    del words
    parser.add_argument("table", type=path, metavar="TABLE.tsv", help="long table of nucleus values [ppb]")
    parser.add_argument("out", type=path, metavar="OUT_DIR", help="folder for tables and figures")
    parser.add_argument("--reference", required=True, metavar="ARM", help="arm that the others are compared with")
    parser.add_argument(
        "--margin-ppb", type=positive(float), default=3.0, metavar="X",
        help="mean difference that does not matter [ppb], for the test of equivalence; set it before you see the data "
        "(default: 3)",
    )  # fmt: skip
    parser.add_argument(
        "--repeat",
        metavar="ARM",
        help="second scan by the reference: the floor in every figure (default: REFERENCErep)",
    )
    parser.add_argument(
        "--resamples", type=positive(int), default=10_000, metavar="N", help="bootstrap draws (default: 10000)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the bootstrap (default: 0)")


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    talk, _ = start(arguments)
    table = read_table(arguments.table, ())
    is_unit_known = _stated_unit(arguments.table) == "ppb"
    table = check_table(table, str(arguments.table), is_unit_known=is_unit_known)
    with (
        output_folder(arguments.out, overwrite=arguments.overwrite, produces=(AGREEMENT,)) as out,
        talk.working("statistics and figures"),
    ):
        written = write_agreement(
            table, out, reference=arguments.reference, margin_ppb=arguments.margin_ppb, seed=arguments.seed,
            n_resamples=arguments.resamples, repeat=arguments.repeat,
        )  # fmt: skip
    print_summary(
        written.agreement, written.age, reference=arguments.reference, margin_ppb=arguments.margin_ppb,
        remarks=written.remarks,
    )  # fmt: skip
    return 0


def write_agreement(
    table: pd.DataFrame,
    out: Path,
    *,
    reference: str,
    margin_ppb: float = 3.0,
    seed: int = 0,
    n_resamples: int = 10_000,
    repeat: str | None = None,
) -> Agreement:
    """Compute the agreement study of a long table and write its tables and figures.

    Parameters
    ----------
    table
        As `check_table` demands: ``participant_id arm roi side mean_ppb`` [ppb], and ``age`` [years], ``sex``.
    out
        Folder that exists; files of the same names are replaced.
    reference
        Arm that the others are compared with.
    margin_ppb
        Equivalence margin [ppb].
    seed, n_resamples
        Of the bootstrap.
    repeat
        Second scan by the reference; None takes the arm named as the reference with ``rep`` behind it, if there is one.

    Raises
    ------
    InputError
        If the table cannot be used; nothing is written then.
    """
    table = check_table(table, "the table", is_unit_known=True)
    arms = by_name(table["arm"])
    repeat = _repeat_arm(arms, reference, repeat)
    agreement = agreement_table(table, reference=reference, margin_ppb=margin_ppb, seed=seed, n_resamples=n_resamples)
    reason = why_no_age_table(table)
    age = None if reason else age_table(table, reference=reference)
    remarks = (*_remarks(table, agreement), *([f"{AGE} was not made: {reason}"] if reason else _age_remarks(age)))
    about = {
        "Reference": reference, "Repeat": repeat, "MarginPpb": margin_ppb, "Seed": seed, "Resamples": n_resamples,
        "Family": FAMILY, "Participants": int(table["participant_id"].nunique()), "Remarks": list(remarks),
        "GeneratedBy": f"dlqsm {dlqsm.__version__}",
    }  # fmt: skip
    pictures = agreement_pictures(table, agreement, age, reference=reference, repeat=repeat)
    _remove_stale(out, {*pictures, *((AGE, "age.json") if age is not None else ())})
    _write_figures(out, pictures)
    write_text(out / LATEX, latex_tables(agreement, age, reference=reference, margin_ppb=margin_ppb))
    if age is not None:
        _write_table(out / AGE, age, about, columns.AGE)
    # Last, since its presence tells that the folder is complete.
    _write_table(out / AGREEMENT, agreement, about, columns.AGREEMENT)
    return Agreement(agreement, age, repeat, remarks)


def _stated_unit(table: Path) -> str | None:
    """Unit of mean_ppb by the JSON beside the table, None where nothing is said; any other than ppb is refused."""
    sidecar = table.with_suffix(".json")
    if table.suffix == ".json" or not sidecar.is_file():
        return None
    content = read_json(sidecar)
    described = content.get("columns")
    entry = described.get("mean_ppb") if isinstance(described, dict) else content.get("mean_ppb")
    text = str(entry.get("Units", "")) if isinstance(entry, dict) else str(entry or "")
    units = [unit for unit in ("ppb", "ppm") if unit in text.replace("mean_ppb", "").lower()]
    if units == ["ppm"]:
        raise InputError(f"{sidecar}: says that mean_ppb is in ppm; give {table.name} in ppb, and say so in the JSON")
    return units[0] if units == ["ppb"] else None


def _repeat_arm(arms: list[str], reference: str, named: str | None) -> str | None:
    if named is None:
        return f"{reference}{REPEAT_ENDING}" if f"{reference}{REPEAT_ENDING}" in arms else None
    if named not in arms or named == reference:
        raise InputError(
            f"the repeat arm '{named}' is not an arm beside the reference {reference}; the table has {', '.join(arms)}"
        )
    return named


def _remarks(table: pd.DataFrame, agreement: pd.DataFrame) -> list[str]:
    """What the reader must know of the data: who is missing where, and what could not be computed."""
    people = table["participant_id"].nunique()
    found = []
    for arm in by_name(table["arm"]):
        measured = table[(table["arm"] == arm) & table["mean_ppb"].notna()]["participant_id"].nunique()
        if measured < people:
            found.append(f"arm {arm}: {people - measured} of {people} participants lack it")
    few = agreement[agreement["n"] < MIN_PAIRS]
    if len(few):
        found.append(
            f"{len(few)} of {len(agreement)} rows have fewer than {MIN_PAIRS} pairs ({_places(few)}): "
            "counts and means alone are given"
        )
    still = agreement[(agreement["n"] >= MIN_PAIRS) & agreement["p"].isna()]
    if len(still):
        found.append(f"{len(still)} rows hold differences that do not vary ({_places(still)}): no test is possible")
    vague = agreement[agreement["percent_bca_high"] - agreement["percent_bca_low"] > MOST_PERCENT]
    if len(vague):
        found.append(f"percent differences of {_places(vague)} mean little: the reference's mean is too near 0 ppb")
    return found


def _age_remarks(age: pd.DataFrame | None) -> list[str]:
    without = 0 if age is None else int(age["n_without_age"].max())
    return [f"{without} participants without age are left out of {AGE}"] if without else []


def _places(rows: pd.DataFrame) -> str:
    names = [f"{arm} {roi} {side}" for arm, roi, side in zip(rows["arm"], rows["roi"], rows["side"], strict=True)]
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _write_figures(out: Path, pictures: dict[str, bytes]) -> None:
    for name, content in pictures.items():
        with whole_file(out / name) as partial:
            partial.write_bytes(content)


def _remove_stale(out: Path, kept: set[str]) -> None:
    """Remove what an earlier run wrote and this one does not, such as figures of age."""
    drawn = [f"{name}.{ending}" for name in (*AGREEMENT_NAMES, *AGE_NAMES) for ending in ("svg", "png")]
    for name in {*drawn, AGE, "age.json"} - kept:
        (out / name).unlink(missing_ok=True)


def _write_table(file: Path, table: pd.DataFrame, about: dict[str, Any], described: dict[str, str]) -> None:
    write_json(file.with_suffix(".json"), {**about, "columns": described})
    with whole_file(file) as partial:
        table.to_csv(partial, sep="\t", index=False, na_rep="n/a", float_format="%.8g")
