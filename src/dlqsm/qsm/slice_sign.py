"""Slices of alternating sign, as GE stores complex images: found by comparing neighbouring slices, and taken out."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Final

import torch

CERTAIN: Final = 0.5
"""Coherence beyond which the sign of a neighbouring slice is certain: phase that turns by 60 degrees a slice has 0.5.

Nine virtual heads have 0.91 to 0.95 in the first echo, and as much below zero with alternating slices.
"""


@dataclass(frozen=True, slots=True)
class SliceSign:
    """How the phase goes on from slice to slice, along the third axis of the array, in the first echo.

    Parameters
    ----------
    neighbour, next_but_one
        Re sum conj(S_z) S_(z+k) / sum |S_z| |S_(z+k)| for k = 1 and 2, in [-1, 1]; 0 where there are no such slices.
    """

    neighbour: float
    next_but_one: float

    @property
    def alternates(self) -> bool:
        """Whether each second slice certainly has the opposite sign: neighbours disagree, next ones but one agree."""
        return self.neighbour < -CERTAIN and self.next_but_one > CERTAIN

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers for a JSON file."""
        return {**asdict(self), "alternates": self.alternates}

    def words(self, vendor: str) -> str | None:
        """What was decided, with the vendor that the header names; None where there is nothing to say."""
        told = f"(coherence of neighbours {self.neighbour:.2f}, of next ones but one {self.next_but_one:.2f})"
        if self.alternates:
            usual = "as GE stores it" if vendor == "GE" else f"though the header names {vendor or 'no vendor'}, not GE"
            return f"alternates from slice to slice, {usual}; turned back in each second slice {told}"
        if vendor == "GE":
            sure = "does not alternate" if self.neighbour > CERTAIN else "may alternate: unclear, left as stored"
            return f"{sure} {told}"
        return None


def slice_sign(magnitude: torch.Tensor, phase_rad: torch.Tensor) -> SliceSign:
    """Compare the slices of one echo, ``(..., x, y, z)``; magnitudes weigh, and leading axes are summed over."""
    return SliceSign(*(_coherence(magnitude, phase_rad, step) for step in (1, 2)))


def without_alternation(phase_rad: torch.Tensor) -> torch.Tensor:
    """Turn each second slice by half a turn; the phase [rad] comes back in [-pi, pi]."""
    turned = phase_rad.clone()
    second = turned[..., 1::2]
    second += torch.where(second > 0, -math.pi, math.pi)
    return turned


def _coherence(magnitude: torch.Tensor, phase_rad: torch.Tensor, step: int) -> float:
    weight = magnitude[..., step:] * magnitude[..., :-step]
    total = float(weight.double().sum())
    product = weight * torch.cos(phase_rad[..., step:] - phase_rad[..., :-step])
    return float(product.double().sum()) / total if total > 0 else 0.0
