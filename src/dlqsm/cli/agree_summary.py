"""What `dlqsm agree` prints: one table an arm, and what they mean in words."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from dlqsm.agreement.equivalence import ALPHA
from dlqsm.agreement.mixed_model import MixedModel
from dlqsm.cli.agree_files import Agreement
from dlqsm.core.arm_names import family_of
from dlqsm.report.agreement_style import columns_of, number, plain, rois_of, row_of, signed

WIDTH = 124
"""Columns of the print: a narrower terminal wraps lines, which loses nothing; rich would cut figures off."""


def print_summary(study: Agreement, *, reference: str, margin_ppb: float) -> None:
    """Print the answer, the primary results (side both) and the remarks to standard output."""
    console = Console(highlight=False, width=WIDTH)
    for sentence in study.answer:
        console.print(sentence, markup=False, soft_wrap=True)
    if study.answer:
        console.print()
    both = study.agreement[study.agreement["side"] == "both"]
    for arm in columns_of(both, None):
        _heading(console, f"{arm} against {reference}, both sides pooled")
        console.print(_agreement_table(both, arm, margin_ppb))
        console.print(f"{_in_words(both[both['arm'] == arm], margin_ppb)}\n", soft_wrap=True)
    if study.age is not None:
        _heading(console, "Association with age, slopes in ppb/year")
        console.print(_age_table(study.age, reference))
    _print_trends(console, study.mixed, columns_of(both, None))
    for remark in study.remarks:
        console.print(f"note: {remark}", markup=False, soft_wrap=True)


def _print_trends(console: Console, mixed: MixedModel, arms: list[str]) -> None:
    """Trends with the acceleration factor over all nuclei, of the mixed model."""
    trends = mixed.table[(mixed.table["kind"] == "trend") & mixed.table["roi"].isna()]
    for row in trends.to_dict("records"):
        named = {str(key): value for key, value in row.items()}
        slope = _interval(named, "estimate", "low", "high", _two_digits)
        of_family = ", ".join(arm for arm in arms if family_of(arm) == named["arm"])
        told = f"trend of {of_family} over all nuclei (mixed model): {slope} ppb per unit of acceleration"
        console.print(f"{told}, p {_p(number(named, 'p'))}", markup=False, soft_wrap=True)


def _agreement_table(both: pd.DataFrame, arm: str, margin_ppb: float) -> Table:
    table = _empty()
    heads = ("nucleus", "n", "r", "bias [95 % CI] ppb", "limits ppb", "diff %", "ICC [95 % CI]", "p Holm")
    for head in heads:
        table.add_column(head, justify="left" if head == "nucleus" else "right", no_wrap=True)
    table.add_column(f"within ±{margin_ppb:g} ppb", no_wrap=True)
    rows = {roi: row_of(both, arm, roi) for roi in rois_of(both)}
    has_floor = any(math.isfinite(number(row, "sd_over_repeat")) for row in rows.values())
    if has_floor:
        table.add_column("SD ÷ repeat", justify="right", no_wrap=True)
    for roi, row in rows.items():
        floor = [plain(number(row, "sd_over_repeat"))] if has_floor else []
        table.add_row(*_agreement_cells(roi, row), *floor)
    return table


def _agreement_cells(roi: str, row: dict[str, Any]) -> list[str]:
    limits = number(row, "loa_low_ppb"), number(row, "loa_high_ppb")
    return [
        roi,
        str(int(number(row, "n"))),
        plain(number(row, "pearson_r")),
        _interval(row, "bias_ppb", "bias_low_ppb", "bias_high_ppb", signed),
        f"{signed(limits[0])}…{signed(limits[1])}" if math.isfinite(limits[0]) else "n/a",
        plain(number(row, "percent_difference"), 1),
        _interval(row, "icc", "icc_low", "icc_high", plain),
        _p(number(row, "p_holm")),
        _verdict(number(row, "tost_p")),
    ]


def _age_table(age: pd.DataFrame, reference: str) -> Table:
    table = _empty()
    for head, side in (
        ("nucleus", "left"), ("arm", "left"), ("n", "right"), ("r", "right"), ("p", "right"),
        ("slope [95 % CI]", "right"), (f"p against {reference}", "right"),
        ("difference [95 % CI]", "right"), (f"within ±{_slope_margin(age):g}", "left"),
    ):  # fmt: skip
        table.add_column(head, justify="right" if side == "right" else "left", no_wrap=True)
    for roi in rois_of(age):
        for arm in columns_of(age, None):
            row = row_of(age, arm, roi)
            against = "" if arm == reference else _p(number(row, "p_against_reference"))
            slope = _interval(row, "slope_ppb_per_year", "low", "high", _two_digits)
            cells = [str(int(number(row, "n"))), plain(number(row, "pearson_r")), _p(number(row, "p")), slope, against]
            cells += ["", ""] if arm == reference else _slope_cells(row)
            table.add_row(roi if arm == reference else "", arm, *cells)
        table.add_section()
    return table


def _slope_cells(row: dict[str, Any]) -> list[str]:
    ends = "slope_difference_low", "slope_difference_high"
    difference = _interval(row, "slope_difference_ppb_per_year", *ends, _two_digits)
    return [difference, _verdict(number(row, "slope_tost_p"))]


def _slope_margin(age: pd.DataFrame) -> float:
    return float(age["slope_margin"].max())


def _verdict(tost_p: float) -> str:
    return "n/a" if math.isnan(tost_p) else f"{'yes' if tost_p < ALPHA else 'not shown'} ({_p(tost_p)})"


def _in_words(rows: pd.DataFrame, margin_ppb: float) -> str:
    """The two counts that a reader looks for first."""
    tested = int(rows["tost_p"].notna().sum())
    if not tested:
        return "too few pairs for any test"
    shown, differ = int((rows["tost_p"] < ALPHA).sum()), int((rows["p_holm"] < ALPHA).sum())
    return (
        f"mean difference shown to be within ±{margin_ppb:g} ppb in {shown} of {tested} nuclei (TOST); "
        f"different from 0 in {differ} (t-test, Holm)"
    )


def _heading(console: Console, text: str) -> None:
    console.print(text, style="bold", markup=False, soft_wrap=True)


def _empty() -> Table:
    return Table(box=box.SIMPLE_HEAD, padding=(0, 1), collapse_padding=True, show_edge=False, pad_edge=False)


def _interval(row: dict[str, Any], name: str, low: str, high: str, write: Any) -> str:
    value, ends = number(row, name), (number(row, low), number(row, high))
    if not math.isfinite(ends[0]):
        return str(write(value))
    return f"{write(value)} [{write(ends[0])}, {write(ends[1])}]"


def _two_digits(value: float) -> str:
    return signed(value, 2)


def _p(value: float) -> str:
    return "n/a" if math.isnan(value) else "<0.001" if value < 0.001 else f"{value:.3f}"
