"""Whether a local field is that of sources along the B0 axis that is told, seen where sources make no field."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch

from dlqsm.core.dipole import dipole_kernel
from dlqsm.core.fourier import rfft3, wavenumbers
from dlqsm.core.scan import Scan, Vector
from dlqsm.qsm.box import Box
from dlqsm.qsm.inversion.streaks import CONE, NEIGHBOURS, PADDING_MM

AXES: Final[tuple[Vector, ...]] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
WAVES_MM: Final = (16.0, 80.0)
"""Wavelengths that are looked at: above those of noise and single veins, below those of the mask."""
LEAST_VOLUME_ML: Final = 100.0
"""Smaller masks blur the cones into each other."""


def axis_misfit(local_field: torch.Tensor, mask: torch.Tensor, scan: Scan) -> float | None:
    """Tell how full of field the cone about B0 is, over how full the emptier of the cones about the other axes is.

    Sources magnetised along B0 make no field where |D| is near zero: a double cone about B0. A measured field is nearly
    empty there, and not in the cones about other axes: well below 1 where the axis is right, above 1 where one of the
    others is. Each cone's power is taken relative to that of its neighbours, summed over `WAVES_MM`.

    Parameters
    ----------
    local_field
        Field of the sources inside the mask, any unit, ``(x, y, z)``.
    mask
        Voxels in which it is valid, bool.
    scan
        Geometry and B0 direction.

    Returns
    -------
    The ratio; None where the mask is too small to tell, or the field is constant.
    """
    if int(mask.sum()) * scan.grid.voxel_volume_mm3 < 1e3 * LEAST_VOLUME_ML:
        return None
    box = Box.around(mask, scan.grid, PADDING_MM)
    mean = local_field[mask].mean(dtype=torch.float64)
    power = rfft3(box.take(torch.where(mask, local_field - mean, 0.0))).abs().square().double()
    kx, ky, kz = wavenumbers(box.wide, local_field)
    k = (kx**2 + ky**2 + kz**2).sqrt()
    band = (k > 1.0 / WAVES_MM[1]) & (k < 1.0 / WAVES_MM[0])

    def fullness(axis: Vector) -> float:
        kernel = dipole_kernel(box.wide, axis, local_field).abs()
        cone, beside = band & (kernel < CONE), band & (kernel > NEIGHBOURS[0]) & (kernel < NEIGHBOURS[1])
        known = bool(cone.any()) and float(power[beside].sum()) > 0.0
        return float(power[cone].mean() / power[beside].mean()) if known else float("nan")

    nearest = int(np.abs(scan.b0_direction).argmax())
    others = min(fullness(axis) for n, axis in enumerate(AXES) if n != nearest)
    ratio = fullness(scan.b0_direction) / others if others > 0.0 else float("nan")
    return ratio if np.isfinite(ratio) else None
