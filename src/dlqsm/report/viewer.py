"""Maps of all arms for the page's viewer: three planes through one place, two maps to be alternated.

What moves or changes between arms is what blinks. Susceptibility is shown on the reference arm's grid, as
`report.aligned` brings it there, where it can be; everything else as acquired, at the same position in scanner space.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch

from dlqsm.core.labels import FULL_NAMES, NUCLEI, label_table
from dlqsm.core.scan import Grid
from dlqsm.report import images
from dlqsm.report.aligned import MOVED, REFERENCE, demeaned, inside, on_reference
from dlqsm.report.images import Scale
from dlqsm.report.packing import LEVELS, Grey, Packed, pack, to_grey
from dlqsm.report.panels import quantity_scale, shown
from dlqsm.report.participant import ArmMaps, ParticipantReport
from dlqsm.report.places import brain_view, has_labels
from dlqsm.report.planes import MARKS, PLANES, View, box, box_affine

TRUTH: Final = "truth"
OWN_GRID: Final = "as acquired, on its own grid, not registered"
AS_ACQUIRED: Final = "as acquired"
N_COLOURS: Final = 65
CHI_RANGE_PPM: Final = Scale(-0.2, 0.3, "ppm")
LOCAL_FIELD_RANGE_HZ: Final = Scale(-12.0, 12.0, "Hz")
MAGNITUDE_RANGE, MAGNITUDE_WINDOW = Scale(0.0, 150.0, "%"), Scale(0.0, 100.0, "%")
"""In percent of the end of its window elsewhere on the page, since its own unit says nothing."""
CHI_LOSSLESS_BYTES, LOSSLESS_BYTES, LOSSY_BYTES = 800_000, 40_000, 120_000
"""Of one map: susceptibility, whose values are told, loses nothing up to a size that matrices of patients reach."""
FIRST: Final = ("GPe", "GPi", "Pu", "Ca", "RN", "SNr", "SNc")
"""Nuclei to look at first: round the globus pallidus most others are seen too."""
_AXES: Final = {"axial": (0, 1, 2), "coronal": (0, 2, 1), "sagittal": (1, 2, 0)}
"""Of column, row and slice: which run across a plane, down it, and from plane to plane."""


@dataclass(frozen=True)
class Layer:
    """One map that can be chosen.

    Parameters
    ----------
    name
        Arm, or `TRUTH`.
    how
        How it came to where it is shown.
    packed
        The volume as an image.
    labels
        Which of the viewer's label volumes outlines its nuclei; None where none does.
    is_comparable
        Whether it lies on the leading arm's grid, voxel on voxel.
    """

    name: str
    how: str
    packed: Packed
    labels: int | None
    is_comparable: bool


@dataclass(frozen=True)
class Quantity:
    """What can be looked at: its layers, the range kept, the window shown first, and how values are told."""

    key: str
    title: str
    range: Scale
    window: Scale
    layers: tuple[Layer, ...]
    unit: str
    factor: float
    decimals: int
    is_signed: bool

    @property
    def step(self) -> float:
        """Distance of neighbouring grey values, as values are told."""
        return self.factor * (self.range.high - self.range.low) / LEVELS

    @property
    def error(self) -> float:
        """Largest root mean square of what packing changed, as values are told."""
        return self.step * max(layer.packed.error for layer in self.layers)


@dataclass(frozen=True)
class Plane:
    """One plane: which of column, row and slice run across, down and through it; its size and edge letters."""

    name: str
    axes: tuple[int, int, int]
    pixels: tuple[int, int]
    width_mm: float
    height_mm: float
    marks: tuple[str, str]


@dataclass(frozen=True)
class Viewer:
    """All that the viewer shows; ``box`` is what its script needs to know of the place in scanner space."""

    quantities: tuple[Quantity, ...]
    planes: tuple[Plane, ...]
    labels: tuple[Packed, ...]
    box: Mapping[str, Any]
    difference: Scale
    colours: str
    missing: tuple[str, ...]
    is_measured_resampled: bool

    @property
    def names(self) -> tuple[str, ...]:
        """Every layer that any quantity has, in the order of the arms."""
        return tuple(dict.fromkeys(layer.name for quantity in self.quantities for layer in quantity.layers))

    @property
    def is_aligned(self) -> bool:
        """Whether any map was moved onto the leading arm's grid."""
        return any(layer.how == MOVED for quantity in self.quantities for layer in quantity.layers)


def linked_viewer(report: ParticipantReport) -> Viewer | None:
    """Susceptibility, magnitude and local field of every arm; None where no arm has any of them."""
    leading, view = report.leading, brain_view(report)
    outlined = [arm for arm in report.arms if has_labels(arm)]
    places = {arm.name: i for i, arm in enumerate(outlined)}
    found = [
        _susceptibility(report, view, places),
        _magnitude(report, view, places),
        _local_field(report, view, places),
    ]
    quantities = tuple(quantity for quantity in found if quantity.layers)
    if not quantities:
        return None
    affine = box_affine(leading.grid, view)
    shape = _shape(leading.grid, view)
    colours = "".join(images.hex_colour(images.DIVERGING(i / (N_COLOURS - 1)))[1:] for i in range(N_COLOURS))
    missing = tuple(f"{arm.name}: not shown (no susceptibility)" for arm in report.arms if arm.chi_ppm is None)
    resampled = any(arm.registration is not None and "resampled" in arm.registration.told for arm in report.arms)
    numbers = [[NUCLEI.index(name), f"{FULL_NAMES[name]}, {side}"] for name, side in label_table().values()]
    content = {"shape": shape, "affine": affine[:3].round(5).tolist(), "start": _start(leading, view, shape)}
    return Viewer(
        quantities,
        tuple(_plane(name, leading.grid, view, shape) for name in PLANES),
        tuple(pack(_label_grey(arm, view)) for arm in outlined),
        {**content, "labels": numbers, "levels": LEVELS},
        images.DIFFERENCE_PPM,
        colours,
        missing,
        resampled,
    )


