"""Effective transverse relaxation rate from the decay of the magnitude."""

from __future__ import annotations

import torch

from dlqsm.core.checks import InputError, require_shape


def r2star(
    magnitude: torch.Tensor,
    echo_times_s: tuple[float, ...],
    noise_sd: torch.Tensor | None = None,
    *,
    n_passes: int = 3,
    largest_hz: float = 1000.0,
) -> torch.Tensor:
    """Fit R2* by a weighted straight line through the logarithm of the noise-corrected magnitude.

    log s_e = a - R2* TE_e with s_e^2 = |S_e|^2 - 2 sigma^2, since the square of a magnitude image holds the noise power
    2 sigma^2. Weights are the inverse variance of log s_e, s_e^2, in the first pass from the data, then from the fit, for
    weights that share the noise of the data bias the slope. Echoes at or below the noise do not count.

    Parameters
    ----------
    magnitude
        Magnitude of the echoes, coils combined, ``(echo, x, y, z)``.
    echo_times_s
        Echo times [s].
    noise_sd
        sigma, noise of one component of the combined images, in their units; no correction where absent.
    n_passes
        Number of fits; weights come from the fit before from the second on.
    largest_hz
        Values are limited to 0 .. this [1/s].

    Returns
    -------
    R2* [1/s], ``(x, y, z)``; 0 where fewer than two echoes are above the noise.

    Raises
    ------
    InputError
        If there are fewer than two echoes, or not one image for each echo time.
    """
    if len(echo_times_s) < 2:
        raise InputError(f"R2* needs two echoes or more; got {len(echo_times_s)}")
    require_shape("magnitude", magnitude, (len(echo_times_s), *magnitude.shape[1:]), "echo_times_s: one image per echo")
    variance = 0.0 if noise_sd is None else noise_sd**2
    power = torch.nan_to_num(magnitude, posinf=0.0, neginf=0.0) ** 2 - 2.0 * variance
    usable = power > variance
    usable &= (usable.sum(0) > 1) & (power > 0)
    log_signal = 0.5 * torch.where(usable, power, torch.ones_like(power)).log()
    times = power.new_tensor(echo_times_s)[:, None, None, None]
    weights = torch.where(usable, power, torch.zeros_like(power))
    for _ in range(n_passes):
        slope, level = _line(log_signal, times, weights)
        # Relative to the fit at the mean time: only ratios of weights matter, and this cannot overflow.
        weights = torch.where(usable, (2.0 * (slope * times + level).clamp(-40.0, 40.0)).exp(), torch.zeros_like(power))
    return torch.nan_to_num(-slope).clamp(0.0, largest_hz)


def _line(values: torch.Tensor, times: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Slope and intercept of the weighted straight line through ``values`` over ``times``, along the first axis."""
    total = weights.sum(0).clamp_min(torch.finfo(weights.dtype).tiny)
    mean_time, mean_value = (weights * times).sum(0) / total, (weights * values).sum(0) / total
    spread = (weights * (times - mean_time) ** 2).sum(0) / total
    product = (weights * (times - mean_time) * (values - mean_value)).sum(0) / total
    slope = torch.where(spread > 0, product / spread.clamp_min(torch.finfo(weights.dtype).tiny), 0.0)
    return slope, mean_value - slope * mean_time
