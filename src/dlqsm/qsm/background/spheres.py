"""Spherical means on a grid: a kernel with shares of voxels, its spectrum, and where a sphere lies in the mask."""

from __future__ import annotations

import itertools

import torch

from dlqsm.core.fourier import irfft3, rfft3
from dlqsm.core.scan import Grid

SUBDIVISIONS = 12
"""Sub-voxels along each voxel edge when the share of a voxel inside the sphere is counted."""
FULL = 0.9999
"""Share of a sphere that must lie in the mask."""


def sphere_kernel(radius_mm: float, grid: Grid, like: torch.Tensor) -> torch.Tensor:
    """Mean over a sphere as a convolution kernel: the share of each voxel inside it, sum 1, centre at index 0.

    Counting shares spreads the sphere by the voxel, which adds edge^2 / 12 to its second moment, radius^2 / 5, along
    each axis. On unequal edges the mean of the harmonic x^2 - z^2 would then not vanish; so the semi-axes are shortened
    to sqrt(radius^2 - 5/12 edge^2), which makes the second moments of all axes equal again.
    """
    reach = [max(radius_mm**2 - 5.0 / 12.0 * edge**2, 0.0) ** 0.5 for edge in grid.voxel_size_mm]
    steps = (torch.arange(SUBDIVISIONS, dtype=like.dtype, device=like.device) + 0.5) / SUBDIVISIONS - 0.5
    near, squares = [], []
    for n, edge, semi_axis in zip(grid.shape, grid.voxel_size_mm, reach, strict=True):
        centres = _offsets_mm(n, edge, like)
        near.append(torch.nonzero(centres.abs() < semi_axis + edge / 2).flatten())
        squares.append(((centres[near[-1], None] + steps * edge) / max(semi_axis, 1e-6)) ** 2)
    share = like.new_zeros([len(index) for index in near])
    for sx, sy in itertools.product(range(SUBDIVISIONS), repeat=2):
        in_plane = squares[0][:, None, None, None, sx] + squares[1][None, :, None, None, sy]
        share += (in_plane + squares[2] <= 1.0).sum(-1)
    kernel = like.new_zeros(grid.shape)
    kernel[near[0][:, None, None], near[1][None, :, None], near[2][None, None, :]] = share / share.sum()
    return kernel


def mean_spectrum(radius_mm: float, grid: Grid, like: torch.Tensor) -> torch.Tensor:
    """Spectrum of the mean over a sphere, real since the kernel is even."""
    return rfft3(sphere_kernel(radius_mm, grid, like)).real


def fits(mask_spectrum: torch.Tensor, mean: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Voxels whose sphere lies in the mask, by the share of the sphere inside it."""
    return irfft3(mask_spectrum * mean, grid.shape) > FULL


def _offsets_mm(n: int, edge_mm: float, like: torch.Tensor) -> torch.Tensor:
    """Signed distances from index 0 on a periodic axis [mm]."""
    index = torch.arange(n, device=like.device)
    return torch.where(index <= n // 2, index, index - n).to(like.dtype) * edge_mm
