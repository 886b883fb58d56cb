"""One participant in all arms as one small picture: maps through the nuclei, and what each differs by.

Small enough to be kept where the maps are not, so that the page of a study can show them.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import Final

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dlqsm.core.labels import COLOURS
from dlqsm.report import images
from dlqsm.report.aligned import MOVED, demeaned, on_reference
from dlqsm.report.images import Scale
from dlqsm.report.participant import ArmMaps, ParticipantReport
from dlqsm.report.places import Zoom, whole_view, zooms
from dlqsm.report.planes import MARKS, cut, pixel_size_mm

BACKGROUND, FOREGROUND = "#0b0c0e", "#d7dade"
PLANE: Final = "axial"
DPI: Final = 100
COLUMN_INCHES, WIDEST_INCHES = 1.8, 10.8
"""Width of an arm's column, and of all of them."""
LEFT_INCHES, BAR_INCHES, TOP_INCHES, GAP_INCHES = 0.3, 0.62, 0.28, 0.04
QUALITY: Final = 72
"""Of the lossy WebP: smooth maps lose nothing that is seen, and five arms take about 40 KB."""


@dataclass(frozen=True, eq=False)
class ArmsPicture:
    """The picture as WebP, and the sentences that say what it shows."""

    image: bytes
    about: str


@dataclass(frozen=True, eq=False)
class _Map:
    """Susceptibility of an arm on the reference's grid, and less the reference's; None where there is none."""

    arm: ArmMaps
    chi_ppm: torch.Tensor | None
    difference_ppm: torch.Tensor | None
    how: str


