"""How the figures of agreement look, and how they become files."""

from __future__ import annotations

import math
from io import BytesIO
from typing import Any, Final

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dlqsm.core.labels import COLOURS, NUCLEI

STYLE: Final[dict[Any, Any]] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Arial", "Helvetica"],
    "font.size": 7.0,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 8.0,
    "axes.labelsize": 7.0,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.0,
    "svg.fonttype": "none",
    "svg.hashsalt": "dlqsm",
}
"""Text stays text in SVG, and its ids do not change from run to run."""
WITH_NAMES: Final[dict[Any, Any]] = {**STYLE, "text.parse_math": False}
"""For figures with names of arms and regions in them, in which dollars are no formula."""
INK: Final = "#222222"
FAINT: Final = "#777777"
FLOOR: Final = "#DDDDDD"
"""Band of the repeat scan."""
OTHER_COLOUR: Final = "#555555"


def colour_of(roi: str) -> str:
    """Colour of a nucleus; grey for a region that is none of the seven."""
    return COLOURS.get(roi, OTHER_COLOUR)


def rois_of(table: pd.DataFrame) -> list[str]:
    """Regions of a table: nuclei in their own order, then others as they come."""
    present = list(dict.fromkeys(table["roi"]))
    return [roi for roi in NUCLEI if roi in present] + [roi for roi in present if roi not in NUCLEI]


def columns_of(table: pd.DataFrame, repeat: str | None) -> list[str]:
    """Arms as columns of a figure, the repeat last."""
    arms = list(dict.fromkeys(table["arm"]))
    return [arm for arm in arms if arm != repeat] + [arm for arm in arms if arm == repeat]


def row_of(table: pd.DataFrame, arm: str, roi: str) -> dict[str, Any]:
    """The row of one arm and nucleus as a dictionary; empty where there is none."""
    found = table[(table["arm"] == arm) & (table["roi"] == roi)]
    return {} if found.empty else {str(key): value for key, value in found.iloc[0].items()}


def number(row: dict[str, Any], name: str) -> float:
    """A number of a row, NaN where it is absent."""
    value = row.get(name)
    return math.nan if value is None or pd.isna(value) else float(value)


def signed(value: float, digits: int = 1) -> str:
    """Text of a number with its sign, n/a where there is none."""
    if not math.isfinite(value):
        return "n/a"
    text = f"{value:+.{digits}f}"
    return (text[1:] if float(text) == 0 else text).replace("-", "−")


def plain(value: float, digits: int = 2) -> str:
    """Text of a number, n/a where there is none."""
    return f"{value:.{digits}f}".replace("-", "−") if math.isfinite(value) else "n/a"


def p_text(p: float, name: str = "p") -> str:
    """Text of a p-value, such as ``p = 0.029``."""
    if not math.isfinite(p):
        return f"{name} n/a"
    return f"{name} < 0.001" if p < 0.001 else f"{name} = {p:.3f}" if p < 0.1 else f"{name} = {p:.2f}"


def note(axes: Axes, text: str, *, where: str = "above", size: float = 5.8) -> None:
    """Write the figures of a panel into its upper left corner or just above it."""
    height, alignment = (1.02, "bottom") if where == "above" else (0.97, "top")
    axes.text(0.0, height, text, transform=axes.transAxes, fontsize=size, va=alignment, ha="left", color=INK)


def svg_bytes(figure: Figure) -> bytes:
    """The figure as SVG, the same bytes for the same figure."""
    return _stored(figure, "svg", metadata={"Date": None, "Creator": "dlqsm"})


def png_bytes(figure: Figure, *, dpi: float = 200.0) -> bytes:
    """The figure as PNG."""
    return _stored(figure, "png", dpi=dpi, metadata={"Software": "dlqsm"})


def _stored(figure: Figure, kind: str, **keywords: Any) -> bytes:
    FigureCanvasAgg(figure)
    stored = BytesIO()
    with rc_context(STYLE):
        figure.savefig(stored, format=kind, facecolor="white", **keywords)
    return stored.getvalue()
