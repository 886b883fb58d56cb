"""SSIM and PSNR in all definitions beside the published figures, and which definitions come nearest to them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import pandas as pd

from dlqsm.report.group import GroupReport
from dlqsm.report.numbers import UNKNOWN, number
from dlqsm.report.paper import MEASURES, matching_arms, published

PRIMARY: Final = ("window", "brain", "3d")
"""Scale, domain and dimension that were decided on beforehand, those of the table of similarity."""
NAMES: Final = {"ssim": ("SSIM", 3), "psnr_db": ("PSNR [dB]", 2)}
_SCALES: Final = {
    "window": "0.5 ppm",
    "one": "1 ppm",
    "max": "maximum of the reference",
    "range": "range of the reference",
}
_DOMAINS: Final = {"volume": "whole volume", "brain": "brain", "box": "box round the brain"}
_DIMENSIONS: Final = {"2d": "2-D", "3d": "3-D"}


@dataclass(frozen=True)
class DefinitionRow:
    """One definition as texts; ``distance`` is the mean over arms of |ours - published|, None without a match."""

    measure: str
    scale: str
    domain: str
    dimension: str
    values: tuple[str, ...]
    distance: float | None
    distance_text: str
    is_primary: bool
    is_nearest: bool = False


@dataclass(frozen=True)
class DefinitionTable:
    """One measure: arms, its definitions, and the published figures as a last line (empty where no arm matches)."""

    measure: str
    arms: tuple[str, ...]
    rows: tuple[DefinitionRow, ...]
    published: tuple[str, ...]
    nearest: str


def definition_tables(report: GroupReport) -> list[DefinitionTable]:
    """A table of SSIM and one of PSNR; empty where no definitions were computed."""
    if report.definitions is None or report.definitions.empty:
        return []
    table = report.against_reference(report.definitions)
    return [_table(report, table[table["measure"] == measure], measure) for measure in MEASURES]


def _table(report: GroupReport, of_measure: pd.DataFrame, measure: str) -> DefinitionTable:
    arms = tuple(arm for arm in report.compared_arms if (of_measure["arm"] == arm).any())
    matched = matching_arms(arms, report.reference_arm)
    kinds = of_measure[["scale", "domain", "dimension"]].drop_duplicates()
    rows = [_row(of_measure, measure, arms, matched, kind) for kind in kinds.itertuples(index=False, name=None)]
    known = [row.distance for row in rows if row.distance is not None]
    if not known:
        return DefinitionTable(NAMES[measure][0], arms, tuple(rows), (), "")
    least = min(known)
    rows = [replace(row, is_nearest=row.distance == least) for row in rows]
    told = published()[measure]
    cells = [_spread(told[arm], NAMES[measure][1]) if arm in matched else UNKNOWN for arm in arms]
    nearest = " and ".join(f"{row.scale}, {row.domain}, {row.dimension}" for row in rows if row.is_nearest)
    return DefinitionTable(NAMES[measure][0], arms, tuple(rows), tuple(cells), nearest)


def _row(
    table: pd.DataFrame, measure: str, arms: tuple[str, ...], matched: tuple[str, ...], kind: tuple[str, str, str]
) -> DefinitionRow:
    scale, domain, dimension = kind
    chosen = (table["scale"] == scale) & (table["domain"] == domain) & (table["dimension"] == dimension)
    of_arm = {str(row["arm"]): row for row in table[chosen].to_dict("records")}
    name, decimals = NAMES[measure]
    ends = ("mean", "lowest", "highest")
    values = [_spread([of_arm[a][end] for end in ends], decimals) if a in of_arm else UNKNOWN for a in arms]
    gaps = [abs(of_arm[arm]["mean"] - published()[measure][arm][0]) for arm in matched if arm in of_arm]
    distance = sum(gaps) / len(gaps) if gaps and len(gaps) == len(matched) and math.isfinite(sum(gaps)) else None
    words = _SCALES.get(scale, scale), _DOMAINS.get(domain, domain), _DIMENSIONS.get(dimension, dimension)
    return DefinitionRow(name, *words, tuple(values), distance, number(distance, decimals), kind == PRIMARY)


def _spread(figures: Sequence[float], decimals: int) -> str:
    """Mean, lowest and highest as one text."""
    mean, lowest, highest = figures
    return f"{number(mean, decimals)} ({number(lowest, decimals)}–{number(highest, decimals)})"
