"""Whether a field is that of sources along the B0 axis that is told, by what decays fast."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
import torch

from dlqsm.core.scan import Scan, Vector
from dlqsm.qsm.box import PADDING_MM, Box
from dlqsm.qsm.inversion.direct import tkd
from dlqsm.qsm.sign import sign_evidence

AXES: Final[tuple[Vector, ...]] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


def axis_misfit(local_field_ppm: torch.Tensor, r2star_hz: torch.Tensor, mask: torch.Tensor, scan: Scan) -> float | None:
    """Tell by how much another axis of the array explains the field better than the B0 direction that is told.

    Iron makes tissue decay fast and is paramagnetic. The field is inverted by `tkd` for the direction that is told and
    for the two array axes that are not near it, and each map has a score of `sign_evidence`; the result is the better
    score of the two other axes less the larger of the remaining two. It is well above zero only where another axis is
    right, far below where the one that is told is right, and near zero where the field has the opposite sign.

    Parameters
    ----------
    local_field_ppm
        Field of the sources inside the mask, any unit, ``(x, y, z)``.
    r2star_hz
        Relaxation rate [1/s], ``(x, y, z)``.
    mask
        Voxels in which the field is valid, bool.
    scan
        Geometry, field strength and B0 direction.

    Returns
    -------
    The difference of scores; None where no place of fast decay is in the mask.
    """
    box = Box.around(mask, scan.grid, PADDING_MM)
    field = box.take(torch.where(mask, local_field_ppm, 0.0))
    rate, inside, there = box.take(r2star_hz), box.take(mask), replace(scan, grid=box.wide)

    def score(axis: Vector) -> float:
        along = replace(there, b0_direction=axis)
        return sign_evidence(tkd(field, inside, along)[0], rate, inside, along).score

    nearest = int(np.abs(scan.b0_direction).argmax())
    second, best = sorted(score(axis) for n, axis in enumerate(AXES) if n != nearest)
    told = score(scan.b0_direction)
    return best - max(told, second) if any((told, best, second)) else None
