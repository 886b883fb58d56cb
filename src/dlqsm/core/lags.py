"""Inter-echo lag sums: all that MDI needs of multi-channel multi-echo data, small enough to keep."""

from __future__ import annotations

from dataclasses import dataclass

import torch


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
    n_echoes, n_channels = images.shape[:2]
    lags = [(images[:-m].conj() * images[m:]).sum(dim=(0, 1)) for m in range(1, n_echoes)]
    stacked = torch.stack(lags) if lags else images.new_zeros((0, *images.shape[2:]))
    return LagSums(stacked, (images.abs() ** 2).sum(dim=1), noise_sd, n_channels)
