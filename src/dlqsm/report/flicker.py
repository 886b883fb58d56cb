"""Planes of all arms at one place, to be alternated in the browser: what moves or changes between arms is what blinks.

Maps are shown on the reference arm's grid, as `report.aligned` brings them there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from dlqsm.report import images
from dlqsm.report.aligned import MOVED, demeaned, inside, on_reference
from dlqsm.report.images import Scale
from dlqsm.report.participant import ArmMaps, ParticipantReport
from dlqsm.report.places import has_labels, whole_view
from dlqsm.report.planes import MARKS, PLANES, View, cut, pixel_size_mm, spacing_across_mm, view_of

TRUTH: Final = "truth"
SLICES: Final = {"axial": 14, "coronal": 9, "sagittal": 7}
"""Largest number of slices of each plane."""
PIXELS: Final = {"axial": 300_000, "coronal": 100_000, "sagittal": 100_000}
"""Largest number of pixels of all slices of one map, which keeps the page small at any matrix."""
NUCLEI_MARGIN_MM: Final = 6.0
SHARE_WITHOUT_LABELS: Final = 0.3
"""Reach of the slices from the centre, as a share of the brain's, where no labels tell where to look."""
N_COLOURS: Final = 65
_AXIS: Final = {"sagittal": 0, "coronal": 1, "axial": 2}


@dataclass(frozen=True)
class Layer:
    """One map that can be chosen; ``how`` says how it came to the reference grid."""

    name: str
    how: str


@dataclass(frozen=True)
class FlickerPlane:
    """Slices of one plane, below each other in one image a layer.

    Parameters
    ----------
    plane
        Name of the plane.
    uris
        One image a layer.
    positions_mm
        RAS position of each slice along the axis across the plane [mm].
    start
        Slice shown first.
    width_mm, height_mm
        Size of one slice [mm].
    pixels
        Columns and rows of one slice.
    marks
        Letters at its left and right edge.
    """

    plane: str
    uris: tuple[str, ...]
    positions_mm: tuple[float, ...]
    start: int
    width_mm: float
    height_mm: float
    pixels: tuple[int, int]
    marks: tuple[str, str]


@dataclass(frozen=True)
class Flicker:
    """All that the viewer shows.

    ``missing`` names the arms that it cannot show; ``is_measured_resampled`` tells that values of nuclei come from
    resampled maps too, as in the paper.
    """

    layers: tuple[Layer, ...]
    planes: tuple[FlickerPlane, ...]
    scale: Scale
    difference: Scale
    colours: str
    missing: tuple[str, ...]
    is_measured_resampled: bool = False

    @property
    def is_aligned(self) -> bool:
        """Whether any map was moved onto the reference grid."""
        return any(layer.how == MOVED for layer in self.layers)


def flicker(report: ParticipantReport) -> Flicker | None:
    """Planes of every arm and of the truth on the reference arm's grid; None where fewer than two can be shown.

    All maps lose their mean inside the mask that they share, so that a shift of the reference does not blink.
    """
    leading = report.leading
    found = [(arm, *on_reference(arm, leading)) for arm in report.arms]
    drawn = [(Layer(arm.name, how), volume) for arm, volume, how in found if volume is not None]
    missing = tuple(f"{arm.name}: not shown ({how})" for arm, volume, how in found if volume is None)
    if leading.truth_chi_ppm is not None:
        drawn.append((Layer(TRUTH, f"of {leading.name}"), inside(leading.truth_chi_ppm, leading.mask)))
    if len(drawn) < 2:
        return None
    volumes = demeaned([volume for _, volume in drawn])
    view, reach = whole_view(report), _reach(report)
    planes = tuple(_plane(leading, volumes, plane, view, reach) for plane in PLANES)
    colours = "".join(images.hex_colour(images.DIVERGING(i / (N_COLOURS - 1)))[1:] for i in range(N_COLOURS))
    layers = tuple(layer for layer, _ in drawn)
    resampled = any(arm.registration is not None and "resampled" in arm.registration.told for arm in report.arms)
    return Flicker(layers, planes, images.CHI_PPM, images.DIFFERENCE_PPM, colours, missing, resampled)


def _reach(report: ParticipantReport) -> View:
    """The box that the slices are spread over: round the nuclei, else the middle of the brain."""
    arm, whole = report.leading, whole_view(report)
    if has_labels(arm) and arm.labels is not None:
        return view_of(arm.labels > 0, arm.grid, margin_mm=NUCLEI_MARGIN_MM, centre_mm=whole.centre_mm)
    before, after = ([SHARE_WITHOUT_LABELS * edge for edge in edges] for edges in (whole.before_mm, whole.after_mm))
    return View(whole.centre_mm, (before[0], before[1], before[2]), (after[0], after[1], after[2]))


def _plane(leading: ArmMaps, volumes: list[torch.Tensor], plane: str, view: View, reach: View) -> FlickerPlane:
    columns, rows = cut(leading.mask, leading.grid, view, plane).shape[::-1]
    axis, most = _AXIS[plane], max(1, min(SLICES[plane], PIXELS[plane] // (columns * rows)))
    offsets = _offsets(reach.before_mm[axis], reach.after_mm[axis], spacing_across_mm(leading.grid, plane), most)
    stacks = [np.concatenate([cut(v, leading.grid, view, plane, offset_mm=o) for o in offsets]) for v in volumes]
    width, height = pixel_size_mm(leading.grid, plane)
    return FlickerPlane(
        plane,
        tuple(images.png_uri(stack, images.CHI_PPM) for stack in stacks),
        tuple(view.centre_mm[axis] + offset for offset in offsets),
        int(np.argmin(np.abs(offsets))),
        columns * width,
        rows * height,
        (columns, rows),
        MARKS[plane],
    )


def _offsets(before_mm: float, after_mm: float, spacing_mm: float, most: int) -> list[float]:
    """Evenly spaced distances from the centre, whole numbers of planes, at most ``most``, the centre among them."""
    below, above = int(before_mm / spacing_mm), int(after_mm / spacing_mm)
    step = next(s for s in range(1, below + above + 2) if below // s + above // s + 1 <= most)
    return [spacing_mm * step * i for i in range(-(below // step), above // step + 1)]
