"""Exact phase unwrapping by seed-prioritised region growing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from dlqsm.core.checks import require_finite_inside, require_mask, require_not_negative, require_share
from dlqsm.core.fourier import bounding_box
from dlqsm.core.methods import Unwrap
from dlqsm.core.scan import Scan
from dlqsm.core.units import TWO_PI
from dlqsm.qsm import unwrap_kernels as kernels
from dlqsm.qsm.unwrap_laplacian import laplacian
from dlqsm.qsm.unwrap_merge import Array, Growth, merge_regions

STAGES: Final = (40, 80, 120, 180, 255)
"""Highest edge cost (of 255) of each stage: all reliable tissue is closed before any noisy voxel is allowed."""


@dataclass(frozen=True, slots=True)
class UnwrapReport:
    """How an unwrapping went.

    Parameters
    ----------
    n_regions
        Regions grown from seeds of their own.
    n_detached
        Parts of the mask that touch the largest one nowhere, placed by extrapolation.
    uncertain
        Voxels of regions whose number of whole turns is ambiguous, ``(x, y, z)``; best left out of the mask.
    residue_fraction
        Share of the loops of four voxels inside the mask around which the wrapped differences do not add up to zero.
    jump_fraction
        Share of neighbours inside the mask that differ by more than half a turn after unwrapping.
    """

    n_regions: int
    n_detached: int
    uncertain: torch.Tensor
    residue_fraction: float
    jump_fraction: float

    def as_dict(self) -> dict[str, object]:
        """Plain numbers for a JSON file."""
        return {
            "exact": True,
            "n_regions": self.n_regions,
            "n_detached": self.n_detached,
            "n_uncertain_voxels": int(self.uncertain.sum()),
            "residue_fraction": self.residue_fraction,
            "jump_fraction": self.jump_fraction,
        }


def spun(
    wrapped_phase_rad: torch.Tensor,
    mask: torch.Tensor,
    scan: Scan,
    quality: torch.Tensor | None = None,
    *,
    least_agreement: float = 0.75,
    least_border: int = 20,
) -> tuple[torch.Tensor, torch.Tensor, UnwrapReport]:
    """Unwrap by seed-prioritised region growing, exact up to whole turns, and tell where that is uncertain.

    Edges between neighbours cost 1 + 254 (1 - q), q = (1 - |d| / pi) (1 - |bend| / pi)^2 sqrt(q_i q_j), d the wrapped
    phase difference, bend its mean change to the next edges on the line, and q_i the quality of a voxel. Regions grow
    along the cheapest edges, in stages: all reliable tissue is unwrapped and closed before a noisy voxel is allowed.
    Each voxel takes the number of turns that its unwrapped neighbours vote for. Regions are then joined by the spanning
    tree of strongest borders, each shifted by the number of turns most of its border votes for; parts of the mask that
    touch nothing are placed by a quadratic fitted to the largest. The median over the mask is in (-pi, pi].

    Parameters
    ----------
    wrapped_phase_rad
        Phase [rad], known up to whole turns, ``(x, y, z)``.
    mask
        Voxels to unwrap, bool ``(x, y, z)``.
    scan
        Geometry of the scan.
    quality
        Quality of each voxel in [0, 1], 1 best; equal where absent.
    least_agreement
        Share of a border's votes (0 to 1) below which a region's number of turns counts as uncertain.
    least_border
        Neighbour pairs that the border of a region needs to be certain; a region of fewer voxels needs that many.

    Returns
    -------
    Unwrapped phase [rad], zero outside the mask; the mask without regions of uncertain turns; and how it went.

    Raises
    ------
    InputError
        If shapes disagree, the mask is empty, phase or quality inside the mask are not finite, or an option is out of
        range.

    References
    ----------
    Ye et al., J Magn Reson Imaging (2019), seed-prioritised unwrapping (SPUN), the idea;
    Dymerska et al., Magn Reson Med 85:2294 (2021), doi:10.1002/mrm.28563, queues of quality-ordered edges.
    """
    return _grown(kernels.edge_costs, wrapped_phase_rad, mask, scan, quality, (least_agreement, least_border))


def romeo(
    wrapped_phase_rad: torch.Tensor,
    mask: torch.Tensor,
    scan: Scan,
    quality: torch.Tensor | None = None,
    *,
    least_agreement: float = 0.75,
    least_border: int = 20,
) -> tuple[torch.Tensor, torch.Tensor, UnwrapReport]:
    """Unwrap along edges weighted as in ROMEO, exact up to whole turns; growth and joining are those of `spun`.

    Edges cost 1 + 254 (1 - w), w the product of (0.1 + 0.9 w_k): coherence in space w_1 = 1 - |d| / pi, d the wrapped
    phase difference; linearity w_2, the product over both ends of max(0, 1 - |bend| / 2), bend the change of d to the
    next edge on the line; coherence of magnitude w_3 = (min / max)^2 of both ends. For the magnitude stands the quality
    of the voxels, which follows it. The weight that compares the gradients of two echoes is not there, since a step
    sees one map; and regions grow in the stages of `spun`, not from one seed.

    Parameters
    ----------
    wrapped_phase_rad, mask, scan, quality
        As in `spun`.
    least_agreement
        Share of a border's votes (0 to 1) below which a region's number of turns counts as uncertain.
    least_border
        Neighbour pairs that the border of a region needs to be certain; a region of fewer voxels needs that many.

    Returns
    -------
    As `spun`.

    Raises
    ------
    InputError
        As `spun`.

    References
    ----------
    Dymerska et al., Magn Reson Med 85:2294 (2021), doi:10.1002/mrm.28563.
    """
    return _grown(kernels.romeo_costs, wrapped_phase_rad, mask, scan, quality, (least_agreement, least_border))


def _grown(
    edge_costs: Callable[..., Array],
    wrapped_phase_rad: torch.Tensor,
    mask: torch.Tensor,
    scan: Scan,
    quality: torch.Tensor | None,
    certain: tuple[float, int],
) -> tuple[torch.Tensor, torch.Tensor, UnwrapReport]:
    """Grow regions along the edges of least cost, join them, and tell how it went."""
    require_mask(mask, scan.grid.shape)
    require_finite_inside("phase", wrapped_phase_rad, mask)
    require_share("least_agreement", certain[0])
    require_not_negative("least_border", [certain[1]])
    if quality is not None:
        require_finite_inside("quality", quality, mask)
    box = _Box.around(mask, scan)
    growth = _grow(box, edge_costs, wrapped_phase_rad, mask, quality)
    merge = merge_regions(growth, *certain)
    inside = growth.region > 0
    turns = _with_median_in_range(growth, growth.turns + merge.shift[growth.region], inside)
    phase = wrapped_phase_rad + TWO_PI * box.unflat(turns, wrapped_phase_rad)
    phase = torch.where(mask, phase, torch.zeros_like(phase))
    n_residues, n_loops = kernels.count_residues(growth.phase, inside, growth.strides)
    n_jumps, n_edges = kernels.count_jumps(box.flat(phase), inside, growth.strides)
    uncertain = box.unflat(merge.uncertain[growth.region], mask)
    residue_fraction, jump_fraction = n_residues / max(n_loops, 1), n_jumps / max(n_edges, 1)
    report = UnwrapReport(growth.n_regions, merge.n_detached, uncertain, residue_fraction, jump_fraction)
    return phase, mask & ~uncertain, report


@dataclass(frozen=True, slots=True)
class _Box:
    """Bounding box of the mask and one empty layer around it, flattened, as the kernels want it."""

    slices: tuple[slice, slice, slice]
    shape: tuple[int, int, int]

    @classmethod
    def around(cls, mask: torch.Tensor, scan: Scan) -> _Box:
        slices = bounding_box(mask, 0.0, scan.grid.voxel_size_mm)
        nx, ny, nz = (part.stop - part.start + 2 for part in slices)
        return cls(slices, (nx, ny, nz))

    def flat(self, volume: torch.Tensor) -> Array:
        """Contiguous copy of the box in the volume's dtype, zeros in the outer layer."""
        return np.pad(volume[self.slices].detach().cpu().numpy(), 1).ravel()

    def unflat(self, flat: Array, like: torch.Tensor) -> torch.Tensor:
        """Full volume with dtype and device of ``like`` that holds the box, zeros elsewhere."""
        full = torch.zeros_like(like)
        inner = np.ascontiguousarray(flat.reshape(self.shape)[1:-1, 1:-1, 1:-1])
        full[self.slices] = torch.from_numpy(inner).to(full)
        return full


