"""Why the strength of an inversion was chosen, as a picture."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogLocator, NullLocator

from dlqsm.report.agreement_style import FAINT, FLOOR, INK, STYLE, png_bytes

SEEN: Final = "#3B6FB6"
HELD_OUT: Final = "#C8572B"
PPB: Final = 1e3
TEN_THOUSANDTH: Final = 1e4
STRENGTH: Final = "(10⁻⁴ ppm)"


def strength_picture(table: pd.DataFrame, *, chosen: bool, near: float) -> bytes:
    """Three panels as PNG: misfits over the strength, the L-curve, and the strength that each misfit asks for.

    Parameters
    ----------
    table
        Columns ``strength_ppm misfit_ppm held_out_misfit_ppm total_variation_ppm asked_strength_ppm of_the_map``.
    chosen
        Whether the strength of the map was chosen from the data or given.
    near
        A choice within this factor of the strength that it was made with stands.
    """
    here = table[table["of_the_map"] == 1].iloc[0]
    with rc_context(STYLE):
        figure = Figure(figsize=(7.4, 2.75), layout=ConstrainedLayoutEngine(wspace=0.06))
        misfits, trade, asked = figure.subplots(1, 3)
        _misfits(misfits, table, here)
        _trade(trade, table)
        _asked(asked, table, here, near)
        word = "chosen from the data" if chosen else "given"
        strength = f"{TEN_THOUSANDTH * here['strength_ppm']:.3g} × 10⁻⁴ ppm"
        figure.suptitle(f"Strength of the map (large dots): {strength}, {word}", fontsize=8.5, color=INK)
    return png_bytes(figure)


def _misfits(axes: Axes, table: pd.DataFrame, here: pd.Series[float]) -> None:
    x = TEN_THOUSANDTH * table["strength_ppm"]
    for column, colour, name, offset, side in (
        ("held_out_misfit_ppm", HELD_OUT, "held-out voxels", (0, 5), "bottom"),
        ("misfit_ppm", SEEN, "fitted voxels", (8, -2), "top"),
    ):
        y = PPB * table[column]
        _curve(axes, x, y, table, colour)
        axes.annotate(
            name, (x.iloc[0], y.iloc[0]), offset, textcoords="offset points", color=colour, fontsize=6.5, va=side
        )
    axes.axvline(TEN_THOUSANDTH * here["strength_ppm"], color=FAINT, linewidth=0.7, linestyle=":", zorder=0)
    axes.set(xscale="log", xlabel=f"Strength {STRENGTH}", ylabel="Misfit of the field (ppb)", title="Misfit")
    axes.set_ylim(bottom=0.0)
    _plain_decades(axes, "x")


def _trade(axes: Axes, table: pd.DataFrame) -> None:
    x, y = PPB * table["total_variation_ppm"], PPB * table["misfit_ppm"]
    _curve(axes, x, y, table, SEEN)
    for a, b, factor in zip(x, y, table["factor"], strict=True):
        at = (6, 4) if factor == 1.0 else (4, 3)
        axes.annotate(_times(factor), (a, b), at, textcoords="offset points", fontsize=5.8, color=FAINT)
    axes.set(xscale="log", yscale="log", xlabel="Total variation (ppb per voxel)", ylabel="Misfit, fitted voxels (ppb)")
    axes.set_title("L-curve")
    axes.margins(0.14)
    for axis in "xy":
        _plain_decades(axes, axis)


def _asked(axes: Axes, table: pd.DataFrame, here: pd.Series[float], near: float) -> None:
    x, y = (TEN_THOUSANDTH * table[column] for column in ("strength_ppm", "asked_strength_ppm"))
    ends = np.array([x.min(), x.max()])
    axes.fill_between(ends, ends / near, ends * near, color=FLOOR, alpha=0.6, linewidth=0, zorder=0)
    axes.plot(ends, ends, color=FAINT, linewidth=0.7, zorder=1)
    axes.axhline(TEN_THOUSANDTH * here["strength_ppm"], color=FAINT, linewidth=0.7, linestyle=":", zorder=0)
    _curve(axes, x, y, table, HELD_OUT)
    text = f"grey: what was used, within a factor of {near:g}"
    axes.text(0.98, 0.03, text, transform=axes.transAxes, fontsize=5.8, color=FAINT, ha="right")
    axes.set(xscale="log", yscale="log", xlabel=f"Strength used {STRENGTH}", ylabel=f"Strength asked for {STRENGTH}")
    axes.set_title("What held-out voxels ask for")
    for axis in "xy":
        _plain_decades(axes, axis)


def _curve(axes: Axes, x: pd.Series[float], y: pd.Series[float], table: pd.DataFrame, colour: str) -> None:
    """A line with a dot a strength, a large one at that of the map."""
    axes.plot(x, y, "o-", color=colour, markersize=3.0, zorder=3)
    own = table["of_the_map"] == 1
    axes.plot(x[own], y[own], "o", color=colour, markersize=6.5, markeredgecolor="white", zorder=4)


def _times(factor: float) -> str:
    return f"×{factor:g}" if factor >= 1 else f"×1/{round(1 / factor)}"


def _plain_decades(axes: Axes, axis: str) -> None:
    """Ticks at 1, 2 and 5 of each decade, written as plain numbers."""
    one = axes.xaxis if axis == "x" else axes.yaxis
    one.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    one.set_minor_locator(NullLocator())
    one.set_major_formatter(lambda value, _: f"{value:g}")
