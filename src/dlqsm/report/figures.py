"""Pictures that leave the page: the README's and the sampling mask's, as PNG."""

from __future__ import annotations

from io import BytesIO
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dlqsm.core.labels import COLOURS
from dlqsm.report import images
from dlqsm.report.images import Scale
from dlqsm.report.panels import quantity_scale, shown
from dlqsm.report.participant import ArmMaps, ParticipantReport
from dlqsm.report.places import whole_view, zooms
from dlqsm.report.planes import MARKS, View, cut, pixel_size_mm

BACKGROUND: Final = "#0b0c0e"
FOREGROUND: Final = "#d7dade"
CHIP: Final = {"facecolor": "black", "alpha": 0.5, "edgecolor": "none", "pad": 2.0}
"""What stands behind text on an image."""
COLUMN_INCHES: Final = 2.6
ROW_TITLES: Final = {"magnitude": "Magnitude", "local_field_hz": "Local field", "chi_ppm": "Susceptibility"}


def readme_picture(report: ParticipantReport, *, dpi: float = 150.0) -> bytes:
    """One wide picture: magnitude, local field, susceptibility and the nuclei (rows) of all arms (columns).

    Parameters
    ----------
    report
        Arms to draw; a map that an arm lacks leaves its cell dark.
    dpi
        Pixels per inch; a column is 2.6 inches wide.

    Returns
    -------
    PNG bytes.
    """
    rows = [(title, quantity, whole_view(report), "axial") for quantity, title in ROW_TITLES.items()]
    rows += [(zoom.place, "chi_ppm", zoom.view, zoom.plane) for zoom in zooms(report) if zoom.plane == "axial"]
    heights = [_height_over_width(view) for _, _, view, _ in rows]
    width = COLUMN_INCHES * len(report.arms) + 0.75
    figure = Figure(figsize=(width, COLUMN_INCHES * sum(heights) + 0.35), facecolor=BACKGROUND, dpi=dpi)
    left, top = 0.02, 1 - 0.32 / figure.get_figheight()
    layout = figure.add_gridspec(
        len(rows), len(report.arms) + 1, height_ratios=heights, width_ratios=[*[1.0] * len(report.arms), 0.045],
        left=left, right=1 - 0.5 / width, top=top, bottom=0.01, wspace=0.03, hspace=0.03,
    )  # fmt: skip
    for i, (title, quantity, view, plane) in enumerate(rows):
        scale = quantity_scale(report, quantity)
        for j, arm in enumerate(report.arms):
            axes = figure.add_subplot(layout[i, j])
            _draw(axes, arm, quantity, view, plane, scale, outlined=i >= len(ROW_TITLES))
            if i == 0:
                axes.set_title(_arm_title(arm), color=FOREGROUND, fontsize=11, pad=7)
            if j == 0:
                axes.text(
                    0.025, 0.97, title, transform=axes.transAxes, color=FOREGROUND, fontsize=9, va="top", bbox=CHIP
                )
        _colour_bar(figure.add_subplot(layout[i, len(report.arms)]), scale)
    return _png(figure)


def sampling_picture(mask: NDArray[np.bool_]) -> bytes:
    """The (ky, kz) sampling mask as PNG: sampled cells white, ky to the right, kz up."""
    n_y, n_z = mask.shape
    figure = Figure(figsize=(6.0, max(6.0 * n_z / n_y, 1.2)), facecolor=BACKGROUND, dpi=150)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.imshow(mask.T, cmap=images.GREY, vmin=0, vmax=1, origin="lower", interpolation="nearest", aspect="auto")
    axes.set_axis_off()
    return _png(figure)


def _draw(axes: Axes, arm: ArmMaps, quantity: str, view: View, plane: str, scale: Scale, *, outlined: bool) -> None:
    axes.set_facecolor("black")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    volume = shown(arm, quantity)
    if volume is None:
        _write(axes, (0.5, 0.5), "not among the data", fontsize=8, ha="center")
        return
    pixels = cut(volume, arm.grid, view, plane)
    width, height = pixel_size_mm(arm.grid, plane)
    extent = (0.0, pixels.shape[1] * width, pixels.shape[0] * height, 0.0)
    axes.imshow(
        images.to_bytes(pixels, scale), cmap=images.GREY, vmin=0, vmax=255, extent=extent, interpolation="bicubic"
    )
    for place, mark, side in ((0.02, MARKS[plane][0], "left"), (0.98, MARKS[plane][1], "right")):
        axes.text(
            place, 0.5, mark, transform=axes.transAxes, color=FOREGROUND, alpha=0.8, fontsize=7, ha=side, bbox=CHIP
        )
    if outlined and arm.labels is not None:
        _outline(axes, cut(arm.labels, arm.grid, view, plane), (width, height))


def _write(axes: Axes, place: tuple[float, float], text: str, **style: Any) -> None:
    """Text at a place in fractions of the panel, readable on any image."""
    axes.text(*place, text, transform=axes.transAxes, color=FOREGROUND, bbox=CHIP, **style)


def _outline(axes: Axes, labels: images.Pixels, size_mm: tuple[float, float]) -> None:
    for nucleus, colour in COLOURS.items():
        for contour in images.contours(labels, nucleus):
            axes.plot(contour[:, 0] * size_mm[0], contour[:, 1] * size_mm[1], color=colour, linewidth=1.1)


def _colour_bar(axes: Axes, scale: Scale) -> None:
    axes.imshow(np.linspace(1, 0, 256)[:, None], cmap=images.GREY, aspect="auto", extent=(0, 1, 0, 1))
    axes.set_xticks([])
    axes.set_yticks([])
    ends = ((0.0, scale.ticks[0], "bottom"), (1.0, f"{scale.ticks[2]}\n{scale.unit}", "top"))
    for height, text, alignment in ends:
        axes.text(1.5, height, text, transform=axes.transAxes, color=FOREGROUND, fontsize=7, va=alignment)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _arm_title(arm: ArmMaps) -> str:
    return arm.name if arm.acceleration is None else f"{arm.name}  ·  AF {arm.acceleration:.3g}"


def _height_over_width(view: View) -> float:
    width, height = (view.before_mm[i] + view.after_mm[i] for i in (0, 1))
    return height / width


def _png(figure: Figure) -> bytes:
    FigureCanvasAgg(figure)
    stored = BytesIO()
    figure.savefig(stored, format="png", facecolor=figure.get_facecolor())
    return stored.getvalue()
