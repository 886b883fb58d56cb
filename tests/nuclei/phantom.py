"""A brain of ellipsoids that an atlas can be made of, moved and scanned: small, so that registration takes seconds."""

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from dlqsm.core.atlas import Atlas
from dlqsm.core.labels import label_table
from dlqsm.core.scan import Affine, Grid
from dlqsm.nuclei.transforms import Linear, positions

BRAIN_MM = ((0.0, 0.0, 0.0), (33.0, 40.0, 31.0))
VENTRICLES = (((-6.0, 2.0, 6.0), (3.0, 14.0, 5.0)), ((6.0, 4.0, 6.0), (3.0, 12.0, 6.0)))
LOBE = ((12.0, -26.0, 10.0), (9.0, 6.0, 8.0))
"""On one side only: it tells left from right."""
CENTRES = {
    "Pu": (20.0, 2.0, -2.0), "Ca": (12.0, 14.0, 6.0), "GPe": (13.5, -1.0, -5.0), "GPi": (8.0, -3.0, -9.0),
    "RN": (5.0, -16.0, -12.0), "SNc": (10.0, -14.0, -14.0), "SNr": (13.0, -12.0, -18.0),
}  # fmt: skip
RADII = {"Pu": 5.0, "Ca": 4.5, "GPe": 3.2, "GPi": 2.6, "RN": 2.6, "SNc": 2.4, "SNr": 2.4}
CHI_PPM = {"Pu": 0.05, "Ca": 0.04, "GPe": 0.13, "GPi": 0.12, "RN": 0.1, "SNc": 0.09, "SNr": 0.12}


def motion(rotation_deg: tuple[float, float, float], shift_mm: tuple[float, float, float]) -> Affine:
    """Rigid 4 x 4 matrix."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(rotation_deg, degrees=True).as_matrix()
    matrix[:3, 3] = shift_mm
    return matrix


def tissue(points_mm: torch.Tensor) -> dict[str, torch.Tensor]:
    """T1 contrast, magnitude contrast, susceptibility, brain and label shares at points of the brain's space."""
    brain = _inside(points_mm, *BRAIN_MM)
    t1w, magnitude, chi = brain.clone(), 0.8 * brain, torch.zeros_like(brain)
    x, y, z = points_mm.unbind(-1)
    folds = 0.12 * torch.sin(0.35 * x + 0.1 * y) * torch.cos(0.3 * y - 0.2 * z) * brain
    t1w, magnitude = t1w + folds, magnitude - 0.6 * folds
    for shape in (*VENTRICLES, LOBE):
        share = _inside(points_mm, *shape)
        t1w, magnitude = t1w - 0.7 * share, magnitude + 0.3 * share
    shares = []
    for roi, side in label_table().values():
        cx, cy, cz = CENTRES[roi]
        centre = (-cx if side == "left" else cx, cy, cz)
        share = _inside(points_mm, centre, (RADII[roi],) * 3)
        t1w, magnitude = t1w - 0.3 * share, magnitude - 0.15 * share
        chi = chi + CHI_PPM[roi] * share
        shares.append(share)
    return {"t1w": t1w, "magnitude": magnitude, "chi": chi, "brain": brain > 0.5, "shares": torch.stack(shares)}


def scanned(grid: Grid, to_brain: Affine, seed: int = 0) -> dict[str, torch.Tensor]:
    """Tissue averaged over the voxels of a grid; ``to_brain`` takes scanner to brain positions."""
    offsets = [(0.25, -0.25, -0.25), (-0.25, 0.25, 0.25)]
    parts = [tissue(Linear(to_brain).move(positions(grid, offset))) for offset in offsets]
    found = {name: torch.stack([part[name].float() for part in parts]).mean(0) for name in parts[0]}
    generator = torch.Generator().manual_seed(seed)
    for name, sd in (("t1w", 0.01), ("magnitude", 0.01), ("chi", 0.003)):
        found[name] = found[name] + sd * torch.randn(grid.shape, generator=generator)
    return found | {"brain": found["brain"] > 0.5}


def phantom_atlas() -> Atlas:
    """The phantom as an atlas at 1 mm."""
    grid = Grid((75, 89, 71), (1.0, 1.0, 1.0), origin_mm=(-37.0, -44.0, -35.0))
    made = scanned(grid, np.eye(4))
    return Atlas(
        "phantom", made["t1w"].clamp_min(0.0), True, made["shares"], label_table(), grid, made["brain"], made["chi"]
    )


def _inside(points_mm: torch.Tensor, centre: tuple[float, ...], radii: tuple[float, ...]) -> torch.Tensor:
    """Share inside an ellipsoid, its edge half a millimetre soft."""
    r = ((points_mm - torch.tensor(centre)) / torch.tensor(radii)).norm(dim=-1)
    return (0.5 + (1.0 - r) * min(radii)).clamp(0.0, 1.0)
