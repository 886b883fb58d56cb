"""Training without fully sampled data: some samples are shown to the network, the others judge its image (SSDU)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray

from dlqsm.core.checks import InputError
from dlqsm.core.fourier import fftc
from dlqsm.core.raw import calibration_region

Cells = NDArray[np.bool_]


def split_samples(sampling_mask: Cells, held_out_share: float, rng: Generator) -> tuple[Cells, Cells]:
    """Part sampled cells into those that the network sees and those held out for the loss.

    Cells are held out uniformly at random; the calibration region stays with the cells that are seen, since the coil
    sensitivities are made from it.

    Parameters
    ----------
    sampling_mask
        ``(ny, nz)`` bool, centre at ``n // 2``.
    held_out_share
        Share of the cells outside the calibration region that is held out, above 0 and below 1.
    rng
        Source of the choice.

    Returns
    -------
    Two disjoint masks that together are ``sampling_mask``: seen, held out.

    References
    ----------
    Yaman et al., Magn Reson Med 84:3172 (2020), doi:10.1002/mrm.28378; there cells near the centre are held out more
    often.
    """
    if not 0 < held_out_share < 1:
        raise InputError(f"the share of samples held out must lie between 0 and 1; got {held_out_share}")
    free = np.flatnonzero(sampling_mask & ~calibration_region(sampling_mask))
    n = round(held_out_share * len(free))
    if not 0 < n < len(free):
        raise InputError("too few samples lie outside the calibration region to hold some out; acquire more lines")
    held_out = np.zeros_like(sampling_mask)
    held_out.flat[rng.choice(free, n, replace=False)] = True
    return sampling_mask & ~held_out, held_out


def predicted_samples(images: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """What the coils would measure of images ``(echo, channel, x, y, z)``: ``(echo, coil, x, ky, kz)``."""
    coil_images = images * maps if images.shape[1] == 1 and maps.shape[0] > 1 else images
    return fftc(coil_images, (-2, -1))