def _susceptibility(report: ParticipantReport, view: View, labels: Mapping[str, int]) -> Quantity:
    """Maps on the leading arm's grid less their mean in the mask that they share, so that no shift blinks; others."""
    leading = report.leading
    found = [(arm, *on_reference(arm, leading)) for arm in report.arms]
    drawn = [(arm.name, how, volume, _outline(arm, how, leading, labels)) for arm, volume, how in found]
    if leading.truth_chi_ppm is not None:
        truth = inside(leading.truth_chi_ppm, leading.mask)
        drawn.append((TRUTH, f"of {leading.name}", truth, labels.get(leading.name)))
    alike = iter(demeaned([volume for _, _, volume, _ in drawn if volume is not None]))
    layers, arms = [], {arm.name: arm for arm in report.arms}
    for name, how, volume, outline in drawn:
        if volume is not None:
            layers.append(_layer(name, how, next(alike), leading.grid, view, CHI_RANGE_PPM, outline, comparable=True))
        elif (own := shown(arms[name], "chi_ppm")) is not None:
            grid, place = arms[name].grid, labels.get(name)
            layers.append(_layer(name, OWN_GRID, own, grid, view, CHI_RANGE_PPM, place, comparable=False))
    return Quantity(
        "chi_ppm", "Susceptibility", CHI_RANGE_PPM, images.CHI_PPM, tuple(layers), "ppb", 1e3, 0, is_signed=True
    )


def _outline(arm: ArmMaps, how: str, leading: ArmMaps, labels: Mapping[str, int]) -> int | None:
    return labels.get(leading.name if how in (MOVED, REFERENCE) else arm.name)


def _magnitude(report: ParticipantReport, view: View, labels: Mapping[str, int]) -> Quantity:
    end = quantity_scale(report, "magnitude").high
    volumes = [(arm, None if arm.magnitude is None else 100.0 * arm.magnitude / end) for arm in report.arms]
    layers = _as_acquired(volumes, view, labels, MAGNITUDE_RANGE)
    return Quantity(
        "magnitude", "Magnitude", MAGNITUDE_RANGE, MAGNITUDE_WINDOW, layers, "%", 1.0, 0, is_signed=False
    )  # fmt: skip


def _local_field(report: ParticipantReport, view: View, labels: Mapping[str, int]) -> Quantity:
    volumes = [(arm, shown(arm, "local_field_hz")) for arm in report.arms]
    layers = _as_acquired(volumes, view, labels, LOCAL_FIELD_RANGE_HZ)
    return Quantity(
        "local_field_hz", "Local field", LOCAL_FIELD_RANGE_HZ, images.LOCAL_FIELD_HZ, layers, "Hz", 1.0, 1,
        is_signed=True,
    )  # fmt: skip


def _as_acquired(
    volumes: list[tuple[ArmMaps, torch.Tensor | None]], view: View, labels: Mapping[str, int], kept: Scale
) -> tuple[Layer, ...]:
    """Maps of each arm on its own grid."""
    return tuple(
        _layer(arm.name, AS_ACQUIRED, volume, arm.grid, view, kept, labels.get(arm.name), comparable=False)
        for arm, volume in volumes
        if volume is not None
    )


def _layer(
    name: str,
    how: str,
    volume: torch.Tensor,
    grid: Grid,
    view: View,
    kept: Scale,
    labels: int | None,
    *,
    comparable: bool,
) -> Layer:
    lossless = CHI_LOSSLESS_BYTES if kept is CHI_RANGE_PPM else LOSSLESS_BYTES
    grey = to_grey(box(volume, grid, view), kept)
    return Layer(name, how, pack(grey, lossless_bytes=lossless, lossy_bytes=LOSSY_BYTES), labels, comparable)


def _label_grey(arm: ArmMaps, view: View) -> Grey:
    """Label numbers as grey, which must not lose a bit."""
    assert arm.labels is not None
    found: Grey = torch.nan_to_num(torch.from_numpy(box(arm.labels, arm.grid, view).copy())).to(torch.uint8).numpy()
    return found


def _start(arm: ArmMaps, view: View, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Column, row and slice looked at first: in the middle of a nucleus on the left, so that all planes show some."""
    if not has_labels(arm):
        return shape[0] // 2, shape[1] // 2, shape[2] // 2
    grey = torch.from_numpy(_label_grey(arm, view))
    numbers = [number for nucleus in FIRST for number, pair in label_table().items() if pair == (nucleus, "left")]
    present = next((number for number in numbers if bool((grey == number).any())), None)
    inside_voxels = torch.nonzero(grey > 0 if present is None else grey == present).float()
    nearest = int((inside_voxels - inside_voxels.mean(0)).square().sum(1).argmin())
    k, row, column = (int(v) for v in inside_voxels[nearest])
    return column, row, k


def _shape(grid: Grid, view: View) -> tuple[int, int, int]:
    n_slices, n_rows, n_columns = box(torch.zeros(grid.shape), grid, view).shape
    return n_columns, n_rows, n_slices


def _plane(name: str, grid: Grid, view: View, shape: tuple[int, int, int]) -> Plane:
    affine = box_affine(grid, view)
    size_mm = [float(math.hypot(*affine[:3, i])) for i in range(3)]
    across, down, _ = axes = _AXES[name]
    pixels = shape[across], shape[down]
    return Plane(name, axes, pixels, pixels[0] * size_mm[across], pixels[1] * size_mm[down], MARKS[name])
