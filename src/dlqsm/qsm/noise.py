"""Noise of the images, where neither a noise scan nor the reconstruction tells it."""

from typing import Any

import numpy as np
import torch

from dlqsm.core.lags import LagSums
from dlqsm.core.passes import Array, array_of, in_slabs, suits_passes
from dlqsm.qsm.noise_kernels import detail_of_bright_blocks

MAD_OF_NORMAL = 0.674489750196
"""Median absolute deviation of a normal variable of unit standard deviation."""


def image_noise_sd(sums: LagSums) -> torch.Tensor:
    """Noise of one component of one channel: the one that is known, or an estimate by `estimate_noise_sd`.

    Returns
    -------
    sigma, ``(x, y, z)`` or a scalar tensor, in the units of the images.
    """
    if sums.noise_sd is not None:
        return sums.noise_sd
    return estimate_noise_sd(sums.power)


def estimate_noise_sd(power: torch.Tensor) -> torch.Tensor:
    """Estimate the noise from the finest diagonal detail of the magnitude images.

    sigma = min over echoes of median |d| / 0.6745, where d is the magnitude differenced along all three axes
    (Haar, orthonormal) and the median runs over blocks of which every voxel is brighter than half the 98th percentile:
    there a magnitude image holds Gaussian noise of sigma, whatever the number of channels, and neither the head's edge
    nor zeroed air counts. Fine structure makes it too large, hence the smallest of the echoes; images interpolated in
    k-space make it too small.

    Parameters
    ----------
    power
        sum_c |S(e, c)|^2, ``(n_echoes, x, y, z)``.

    Returns
    -------
    sigma as a scalar tensor in the units of the images; 0 where no voxel has signal.

    References
    ----------
    Donoho & Johnstone, Biometrika 81:425 (1994), doi:10.1093/biomet/81.3.425.
    """
    estimates = [noise_of_magnitude(torch.nan_to_num(echo).clamp_min(0.0).sqrt()) for echo in power]
    return torch.stack(estimates).amin()


def noise_of_magnitude(magnitude: torch.Tensor) -> torch.Tensor:
    """Noise of one magnitude image ``(x, y, z)``, the median detail of its bright blocks (see `estimate_noise_sd`)."""
    if suits_passes(magnitude) and min(magnitude.shape) > 1:
        return _noise_on_cpu(magnitude)
    return noise_in_torch(magnitude)


def noise_in_torch(magnitude: torch.Tensor) -> torch.Tensor:
    """As `noise_of_magnitude`, on any device and for axes of one voxel."""
    detail, darkest = magnitude, magnitude
    for axis in range(3):
        n = magnitude.shape[axis] - 1
        if n > 0:
            detail = (detail.narrow(axis, 1, n) - detail.narrow(axis, 0, n)) / 2**0.5
            darkest = torch.minimum(darkest.narrow(axis, 1, n), darkest.narrow(axis, 0, n))
    values = magnitude.flatten()
    high = values.kthvalue(max(1, int(0.98 * values.numel()))).values
    bright = (darkest > 0) & (darkest >= 0.5 * high)
    if not bool(bright.any()):
        return magnitude.new_zeros(())
    return detail[bright].abs().median() / MAD_OF_NORMAL


def _noise_on_cpu(magnitude: torch.Tensor) -> torch.Tensor:
    values = array_of(magnitude)
    high = _smallest(values.ravel(), max(1, int(0.98 * values.size)))
    detail = np.full(values.shape, -1.0, values.dtype)
    arguments = values, values.dtype.type(0.5) * high, detail
    in_slabs(detail_of_bright_blocks, values.shape[0] - 1, torch.get_num_threads(), *arguments)
    found = detail[detail >= 0]
    if found.size == 0:
        return magnitude.new_zeros(())
    return magnitude.new_tensor(_smallest(found, (found.size + 1) // 2) / MAD_OF_NORMAL)


def _smallest(values: Array, k: int) -> Any:
    """The k-th smallest value; NumPy partitions several times faster than torch."""
    return np.partition(values, k - 1)[k - 1]
