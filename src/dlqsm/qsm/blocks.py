"""Blocks of voxels: smooth things are found on a coarser grid and brought back to the fine one."""

from __future__ import annotations

import torch
from torch.nn import functional

from dlqsm.core.scan import Grid, Vector

Blocks = tuple[int, int, int]


def blocks_of(voxel_size_mm: Vector, working_voxel_mm: float) -> Blocks:
    """Voxels along each axis that are averaged, so that a block is about ``working_voxel_mm`` long; at least one."""
    x, y, z = (max(1, round(working_voxel_mm / v)) for v in voxel_size_mm)
    return x, y, z


def averaged(volume: torch.Tensor, blocks: Blocks) -> torch.Tensor:
    """Mean over each block; what is missing in the last ones counts as zero."""
    missing = [-n % b for n, b in zip(volume.shape, blocks, strict=True)]
    padded = functional.pad(volume, (0, missing[2], 0, missing[1], 0, missing[0]))
    return functional.avg_pool3d(padded[None, None], blocks)[0, 0]


def averaged_field(
    field: torch.Tensor, weights_squared: torch.Tensor, blocks: Blocks
) -> tuple[torch.Tensor, torch.Tensor]:
    """Field of each block, sum W^2 b / sum W^2, zero where no voxel has weight; and its weight, the mean of W^2."""
    total = averaged(weights_squared, blocks)
    mean = averaged(weights_squared * field, blocks) / total
    return torch.where(total > 0, mean, 0.0), total


def grid_of_blocks(grid: Grid, blocks: Blocks) -> Grid:
    """Grid with one voxel a block; the origin is not used."""
    nx, ny, nz = (-(-n // b) for n, b in zip(grid.shape, blocks, strict=True))
    x, y, z = (v * b for v, b in zip(grid.voxel_size_mm, blocks, strict=True))
    return Grid((nx, ny, nz), (x, y, z), grid.rotation, grid.origin_mm)


def repeated(volume: torch.Tensor, blocks: Blocks, shape: tuple[int, int, int]) -> torch.Tensor:
    """Give each voxel the value of its block."""
    for axis, n in enumerate(blocks):
        volume = volume.repeat_interleave(n, axis)
    return volume[: shape[0], : shape[1], : shape[2]].contiguous()


def interpolated(volume: torch.Tensor, blocks: Blocks, shape: tuple[int, int, int]) -> torch.Tensor:
    """Interpolate linearly between the centres of blocks; constant beyond the outermost."""
    if blocks == (1, 1, 1):
        return volume
    size = [n * b for n, b in zip(volume.shape, blocks, strict=True)]
    fine = functional.interpolate(volume[None, None], size=size, mode="trilinear", align_corners=False)[0, 0]
    return fine[: shape[0], : shape[1], : shape[2]]
