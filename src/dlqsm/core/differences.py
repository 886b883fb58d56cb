"""Finite differences over the last three axes, periodic, so that gradient and divergence are exact adjoints."""

import torch

from dlqsm.core.scan import Vector


def gradient(volume: torch.Tensor, spacing: Vector) -> torch.Tensor:
    """Forward differences over ``spacing``; shape ``(3, ...)``."""
    parts = [(torch.roll(volume, -1, dims=axis - 3) - volume) / h for axis, h in enumerate(spacing)]
    return torch.stack(parts)


def divergence(field: torch.Tensor, spacing: Vector) -> torch.Tensor:
    """Negative adjoint of `gradient`: <gradient u, v> = -<u, divergence v>."""
    parts = [(field[axis] - torch.roll(field[axis], 1, dims=axis - 3)) / h for axis, h in enumerate(spacing)]
    return parts[0] + parts[1] + parts[2]


def laplacian(volume: torch.Tensor, spacing: Vector) -> torch.Tensor:
    """Seven-point Laplacian: divergence of the gradient."""
    return divergence(gradient(volume, spacing), spacing)


def isotropic_spacing(voxel_size_mm: Vector) -> Vector:
    """Voxel edges over their geometric mean, so that a penalty keeps its meaning on anisotropic grids."""
    mean = (voxel_size_mm[0] * voxel_size_mm[1] * voxel_size_mm[2]) ** (1 / 3)
    return voxel_size_mm[0] / mean, voxel_size_mm[1] / mean, voxel_size_mm[2] / mean
