"""Means of maps over the voxels of a mask alone: in blocks, and weighted by a Gaussian."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from dlqsm.core.fourier import bounding_box
from dlqsm.core.scan import Grid, Vector

Array = NDArray[np.float32]
Inside = NDArray[np.bool_]


def on_working_grid(
    maps: Sequence[torch.Tensor], mask: torch.Tensor, grid: Grid, largest_mm: float
) -> tuple[list[Array], Inside, Vector]:
    """Mean of each map over the mask's voxels in blocks with edges of up to ``largest_mm``, in the box of the mask.

    Returns
    -------
    Means, zero outside; blocks of which half or more lies in the mask; size of a block [mm].
    """
    box = bounding_box(mask, 0.0, grid.voxel_size_mm)
    blocks = [max(1, int(largest_mm / v)) for v in grid.voxel_size_mm]
    cut = mask[box].cpu().numpy()
    share = _block_mean(cut.astype(np.float32), blocks)
    inside = share >= 0.5
    sums = [_block_mean(np.where(cut, m[box].detach().cpu().numpy(), 0.0), blocks) for m in maps]
    x, y, z = (v * b for v, b in zip(grid.voxel_size_mm, blocks, strict=True))
    return [np.where(inside, s / np.maximum(share, 0.5), 0.0).astype(np.float32) for s in sums], inside, (x, y, z)


def gaussian_mean(values: Array, inside: Inside, size: Vector, sd_mm: float) -> Array:
    """Gaussian-weighted mean around each voxel over those inside; zero outside."""
    sd = [sd_mm / v for v in size]
    weight = ndimage.gaussian_filter(inside.astype(np.float32), sd, mode="constant", truncate=3.0)
    total = ndimage.gaussian_filter(np.where(inside, values, 0.0), sd, mode="constant", truncate=3.0)
    return np.where(inside, total / np.maximum(weight, np.finfo(np.float32).tiny), 0.0).astype(np.float32)


def _block_mean(values: NDArray[np.floating], blocks: Sequence[int]) -> NDArray[np.floating]:
    """Mean over blocks, the last ones filled up with zeros."""
    padded = np.pad(values, [(0, -n % b) for n, b in zip(values.shape, blocks, strict=True)])
    (nx, ny, nz), (bx, by, bz) = padded.shape, blocks
    return np.asarray(padded.reshape(nx // bx, bx, ny // by, by, nz // bz, bz).mean(axis=(1, 3, 5)))
