"""One picture of the study beside Zhou et al. 2025: similarity, largest difference of means, correlation with age."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dlqsm.report.agreement_style import FAINT, INK, STYLE, colour_of, svg_bytes
from dlqsm.report.group import GroupFigure, GroupReport
from dlqsm.report.group_tables import known_value, row_of
from dlqsm.report.paper import matching_arms, published

WIDTH_INCHES, HEIGHT_INCHES = 8.6, 2.1
SHIFT: Final = 0.09
"""Half the distance of our mark from the published one."""
SMALL_POINTS: Final = 6.0
"""Of the names of five arms and more, which else touch."""
TITLES: Final = ("SSIM", "PSNR [dB]", "largest difference [%]", "r with age: Pu", "r with age: Ca")
NORMAL_QUANTILE: Final = 1.959964
"""Of 97.5 %."""
Spread = tuple[float, float, float]
Panel = tuple[Sequence[str], list[Spread], list[Spread], str]


def paper_figure(report: GroupReport) -> GroupFigure | None:
    """Ours filled, published open, with bars; None where no arm is the paper's or nothing was computed."""
    arms = matching_arms(report.arms, report.reference_arm)
    arms = (*arms, report.repeat_arm) if arms and report.repeat_arm else arms
    if not arms or all(table is None for table in (report.similarity, report.agreement, report.age)):
        return None
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_INCHES, HEIGHT_INCHES), layout="constrained")
        panels = figure.subplots(1, len(TITLES))
        for axes, title, draw in zip(panels, TITLES, _contents(report, arms), strict=True):
            _panel(axes, title, *draw)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
        image = svg_bytes(figure)
    note = (
        "Filled: this study; open: Zhou et al. 2025. Bars run from the lowest to the highest participant, of r over "
        "its 95 % interval. SSIM and PSNR of this study have a window of 0.5 ppm inside the brain; the published "
        "definition is not told."
    )
    if report.repeat_arm:
        note += f" {report.repeat_arm}, the reference scanned again, is what the published study lacks."
    return GroupFigure(
        "This study and the published one", note, f"{note} The numbers stand in the tables below.", image
    )


def _contents(report: GroupReport, arms: tuple[str, ...]) -> list[Panel]:
    """Arms, our values, the published ones and the colour of each panel."""
    told, every = published(), (report.reference_arm, *arms)
    similar = [
        (arms, [_ours_similar(report, arm, key) for arm in arms], [_range(told[key].get(arm)) for arm in arms], INK)
        for key in ("ssim", "psnr_db")
    ]
    largest = [_alone(told["largest_percent_difference"].get(arm)) for arm in arms]
    difference = [(arms, [_alone(_largest(report, arm)) for arm in arms], largest, INK)]
    ageing: list[Panel] = []
    for roi, known in told["age_r"].items():
        theirs = [_with_interval(known.get(arm), told["participants"]["n"]) for arm in every]
        ageing.append((every, [_age_r(report, roi, arm) for arm in every], theirs, colour_of(roi)))
    return [*similar, *difference, *ageing]


def _panel(axes: Axes, title: str, arms: Sequence[str], ours: list[Spread], theirs: list[Spread], colour: str) -> None:
    for values, shift, face, name in ((ours, -SHIFT, colour, "this study"), (theirs, SHIFT, "white", "published")):
        places = [i + shift for i in range(len(arms))]
        for place, (_, low, high) in zip(places, values, strict=True):
            if math.isfinite(low):
                axes.plot([place, place], [low, high], color=FAINT, linewidth=0.8, zorder=1)
        axes.plot(places, [value[0] for value in values], "s", markersize=4.2, markerfacecolor=face,
                  markeredgecolor=INK, markeredgewidth=0.8, label=name, zorder=2)  # fmt: skip
    axes.set(xticks=range(len(arms)), xlim=(-0.5, len(arms) - 0.5))
    axes.set_xticklabels(arms, fontsize=SMALL_POINTS if len(arms) > 4 else None)
    axes.set_title(title)


def _ours_similar(report: GroupReport, arm: str, key: str) -> Spread:
    if report.similarity is None or key not in report.similarity:
        return _alone(None)
    table = report.against_reference(report.similarity)
    values = table.loc[table["arm"] == arm, key].dropna()
    return (float(values.mean()), float(values.min()), float(values.max())) if len(values) else _alone(None)


def _largest(report: GroupReport, arm: str) -> float | None:
    if report.agreement is None:
        return None
    # What too few people differ by is beside the point: no correlation is told of them either.
    rows = report.agreement[(report.agreement["side"] == "both") & (report.agreement["arm"] == arm)]
    values: pd.Series[float] = rows.dropna(subset=["pearson_r"])["percent_difference"].dropna()
    return float(values.max()) if len(values) else None


def _age_r(report: GroupReport, roi: str, arm: str) -> Spread:
    if report.age is None:
        return _alone(None)
    row = row_of(report.age[report.age["roi"] == roi], arm)
    found = [known_value(row, name) for name in ("pearson_r", "r_low", "r_high")]
    r, low, high = (math.nan if value is None else value for value in found)
    return r, low, high


def _with_interval(r: float | None, n: int) -> Spread:
    """A published correlation with its 95 % interval by Fisher's z, since the paper gives none."""
    if r is None:
        return _alone(None)
    half = NORMAL_QUANTILE / math.sqrt(n - 3)
    return r, math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)


def _range(published: Sequence[float] | None) -> Spread:
    """Mean, lowest and highest as published; NaN for an arm that the paper lacks."""
    if published is None:
        return _alone(None)
    mean, low, high = published
    return mean, low, high


def _alone(value: float | None) -> Spread:
    """A value without a range; NaN where there is none."""
    return (math.nan if value is None else float(value), math.nan, math.nan)
