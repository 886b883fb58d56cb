"""A sphere under an oblique field, and every inversion with options that make it quick."""

import torch

from dlqsm.core.dipole import susceptibility_to_field
from dlqsm.core.scan import Grid, Scan
from dlqsm.qsm.inversion import INVERSIONS

GRID = Grid((36, 33, 24), (1.0, 1.0, 1.5))
OBLIQUE = (0.3, 0.2, (1 - 0.3**2 - 0.2**2) ** 0.5)
SCAN = Scan(GRID, field_strength_t=3.0, b0_direction=OBLIQUE)
QUICK = {
    "l1": {"padding_mm": 10.0},
    "tv": {"padding_mm": 10.0},
    "fansi": {"padding_mm": 10.0},
    "medi": {"padding_mm": 6.0},
    "tgv": {"padding_mm": 10.0, "tolerance": 5e-3},
    "ilsqr": {},
    "tkd": {},
    "tikhonov": {},
}


def distance(centre, grid=GRID):
    axes = [torch.arange(n, dtype=torch.float64) - (n - 1) / 2 for n in grid.shape]
    mesh = torch.meshgrid(*[a * v for a, v in zip(axes, grid.voxel_size_mm, strict=True)], indexing="ij")
    return sum((x - c) ** 2 for x, c in zip(mesh, centre, strict=True)).sqrt()


MASK = distance((0, 0, 0)) < 15.0
SPHERE = distance((1.0, -2.0, 0.5)) < 5.0
CHI = torch.where(SPHERE, 0.1, 0.0).double()
FIELD = susceptibility_to_field(CHI, GRID, OBLIQUE)
MAGNITUDE = 1.0 + 0.3 * SPHERE.double()
RIM = MASK & (distance((1.0, -2.0, 0.5)) > 8.0)


def noisy(generator, sd_ppm=1e-3):
    return FIELD + sd_ppm * torch.randn(GRID.shape, dtype=torch.float64, generator=generator)


def contrast(chi, sphere=SPHERE, rim=RIM):
    return float(chi[sphere].mean() - chi[rim].mean()) / 0.1


def invert(name, field, mask=MASK, scan=SCAN, noise=None, magnitude=None, **options):
    return INVERSIONS[name](field, mask, scan, noise, magnitude, **{**QUICK[name], **options})


def relative(a, b):
    return float((a - b).norm() / b.norm())
