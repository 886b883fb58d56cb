"""Noise of the images, where neither a noise scan nor the reconstruction tells it."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from dlqsm.core.lags import LagSums
from dlqsm.core.passes import Array, array_of, in_slabs, suits_passes
from dlqsm.qsm.noise_kernels import detail_of_bright_blocks

MAD_OF_NORMAL = 0.674489750196
"""Median absolute deviation of a normal variable of unit standard deviation."""
MOST_NOISE = 0.1
"""4 n sd^2 / p above which an echo counts only where no other is better."""


def image_noise_sd(sums: LagSums) -> torch.Tensor:
    """Noise of one component of one channel: the one that is known, or an estimate by `estimate_noise_sd`.

    Returns
    -------
    sigma, ``(x, y, z)`` or a scalar tensor, in the units of the images.
    """
    if sums.noise_sd is not None:
        return sums.noise_sd
    return estimate_noise_sd(sums.power, n_channels=sums.n_channels)


def with_noise(sums: LagSums) -> LagSums:
    """The sums with their noise: as it was, or estimated once for all steps that ask for it."""
    return replace(sums, noise_sd=image_noise_sd(sums))


def estimate_noise_sd(power: torch.Tensor, *, n_channels: int = 1) -> torch.Tensor:
    """Estimate the noise from the finest diagonal detail of the magnitude images.

    The spread of a magnitude is sd = median |d| / 0.6745, where d is the magnitude differenced along all three axes
    (Haar, orthonormal) and the median runs over blocks of which every voxel is brighter than half the 98th percentile:
    neither the head's edge nor zeroed air counts. With n channels and a mean power p = s^2 + 2 n sigma^2 of bright
    voxels its spread is sigma sqrt((s^2 + n sigma^2) / p) (first order in sigma / sqrt(p)), sigma itself where the
    signal is strong; so

        sigma^2 = p (1 - sqrt(1 - 4 n sd^2 / p)) / (2 n)

    Fine structure makes it too large, hence the smallest of the echoes. Echoes in which noise makes voxels bright
    (4 n sd^2 above p / 10) count only where there are no others. Images interpolated in k-space make it too small.

    Parameters
    ----------
    power
        sum_c |S(e, c)|^2, ``(n_echoes, x, y, z)``.
    n_channels
        n, channels summed over.

    Returns
    -------
    sigma as a scalar tensor in the units of the images; 0 where no voxel has signal.

    References
    ----------
    Donoho & Johnstone, Biometrika 81:425 (1994), doi:10.1093/biomet/81.3.425.
    """
    whole = torch.zeros_like(power[0])
    for echo in power:  # One at a time: all of them would be the largest array of the chain once more.
        whole += _finite(echo)
    bright = whole >= 0.25 * _high(whole)  # Half the magnitude; of all echoes, since noise makes voxels of one bright.
    found = [_noise_of_echo(_finite(echo), bright, n_channels) for echo in power]
    known = [(share, sigma) for share, sigma in found if sigma > 0]
    if not known:
        return power.new_zeros(())
    most = max(MOST_NOISE, float(min(share for share, _ in known)))
    return torch.stack([sigma for share, sigma in known if share <= most]).amin()


def _finite(power: torch.Tensor) -> torch.Tensor:
    return torch.nan_to_num(power, posinf=0.0).clamp_min(0.0)


def _noise_of_echo(power: torch.Tensor, bright: torch.Tensor, n_channels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """4 n sd^2 / p, and sigma."""
    spread = noise_of_magnitude(power.sqrt())
    mean = power[bright].mean()
    share = (4.0 * n_channels * spread**2 / mean.clamp_min(torch.finfo(power.dtype).tiny)).clamp_max(1.0)
    # 1 - sqrt(1 - a) as a / (1 + sqrt(1 - a)), which keeps its digits where the noise is small.
    return share, spread * (2.0 / (1.0 + (1.0 - share).sqrt())).sqrt()


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
    bright = (darkest > 0) & (darkest >= 0.5 * _high(magnitude))
    if not bool(bright.any()):
        return magnitude.new_zeros(())
    return detail[bright].abs().median() / MAD_OF_NORMAL


def _noise_on_cpu(magnitude: torch.Tensor) -> torch.Tensor:
    values = array_of(magnitude)
    detail = np.full(values.shape, -1.0, values.dtype)
    arguments = values, values.dtype.type(0.5 * float(_high(magnitude))), detail
    in_slabs(detail_of_bright_blocks, values.shape[0] - 1, torch.get_num_threads(), *arguments)
    found = detail[detail >= 0]
    if found.size == 0:
        return magnitude.new_zeros(())
    return magnitude.new_tensor(_smallest(found, (found.size + 1) // 2) / MAD_OF_NORMAL)


def _high(image: torch.Tensor) -> torch.Tensor:
    """The 98th percentile."""
    k = max(1, int(0.98 * image.numel()))
    if image.device.type == "cpu":
        return image.new_tensor(_smallest(array_of(image).ravel(), k))
    return image.flatten().kthvalue(k).values


def _smallest(values: Array, k: int) -> Any:
    """The k-th smallest value; NumPy partitions several times faster than torch."""
    return np.partition(values, k - 1)[k - 1]