def arms_picture(report: ParticipantReport) -> ArmsPicture | None:
    """Two rows a place, maps and differences to the reference, an arm a column.

    Where the reference would differ from itself, its map stands with the outlines of the nuclei.

    Parameters
    ----------
    report
        At least two arms with susceptibility on, or moved to, the reference arm's grid.

    Returns
    -------
    The picture; None where fewer arms can be drawn, or no arm is the reference.
    """
    leading, maps = report.leading, _maps(report)
    if report.reference is None or sum(one.chi_ppm is not None for one in maps) < 2:
        return None
    places = [zoom for zoom in zooms(report) if zoom.plane == PLANE]
    places = places or [Zoom("Head", PLANE, whole_view(report))]
    column = min(COLUMN_INCHES, WIDEST_INCHES / len(maps))
    heights = [column * _height_over_width(leading, zoom) for zoom in places for _ in range(2)]
    width = LEFT_INCHES + column * len(maps) + BAR_INCHES
    figure = Figure(figsize=(width, TOP_INCHES + sum(heights) + GAP_INCHES), facecolor=BACKGROUND, dpi=DPI)
    top = figure.get_figheight() - TOP_INCHES
    for i, height in enumerate(heights):
        top -= height
        _draw_row(figure, leading, maps, places[i // 2], (top, height, column), is_difference=i % 2 == 1)
    for j, one in enumerate(maps):
        figure.axes[j].set_title(one.arm.name, color=FOREGROUND, fontsize=10, pad=5)
    return ArmsPicture(_webp(figure), _about(report, maps, places))


def _draw_row(
    figure: Figure,
    leading: ArmMaps,
    maps: list[_Map],
    zoom: Zoom,
    inches: tuple[float, float, float],
    *,
    is_difference: bool,
) -> None:
    """An arm a column, the row's title and its scale; ``inches``: bottom and height of the row, width of a column."""
    bottom, height, column = inches
    for j, one in enumerate(maps):
        axes = _place(figure, LEFT_INCHES + column * j, bottom, column - GAP_INCHES, height - GAP_INCHES)
        _draw(axes, leading, one, zoom, is_difference=is_difference)
    wide, high = figure.get_size_inches()
    title = f"less {leading.name}" if is_difference else zoom.place
    figure.text(0.5 * LEFT_INCHES / wide, (bottom + height / 2) / high, title, rotation=90,
                color=FOREGROUND, fontsize=9, ha="center", va="center")  # fmt: skip
    scale = images.DIFFERENCE_PPM if is_difference else images.CHI_PPM
    _colour_bar(_place(figure, LEFT_INCHES + column * len(maps) + 0.02, bottom, 0.1, height - GAP_INCHES), scale)


def _maps(report: ParticipantReport) -> list[_Map]:
    leading = report.leading
    found = [(arm, *on_reference(arm, leading)) for arm in report.arms]
    # The mean is taken off inside the mask that all share, so that a shift of the zero is no difference.
    centred = iter(demeaned([volume for _, volume, _ in found if volume is not None]))
    alike = {arm.name: next(centred) for arm, volume, _ in found if volume is not None}
    own = alike.get(leading.name)
    return [
        _Map(arm, volume, None if own is None or arm.name not in alike else alike[arm.name] - own, how)
        for arm, volume, how in found
    ]


def _draw(axes: Axes, leading: ArmMaps, one: _Map, zoom: Zoom, *, is_difference: bool) -> None:
    is_outlined = is_difference and one.arm is leading
    volume = one.difference_ppm if is_difference and not is_outlined else one.chi_ppm
    if volume is None:
        axes.text(0.5, 0.5, "no map", transform=axes.transAxes, color=FOREGROUND, fontsize=8, ha="center")
        return
    scale = images.DIFFERENCE_PPM if is_difference and not is_outlined else images.CHI_PPM
    pixels = cut(volume, leading.grid, zoom.view, zoom.plane)
    width, height = pixel_size_mm(leading.grid, zoom.plane)
    extent = (0.0, pixels.shape[1] * width, pixels.shape[0] * height, 0.0)
    axes.imshow(images.to_bytes(pixels, scale), cmap=scale.colours, vmin=0, vmax=255, extent=extent,
                interpolation="bicubic", aspect="auto")  # fmt: skip
    if is_outlined and leading.labels is not None:
        labels = cut(leading.labels, leading.grid, zoom.view, zoom.plane)
        for nucleus, colour in COLOURS.items():
            for line in images.contours(labels, nucleus):
                axes.plot(line[:, 0] * width, line[:, 1] * height, color=colour, linewidth=1.3)
    if one.arm is leading and not is_difference:
        for place, mark, side in ((0.03, MARKS[PLANE][0], "left"), (0.97, MARKS[PLANE][1], "right")):
            axes.text(place, 0.5, mark, transform=axes.transAxes, color=FOREGROUND, fontsize=7, ha=side)


def _place(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes without marks at a place in inches."""
    wide, high = figure.get_size_inches()
    axes = figure.add_axes((left / wide, bottom / high, width / wide, height / high), facecolor="black")
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)
    return axes


def _colour_bar(axes: Axes, scale: Scale) -> None:
    axes.imshow(np.linspace(1, 0, 256)[:, None], cmap=scale.colours, aspect="auto", extent=(0, 1, 0, 1))
    for height, text, alignment in ((0.0, scale.ticks[0], "bottom"), (1.0, f"{scale.ticks[2]}\n{scale.unit}", "top")):
        axes.text(1.5, height, text, transform=axes.transAxes, color=FOREGROUND, fontsize=7, va=alignment)


def _height_over_width(leading: ArmMaps, zoom: Zoom) -> float:
    pixels, size_mm = cut(leading.mask, leading.grid, zoom.view, zoom.plane), pixel_size_mm(leading.grid, zoom.plane)
    return pixels.shape[0] * size_mm[1] / (pixels.shape[1] * size_mm[0])


def _about(report: ParticipantReport, maps: list[_Map], places: list[Zoom]) -> str:
    """What the picture shows, in sentences."""
    name, others = report.leading.name, [one for one in maps if one.arm is not report.leading]
    where = " and ".join(zoom.place.lower() for zoom in places)
    chi, change = images.CHI_PPM, images.DIFFERENCE_PPM
    told = [
        f"{report.participant}: susceptibility in axial planes through {where}, {chi.ticks[0]} to {chi.ticks[2]} "
        f"{chi.unit}, and below it the difference to {name}, {change.ticks[0]} to {change.ticks[2]} {change.unit}, "
        f"less the mean over the mask that all share; the participant's right is at the left"
    ]
    if report.leading.labels is not None and (report.leading.labels > 0).any():
        told.append(f"Under {name} are the outlines of the nuclei on its own map")
    moved = [one.arm.name for one in others if one.how == MOVED]
    still = [one.arm.name for one in others if one.how != MOVED and one.chi_ppm is not None]
    measured = any(one.arm.registration is not None and "resampled" in one.arm.registration.told for one in maps)
    why = "as for the values of the nuclei" if measured else "for this picture alone"
    told += [f"{_listed(moved)} moved rigidly onto {name}, {why}"] if moved else []
    told += [f"Not registered, so that motion of the head shows as a difference: {', '.join(still)}"] if still else []
    told += [f"{one.arm.name} is not shown: {one.how}" for one in others if one.chi_ppm is None]
    return ". ".join(told) + "."


def _listed(names: list[str]) -> str:
    return f"{names[0]} was" if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]} were"


def _webp(figure: Figure) -> bytes:
    FigureCanvasAgg(figure)
    stored = BytesIO()
    figure.savefig(stored, format="webp", facecolor=BACKGROUND, pil_kwargs={"quality": QUALITY, "method": 6})
    return stored.getvalue()
