"""Susceptibility of all arms on the reference arm's grid, for displays that set one arm beside or over another.

Maps lie there as acquired where their grid is the reference's, else as the rigid registration moved them. Displays
alone are resampled; values of nuclei are measured on each arm's own grid unless asked otherwise.
"""

from __future__ import annotations

from typing import Final

import torch

from dlqsm.report.participant import ArmMaps

MOVED: Final = "moved rigidly onto the reference"
AS_ACQUIRED: Final = "as acquired, not registered"
REFERENCE: Final = "as acquired"


def on_reference(arm: ArmMaps, leading: ArmMaps) -> tuple[torch.Tensor | None, str]:
    """Susceptibility of an arm on the leading arm's grid, NaN outside; and how it came there or why it did not."""
    if arm.chi_ppm is None:
        return None, "no susceptibility"
    if arm is leading:
        return inside(arm.chi_ppm, arm.mask), REFERENCE
    if arm.aligned_chi_ppm is not None:
        valid = leading.mask if leading.common_mask is None else leading.common_mask
        return inside(arm.aligned_chi_ppm, valid & (arm.aligned_chi_ppm != 0)), MOVED
    if arm.grid == leading.grid:
        return inside(arm.chi_ppm, arm.mask), AS_ACQUIRED
    return None, f"another grid than {leading.name}, and not registered"


def inside(volume: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The volume inside a mask, NaN outside."""
    return torch.where(mask, volume, torch.full_like(volume, torch.nan))


def demeaned(volumes: list[torch.Tensor]) -> list[torch.Tensor]:
    """Each volume less its mean over the voxels that all share, so that a shift of the reference is not seen."""
    if not volumes:
        return []
    shared = torch.isfinite(torch.stack(volumes)).all(dim=0)
    return [volume - volume[shared].mean() for volume in volumes] if bool(shared.any()) else volumes
