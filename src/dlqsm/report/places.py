"""Where to look: the boxes round the basal ganglia and the midbrain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch

from dlqsm.core.labels import label_table
from dlqsm.core.scan import Vector
from dlqsm.report.participant import ArmMaps, ParticipantReport
from dlqsm.report.planes import View, across_axis, centroid_mm, position_mm, squared, view_of

MARGIN_MM = 4.0
ZOOM_MARGIN_MM = 9.0
ZOOMS: Final = (
    ("Basal ganglia", "axial", ("Pu", "Ca", "GPe", "GPi")),
    ("Basal ganglia", "coronal", ("Pu", "Ca", "GPe", "GPi")),
    ("Midbrain", "axial", ("RN", "SNc", "SNr")),
)


@dataclass(frozen=True)
class Zoom:
    """A place, the plane it is shown in and the box to show."""

    place: str
    plane: str
    view: View


def numbers_of(*nuclei: str) -> list[int]:
    """Label numbers of nuclei, both sides."""
    return [number for number, (name, _) in label_table().items() if name in nuclei]


def has_labels(arm: ArmMaps) -> bool:
    """Whether the arm has a label volume that marks anything."""
    return arm.labels is not None and bool((arm.labels > 0).any())


def brain_view(report: ParticipantReport) -> View:
    """The box round the leading arm's mask, through the centroid of its nuclei, else of its mask."""
    arm = report.leading
    region = arm.labels > 0 if has_labels(arm) and arm.labels is not None else arm.mask
    return view_of(arm.mask, arm.grid, margin_mm=MARGIN_MM, centre_mm=centroid_mm(region, arm.grid))


def whole_view(report: ParticipantReport) -> View:
    """The same box, as wide as it is deep: planes side by side then have one scale."""
    return squared(brain_view(report))


def zooms(report: ParticipantReport) -> list[Zoom]:
    """The close views of the leading arm's nuclei; none without labels."""
    arm = report.leading
    if not has_labels(arm) or arm.labels is None:
        return []
    found = []
    for place, plane, nuclei in ZOOMS:
        region = torch.isin(arm.labels, torch.tensor(numbers_of(*nuclei), device=arm.labels.device))
        if bool(region.any()):
            centre = _through_most(arm, arm.labels, region, nuclei, plane)
            found.append(Zoom(place, plane, view_of(region, arm.grid, margin_mm=ZOOM_MARGIN_MM, centre_mm=centre)))
    return found


def _through_most(
    arm: ArmMaps, labels: torch.Tensor, region: torch.Tensor, nuclei: tuple[str, ...], plane: str
) -> Vector:
    """The region's centroid, moved across the plane to where most nuclei (then most of their voxels) are cut."""
    axis = across_axis(arm.grid, plane)
    n_voxels = region.movedim(axis, 0).flatten(1).sum(dim=1)
    n_nuclei = torch.zeros_like(n_voxels)
    for nucleus in nuclei:
        one = torch.isin(labels, torch.tensor(numbers_of(nucleus), device=labels.device))
        n_nuclei += one.movedim(axis, 0).flatten(1).any(dim=1)
    best = int(torch.argmax(n_nuclei * (int(n_voxels.max()) + 1) + n_voxels))
    return position_mm(arm.grid, centroid_mm(region, arm.grid), axis, best)
