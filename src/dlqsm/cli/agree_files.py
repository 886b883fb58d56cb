"""What an agreement study writes: tables with their dictionaries, figures, LaTeX, and remarks on the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd

import dlqsm
from dlqsm.agreement import columns
from dlqsm.agreement.answer import answers, in_words
from dlqsm.agreement.long_table import check_table
from dlqsm.agreement.mixed_model import MixedModel, mixed_model
from dlqsm.agreement.pairs import BOTH, MIN_PAIRS
from dlqsm.agreement.study import MARGIN_PPB, N_RESAMPLES, age_table, agreement_table, why_no_age_table
from dlqsm.core.arm_names import by_name, repeat_among
from dlqsm.io.outputs import whole_file, write_json, write_text
from dlqsm.report.agreement_latex import latex_tables
from dlqsm.report.agreement_pictures import AGE_NAMES, AGREEMENT_NAMES, agreement_pictures

AGREEMENT, AGE, MIXED, LATEX = "agreement.tsv", "age.tsv", "mixed_model.tsv", "tables.tex"
MOST_PERCENT: Final = 100.0
"""Width of the interval of a percent difference from which it is called vague."""
FAMILY: Final = (
    "all nuclei and arms of the same side but the repeat, whose nuclei are a family of their own; side both is the "
    "primary family"
)


@dataclass(frozen=True, slots=True, eq=False)
class Agreement:
    """What `write_agreement` computed.

    ``age`` is None where it could not be made; ``answer`` are the sentences that answer the study's question.
    """

    agreement: pd.DataFrame
    age: pd.DataFrame | None
    mixed: MixedModel
    repeat: str | None
    answer: tuple[str, ...]
    remarks: tuple[str, ...]


def write_agreement(
    table: pd.DataFrame,
    out: Path,
    *,
    reference: str,
    margin_ppb: float = MARGIN_PPB,
    seed: int = 0,
    n_resamples: int = N_RESAMPLES,
    repeat: str | None = None,
    accelerations: Mapping[str, float] | None = None,
    told: Sequence[str] = (),
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
        Second scan by the reference; None takes the arm whose name tells it (`core.arm_names.repeat_among`).
    accelerations
        Arm to acceleration factor, where the scans tell it; else the names do (`core.arm_names`).
    told
        What is to be remarked of how the table was read.

    Raises
    ------
    InputError
        If the table cannot be used; nothing is written then.
    """
    table = check_table(table, "the table", is_unit_known=True)
    repeat = repeat_among(table["arm"], reference, repeat)
    agreement = agreement_table(
        table, reference=reference, margin_ppb=margin_ppb, seed=seed, n_resamples=n_resamples, repeat=repeat
    )
    reason = why_no_age_table(table)
    age = None if reason else age_table(table, reference=reference)
    mixed = mixed_model(table, reference=reference, repeat=repeat, accelerations=accelerations)
    found = answers(agreement, reference=reference, margin_ppb=margin_ppb, repeat=repeat, accelerations=accelerations)
    answer = in_words(found)
    if (agreement["n"] < MIN_PAIRS).all():
        answer = (_no_answer(table),)
    remarks = (
        *told,
        *_side_remarks(agreement),
        *_remarks(table, agreement),
        *([f"{AGE} was not made: {reason}"] if reason else _age_remarks(age)),
        *_mixed_remarks(mixed),
    )
    about = {
        "Reference": reference, "Repeat": repeat, "MarginPpb": margin_ppb, "Seed": seed, "Resamples": n_resamples,
        "Family": FAMILY, "Participants": int(table["participant_id"].nunique()), "Answer": list(answer),
        "Remarks": list(remarks), "GeneratedBy": f"dlqsm {dlqsm.__version__}",
    }  # fmt: skip
    study = Agreement(agreement, age, mixed, repeat, answer, remarks)
    _write_study(out, study, about, agreement_pictures(table, agreement, age, reference=reference, repeat=repeat))
    return study


def _write_study(out: Path, study: Agreement, about: dict[str, Any], pictures: dict[str, bytes]) -> None:
    made: dict[str, tuple[pd.DataFrame, dict[str, Any], dict[str, str]]] = {}
    if study.age is not None:
        made[AGE] = study.age, about, columns.AGE
    if study.mixed.reason is None:
        made[MIXED] = study.mixed.table, about | study.mixed.account, columns.MIXED_MODEL
    _remove_stale(out, {*pictures, *made, *(Path(name).with_suffix(".json").name for name in made)})
    _write_figures(out, pictures)
    latex = latex_tables(
        study.agreement,
        study.age,
        reference=about["Reference"],
        margin_ppb=about["MarginPpb"],
        repeat=study.repeat,
        mixed=study.mixed.table if study.mixed.reason is None else None,
    )
    write_text(out / LATEX, latex)
    for name, (table, told, described) in made.items():
        _write_table(out / name, table, told, described)
    # Last, since its presence tells that the folder is complete.
    _write_table(out / AGREEMENT, study.agreement, about, columns.AGREEMENT)


def _no_answer(table: pd.DataFrame) -> str:
    """Said instead of an answer where nothing could be tested: that is no finding on any arm."""
    people = table["participant_id"].nunique()
    return f"No answer yet: {people} participants were measured, and a test needs at least {MIN_PAIRS} with both arms."


def _side_remarks(agreement: pd.DataFrame) -> list[str]:
    if (agreement["side"] == BOTH).any():
        return []
    made = "of which answer, printed tables and figures are made"
    return [f"no row is of side both, {made}; results by side are in {AGREEMENT}"]


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


def _mixed_remarks(mixed: MixedModel) -> list[str]:
    if mixed.reason is not None:
        return [f"{MIXED} was not made: {mixed.reason}"]
    if not mixed.is_converged:
        return [f"the mixed model did not converge ({mixed.account['Message']}); do not rely on {MIXED}"]
    return []


def _places(rows: pd.DataFrame) -> str:
    names = [f"{arm} {roi} {side}" for arm, roi, side in zip(rows["arm"], rows["roi"], rows["side"], strict=True)]
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _write_figures(out: Path, pictures: dict[str, bytes]) -> None:
    for name, content in pictures.items():
        with whole_file(out / name) as partial:
            partial.write_bytes(content)


def _remove_stale(out: Path, kept: set[str]) -> None:
    """Remove what an earlier run wrote and this one does not, such as figures of age."""
    for name in set(not_always_written()) - kept:
        (out / name).unlink(missing_ok=True)


def study_files() -> tuple[str, ...]:
    """Names of all files that a study may write."""
    return (AGREEMENT, "agreement.json", LATEX, *not_always_written())


def not_always_written() -> tuple[str, ...]:
    """Names of files that a study may have and another may lack."""
    drawn = [f"{name}.{ending}" for name in (*AGREEMENT_NAMES, *AGE_NAMES) for ending in ("svg", "png")]
    return (*drawn, AGE, "age.json", MIXED, "mixed_model.json")


def _write_table(file: Path, table: pd.DataFrame, about: dict[str, Any], described: dict[str, str]) -> None:
    write_json(file.with_suffix(".json"), {**about, "columns": described})
    with whole_file(file) as partial:
        table.to_csv(partial, sep="\t", index=False, na_rep="n/a", float_format="%.8g")