def _with_median_in_range(growth: Growth, turns: Array, inside: Array) -> Array:
    """The turns less those that keep the median over the mask out of (-pi, pi]."""
    median = float(np.median(growth.phase[inside] + TWO_PI * turns[inside]))
    # The slack keeps a phase of pi, which single precision rounds upwards, where it is.
    return turns - math.ceil((median - math.pi) / TWO_PI - 1e-6)


def _grow(
    box: _Box,
    edge_costs: Callable[..., Array],
    phase: torch.Tensor,
    mask: torch.Tensor,
    quality: torch.Tensor | None,
) -> Growth:
    inside, strides = box.flat(mask), np.array([box.shape[1] * box.shape[2], box.shape[2], 1], np.int64)
    flat_phase = np.where(inside, box.flat(phase), 0)
    trust = box.flat(torch.ones_like(phase) if quality is None else quality.to(phase).clamp(0.0, 1.0))
    costs = edge_costs(flat_phase, inside, trust, strides)
    seed_cost = kernels.seed_costs(costs, inside, strides)
    voxels = np.flatnonzero(inside)
    best_first = voxels[np.argsort(seed_cost[voxels], kind="stable")]
    limits = np.asarray(STAGES, np.int64)
    turns, region, n_regions = kernels.grow(flat_phase, inside, costs, best_first, seed_cost, limits, strides)
    return Growth(box.shape, strides, flat_phase, costs, turns, region, n_regions)


UNWRAPPERS: Final[dict[str, Unwrap]] = {"spun": spun, "romeo": romeo, "laplacian": laplacian}
