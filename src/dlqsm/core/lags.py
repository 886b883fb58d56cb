"""Inter-echo lag sums: all that MDI needs of multi-channel multi-echo data, small enough to keep."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from dlqsm.core.lag_kernels import add_lags
from dlqsm.core.passes import array_of, in_slabs, suits_passes

LEAST_POWER, LARGEST_POWER = 2.0**-30, 2.0**60
"""Where the largest power may lie so that squares of it, and of dark voxels, fit into single precision."""
SLAB = 8
"""Planes of x whose complex images are made at once: few enough to stay near the cache, enough for threads."""


@dataclass(frozen=True, slots=True)
class LagSums:
    """Sums over channels (and, for lags, echoes) of products of the images S(echo, coil).

    Parameters
    ----------
    lags
        R_m = sum_e sum_c conj(S(e, c)) S(e + m, c), m = 1 .. n_echoes - 1; complex ``(n_echoes - 1, x, y, z)``.
    power
        sum_c |S(e, c)|^2, real ``(n_echoes, x, y, z)``; holds 2 sigma^2 n_channels of noise.
    noise_sd
        sigma: standard deviation of one component (real or imaginary) of one channel, ``(x, y, z)``, in the units of
        the images; None where unknown.
    n_channels
        Channels summed over; 1 for combined images.
    """

    lags: torch.Tensor
    power: torch.Tensor
    noise_sd: torch.Tensor | None
    n_channels: int


def lag_sums(images: torch.Tensor, noise_sd: torch.Tensor | None) -> LagSums:
    """Accumulate the `LagSums` of complex images ``(echo, coil, x, y, z)``."""
    lags, power = lag_sums_on_cpu(images) if suits_passes(images) else lag_sums_in_torch(images)
    return LagSums(lags, power, noise_sd, images.shape[1])


def lag_sums_on_cpu(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Lags and power in one pass over the images."""
    lags, power = _room_for_sums(images.shape, images.dtype)
    in_slabs(add_lags, images.shape[2], torch.get_num_threads(), array_of(images), 0, lags.numpy(), power.numpy())
    return lags, power


def lag_sums_of_polar(magnitude: torch.Tensor, phase_rad: torch.Tensor, noise_sd: torch.Tensor | None) -> LagSums:
    """As `lag_sums` of magnitude and phase ``(echo, coil, x, y, z)``; the complex images exist a slab at a time."""
    if not suits_passes(magnitude, phase_rad):
        return lag_sums(torch.polar(magnitude, phase_rad), noise_sd)
    lags, power = _room_for_sums(magnitude.shape, magnitude.dtype.to_complex())
    for start in range(0, magnitude.shape[2], SLAB):
        part = slice(start, start + SLAB)
        images = torch.polar(magnitude[:, :, part], phase_rad[:, :, part])
        known = array_of(images), start, lags.numpy(), power.numpy()
        in_slabs(add_lags, images.shape[2], torch.get_num_threads(), *known)
    return LagSums(lags, power, noise_sd, magnitude.shape[1])


def within_range(sums: LagSums) -> LagSums:
    """The sums themselves, or in a unit of the images in which their squares neither overflow nor vanish.

    The unit changes by a power of two, which rounds nothing. Sums that are not finite stay as they are.
    """
    largest = float(sums.power.max())
    if not math.isfinite(largest) or largest <= 0.0 or LEAST_POWER <= largest <= LARGEST_POWER:
        return sums
    scale = 2.0 ** -round(math.log2(largest) / 2.0)
    noise_sd = None if sums.noise_sd is None else sums.noise_sd * scale
    return LagSums(sums.lags * scale**2, sums.power * scale**2, noise_sd, sums.n_channels)


def _room_for_sums(shape: torch.Size, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    n_echoes, _, *grid = shape
    power = torch.empty((n_echoes, *grid), dtype=dtype.to_real())
    return torch.empty((max(n_echoes - 1, 0), *grid), dtype=dtype), power


def lag_sums_in_torch(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """As `lag_sums_on_cpu`, on any device and with gradients."""
    n_echoes = images.shape[0]
    lags = [(images[:-m].conj() * images[m:]).sum(dim=(0, 1)) for m in range(1, n_echoes)]
    stacked = torch.stack(lags) if lags else images.new_zeros((0, *images.shape[2:]))
    return stacked, (images.abs() ** 2).sum(dim=1)
