"""Smooth deformation between a person's head and the template."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional

from dlqsm.core.scan import Grid

Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Volumes:
    """Channels ``(channel, x, y, z)`` on an axis-parallel template grid, read at any MNI position."""

    channels: torch.Tensor
    grid: Grid

    def sample(self, positions: torch.Tensor) -> torch.Tensor:
        """Trilinear values ``(channel, ...)`` at positions ``(..., 3)`` [mm]; beyond the grid its border goes on."""
        shape = torch.tensor(self.grid.shape, dtype=torch.float32)
        edges, origin = torch.tensor(self.grid.voxel_size_mm), torch.tensor(self.grid.origin_mm)
        scaled = (positions - origin) * (2.0 / (edges * (shape - 1.0))) - 1.0
        # grid_sample names the last array axis first.
        flat = scaled.flip(-1).reshape(1, 1, 1, -1, 3)
        found = functional.grid_sample(self.channels[None], flat, padding_mode="border", align_corners=True)
        return found.reshape(len(self.channels), *positions.shape[:-1])


def random_displacement(
    grid: Grid, rng: np.random.Generator, *, rms_mm: float = 1.3, width_mm: float = 16.0
) -> NDArray[np.float32]:
    """Draw a Gaussian random displacement ``(3, x, y, z)`` [mm].

    White noise smoothed by a Gaussian of SD w: covariance rms^2 exp(-r^2 / (4 w^2)), gradient SD rms / (w sqrt 2),
    so that it is far from folding for rms << w.

    Parameters
    ----------
    grid
        Coarse grid that the displacement lives on.
    rng
        Source of the noise.
    rms_mm
        Standard deviation of each component [mm].
    width_mm
        SD of the smoothing [mm]; the displacement decorrelates over about 2.5 times this.
    """
    noise = rng.standard_normal((3, *grid.shape))
    sigma = [width_mm / edge for edge in grid.voxel_size_mm]
    smooth = np.stack([ndimage.gaussian_filter(part, sigma, mode="wrap") for part in noise])
    return (smooth * (rms_mm / smooth.std())).astype(np.float32)


def pull_towards(
    share: NDArray[np.float32], grid: Grid, *, largest_mm: float, width_mm: float = 7.0
) -> NDArray[np.float32]:
    """Displacement that enlarges a region in the person: it points up the gradient of the smoothed region.

    A person's position x shows the template at x + u(x); with u towards the region, that reaches further out and
    its neighbours move aside.

    Parameters
    ----------
    share
        Share of each cell of ``grid`` that belongs to the region, in [0, 1].
    grid
        Template grid.
    largest_mm
        Length of the largest displacement [mm]; negative shrinks the region.
    width_mm
        SD of the Gaussian that smooths the region [mm].
    """
    smooth = ndimage.gaussian_filter(share, [width_mm / edge for edge in grid.voxel_size_mm])
    slope = np.stack(np.gradient(smooth, *grid.voxel_size_mm))
    return (slope * (largest_mm / np.sqrt((slope**2).sum(0)).max())).astype(np.float32)


def invert(displacement: Volumes, template_mm: Points, *, n_iterations: int = 20) -> Points:
    """Solve x + u(x) = y for the person's x by fixed point iteration; converges where u is a contraction."""
    target = torch.from_numpy(np.asarray(template_mm, dtype=np.float32))
    found = target.clone()
    for _ in range(n_iterations):
        found = target - displacement.sample(found).movedim(0, -1)
    return found.numpy().astype(np.float64)
