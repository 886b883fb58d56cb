"""Where an image has edges, and the gradient's spectrum: what priors on smoothness are made of."""

from __future__ import annotations

import math

import torch

from dlqsm.core.scan import Vector


def squared_gradient(shape: tuple[int, int, int], spacing: Vector, like: torch.Tensor) -> torch.Tensor:
    """sum_d |E_d|^2 with E_d = (exp(2 pi i k_d / n_d) - 1) / h_d, for the real FFT: periodic forward differences."""
    total = like.new_zeros((shape[0], shape[1], shape[2] // 2 + 1))
    for axis, (n, h) in enumerate(zip(shape, spacing, strict=True)):
        index = torch.arange(total.shape[axis], dtype=like.dtype, device=like.device)
        along = [-1 if a == axis else 1 for a in range(3)]
        total += ((2.0 * torch.sin(math.pi * index / n) / h) ** 2).reshape(along)
    return total


def difference(volume: torch.Tensor, axis: int) -> torch.Tensor:
    """Periodic forward difference along one axis, not divided by the spacing."""
    return volume.roll(-1, axis).sub_(volume)


def surface(mask: torch.Tensor) -> torch.Tensor:
    """Gradient components with one voxel inside the mask and one outside, bool ``(3, x, y, z)``."""
    return torch.stack([mask ^ mask.roll(-1, axis) for axis in range(3)])


def steepest(image: torch.Tensor, mask: torch.Tensor, voxel_size_mm: Vector, share: float) -> torch.Tensor:
    """Edges: the steepest ``share`` of the gradient components in the mask, bool ``(3, x, y, z)``.

    A component lies in the mask where both of its voxels do; one threshold serves all three directions.
    """
    inside = torch.stack([mask & mask.roll(-1, axis) for axis in range(3)])
    slope = torch.stack([difference(image, axis).abs_().div_(edge) for axis, edge in enumerate(voxel_size_mm)])
    values = slope[inside]
    n_flat = round((1.0 - share) * values.numel())
    if n_flat == 0:
        return inside
    return inside & (slope > values.kthvalue(n_flat).values)
