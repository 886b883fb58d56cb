"""Whether an atlas lies where it should: template contours and label outlines over magnitude and susceptibility."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Final

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from skimage.measure import find_contours

from dlqsm.core.checks import InputError, require_shape
from dlqsm.core.labels import COLOURS, FULL_NAMES
from dlqsm.core.scan import Grid, Vector
from dlqsm.report.images import CHI_PPM, GREY, Pixels, Scale
from dlqsm.report.planes import MARKS, View, across_axis, centroid_mm, cut, pixel_size_mm, position_mm, view_of

BACKGROUND: Final = "#0b0c0e"
FOREGROUND: Final = "#d7dade"
TEMPLATE_COLOUR: Final = "#ffd166"
ZOOM_MARGIN_MM: Final = 12.0
COLUMNS: Final = (
    ("Basal ganglia", "axial", ("Pu", "Ca", "GPe", "GPi")),
    ("Basal ganglia", "coronal", ("Pu", "Ca", "GPe", "GPi")),
    ("Midbrain", "axial", ("RN", "SNc", "SNr")),
)
_ACROSS: Final = {"axial": 2, "coronal": 1, "sagittal": 0}
COLUMN_INCHES: Final = 3.6


@dataclass(frozen=True, eq=False)
class _Picture:
    """Volumes on one grid: what is drawn."""

    magnitude: torch.Tensor
    chi_ppm: torch.Tensor
    shares: dict[str, torch.Tensor]
    grid: Grid
    template: torch.Tensor | None


def registration_figure(
    magnitude: torch.Tensor,
    chi_ppm: torch.Tensor,
    labels: torch.Tensor,
    grid: Grid,
    names: Mapping[int, tuple[str, str]],
    *,
    probabilities: torch.Tensor | None = None,
    template: torch.Tensor | None = None,
    title: str = "",
) -> Figure:
    """Three planes through the nuclei: the whole brain, then close up on magnitude and on susceptibility.

    Parameters
    ----------
    magnitude, chi_ppm
        What the labels are laid over, ``(x, y, z)``; susceptibility [ppm], zero or NaN where not known.
    labels
        Label numbers, 0 outside.
    grid
        Grid of all volumes.
    names
        Label number to (nucleus, side).
    probabilities
        ``(label, x, y, z)`` in the order of ``names``: outlines then run at 0.5 between voxels; else along voxels.
    template
        The atlas's template on this grid: its contours are drawn over the whole brain.
    title
        Written above.

    Raises
    ------
    InputError
        If shapes disagree or no voxel is labelled.
    """
    for name, volume in (("magnitude", magnitude), ("susceptibility", chi_ppm), ("labels", labels)):
        require_shape(name, volume, grid.shape, "the grid")
    if not bool((labels > 0).any()):
        raise InputError("no voxel is labelled; there is no registration to show")
    drawn = _Picture(magnitude, chi_ppm, _shares(labels, names, probabilities), grid, template)
    figure = _empty_figure(drawn, title)
    level = float(np.percentile(magnitude[magnitude > 0].cpu().numpy(), 99.0)) if bool((magnitude > 0).any()) else 1.0
    scale = Scale(0.0, level, "a.u.")
    layout = figure.add_gridspec(
        3, len(COLUMNS), left=0.01, right=0.99, top=1 - 0.5 / figure.get_figheight(),
        bottom=0.42 / figure.get_figheight(), wspace=0.02, hspace=0.02,
    )  # fmt: skip
    for j, (place, plane, nuclei) in enumerate(COLUMNS):
        near, far = _views(drawn, nuclei, plane)
        rows = ((magnitude, scale, far, True), (magnitude, scale, near, False), (chi_ppm, CHI_PPM, near, False))
        for i, (volume, own_scale, view, whole) in enumerate(rows):
            axes = figure.add_subplot(layout[i, j])
            _draw(axes, drawn, volume, own_scale, view, plane, whole=whole)
            if i == 0:
                axes.set_title(f"{place}, {plane}", color=FOREGROUND, fontsize=10, pad=5)
            if j == 0:
                text = ("Magnitude", "Magnitude", f"Susceptibility, {CHI_PPM.low:g} to {CHI_PPM.high:g} ppm")[i]
                _chip(axes, (0.02, 0.97), text, va="top")
    _legend(figure, drawn)
    return figure


def png(figure: Figure, *, dpi: float = 130.0) -> bytes:
    """A figure as PNG bytes."""
    FigureCanvasAgg(figure)
    stored = BytesIO()
    figure.savefig(stored, format="png", dpi=dpi, facecolor=figure.get_facecolor())
    return stored.getvalue()


def _shares(
    labels: torch.Tensor, names: Mapping[int, tuple[str, str]], probabilities: torch.Tensor | None
) -> dict[str, torch.Tensor]:
    """Share of each voxel that a nucleus fills, both sides; only nuclei with a colour."""
    shares = {}
    for nucleus in COLOURS:
        members = [(index, number) for index, (number, (roi, _)) in enumerate(names.items()) if roi == nucleus]
        if not members:
            continue
        if probabilities is not None:
            shares[nucleus] = probabilities[[index for index, _ in members]].sum(0)
        else:
            shares[nucleus] = torch.isin(labels, torch.tensor([number for _, number in members])).float()
    return shares


def _views(drawn: _Picture, nuclei: tuple[str, ...], plane: str) -> tuple[View, View]:
    """Close view of the nuclei, cut where most of them are met, and the whole volume through the same place."""
    regions = [drawn.shares[n] >= 0.5 for n in nuclei if n in drawn.shares]
    region = torch.stack(regions).any(0) if regions else torch.zeros(drawn.grid.shape, dtype=torch.bool)
    if not bool(region.any()):
        region = torch.stack([share >= 0.5 for share in drawn.shares.values()]).any(0)
    axis = across_axis(drawn.grid, plane)
    # The plane in which the nuclei together come closest to their widest.
    counts = [r.movedim(axis, 0).flatten(1).sum(1).float() for r in (*regions, region)]
    best = int(torch.argmax(torch.stack([count / count.max().clamp_min(1.0) for count in counts]).sum(0)))
    centre: Vector = position_mm(drawn.grid, centroid_mm(region, drawn.grid), axis, best)
    head = drawn.magnitude > 0.05 * drawn.magnitude.max()
    near = view_of(region, drawn.grid, margin_mm=ZOOM_MARGIN_MM, centre_mm=centre)
    return _square(near, plane), _square(view_of(head, drawn.grid, margin_mm=0.0, centre_mm=centre), plane)


def _square(view: View, plane: str) -> View:
    """Widen the two directions of a plane to one width, so that all panels have one shape."""
    shown = [i for i in range(3) if i != _ACROSS[plane]]
    width = max(view.before_mm[i] + view.after_mm[i] for i in shown)
    room = [(width - view.before_mm[i] - view.after_mm[i]) / 2 if i in shown else 0.0 for i in range(3)]
    before = [a + b for a, b in zip(view.before_mm, room, strict=True)]
    after = [a + b for a, b in zip(view.after_mm, room, strict=True)]
    return View(view.centre_mm, (before[0], before[1], before[2]), (after[0], after[1], after[2]))


def _draw(
    axes: Axes, drawn: _Picture, volume: torch.Tensor, scale: Scale, view: View, plane: str, *, whole: bool
) -> None:
    axes.set_axis_off()
    pixels = cut(volume, drawn.grid, view, plane)
    width, height = pixel_size_mm(drawn.grid, plane)
    extent = (0.0, pixels.shape[1] * width, pixels.shape[0] * height, 0.0)
    axes.imshow(
        np.nan_to_num(pixels, nan=scale.low), cmap=GREY, vmin=scale.low, vmax=scale.high, extent=extent,
        interpolation="nearest" if whole else "bilinear",
    )  # fmt: skip
    if whole and drawn.template is not None:
        shown = np.nan_to_num(cut(drawn.template, drawn.grid, view, plane))
        top = float(np.percentile(shown[shown > 0], 95)) if (shown > 0).any() else 1.0
        for level, strength in ((0.15 * top, 0.9), (0.72 * top, 0.5)):
            _outline(axes, shown, level, (width, height), TEMPLATE_COLOUR, 0.8, strength)
    for nucleus, share in drawn.shares.items():
        plane_share = np.nan_to_num(cut(share, drawn.grid, view, plane))
        _outline(axes, plane_share, 0.5, (width, height), COLOURS[nucleus], 0.9 if whole else 1.6, 1.0)
    axes.set_xlim(extent[0], extent[1])
    axes.set_ylim(extent[2], extent[3])
    left, right = MARKS[plane]
    _chip(axes, (0.02, 0.5), left, va="center")
    _chip(axes, (0.98, 0.5), right, va="center", ha="right")


def _outline(
    axes: Axes, values: Pixels, level: float, size_mm: tuple[float, float], colour: str, width: float, alpha: float
) -> None:
    for line in find_contours(np.pad(values, 1), level):
        x, y = (line[:, 1] - 0.5) * size_mm[0], (line[:, 0] - 0.5) * size_mm[1]
        axes.plot(x, y, color=colour, linewidth=width, alpha=alpha, solid_joinstyle="round")


def _chip(axes: Axes, place: tuple[float, float], text: str, *, va: str, ha: str = "left") -> None:
    """Text at a place in fractions of the panel, readable on any image."""
    box = {"facecolor": "black", "alpha": 0.5, "edgecolor": "none", "pad": 2.0}
    axes.text(*place, text, transform=axes.transAxes, color=FOREGROUND, fontsize=8, va=va, ha=ha, bbox=box)


def _empty_figure(drawn: _Picture, title: str) -> Figure:
    figure = Figure(figsize=(COLUMN_INCHES * len(COLUMNS), COLUMN_INCHES * 3 + 0.9), facecolor=BACKGROUND)
    top = 1 - 0.13 / figure.get_figheight()
    figure.text(0.012, top, title, color=FOREGROUND, fontsize=11, va="top", parse_math=False)
    return figure


def _legend(figure: Figure, drawn: _Picture) -> None:
    lines = [(COLOURS[nucleus], f"{nucleus} {FULL_NAMES[nucleus]}") for nucleus in drawn.shares]
    if drawn.template is not None:
        lines.insert(0, (TEMPLATE_COLOUR, "template"))
    handles = [Line2D([], [], color=colour, linewidth=2.0) for colour, _ in lines]
    figure.legend(
        handles, [text for _, text in lines], loc="lower center", ncols=4, frameon=False, fontsize=8,
        labelcolor=FOREGROUND, bbox_to_anchor=(0.5, 0.0), columnspacing=1.6, handlelength=1.4,
    )  # fmt: skip
