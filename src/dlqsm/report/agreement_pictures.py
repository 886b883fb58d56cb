"""All figures of an agreement study as files: SVG for print, PNG for pages."""

from __future__ import annotations

from typing import Any, Final

import pandas as pd

from dlqsm.report.agreement_figures import age_figure, bland_altman_figure, correlation_figure
from dlqsm.report.agreement_forest import age_slopes_figure, equivalence_figure
from dlqsm.report.agreement_style import png_bytes, svg_bytes

AGREEMENT_NAMES: Final = ("bland_altman", "correlation", "equivalence")
AGE_NAMES: Final = ("age", "age_slopes")


def agreement_pictures(
    values: pd.DataFrame,
    agreement: pd.DataFrame,
    age: pd.DataFrame | None,
    *,
    reference: str,
    repeat: str | None = None,
) -> dict[str, bytes]:
    """File name to content of every figure that the tables allow.

    Parameters
    ----------
    values
        The long table ``participant_id age arm roi side mean_ppb``.
    agreement, age
        agreement.tsv and age.tsv; no age, no figures of age. Without rows of side both nothing is drawn of agreement.
    reference
        Arm that the others are compared with.
    repeat
        Second scan by the reference, whose spread is drawn beside the others'.
    """
    named: dict[str, Any] = {"reference": reference, "repeat": repeat}
    figures = {}
    if (agreement["side"] == "both").any():
        figures["bland_altman"] = bland_altman_figure(values, agreement, **named)
        figures["correlation"] = correlation_figure(values, agreement, **named)
        figures["equivalence"] = equivalence_figure(agreement, **named)
    if age is not None:
        figures["age"] = age_figure(values, age, **named)
        figures["age_slopes"] = age_slopes_figure(age, **named)
    svg = {f"{name}.svg": svg_bytes(figure) for name, figure in figures.items()}
    return svg | {f"{name}.png": png_bytes(figure) for name, figure in figures.items()}
