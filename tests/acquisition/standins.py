"""Heads whose fields are known: spheres and ellipsoids of plain tissue, as any source of tissue maps."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from dlqsm.acquisition.head import Pose, TissueMaps
from dlqsm.acquisition.tissue import TISSUE_NUMBERS, TISSUES
from dlqsm.core.labels import label_table
from dlqsm.core.scan import Grid

AIR_PPM = TISSUES["air"].chi_ppb * 1e-3
LABEL_OF = {pair: number for number, pair in label_table().items()}


@dataclass(frozen=True)
class Sphere:
    centre_mm: tuple[float, float, float]
    radius_mm: float
    chi_ppm: float
    label: int = 0


def ball_head(
    *spheres: Sphere, brain_mm: tuple[float, float, float] = (62.0, 75.0, 55.0), scalp_mm: float = 10.0
) -> Callable[[Grid, Pose], TissueMaps]:
    """An ellipsoid of white matter in an ellipsoid of scalp, with spheres in it, in air."""

    def tissue(grid: Grid, pose: Pose) -> TissueMaps:
        x, y, z = head_positions(grid, pose)
        depth = [
            sum((p / (a + extra)) ** 2 for p, a in zip((x, y, z), brain_mm, strict=True)) for extra in (0, scalp_mm)
        ]
        brain, head = depth[0] <= 1, depth[1] <= 1
        chi = torch.where(head, 0.0, AIR_PPM)
        labels = torch.zeros(grid.shape, dtype=torch.uint8)
        for sphere in spheres:
            inside = sum((p - c) ** 2 for p, c in zip((x, y, z), sphere.centre_mm, strict=True)) <= sphere.radius_mm**2
            chi[inside] = sphere.chi_ppm
            labels[inside] = sphere.label
        number = TISSUE_NUMBERS["WM"]
        return TissueMaps(
            chi_ppm=chi,
            r2star_hz=torch.where(head, 20.0, 50.0),
            t1_s=torch.full(grid.shape, 0.86),
            proton_density=torch.where(chi == AIR_PPM, 0.0, 0.7),
            labels=labels,
            tissue_labels=torch.where(brain & (labels == 0), number, 0).to(torch.uint8),
            brain=brain,
        )

    return tissue


def head_positions(grid: Grid, pose: Pose) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Head mm of all voxels of a grid."""
    affine = torch.linalg.inv(torch.from_numpy(pose.matrix)) @ torch.from_numpy(grid.affine)
    i, j, k = (
        torch.arange(n, dtype=torch.float32).reshape([-1 if axis == own else 1 for axis in range(3)])
        for own, n in enumerate(grid.shape)
    )
    x, y, z = (float(row[0]) * i + float(row[1]) * j + float(row[2]) * k + float(row[3]) for row in affine[:3])
    return x, y, z
