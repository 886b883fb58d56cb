"""Pictures of the rows of `reconstruction.py`: error against AF for every method, and a panel of maps.

    python benchmarks/reconstruction_figure.py [--results benchmarks/results] [--out docs/reconstruction.png]

The panel is of head 0, mask 0 at AF 5, kept by `reconstruction.py` in reconstruction_panel.npz.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter
from reconstruction_methods import FULL
from reconstruction_panel import PANEL_FILE
from reconstruction_rows import Row, number
from reconstruction_summary import is_learned, kept, label_of

from reconstruction import RESULTS, slab_rows

CURVES = {
    "nuclei_hz": "field error, nuclei [Hz]",
    "brain_hz": "field error, brain [Hz]",
    "nrmse_percent": "complex NRMSE [%]",
    "edge_magnitude": "edge sharpness of nuclei",
}
STYLES = {
    FULL: ("black", ":"),
    "zero": ("0.6", "-"),
    "sense": ("#CCBB44", "-"),
    "cs wavelet": ("#4477AA", "-"),
    "cs wavelet+llr": ("#66CCEE", "-"),
    "cs tv": ("#4477AA", "--"),
    "cs llr": ("#66CCEE", "--"),
    "cs wavelet, each coil": ("#4477AA", ":"),
    "BART L1 wavelet": ("#228833", "-"),
    "BART L1 wavelet, joint echoes": ("#228833", "--"),
    "BART locally low rank": ("#228833", ":"),
    "SigPy L1 wavelet": ("#AA3377", "-"),
    "cascade": ("#EE7733", "--"),
    "joint": ("#CC3311", "-"),
}
"""Colour and line of the methods that are drawn; networks in exact mode are in the tables alone."""
PANEL = (FULL, "zero", "sense", "cs wavelet", "BART L1 wavelet", "cascade", "joint")
ERROR_LIMIT_HZ = 2.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs" / "reconstruction.png")
    parser.add_argument("--condition", default="standard")
    arguments = parser.parse_args()
    rows = [row for row in slab_rows(arguments.results) if row["condition"] == arguments.condition]
    if not rows:
        raise SystemExit(f"{arguments.results}: no rows of '{arguments.condition}' there; run reconstruction.py first")
    planes = read_planes(arguments.results / PANEL_FILE, rows)
    names = [name for name in PANEL if name in planes]
    figure = Figure(figsize=(15, 4.2 + (4.6 if names else 0)), layout="constrained")
    parts = figure.subfigures(2 if names else 1, 1, squeeze=False)[:, 0]
    draw_curves(parts[0], rows)
    if names:
        draw_panel(parts[1], names, planes)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.out, dpi=110)
    print(arguments.out)
    return 0


def draw_curves(figure, rows: list[Row]) -> None:
    """Mean of each measure against AF, with the spread over heads and masks."""
    axes = figure.subplots(1, len(CURVES))
    found = means_by_method(rows)
    for axis, (measure, label) in zip(axes, CURVES.items(), strict=True):
        for name, (colour, line) in STYLES.items():
            draw_curve(axis, found.get(name, {}), measure, name, colour=colour, line=line)
        factors = sorted({float(row["af"]) for row in rows})
        axis.set(xlabel="acceleration factor", ylabel=label, xticks=factors)
        if measure != "edge_magnitude":
            axis.set_yscale("log")
            for ticks in (axis.yaxis.set_major_formatter, axis.yaxis.set_minor_formatter):
                ticks(FormatStrFormatter("%g"))
        axis.spines[["top", "right"]].set_visible(False)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=8)


def draw_curve(axis: Axes, by_factor: dict[float, list[Row]], measure: str, name: str, *, colour: str, line: str):
    """One method's curve."""
    factors = sorted(by_factor)
    if not factors:
        return
    values = [[number(row, measure) for row in by_factor[factor]] for factor in factors]
    thick = 2.4 if is_learned({"method": name}) else 1.2
    means = [np.mean(each) for each in values]
    axis.plot(factors, means, color=colour, linestyle=line, linewidth=thick, marker=".", label=name)
    low, high = zip(*[(np.mean(each) - np.std(each), np.mean(each) + np.std(each)) for each in values], strict=True)
    if is_learned({"method": name}):
        axis.fill_between(factors, low, high, color=colour, alpha=0.15, linewidth=0)


def means_by_method(rows: list[Row]) -> dict[str, dict[float, list[Row]]]:
    """Rows at the strength that was best for each problem, by method and AF; the newest weights of a network."""
    problems: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        problems[row["af"], row["head"], row["mask"]].append(row)
    found: dict[str, dict[float, list[Row]]] = defaultdict(lambda: defaultdict(list))
    newest = {row["method"]: label_of(row) for row in rows}
    for (factor, _, _), here in problems.items():
        for label, row in kept(here).items():
            if newest[row["method"]] == label:
                found[row["method"]][float(factor)].append(row)
    return found


def read_planes(path: Path, rows: list[Row]) -> dict[str, dict[str, np.ndarray]]:
    """Maps of each method at the strength that was best for the problem shown; empty where none were kept."""
    if not path.is_file():
        return {}
    of = [row for row in rows if (row["head"], row["mask"], row["af"]) == ("0", "0", "5")]
    wanted = {(row["method"], row["strength"]) for row in kept(of).values()} | {("truth", "")}
    planes: dict[str, dict[str, np.ndarray]] = defaultdict(dict)
    with np.load(path) as file:
        for key in file.files:
            name, strength, kind = key.split("|")
            if (name, strength) in wanted:
                planes[name][kind] = file[key].astype(float)
    return planes


def draw_panel(figure, names: list[str], planes: dict[str, dict[str, np.ndarray]]) -> None:
    """Last echo's magnitude above, the field's error below, of one sagittal plane at AF 5."""
    axes = figure.subplots(2, len(names), squeeze=False)
    truth = planes["truth"]
    brightest = float(np.percentile(truth["magnitude"], 99.5))
    aspect = truth["voxel_size_mm"][1] / truth["voxel_size_mm"][0]
    for column, name in enumerate(names):
        here = planes[name]
        axes[0, column].imshow(here["magnitude"].T, cmap="gray", vmin=0, vmax=brightest, origin="lower", aspect=aspect)
        shown = axes[1, column].imshow(
            here["field error"].T,
            cmap="RdBu_r",
            vmin=-ERROR_LIMIT_HZ,
            vmax=ERROR_LIMIT_HZ,
            origin="lower",
            aspect=aspect,
        )
        axes[1, column].contour(truth["labels"].T > 0, levels=[0.5], colors="black", linewidths=0.5)
        axes[0, column].set_title(name, fontsize=9)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    axes[0, 0].set_ylabel("last echo, AF 5")
    axes[1, 0].set_ylabel("error of the field")
    figure.colorbar(shown, ax=axes[1, :], shrink=0.8, label="Hz")


if __name__ == "__main__":
    raise SystemExit(main())
