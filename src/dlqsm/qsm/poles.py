"""Poles of the phase: loops of four voxels round which it turns by 2 pi, which no unwrapping can mend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch

from dlqsm.core.units import TWO_PI

PLANES: Final = {"xy": (0, 1), "xz": (0, 2), "yz": (1, 2)}
"""Slices of the array that loops lie in, by the axes of the loop."""


@dataclass(frozen=True, slots=True)
class PoleMap:
    """Where the phase of each echo has poles.

    Parameters
    ----------
    loops
        Bit 0, 1, 2 set where the loop in xy, xz, yz whose lowest corner is the voxel holds a pole, uint8
        ``(echo, x, y, z)``.
    """

    loops: torch.Tensor

    def counts(self, mask: torch.Tensor) -> dict[str, Any]:
        """Poles of each echo by plane, of loops whose four corners lie in the mask, and the number of such loops."""
        mask = mask.to(self.loops.device)
        inside = {plane: _loops_inside(mask, axes) for plane, axes in PLANES.items()}
        found = {
            plane: [int(((echo >> bit) & 1)[inside[plane]].sum()) for echo in self.loops]
            for bit, plane in enumerate(PLANES)
        }
        total = [sum(of_echo) for of_echo in zip(*found.values(), strict=True)]
        return {"n_poles": total, **found, "n_loops": sum(int(i.sum()) for i in inside.values())}


def poles_of_echoes(phase_rad: torch.Tensor) -> PoleMap:
    """Find the poles of echo images ``(echo, x, y, z)``; their phase [rad] may be wrapped or not.

    The wrapped differences round a loop of four neighbours add up to a multiple of 2 pi, which is zero for any smooth
    phase. Each difference d is wrapped by round(d / 2 pi) turns, so that the sum is that of these turns.

    References
    ----------
    Nye and Berry, Proc R Soc Lond A 336:165-190 (1974); Goldstein et al., Radio Sci 23:713-720 (1988).
    """
    loops = torch.zeros(phase_rad.shape, dtype=torch.uint8, device=phase_rad.device)
    for echo, volume in zip(loops, phase_rad, strict=True):
        turns = [torch.round(torch.diff(volume, dim=axis) / TWO_PI).to(torch.int8) for axis in range(3)]
        for bit, (a, b) in enumerate(PLANES.values()):
            residue = torch.diff(turns[a], dim=b) - torch.diff(turns[b], dim=a)
            part = tuple(slice(0, n) for n in residue.shape)
            echo[part] |= (residue != 0).to(torch.uint8) << bit
    return PoleMap(loops)


def _loops_inside(mask: torch.Tensor, axes: tuple[int, int]) -> torch.Tensor:
    """Voxels whose loop along two axes lies in the mask."""
    whole = mask.clone()
    for axis in axes:
        ahead = torch.zeros_like(whole)
        n = whole.shape[axis]
        ahead.narrow(axis, 0, n - 1).copy_(whole.narrow(axis, 1, n - 1))
        whole = whole & ahead
    return whole
