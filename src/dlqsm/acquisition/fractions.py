"""Fractions of grey matter, white matter and CSF in one brain, from the template's means over many."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from dlqsm.acquisition.nuclei_shapes import BRAINSTEM, LATERAL_VENTRICLE, Structure
from dlqsm.core.anatomy import Anatomy
from dlqsm.core.scan import Grid

Fraction = NDArray[np.float32]

SHARPENING: Final = 2.5
"""Power that turns the template's mean over many brains into the crisper borders of one."""
RIM_MM: Final = 4.0
"""Width round the lateral ventricles where the template takes the mixture of CSF and white matter for grey."""


def corrected_fractions(anatomy: Anatomy) -> tuple[Fraction, Fraction]:
    """Grey and white matter without the template's two faults: grey ventricle walls and a grey brainstem.

    The classification behind the template knows intensity only: what is half CSF and half white matter looks grey,
    and so do the crossing fibres of pons and midbrain.
    """
    gm, wm = anatomy.gm.copy(), anatomy.wm.copy()
    for structure in (LATERAL_VENTRICLE, BRAINSTEM):
        for side in structure.sides:
            box, level = _level_on(anatomy.grid, structure, side)
            if structure is LATERAL_VENTRICLE:
                moved = gm[box] * np.clip((level + RIM_MM) / 1.5, 0.0, 1.0)
                gm[box] -= moved
                wm[box] += 0.5 * moved
            else:
                moved = gm[box] * np.clip(0.5 + level, 0.0, 1.0)
                gm[box] -= moved
                wm[box] += moved
    return gm, wm


def sharpened_fractions(fractions: torch.Tensor) -> torch.Tensor:
    """Fractions of grey matter, white matter and CSF: p_i^n / sum p_j^n with n = `SHARPENING`."""
    grey, white = fractions[0].clamp(0.0, 1.0), fractions[1].clamp(0.0, 1.0)
    powers = torch.stack([grey, white, (1.0 - grey - white).clamp(0.0, 1.0)]) ** SHARPENING
    return powers / powers.sum(0)


def _level_on(grid: Grid, structure: Structure, side: float) -> tuple[tuple[slice, slice, slice], Fraction]:
    """Levels of a structure on the part of an axis-parallel grid that its box and rim take."""
    lower, upper = structure.box(side)
    slices, axes = [], []
    for a, b, n, edge, start in zip(lower, upper, grid.shape, grid.voxel_size_mm, grid.origin_mm, strict=True):
        first, last = max(int((a - RIM_MM - start) / edge), 0), min(int((b + RIM_MM - start) / edge) + 2, n)
        slices.append(slice(first, last))
        axes.append(torch.arange(first, last, dtype=torch.float32) * edge + start)
    position = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    level: Fraction = structure.level(position, side).numpy()
    return (slices[0], slices[1], slices[2]), level
