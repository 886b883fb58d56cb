"""Figures of an agreement study: Bland-Altman, scatter and age panels, made from plain tables.

The tables are those of `dlqsm agree`: the long one of values, agreement.tsv and age.tsv. Side both is drawn. Where a
repeat of the reference is named, its spread stands in every figure: no arm can agree better than the reference with
itself.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from dlqsm.report.agreement_style import (
    FAINT,
    FLOOR,
    INK,
    WITH_NAMES,
    colour_of,
    columns_of,
    note,
    number,
    p_text,
    plain,
    rois_of,
    row_of,
    signed,
)

Values = NDArray[np.float64]
Row = dict[str, Any]
Draw = Callable[[Axes, str, str], None]

PANEL_INCHES: Final = (1.62, 1.22)
LEFT_INCHES, RIGHT_INCHES, TOP_INCHES, BOTTOM_INCHES = 0.95, 0.2, 0.4, 0.5
LETTER_INCHES, LINE_INCHES = 0.046, 0.1
"""Size of a letter and a line of the legend."""
BOTH: Final = "both"
ROOM: Final = 0.04
"""Share of an axis left free at each end."""


def bland_altman_figure(
    values: pd.DataFrame, agreement: pd.DataFrame, *, reference: str, repeat: str | None = None
) -> Figure:
    """Difference against mean, one panel a nucleus (row) and arm (column).

    Line: bias; dashes: limits of agreement; bars at the right: their 95 % intervals, exact for the limits; grey band:
    the limits of agreement of the repeat, where one is named.
    """
    agreement = agreement[agreement["side"] == BOTH]

    def draw(axes: Axes, roi: str, arm: str) -> None:
        x, y = _paired(values, roi, arm, reference)
        row = row_of(agreement, arm, roi)
        if repeat and arm != repeat:
            floor = row_of(agreement, repeat, roi)
            _band(axes, number(floor, "loa_low_ppb"), number(floor, "loa_high_ppb"))
        axes.axhline(0, color=FAINT, linewidth=0.5, zorder=1)
        axes.scatter((x + y) / 2, x - y, **_points(roi))
        _level(axes, row, "bias_ppb", "bias_low_ppb", "bias_high_ppb", "-", bar_at=1.045)
        _level(axes, row, "loa_low_ppb", "loa_low_low_ppb", "loa_low_high_ppb", "--", bar_at=1.025)
        _level(axes, row, "loa_high_ppb", "loa_high_low_ppb", "loa_high_high_ppb", "--", bar_at=1.065)
        limits = f" [{signed(number(row, 'loa_low_ppb'))} … {signed(number(row, 'loa_high_ppb'))}]"
        has_limits = math.isfinite(number(row, "loa_low_ppb"))
        note(axes, f"n = {x.size} · {signed(number(row, 'bias_ppb'))}{limits if has_limits else ''}")

    legend = "line: bias · dashes: limits of agreement · bars at the right: their 95 % CI · above: bias [limits]"
    legend += _floor_text(agreement, repeat, "limits of agreement")
    axes_text = f"mean of arm and {reference} [ppb]", f"arm − {reference} [ppb]"
    return _grid(rois_of(agreement), columns_of(agreement, repeat), draw, *axes_text, legend, repeat)


def correlation_figure(
    values: pd.DataFrame, agreement: pd.DataFrame, *, reference: str, repeat: str | None = None
) -> Figure:
    """Arm against reference, one panel a nucleus (row) and arm (column), with the line of identity and Deming's.

    The grey band is the repeatability coefficient of the repeat about identity, where one is named.
    """
    agreement = agreement[agreement["side"] == BOTH]

    def draw(axes: Axes, roi: str, arm: str) -> None:
        x, y = _paired(values, roi, arm, reference)
        row = row_of(agreement, arm, roi)
        low, high = _span(np.concatenate([x, y]))
        if repeat and arm != repeat:
            half = number(row_of(agreement, repeat, roi), "repeatability_ppb")
            beyond = np.array([2 * low - high, 2 * high - low])  # the row's shared axes may be wider than this panel's
            if math.isfinite(half):
                axes.fill_between(beyond, beyond - half, beyond + half, color=FLOOR, linewidth=0, zorder=0)
        axes.axline((low, low), slope=1.0, color=FAINT, linewidth=0.7, zorder=1)
        axes.scatter(y, x, **_points(roi))
        slope = number(row, "deming_slope")
        if math.isfinite(slope) and x.size:
            ends = np.array([y.min(), y.max()])
            axes.plot(ends, x.mean() + slope * (ends - y.mean()), color=INK, linewidth=0.9, linestyle="--", zorder=4)
        axes.set(xlim=(low, high), ylim=(low, high))
        coefficients = ", ".join(f"{text} {plain(number(row, key), 3)}" for text, key in _COEFFICIENTS)
        note(axes, f"n = {x.size} · {coefficients}")

    legend = "solid: identity · dashes: Deming regression · above: Pearson r, ICC(A,1)"
    legend += _floor_text(agreement, repeat, "repeatability coefficient about identity")
    axes_text = f"{reference} [ppb]", "arm [ppb]"
    return _grid(rois_of(agreement), columns_of(agreement, repeat), draw, *axes_text, legend, repeat)


_COEFFICIENTS: Final = (("r", "pearson_r"), ("ICC", "icc"))


def age_figure(values: pd.DataFrame, age: pd.DataFrame, *, reference: str, repeat: str | None = None) -> Figure:
    """Value against age, one panel a nucleus (row) and image set (column, the reference first).

    Line: regression with the 95 % band of its mean; dotted: the line of the reference in every other panel.
    """

    def draw(axes: Axes, roi: str, arm: str) -> None:
        chosen = _of(values, roi, arm).dropna(subset=["age", "mean_ppb"])
        years, ppb = chosen["age"].to_numpy(np.float64), chosen["mean_ppb"].to_numpy(np.float64)
        row = row_of(age, arm, roi)
        axes.scatter(years, ppb, **_points(roi))
        if arm != reference:
            _age_line(axes, years, row_of(age, reference, roi), ":", FAINT)
        _age_line(axes, years, row, "-", INK)
        _age_band(axes, years, ppb, row)
        text = f"n = {years.size} · r = {plain(number(row, 'pearson_r'))}, {p_text(number(row, 'p'))}"
        if arm != reference:
            text = f"{text}\n{p_text(number(row, 'p_against_reference'), f'against {reference}: p')}"
        note(axes, text)

    arms = [reference, *(arm for arm in columns_of(age, repeat) if arm != reference)]
    legend = (
        f"line: regression on age with 95 % band · dotted: line of {reference} · against {reference}: Williams' test"
    )
    return _grid(rois_of(age), arms, draw, "age [years]", "susceptibility [ppb]", legend, repeat, head=0.14)


def _grid(
    rois: list[str], arms: list[str], draw: Draw, x_label: str, y_label: str, legend: str, repeat: str | None,
    *, head: float = 0.0,
) -> Figure:  # fmt: skip
    """Panels of nuclei (rows) by arms (columns); a row shares its y axis, a column its heading."""
    width, height = PANEL_INCHES[0], PANEL_INCHES[1] + head
    wide = LEFT_INCHES + width * len(arms) + RIGHT_INCHES
    lines = textwrap.wrap(legend, int(wide / LETTER_INCHES))
    bottom = BOTTOM_INCHES + LINE_INCHES * len(lines)
    size = (wide, TOP_INCHES + head + height * len(rois) + bottom)
    with rc_context(WITH_NAMES):
        figure = Figure(figsize=size)
        panels = figure.subplots(len(rois), len(arms), squeeze=False)
        figure.subplots_adjust(
            left=LEFT_INCHES / size[0], right=1 - RIGHT_INCHES / size[0], bottom=bottom / size[1],
            top=1 - (TOP_INCHES + head) / size[1], wspace=0.36, hspace=0.42 + 2 * head,
        )  # fmt: skip
        for i, roi in enumerate(rois):
            for j, arm in enumerate(arms):
                draw(panels[i, j], roi, arm)
                panels[i, j].xaxis.set_major_locator(MaxNLocator(4))
                panels[i, j].yaxis.set_major_locator(MaxNLocator(4))
            _share_limits(list(panels[i]))
            _name_row(figure, panels[i, 0], roi)
        for j, arm in enumerate(arms):
            heading = f"{arm} (repeat)" if arm == repeat else arm
            panels[0, j].set_title(heading, fontweight="bold", pad=11 if not head else 19)
        middle = (LEFT_INCHES + width * len(arms) / 2) / size[0]
        figure.text(middle, (bottom - 0.28) / size[1], x_label, ha="center", va="center", fontsize=7.5)
        figure.text(0.14 / size[0], 0.5, y_label, ha="center", va="center", rotation=90, fontsize=7.5)
        figure.text(0.1 / size[0], 0.06 / size[1], "\n".join(lines), ha="left", va="bottom", fontsize=5.8, color=FAINT)
    return figure


def _name_row(figure: Figure, axes: Axes, roi: str) -> None:
    box = axes.get_position()
    place = 0.38 / figure.get_figwidth(), (box.y0 + box.y1) / 2
    figure.text(*place, roi, rotation=90, ha="center", va="center", fontweight="bold", fontsize=8)


def _share_limits(row: list[Axes]) -> None:
    """Give all panels of a row the same axes: arms are what is compared."""
    for axis in ("x", "y"):
        limits = [getattr(axes, f"get_{axis}lim")() for axes in row if axes.collections]
        if limits:
            low, high = min(low for low, _ in limits), max(high for _, high in limits)
            # The room that a panel gave its own points may be less than a point's size on the axis of all.
            room = ROOM * (high - low)
            for axes in row:
                getattr(axes, f"set_{axis}lim")(low - room, high + room)


def _of(values: pd.DataFrame, roi: str, arm: str) -> pd.DataFrame:
    return values[(values["roi"] == roi) & (values["arm"] == arm) & (values["side"] == BOTH)]


def _paired(values: pd.DataFrame, roi: str, arm: str, reference: str) -> tuple[Values, Values]:
    """Values of arm and reference of the participants who have both."""
    columns = [_of(values, roi, name).set_index("participant_id")["mean_ppb"] for name in (arm, reference)]
    both = pd.concat(columns, axis=1, join="inner").dropna().to_numpy(np.float64)
    return both[:, 0], both[:, 1]


def _points(roi: str) -> dict[str, Any]:
    return {"s": 9, "color": colour_of(roi), "edgecolor": INK, "linewidth": 0.25, "alpha": 0.85, "zorder": 3}


def _level(axes: Axes, row: Row, name: str, low: str, high: str, style: str, *, bar_at: float) -> None:
    """A line across the panel, and its interval as a bar to the right of it (``bar_at`` in widths of the panel)."""
    value = number(row, name)
    if math.isfinite(value):
        axes.axhline(value, color=INK, linewidth=0.8, linestyle=style, zorder=4)
        axes.plot(
            [bar_at, bar_at], [number(row, low), number(row, high)], transform=axes.get_yaxis_transform(), color=INK,
            linewidth=1.5, solid_capstyle="butt", clip_on=False,
        )  # fmt: skip


def _band(axes: Axes, low: float, high: float) -> None:
    if math.isfinite(low) and math.isfinite(high):
        axes.axhspan(low, high, color=FLOOR, linewidth=0, zorder=0)


def _span(numbers: Values) -> tuple[float, float]:
    """Axis limits with a little room; 0 to 1 where there is nothing."""
    if not numbers.size:
        return 0.0, 1.0
    low, high = float(numbers.min()), float(numbers.max())
    room = 0.06 * (high - low) or 1.0
    return low - room, high + room


def _age_line(axes: Axes, years: Values, row: Row, style: str, colour: str) -> None:
    slope, intercept = number(row, "slope_ppb_per_year"), number(row, "intercept_ppb")
    if math.isfinite(slope) and years.size:
        ends = np.array([years.min(), years.max()])
        axes.plot(ends, intercept + slope * ends, color=colour, linestyle=style, linewidth=1.0, zorder=4)


def _age_band(axes: Axes, years: Values, ppb: Values, row: Row) -> None:
    """95 % band of the regression line: as wide as the slope's interval times the distance of its pivot."""
    slope, high = number(row, "slope_ppb_per_year"), number(row, "high")
    if not math.isfinite(high) or years.size < 3:
        return
    at = np.linspace(years.min(), years.max(), 50)
    spread = float(((years - years.mean()) ** 2).mean())
    half = (high - slope) * np.sqrt(spread + (at - years.mean()) ** 2)
    line = ppb.mean() + slope * (at - years.mean())
    axes.fill_between(at, line - half, line + half, color=INK, alpha=0.13, linewidth=0, zorder=1)


def _floor_text(agreement: pd.DataFrame, repeat: str | None, what: str) -> str:
    has_others = bool((agreement["arm"] != repeat).any())
    return f" · grey: {what} of {repeat}" if repeat and has_others else ""
