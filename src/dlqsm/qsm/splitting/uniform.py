"""A region whose susceptibility is to be uniform: the cerebrospinal fluid of the ventricles, as in MEDI+0."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dlqsm.core.checks import InputError, require_not_negative, require_shape
from dlqsm.qsm.box import Box

MEAN_SQUARED_DIPOLE = 4.0 / 45.0
"""Mean of D^2 over all directions: variance of a field over that of the isotropic susceptibilities that make it."""


@dataclass(frozen=True, slots=True)
class Uniform:
    """strength / 2 || M (chi - mean of chi over M) ||^2, on the padded box.

    Parameters
    ----------
    inside
        M, bool ``(x, y, z)``.
    strength
        Weight of the term, against 1 for a squared misfit of the field at the mean weight.
    mu
        Penalty of the split u = chi that `admm` solves it by.
    """

    inside: torch.Tensor
    strength: float
    mu: float = 0.0

    def deviation(self, values: torch.Tensor) -> torch.Tensor:
        """M (values - mean of values over M): what the term weighs, and its gradient over the strength."""
        part, inside = torch.zeros_like(values), values[self.inside]
        part[self.inside] = inside - inside.mean(dtype=torch.float64)
        return part

    def reflected(self, aim: torch.Tensor) -> torch.Tensor:
        """2 u - aim for the u that minimises the term + mu/2 || u - aim ||^2."""
        return aim - self.deviation(aim).mul_(2.0 * self.strength / (self.strength + self.mu))

    def flattened(self, values: torch.Tensor) -> torch.Tensor:
        """Values whose deviations are shrunk as the term shrinks those of a single voxel that the field tells of."""
        return values - self.deviation(values).mul_(self.strength / (self.strength + MEAN_SQUARED_DIPOLE))


def uniform_csf(
    csf_strength: float, csf_region: torch.Tensor | None, mask: torch.Tensor, box: Box, mu: float = 0.0
) -> Uniform | None:
    """The term in the box; None where its strength is zero.

    Raises
    ------
    InputError
        If the strength is negative, or above zero without a region that has voxels in the mask.
    """
    require_not_negative("csf_strength", [csf_strength])
    if csf_strength == 0.0:
        return None
    if csf_region is None:
        raise InputError(
            "csf_strength needs the region of the cerebrospinal fluid: from R2*, of two echoes or more, or from "
            "--csf FILE of dlqsm invert; leave csf_strength out where there is neither"
        )
    require_shape("csf_region", csf_region, mask.shape, "the mask")
    used = csf_region & mask
    if not bool(used.any()):
        raise InputError("csf_region has no voxel inside the mask; leave csf_strength out, or give another region")
    return Uniform(box.take(used), csf_strength, mu)
