"""Pictures of the rows of `qsm.py`: error against processor seconds beside other tools, and growth with size.

    python benchmarks/qsm_figure.py [--rows benchmarks/results/qsm.tsv ...] [--size large] [--docs docs]

Draws qsm.png of one size, and qsm_growth.png where there are rows of at least two of the sizes x1 x2 x4 x8; the
exponents of growth are written beside the first file, as qsm_growth.tsv. Other tools were measured once on the same
problem (large), one thread, seed 0: peers.tsv.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter
from point_labels import Labelled, label_points
from qsm_growth import draw_growth, growth_of
from qsm_rows import PEERS_SIZE, RESULTS, SECONDS, means, read_peers, read_rows
from record import Record

from dlqsm.config import QsmConfig

OURS, PEER = "#0072B2", "#D55E00"
"""Blue and vermilion of the colours that colour-blind readers tell apart; markers differ as well."""


@dataclass(frozen=True)
class Panel:
    """One stage of the picture: what is drawn upwards, and where its axis ends."""

    stage: str
    title: str
    measure: str
    label: str
    kept: str = ""
    top: float = math.inf


PANELS = (
    Panel("unwrapping", "Unwrapping, 8 echoes", "wrong %", "voxels off by a turn, worst echo [%]"),
    Panel(
        "background",
        "Background field (number: % of mask kept)",
        "nrmse_4mm %",
        "error of the local field, 4 mm inside [%]",
        kept="kept %",
        top=100.0,
    ),
    Panel("inversion", "Inversion of the true local field with noise", "NRMSE %", "error of susceptibility [%]"),
    Panel(
        "chain",
        "Images to susceptibility (number: % of mask kept)",
        "NRMSE %",
        "error of susceptibility [%]",
        kept="kept %",
    ),
)
NO_ERROR = 1e-4
"""Shares of wrong voxels below this are drawn on a linear scale, so that zero has a place [%]."""
FLOOR_4MM = 34.3
"""Error that noise alone leaves in the local field of the large problem, seed 0 [%]."""


NOT_DRAWN = {("unwrapping", "scikit-image"), ("background", "none"), ("inversion", "wTV")}
"""Another tool that `qsm.py` runs beside ours; the field as it comes; the same point as nlTV's."""
LAST_ECHO = ", last echo"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, nargs="+", default=[RESULTS / "qsm.tsv"])
    parser.add_argument("--size", default="large")
    parser.add_argument("--docs", type=Path, default=Path(__file__).parents[1] / "docs")
    arguments = parser.parse_args()
    rows = read_rows(arguments.rows)
    arguments.docs.mkdir(parents=True, exist_ok=True)
    draw_stages(rows, arguments.size).savefig(arguments.docs / "qsm.png", dpi=110)
    print(arguments.docs / "qsm.png")
    growth = growth_of(rows)
    if growth:
        record = Record(arguments.rows[0].with_name("qsm_growth.tsv"))
        for line in growth:
            line.write(record)
        draw_growth(growth).savefig(arguments.docs / "qsm_growth.png", dpi=110)
        print(arguments.docs / "qsm_growth.png")
    return 0


def draw_stages(rows: pd.DataFrame, size: str) -> Figure:
    """Four panels: error against seconds."""
    figure = Figure(figsize=(14, 10.5), layout="constrained")
    axes = figure.subplots(2, 2)
    drawn = [draw_stage(axis, panel, rows, size) for axis, panel in zip(axes.flat, PANELS, strict=True)]
    seeds = int(max(means(rows, size, panel.stage)["seeds"].max() for panel in PANELS))
    handles = [
        Line2D([], [], marker="*", color=OURS, linestyle="", markersize=13, label="dlqsm, default"),
        Line2D([], [], marker="o", color=OURS, linestyle="", label=f"dlqsm, mean of {seeds} seed{'s'[: seeds != 1]}"),
        Line2D([], [], marker="s", color=PEER, linestyle="", label="other tools, measured once, seed 0"),
        Line2D([], [], marker="s", color=PEER, linestyle="", fillstyle="none", label="the same, last echo alone"),
    ]
    shown = handles if size == PEERS_SIZE else handles[:2]
    figure.legend(handles=shown, loc="outside upper center", ncols=len(shown), frameon=False, fontsize=10)
    figure.canvas.draw()
    for axis, points in zip(axes.flat, drawn, strict=True):
        label_points(axis, points, size=8)
    return figure


