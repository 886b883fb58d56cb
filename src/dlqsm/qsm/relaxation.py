"""Effective transverse relaxation rate from the decay of the magnitude."""

from __future__ import annotations

import numpy as np
import torch

from dlqsm.core.checks import InputError, require_shape
from dlqsm.core.passes import array_of, in_slabs, suits_passes
from dlqsm.qsm.relaxation_kernels import fit_decay


def r2star(
    magnitude: torch.Tensor,
    echo_times_s: tuple[float, ...],
    noise_sd: torch.Tensor | None = None,
    *,
    n_channels: int = 1,
    least_snr: float = 3.0,
    largest_hz: float = 1000.0,
) -> torch.Tensor:
    """Fit R2* by a weighted straight line through the logarithm of the magnitude.

    log s_e = a - R2* TE_e, s_e^2 = |S_e|^2 - 2 sigma^2 (n_channels - 1). The noise power of one channel, 2 sigma^2, is
    not subtracted: E log|S|^2 = log s^2 + E_1(s^2 / (2 sigma^2)) for a Rician magnitude, so its logarithm is unbiased
    but for a term that is below 0.003 from an SNR of 3 on, whereas subtraction makes the decay too steep. Weights are
    s_e^2, the inverse variance of log s_e: from the data in a first fit, then from that fit, since weights that share
    the noise of the data bias the slope.

    Parameters
    ----------
    magnitude
        Magnitude of the echoes, root sum of squares over channels, ``(echo, x, y, z)``.
    echo_times_s
        Echo times [s].
    noise_sd
        sigma, noise of one component of one channel, in the units of the images; taken as 0 where absent.
    n_channels
        Channels in the root sum of squares; 1 for combined images.
    least_snr
        Echoes from the third on count only where the fit is above this many sigma.
    largest_hz
        Values are limited to 0 .. this [1/s].

    Returns
    -------
    R2* [1/s], ``(x, y, z)``; 0 where fewer than two echoes have signal.

    Raises
    ------
    InputError
        If there are fewer than two echoes, or not one image for each echo time.

    References
    ----------
    Gudbjartsson & Patz, Magn Reson Med 34:910 (1995), doi:10.1002/mrm.1910340618, the Rician distribution.
    """
    n_echoes = len(echo_times_s)
    if n_echoes < 2:
        raise InputError(f"R2* needs two echoes or more; got {n_echoes}")
    require_shape("magnitude", magnitude, (n_echoes, *magnitude.shape[1:]), "echo_times_s: one image per echo time")
    sigma = magnitude.new_zeros(()) if noise_sd is None else noise_sd.to(magnitude)
    fit = fit_on_cpu if suits_passes(magnitude, sigma) else fit_in_torch
    return fit(magnitude, echo_times_s, sigma, n_channels, least_snr, largest_hz)


def fit_on_cpu(
    magnitude: torch.Tensor,
    echo_times_s: tuple[float, ...],
    sigma: torch.Tensor,
    n_channels: int,
    least_snr: float,
    largest_hz: float,
) -> torch.Tensor:
    """The fit of `r2star` in one pass over the magnitude."""
    images = array_of(magnitude)
    kind = images.dtype.type
    rates, times = np.empty(images.shape[1:], images.dtype), np.array(echo_times_s, images.dtype)
    sd = np.broadcast_to(array_of(sigma), rates.shape)
    options = kind(n_channels - 1), kind(least_snr), kind(largest_hz)
    in_slabs(fit_decay, len(rates), torch.get_num_threads(), images, sd, times, *options, rates)
    return torch.from_numpy(rates)


def fit_in_torch(
    magnitude: torch.Tensor,
    echo_times_s: tuple[float, ...],
    sigma: torch.Tensor,
    n_channels: int,
    least_snr: float,
    largest_hz: float,
) -> torch.Tensor:
    """As `fit_on_cpu`, on any device."""
    power = torch.nan_to_num(magnitude, posinf=0.0, neginf=0.0) ** 2 - 2.0 * (n_channels - 1) * sigma**2
    usable = power > 0
    log_signal = 0.5 * torch.where(usable, power, torch.ones_like(power)).log()
    times = power.new_tensor(echo_times_s)[:, None, None, None]
    slope, level = _line(log_signal, times, power.clamp_min(0.0))
    fitted = torch.where(usable, level + slope * times, torch.full_like(power, -torch.inf))
    # Relative to the largest, since only ratios of weights matter and an exponential can overflow.
    weights = (2.0 * (fitted - fitted.amax(0).clamp_min(torch.finfo(power.dtype).min))).exp()
    weights[2:] *= fitted[2:] > (least_snr * sigma).log()
    slope, _ = _line(log_signal, times, weights)
    return (0.0 - slope).clamp(0.0, largest_hz)


def _line(values: torch.Tensor, times: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Slope and intercept of the weighted straight line through ``values`` along the first axis; slope 0 if unknown."""
    tiny, rounding = torch.finfo(weights.dtype).tiny, torch.finfo(weights.dtype).eps * float(times.max()) ** 2
    total = weights.sum(0).clamp_min(tiny)
    mean_time, mean_value = (weights * times).sum(0) / total, (weights * values).sum(0) / total
    spread = (weights * (times - mean_time) ** 2).sum(0) / total
    product = (weights * (times - mean_time) * (values - mean_value)).sum(0) / total
    slope = torch.where(spread > rounding, product / spread.clamp_min(tiny), torch.zeros_like(product))
    return slope, mean_value - slope * mean_time
