"""The box round the brain in which fields are convolved: crop to the mask, pad against wrap-around, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch

from dlqsm.core.fourier import bounding_box, crop_to, pad_to, padded_grid
from dlqsm.core.scan import Grid

PADDING_MM: Final = 16.0
"""Usual room between a mask and its periodic copy."""


@dataclass(frozen=True, slots=True)
class Box:
    """Where the mask lies in the full grid, and the padded grid on which its content is transformed.

    Parameters
    ----------
    slices
        The bounding box of the mask in the full array.
    wide
        Grid of the bounding box with room at its far ends, of sizes that transform fast. B0 and voxel axes are those
        of the full grid; the origin is not used.
    full_shape
        Shape of the full array.
    """

    slices: tuple[slice, slice, slice]
    wide: Grid
    full_shape: tuple[int, int, int]

    @classmethod
    def around(cls, mask: torch.Tensor, grid: Grid, margin_mm: float) -> Box:
        """Box of the mask with at least ``margin_mm`` between it and its periodic copy."""
        slices = bounding_box(mask, 0.0, grid.voxel_size_mm)
        nx, ny, nz = (part.stop - part.start for part in slices)
        inner = Grid((nx, ny, nz), grid.voxel_size_mm, grid.rotation, grid.origin_mm)
        return cls(slices, padded_grid(inner, margin_mm), grid.shape)

    def take(self, volume: torch.Tensor) -> torch.Tensor:
        """Cut the box out of a full volume and append zeros up to the wide grid."""
        return pad_to(volume[(..., *self.slices)], self.wide)

    def put_back(self, volume: torch.Tensor) -> torch.Tensor:
        """Full volume that holds the box's content and zeros elsewhere; undoes `take`."""
        nx, ny, nz = (part.stop - part.start for part in self.slices)
        full = volume.new_zeros(self.full_shape)
        full[self.slices] = crop_to(volume, Grid((nx, ny, nz), self.wide.voxel_size_mm))
        return full
