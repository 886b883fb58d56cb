"""Forest plots of an agreement study: biases beside the equivalence margin, and slopes on age."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dlqsm.report.agreement_style import (
    FAINT,
    INK,
    WITH_NAMES,
    colour_of,
    columns_of,
    number,
    p_text,
    rois_of,
    row_of,
    signed,
)

LINE_INCHES, LETTER_INCHES, ROI_INCHES = 0.145, 0.052, 0.25
PANEL_INCHES, TEXT_INCHES = 3.4, 2.5
ALPHA: Final = 0.05


@dataclass(frozen=True, slots=True)
class Mark:
    """One line of a forest plot: estimate, inner (thick) and outer (thin) interval, text to the right."""

    roi: str
    label: str
    estimate: float
    inner: tuple[float, float]
    outer: tuple[float, float]
    is_filled: bool
    is_control: bool
    text: tuple[str, ...]


def equivalence_figure(agreement: pd.DataFrame, *, reference: str, repeat: str | None = None) -> Figure:
    """Bias of every nucleus and arm with its 90 % (thick) and 95 % (thin) interval beside the margin (band).

    A filled mark has its 90 % interval inside the margin: equivalence is shown (TOST, alpha 0.05). Lines of the
    repeat are grey: they show what two scans by the reference itself differ by.
    """
    agreement = agreement[agreement["side"] == "both"]
    marks = [_bias_mark(agreement, roi, arm, repeat) for roi, arm in _lines(agreement, repeat)]
    margin = float(agreement["margin_ppb"].iloc[0])
    heads = ("n", "bias [90 % CI] ppb", "TOST")
    title = f"arm − {reference} [ppb]   (band: margin ±{margin:g} ppb; filled: equivalent; thick 90 %, thin 95 % CI)"
    return _forest(marks, heads, title, band=(-margin, margin))


def age_slopes_figure(age: pd.DataFrame, *, reference: str, repeat: str | None = None) -> Figure:
    """Slope on age of every nucleus and image set with its 95 % interval; filled where p < 0.05."""
    arms = [reference, *(arm for arm in columns_of(age, repeat) if arm != reference)]
    marks = [_slope_mark(age, roi, arm, reference, repeat) for roi in rois_of(age) for arm in arms]
    heads = ("n", "slope [95 % CI] ppb/year", f"against {reference}")
    return _forest(marks, heads, "slope on age [ppb/year]   (filled: p < 0.05, not adjusted)", band=None)


def _lines(agreement: pd.DataFrame, repeat: str | None) -> list[tuple[str, str]]:
    return [(roi, arm) for roi in rois_of(agreement) for arm in columns_of(agreement, repeat)]


def _bias_mark(agreement: pd.DataFrame, roi: str, arm: str, repeat: str | None) -> Mark:
    row = row_of(agreement, arm, roi)
    bias, p = number(row, "bias_ppb"), number(row, "tost_p")
    inner = number(row, "tost_low_ppb"), number(row, "tost_high_ppb")
    outer = number(row, "bias_low_ppb"), number(row, "bias_high_ppb")
    text = (str(int(row["n"])), _with_interval(bias, inner), p_text(p))
    return Mark(roi, arm, bias, inner, outer, p < ALPHA, arm == repeat, text)


def _slope_mark(age: pd.DataFrame, roi: str, arm: str, reference: str, repeat: str | None) -> Mark:
    row = row_of(age, arm, roi)
    slope, p = number(row, "slope_ppb_per_year"), number(row, "p")
    interval = number(row, "low"), number(row, "high")
    against = "" if arm == reference else p_text(number(row, "p_against_reference"))
    text = (str(int(row["n"])), _with_interval(slope, interval, 2), against)
    return Mark(roi, arm, slope, (math.nan, math.nan), interval, p < ALPHA, arm == repeat, text)


def _with_interval(value: float, interval: tuple[float, float], digits: int = 1) -> str:
    if not math.isfinite(interval[0]):
        return signed(value, digits)
    return f"{signed(value, digits)} [{signed(interval[0], digits)}, {signed(interval[1], digits)}]"


def _forest(marks: list[Mark], heads: tuple[str, ...], x_label: str, *, band: tuple[float, float] | None) -> Figure:
    rois = list(dict.fromkeys(mark.roi for mark in marks))
    height = LINE_INCHES * (len(marks) + 0.6 * len(rois)) + 0.8
    names = ROI_INCHES + LETTER_INCHES * (max(map(len, rois)) + max(len(_label(mark)) for mark in marks))
    width = names + PANEL_INCHES + TEXT_INCHES
    with rc_context(WITH_NAMES):
        figure = Figure(figsize=(width, height))
        axes = figure.add_axes((names / width, 0.46 / height, PANEL_INCHES / width, 1 - 0.8 / height))
        if band:
            axes.axvspan(*band, color="#E8EEF4", linewidth=0, zorder=0)
        axes.axvline(0, color=FAINT, linewidth=0.6, zorder=1)
        for x, head in zip(_TEXT_PLACES, heads, strict=True):
            axes.text(x, 1.008, head, transform=axes.transAxes, va="bottom", ha="left", fontsize=6.5, fontweight="bold")
        place = 0.0
        for roi in rois:
            of_roi = [mark for mark in marks if mark.roi == roi]
            middle = place + (len(of_roi) - 1) / 2
            left = (0.08 - names) / PANEL_INCHES
            axes.text(
                left, middle, roi, transform=axes.get_yaxis_transform(), va="center", fontsize=8, fontweight="bold"
            )
            for mark in of_roi:
                _draw(axes, mark, place)
                place += 1.0
            axes.axhline(place - 0.2, color="#E5E5E5", linewidth=0.5, zorder=0)
            place += 0.6
        axes.set(ylim=(place - 0.8, -0.8), yticks=[], xlabel=x_label)
        axes.spines["left"].set_visible(False)
    return figure


_TEXT_PLACES: Final = (1.02, 1.09, 1.5)


def _label(mark: Mark) -> str:
    return f"{mark.label} (repeat)" if mark.is_control else mark.label


def _draw(axes: Axes, mark: Mark, place: float) -> None:
    line = FAINT if mark.is_control else INK
    across = axes.get_yaxis_transform()
    axes.text(-0.02, place, _label(mark), transform=across, va="center", ha="right", fontsize=6.2, color=line)
    for x, text in zip(_TEXT_PLACES, mark.text, strict=True):
        axes.text(x, place, text, transform=across, va="center", ha="left", fontsize=6.2, color=line)
    for (low, high), width in ((mark.outer, 0.8), (mark.inner, 2.4)):
        if math.isfinite(low):
            axes.plot([low, high], [place, place], color=line, linewidth=width, solid_capstyle="butt", zorder=2)
    if math.isfinite(mark.estimate):
        face = colour_of(mark.roi) if mark.is_filled else "white"
        axes.plot([mark.estimate], [place], "s", markersize=4.2, markerfacecolor=face, markeredgecolor=line,
                  markeredgewidth=0.8, zorder=3)  # fmt: skip
