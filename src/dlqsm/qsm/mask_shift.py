"""Whether a brain mask made elsewhere lies on the head: its border against that of the image's own brain."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import fft, ndimage

FARTHEST: Final = 8
"""Shifts are looked for up to this many voxels along each axis."""


def mask_shift(mask: torch.Tensor, brain: torch.Tensor) -> tuple[int, int, int]:
    """Shift in voxels that brings a mask's border onto the brain's as well as it can be.

    Borders are compared, not volumes: a mask without the cerebellum still has most of its border where the brain's is,
    while its overlap is the same over many shifts.

    Parameters
    ----------
    mask
        The mask that was given, bool ``(x, y, z)``.
    brain
        The brain as extracted from the image, bool.
    """
    first, second = (_border(volume) for volume in (mask, brain))
    wide = [fft.next_fast_len(n + FARTHEST) for n in first.shape]
    product = fft.rfftn(second, wide) * np.conj(fft.rfftn(first, wide))
    overlap = fft.fftshift(fft.irfftn(product, wide))
    centre = [n // 2 for n in wide]
    near = overlap[tuple(slice(c - FARTHEST, c + FARTHEST + 1) for c in centre)]
    place = np.unravel_index(int(near.argmax()), near.shape)
    x, y, z = (int(p) - min(FARTHEST, c) for p, c in zip(place, centre, strict=True))
    return x, y, z


def _border(volume: torch.Tensor) -> NDArray[np.float32]:
    """The outermost layer of a mask, smoothed by a voxel, so that ragged borders match."""
    inside = volume.cpu().numpy().astype(bool)
    layer = inside & ~ndimage.binary_erosion(inside)
    return np.asarray(ndimage.gaussian_filter(layer.astype(np.float32), 1.0, mode="constant"))
