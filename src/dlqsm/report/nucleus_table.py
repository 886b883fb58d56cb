"""The table of the seven nuclei, and its picture of signed errors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from dlqsm.core.labels import COLOURS, FULL_NAMES, NUCLEI, SIDES
from dlqsm.report.participant import ParticipantReport

MARGIN_PPB = 3.0
"""Equivalence margin of the study design, drawn as a band."""
TRUTH = "truth_ppb"


@dataclass(frozen=True)
class Cell:
    """Value of one nucleus in one arm and how far it is from its target; None where not measured."""

    arm: str
    mean_ppb: float | None
    sd_ppb: float | None
    n_voxels: int
    error_ppb: float | None


@dataclass(frozen=True)
class Row:
    """One nucleus: its target and the cells of all arms."""

    nucleus: str
    full_name: str
    colour: str
    target_ppb: float | None
    cells: tuple[Cell, ...]

    @property
    def voxels(self) -> str:
        """Number of voxels, or its range over the arms."""
        low, high = min(cell.n_voxels for cell in self.cells), max(cell.n_voxels for cell in self.cells)
        return f"{low}" if low == high else f"{low}–{high}"


@dataclass(frozen=True)
class NucleusTable:
    """Rows of one side; ``target`` says what the errors are measured from (empty: nothing)."""

    side: str
    target: str
    rows: tuple[Row, ...]

    def mean_absolute_error_ppb(self, arm: str) -> float | None:
        """Mean over the nuclei of the absolute error of an arm."""
        errors = [cell.error_ppb for row in self.rows for cell in row.cells if cell.arm == arm]
        known = [abs(error) for error in errors if error is not None]
        return sum(known) / len(known) if known else None


@dataclass(frozen=True)
class Mark:
    """One arm's error in one row of the picture: place in [0, 1] across, line and shape by arm."""

    arm: int
    row: int
    across: float
    text: str


@dataclass(frozen=True)
class ErrorPlot:
    """Signed errors of all nuclei and arms on one symmetric axis."""

    limit_ppb: float
    ticks_ppb: tuple[float, ...]
    nuclei: tuple[Row, ...]
    arms: tuple[str, ...]
    marks: tuple[Mark, ...]
    target: str


def error_plot(table: NucleusTable, arms: list[str]) -> ErrorPlot | None:
    """Lay out the signed errors of a table; None where no error is known."""
    marks, limit = [], _limit_ppb(table)
    for i, row in enumerate(table.rows):
        for cell in row.cells:
            if cell.error_ppb is not None:
                text = f"{cell.arm}, {row.full_name}: {cell.error_ppb:+.1f} ppb".replace("-", "−")
                marks.append(Mark(arms.index(cell.arm), i, 0.5 + 0.5 * cell.error_ppb / limit, text))
    ticks = tuple(limit * step for step in (-1.0, -0.5, 0.0, 0.5, 1.0))
    return ErrorPlot(limit, ticks, table.rows, tuple(arms), tuple(marks), table.target) if marks else None


def _limit_ppb(table: NucleusTable) -> float:
    """End of the axis: the largest error, rounded up to 10 ppb."""
    errors = [abs(cell.error_ppb) for row in table.rows for cell in row.cells if cell.error_ppb is not None]
    return 10.0 * max(1, math.ceil(max(errors, default=0.0) / 10.0))


def nucleus_tables(report: ParticipantReport) -> list[NucleusTable]:
    """Tables of both sides pooled, left and right; empty where no region was measured."""
    if report.regions.empty:
        return []
    return [_table(report, side) for side in ("both", *SIDES) if (report.regions["side"] == side).any()]


def _table(report: ParticipantReport, side: str) -> NucleusTable:
    of_side = report.regions[report.regions["side"] == side]
    has_truth = TRUTH in of_side and bool(of_side[TRUTH].notna().any())
    target = "truth" if has_truth else (report.reference_arm or "")
    present = [roi for roi in dict.fromkeys([*NUCLEI, *of_side["roi"]]) if (of_side["roi"] == roi).any()]
    rows = [_row(report, of_side[of_side["roi"] == roi], roi, target) for roi in present]
    return NucleusTable(side, target, tuple(rows))


def _row(report: ParticipantReport, of_roi: pd.DataFrame, roi: str, target: str) -> Row:
    cells, targets = [], []
    reference_ppb = _value(of_roi, report.reference_arm, "mean_ppb") if target != "truth" else None
    for arm in report.arms:
        mean = _value(of_roi, arm.name, "mean_ppb")
        aim = _value(of_roi, arm.name, TRUTH) if target == "truth" else reference_ppb
        error = mean - aim if mean is not None and aim is not None else None
        is_itself = target != "truth" and arm.name == report.reference_arm
        n_voxels = int(_value(of_roi, arm.name, "n_voxels") or 0)
        sd = _value(of_roi, arm.name, "sd_ppb")
        cells.append(Cell(arm.name, mean, sd, n_voxels, None if is_itself else error))
        targets.append(aim)
    known = [value for value in targets if value is not None]
    leading = targets[[arm.name for arm in report.arms].index(report.leading.name)]
    aim = leading if leading is not None else (known[0] if known else None)
    return Row(roi, FULL_NAMES.get(roi, roi), COLOURS.get(roi, "#888888"), aim, tuple(cells))


def _value(rows: pd.DataFrame, arm: str | None, column: str) -> float | None:
    found = rows.loc[rows["arm"] == arm, column] if column in rows else pd.Series(dtype=float)
    if found.empty or not math.isfinite(float(found.iloc[0])):
        return None
    return float(found.iloc[0])