def draw_stage(axis: Axes, panel: Panel, rows: pd.DataFrame, size: str) -> list[Labelled]:
    """Draw the points of a stage and return them with their labels."""
    ours, (peers, beyond) = _ours(panel, means(rows, size, panel.stage)), _peers(panel, size)
    for point in ours:
        marker, wide = ("*", 13) if point.is_default else ("o", 6)
        axis.plot(point.x, point.y, color=OURS, marker=marker, markersize=wide)
    for point in peers:
        fill = "none" if LAST_ECHO in point.text else "full"
        axis.plot(point.x, point.y, color=PEER, marker="s", markersize=5.5, fillstyle=fill)
    axis.set(xscale="log", xlabel="processor seconds, one thread", ylabel=panel.label, title=panel.title)
    axis.xaxis.set_major_locator(
        LogLocator(subs=(1.0, 1.2, 1.5, 2.0, 3.0, 5.0, 7.0) if panel.stage == "chain" else (1.0, 3.0))
    )
    axis.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.grid(color="0.92")
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.margins(x=0.16, y=0.1)
    _finish(axis, panel, beyond, size)
    return [replace(point, text=point.text.replace(LAST_ECHO, "")) for point in ours + peers]


def _finish(axis: Axes, panel: Panel, beyond: list[str], size: str) -> None:
    """What single panels need: a place for zero, the noise, and what lies above or is absent."""
    if panel.stage == "unwrapping":
        axis.set_yscale("symlog", linthresh=NO_ERROR, linscale=0.6)
        axis.set_ylim(-0.6 * NO_ERROR, 60)
        axis.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    if panel.stage == "background" and size == PEERS_SIZE:
        axis.axhline(FLOOR_4MM, color="0.5", linestyle=":", linewidth=1)
        about = {"transform": axis.get_yaxis_transform(), "ha": "right", "va": "top", "fontsize": 8, "color": "0.4"}
        axis.text(0.995, FLOOR_4MM - 0.4, "noise alone", **about)
    note = f"above: {'; '.join(beyond)}" if beyond else ""
    if panel.stage == "chain" and size == PEERS_SIZE:
        note = "no chain of other tools was measured"
    axis.text(0.01, 0.99, note, transform=axis.transAxes, va="top", fontsize=8, color=PEER)


def _ours(panel: Panel, table: pd.DataFrame) -> list[Labelled]:
    chosen, points = QsmConfig(), []
    default = {
        "unwrapping": chosen.unwrap.method,
        "background": chosen.background.method,
        "inversion": chosen.inversion.method,
        "chain": f"{chosen.background.method}+{chosen.inversion.method}",
    }[panel.stage]
    for name, row in table.iterrows():
        if (panel.stage, name) in NOT_DRAWN:
            continue
        kept = f" {row[panel.kept]:.0f}" if panel.kept else ""
        points.append(Labelled(row[SECONDS], row[panel.measure], f"{name}{kept}", OURS, name == default))
    return points


def _peers(panel: Panel, size: str) -> tuple[list[Labelled], list[str]]:
    """Points of other tools, and in words those that lie above the panel."""
    points, beyond = [], []
    for row in read_peers(panel.stage, size).to_dict("records"):
        if (panel.stage, row["method"]) in NOT_DRAWN:
            continue
        kept = f" {row['kept %']:.0f}" if panel.kept else ""
        alone = LAST_ECHO if row["case"] == "last echo" else ""
        text = f"{row['tool']} {row['method']}{kept}{alone}"
        if row["error %"] > panel.top:
            beyond.append(f"{row['tool']} {row['method']} {row['error %']:.0f} %")
        else:
            points.append(Labelled(row[SECONDS], row["error %"], text, PEER))
    return points, beyond


if __name__ == "__main__":
    raise SystemExit(main())
