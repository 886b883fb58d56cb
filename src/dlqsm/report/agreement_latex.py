"""Tables of an agreement study as LaTeX (booktabs), for a manuscript."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import pandas as pd

from dlqsm.report.agreement_style import columns_of, number, rois_of, row_of

Row = dict[str, Any]

AGREEMENT_HEAD: Final = (
    r"Nucleus & Arm & $n$ & $r$ & Bias [95\,\% CI] & SD & Limits of agreement & Difference & ICC [95\,\% CI] & "
    r"$p$ (Holm) & TOST $p$ & SD over repeat [90\,\% CI] \\"
    + "\n"
    + r" & & & & (ppb) & (ppb) & (ppb) & (\%) & & & & \\"
)
CONCORDANCE_HEAD: Final = (
    r"Nucleus & Arm & CCC [95\,\% CI] & Deming slope [95\,\% CI] & Proportional slope [95\,\% CI] & $p$ & "
    r"Within-subject SD & CV \\" + "\n" + r" & & & & & & (ppb) & (\%) \\"
)
AGE_HEAD: Final = (
    r"Arm & Nucleus & $n$ & $r$ & $p$ & Slope [95\,\% CI] & $p$ against reference & Slope difference [95\,\% CI] & "
    r"TOST $p$ \\" + "\n" + r" & & & & & (ppb/year) & & (ppb/year) & \\"
)

MIXED_HEAD: Final = r"Effect & Estimate [95\,\% CI] & $t$ or $F$ & $p$ \\" + "\n" + r" & (ppb) & & \\"


def latex_tables(
    agreement: pd.DataFrame,
    age: pd.DataFrame | None,
    *,
    reference: str,
    margin_ppb: float,
    repeat: str | None = None,
    mixed: pd.DataFrame | None = None,
) -> str:
    """Agreement and concordance of side both, age where it is known and the mixed model where it was made, as LaTeX.

    The arms of a nucleus stand under each other, the repeat last and slanted: the floor that each figure above it is
    read against. Needs the package booktabs; numbers are those of agreement.tsv, age.tsv and mixed_model.tsv, rounded.
    """
    both = agreement[agreement["side"] == "both"]
    caption = (
        f"Agreement with {_escaped(reference)}; equivalence margin $\\pm${margin_ppb:g}\\,ppb. Differences: arm minus "
        "reference. ICC: ICC(A,1). Holm: paired $t$-tests over all nuclei and arms. TOST: two one-sided $t$-tests."
    )
    if repeat is not None:
        caption += f" Slanted: {_escaped(repeat)}, the repeat of {_escaped(reference)}, whose figures are the floor; "
        caption += "its tests are adjusted apart from those of the other arms."
    agreeing = _by_nucleus(both, repeat, lambda row: [str(int(row["n"])), *_agreement_cells(row)])
    parts = [r"% needs \usepackage{booktabs}", _table(agreeing, "llrrlrlrlrrl", AGREEMENT_HEAD, caption)]
    concordant = _by_nucleus(both, repeat, _concordance_cells)
    parts.append(_table(concordant, "lllllrrr", CONCORDANCE_HEAD, _about_concordance(reference)))
    if age is not None:
        caption = (
            "Association of susceptibility with age. $p$ against reference tests by Williams' test whether arm and "
            f"{_escaped(reference)} correlate equally with age. Slope difference: of the paired difference, arm minus "
            f"{_escaped(reference)}, on age; TOST: two one-sided $t$-tests of it against {_slope_margin(age)}."
        )
        parts.append(_table(_by_arm(age), "llrrrlrlr", AGE_HEAD, caption))
    if mixed is not None:
        parts.append(_table(_by_kind(mixed, reference, repeat), "llrr", MIXED_HEAD, _about_mixed(reference)))
    return "\n\n".join(parts) + "\n"


def _about_concordance(reference: str) -> str:
    return (
        f"Concordance with {_escaped(reference)}. CCC: Lin's coefficient. Deming slope: of the arm on the reference, "
        "both with error. Proportional slope: of the difference on the mean of both. Within-subject SD: of the "
        r"differences over $\sqrt{2}$, bias included; CV: over the mean."
    )


def _about_mixed(reference: str) -> str:
    return (
        f"Linear mixed model of the differences from {_escaped(reference)}, with participants and nuclei within "
        "participants as random effects. Trends: per unit of the acceleration factor; $p$ not adjusted."
    )


def _by_nucleus(both: pd.DataFrame, repeat: str | None, cells_of: Callable[[Row], list[str]]) -> list[list[list[str]]]:
    """Cells of a table of nuclei: blocks of nuclei, lines of arms."""
    blocks = []
    for roi in rois_of(both):
        rows = [(arm, row) for arm in columns_of(both, repeat) if (row := row_of(both, arm, roi))]
        names = [_escaped(arm) if arm != repeat else rf"\textsl{{{_escaped(arm)}}}" for arm, _ in rows]
        cells = [cells_of(row) for _, row in rows]
        blocks.append([[_escaped(roi) if i == 0 else "", names[i], *cells[i]] for i in range(len(rows))])
    return blocks


def _by_arm(age: pd.DataFrame) -> list[list[list[str]]]:
    """Cells of the table of age: blocks of arms, lines of nuclei."""
    blocks = []
    for arm in columns_of(age, None):
        rows = [row for roi in rois_of(age) if (row := row_of(age, arm, roi))]
        lines = [[_escaped(str(row["roi"])), str(int(row["n"])), *_age_cells(row)] for row in rows]
        blocks.append([[_escaped(arm) if i == 0 else "", *line] for i, line in enumerate(lines)])
    return blocks


def _by_kind(mixed: pd.DataFrame, reference: str, repeat: str | None) -> list[list[list[str]]]:
    """Cells of the mixed model: blocks of means, differences from the repeat, trends and tests; no spreads."""
    blocks = []
    for kind, name_of in _EFFECTS.items():
        rows: list[Row] = [dict(row) for _, row in mixed[mixed["kind"] == kind].iterrows()]
        lines = [[_escaped(name_of(row, reference, repeat or "")), *_effect_cells(row)] for row in rows]
        blocks += [lines] if lines else []
    return blocks


def _effect_cells(row: Row) -> list[str]:
    estimate = _with_interval(row, "estimate", "low", "high", 2)
    return [estimate, _number(number(row, "statistic"), 2), _p(number(row, "p"))]


def _trend(row: Row) -> str:
    where = row["roi"] if isinstance(row["roi"], str) else "all nuclei"
    return f"trend of {row['arm']}, {where}"


_EFFECTS: Final[dict[str, Callable[[Row, str, str], str]]] = {
    "arm": lambda row, reference, repeat: f"{row['arm']} less {reference}, all nuclei",
    "against_repeat": lambda row, reference, repeat: f"{row['arm']} less {repeat}, all nuclei",
    "nucleus": lambda row, reference, repeat: f"{row['roi']}, all arms",
    "trend": lambda row, reference, repeat: _trend(row),
    "test": lambda row, reference, repeat: f"test: {row['effect']}",
}
"""Rows of the mixed model that a manuscript tells, by their kind, and how they are named."""


def _table(blocks: list[list[list[str]]], columns: str, head: str, caption: str) -> str:
    body = "\n\\addlinespace\n".join("\n".join(_line(line) for line in block) for block in blocks)
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering\small",
            rf"\caption{{{caption}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            head,
            r"\midrule",
            body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def _agreement_cells(row: Row) -> list[str]:
    return [
        _number(number(row, "pearson_r"), 2),
        _with_interval(row, "bias_ppb", "bias_low_ppb", "bias_high_ppb", 1),
        _number(number(row, "sd_ppb"), 1),
        _between(number(row, "loa_low_ppb"), number(row, "loa_high_ppb"), 1),
        _number(number(row, "percent_difference"), 1),
        _with_interval(row, "icc", "icc_low", "icc_high", 2),
        _p(number(row, "p_holm")),
        _p(number(row, "tost_p")),
        _with_interval(row, "sd_over_repeat", "sd_over_repeat_low", "sd_over_repeat_high", 2),
    ]


def _concordance_cells(row: Row) -> list[str]:
    return [
        _with_interval(row, "ccc", "ccc_low", "ccc_high", 2),
        _with_interval(row, "deming_slope", "deming_low", "deming_high", 2),
        _with_interval(row, "proportional_slope", "proportional_low", "proportional_high", 2),
        _p(number(row, "proportional_p")),
        _number(number(row, "within_subject_sd_ppb"), 1),
        _number(number(row, "within_subject_cv_percent"), 1),
    ]


def _age_cells(row: Row) -> list[str]:
    return [
        _number(number(row, "pearson_r"), 2),
        _p(number(row, "p")),
        _with_interval(row, "slope_ppb_per_year", "low", "high", 2),
        _p(number(row, "p_against_reference")),
        _with_interval(row, "slope_difference_ppb_per_year", "slope_difference_low", "slope_difference_high", 2),
        _p(number(row, "slope_tost_p")),
    ]


def _slope_margin(age: pd.DataFrame) -> str:
    margin = float(age["slope_margin"].max()) if "slope_margin" in age else math.nan
    return rf"$\pm${margin:g}\,ppb/year" if math.isfinite(margin) else "the margin"


def _line(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


def _with_interval(row: Row, name: str, low: str, high: str, digits: int) -> str:
    ends = number(row, low), number(row, high)
    if not math.isfinite(ends[0]):
        return _number(number(row, name), digits)
    return f"{_number(number(row, name), digits)} [{_number(ends[0], digits)}, {_number(ends[1], digits)}]"


def _between(low: float, high: float, digits: int) -> str:
    return f"{_number(low, digits)} to {_number(high, digits)}" if math.isfinite(low) else "--"


def _number(value: float, digits: int) -> str:
    if not math.isfinite(value):
        return "--"
    text = f"{value:.{digits}f}"
    return f"${text.removeprefix('-') if float(text) == 0.0 else text}$"  # no -0.00


def _p(value: float) -> str:
    if not math.isfinite(value):
        return "--"
    return "$<$0.001" if value < 0.001 else f"{value:.3f}"


def _escaped(text: str) -> str:
    """Text in which LaTeX sees no commands."""
    special = {"\\": r"\textbackslash{}", "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$"}
    special |= {"{": r"\{", "}": r"\}", "^": r"\^{}", "~": r"\~{}"}
    return "".join(special.get(letter, letter) for letter in text)
