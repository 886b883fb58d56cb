"""How seconds and memory grow with the number of voxels: exponents, their rows, and the picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter
from qsm_rows import MEGABYTES, SECONDS, exponent, means
from record import Record

from qsm import MORE_SIZES

SIZES = ("x1", "x2", "x4", "x8")
MEASURES = {SECONDS: "exponent of seconds", MEGABYTES: "exponent of MB"}
LARGEST_EXPONENT = 1.15
LARGEST_EXPONENT_OF_UNWRAPPING = 1.4
"""Growth along a path waits for memory, whose caches are too small for a large head."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
"""Eight colours that colour-blind readers tell apart; markers differ as well."""
MARKERS = "osD^vPX*"


@dataclass(frozen=True)
class Growth:
    """One measure of one method over the sizes."""

    stage: str
    method: str
    measure: str
    voxels: tuple[int, ...]
    values: tuple[float, ...]

    @property
    def exponent(self) -> float:
        """Power of the number of voxels."""
        return exponent(self.voxels, self.values)

    def write(self, record: Record) -> None:
        """Add the exponent to the rows, with its bound."""
        largest = LARGEST_EXPONENT_OF_UNWRAPPING if self.stage == "unwrapping" else LARGEST_EXPONENT
        about = {"smallest_voxels": self.voxels[0], "largest_voxels": self.voxels[-1], "sizes": len(self.voxels)}
        name = f"{self.stage} {self.method}"
        record.add(name, MEASURES[self.measure], self.exponent, bound=(0.0, largest), **about)


def growth_of(rows: pd.DataFrame) -> list[Growth]:
    """Seconds and MB of every method that ran on two or more of the sizes, means over seeds."""
    found = []
    for stage in dict.fromkeys(rows["stage"]):
        tables = {size: means(rows, size, stage) for size in SIZES if size in set(rows["size"])}
        methods = dict.fromkeys(name for table in tables.values() for name in table.index)
        for method in methods:
            for measure in MEASURES:
                sizes = [size for size, table in tables.items() if _is_known(table, method, measure)]
                voxels = tuple(math.prod(MORE_SIZES[size][0]) for size in sizes)
                values = tuple(float(tables[size].loc[method, measure]) for size in sizes)
                if len(sizes) > 1:
                    found.append(Growth(stage, method, measure, voxels, values))
    return found


def _is_known(table: pd.DataFrame, method: str, measure: str) -> bool:
    return method in table.index and measure in table and bool(pd.notna(table.loc[method, measure]))


def draw_growth(growth: Sequence[Growth]) -> Figure:
    """Seconds above, MB below, a column a stage; each legend tells the exponents."""
    stages = list(dict.fromkeys(line.stage for line in growth))
    figure = Figure(figsize=(max(4.2 * len(stages), 7), 10.5), layout="constrained")
    axes = figure.subplots(2, len(stages), squeeze=False)
    for column, stage in enumerate(stages):
        for row, measure in enumerate(MEASURES):
            here = [line for line in growth if (line.stage, line.measure) == (stage, measure)]
            _draw(axes[row, column], here)
            axes[row, column].set(ylabel=measure if column == 0 else "", title=stage if row == 0 else "")
    figure.supxlabel("millions of voxels; behind each name the exponent of growth", fontsize=10)
    return figure


def _draw(axis: Axes, lines: Sequence[Growth]) -> None:
    for index, line in enumerate(lines):
        millions = [voxels / 1e6 for voxels in line.voxels]
        colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
        label = f"{line.method}  {line.exponent:.2f}"
        axis.plot(millions, line.values, color=colour, marker=marker, markersize=4.5, linewidth=1.3, label=label)
    axis.set(xscale="log", yscale="log")
    ticks = sorted({round(voxels / 1e6, 1) for line in lines for voxels in line.voxels})
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.margins(x=0.1, y=0.1)
    axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.grid(color="0.92", which="both")
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=2, frameon=False, fontsize=8)
