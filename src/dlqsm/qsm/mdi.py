"""Field from multi-channel multi-echo images without coil combination: multi-dimensional integration (MDI)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from dlqsm.core.checks import InputError, require_not_negative, require_shape
from dlqsm.core.lags import LagSums
from dlqsm.core.passes import array_of, in_slabs, suits_passes
from dlqsm.core.scan import Scan
from dlqsm.core.units import TWO_PI
from dlqsm.qsm.mdi_kernels import estimate_field
from dlqsm.qsm.noise import image_noise_sd


@dataclass(frozen=True, slots=True)
class FieldEstimate:
    """A field map that still wraps, with its noise.

    The field is ``unwrapped_phase_rad / (2 pi spacing_s)`` [Hz]. All four are finite everywhere; voxels without signal
    have phase 0, coherence 0 and the largest noise that a wrapped field can have.

    Parameters
    ----------
    wrapped_phase_rad
        Phase gathered in ``spacing_s``, in (-pi, pi], ``(x, y, z)``.
    spacing_s
        The echo spacing [s]; the echo time where there is one echo.
    noise_hz
        Standard deviation of the field [Hz], at most 1 / (2 spacing_s sqrt(3)), that of a uniform wrapped phase.
    coherence
        Agreement with one decaying exponential in all channels, in [0, 1], 1 best.
    """

    wrapped_phase_rad: torch.Tensor
    spacing_s: float
    noise_hz: torch.Tensor
    coherence: torch.Tensor

    def to(self, device: torch.device) -> FieldEstimate:
        """The same on a device."""
        maps = (self.wrapped_phase_rad, self.noise_hz, self.coherence)
        phase_rad, noise_hz, coherence = (volume.to(device) for volume in maps)
        return FieldEstimate(phase_rad, self.spacing_s, noise_hz, coherence)


def mdi(sums: LagSums, scan: Scan, *, refine: bool = True, lag_snr: float = 2.0) -> FieldEstimate:
    """Estimate the field from the inter-echo lag sums of all channels; coil phases and offsets cancel in them.

    f_1 = arg(R_1) / (2 pi dTE), R_m = sum_e sum_c conj(S(e, c)) S(e + m, c). Refined by the longer lags in turn, each
    unwrapped by what the shorter ones gave: f = sum_m m^2 |R_m| f_m / sum_m m^2 |R_m|. The noise is that of a weighted
    linear fit of phase over echo time, sigma_f = 1 / (2 pi sqrt(sum_e w_e (TE_e - <TE>_w)^2)) with
    w_e = max(sum_c |S(e, c)|^2 / sigma^2 - 2 n_channels, 0).

    Parameters
    ----------
    sums
        Lag sums and power of the images; where ``noise_sd`` is None, `estimate_noise_sd` stands in.
    scan
        Needs evenly spaced echo times.
    refine
        Use all echo lags, which nears the Cramer-Rao bound, instead of neighbouring echoes only.
    lag_snr
        Lags whose sum is below this many standard deviations of its own noise are left out of a voxel.

    Returns
    -------
    The wrapped phase of one echo spacing, its noise and its coherence.

    Raises
    ------
    InputError
        If there are fewer than two echoes, if their spacing is uneven, if shapes disagree, or ``lag_snr`` is negative.

    References
    ----------
    Ye et al., Proc ISMRM 27:4392 (2019).
    """
    require_not_negative("lag_snr", [lag_snr])
    n_echoes = sums.power.shape[0]
    if n_echoes < 2:
        raise InputError(f"MDI needs two echoes or more; got {n_echoes}; use the phase of the single echo instead")
    if len(scan.echo_times_s) != n_echoes:
        raise InputError(f"there are {n_echoes} echo images but {len(scan.echo_times_s)} echo times; give one per echo")
    spacing_s = scan.echo_spacing_s
    require_shape("power", sums.power, (n_echoes, *scan.grid.shape), "scan.grid with one volume per echo")
    require_shape("lags", sums.lags, (n_echoes - 1, *scan.grid.shape), "scan.grid with one volume per lag")
    maps = maps_on_cpu if suits_passes(sums.lags, sums.power) else maps_in_torch
    return maps(sums, scan.echo_times_s, spacing_s, n_echoes - 1 if refine else 1, lag_snr)


def maps_on_cpu(
    sums: LagSums, echo_times_s: tuple[float, ...], spacing_s: float, n_lags: int, lag_snr: float
) -> FieldEstimate:
    """The maps of `mdi` from its first ``n_lags`` lags, in one pass over the sums."""
    if sums.noise_sd is None and not bool(torch.isfinite(sums.power.sum())):
        sums = _with_finite_signal(sums)
    lags, power = array_of(sums.lags), array_of(sums.power)
    phase, noise_hz, coherence = (np.empty(power.shape[1:], power.dtype) for _ in range(3))
    sigma = np.full(phase.shape, array_of(image_noise_sd(sums).cpu()), power.dtype)
    times = np.array(echo_times_s) / spacing_s
    scales_hz = 1.0 / (TWO_PI * spacing_s), largest_noise_hz(spacing_s)
    known = lags, power, sigma, times, sums.n_channels, (n_lags, float(lag_snr)), scales_hz
    in_slabs(estimate_field, len(phase), torch.get_num_threads(), *known, phase, noise_hz, coherence)
    phase_rad, noise, agreement = (torch.from_numpy(volume) for volume in (phase, noise_hz, coherence))
    return FieldEstimate(wrap(phase_rad), spacing_s, noise, agreement)


def maps_in_torch(
    sums: LagSums, echo_times_s: tuple[float, ...], spacing_s: float, n_lags: int, lag_snr: float
) -> FieldEstimate:
    """As `maps_on_cpu`, on any device."""
    sums = _with_finite_signal(sums)
    sigma = image_noise_sd(sums)
    phase = _refined_phase(sums, sigma, n_lags, lag_snr)
    return FieldEstimate(
        wrap(torch.where(sums.lags[0].abs() > 0, phase, torch.zeros_like(phase))),
        spacing_s,
        _field_noise_hz(sums, sigma, echo_times_s, spacing_s),
        _coherence(sums),
    )


def single_echo(image: torch.Tensor, scan: Scan, *, noise_sd: torch.Tensor | None = None) -> FieldEstimate:
    """Take the phase of one echo for the field: f = arg(S) / (2 pi TE).

    This assumes that the phase at TE = 0 (coils, excitation, eddy currents) is smooth, so that removal of the
    background field takes it away; with two echoes or more `mdi` needs no such assumption. Nothing measures the
    coherence of one echo: it is 1 wherever there is signal.

    Parameters
    ----------
    image
        Complex image, coils combined, ``(x, y, z)``.
    scan
        Needs one echo time.
    noise_sd
        Noise of one component of the image, in its units; estimated from the image where it is absent.

    Returns
    -------
    The wrapped phase of the echo, its noise and its coherence.

    Raises
    ------
    InputError
        If there is not exactly one echo time, or if shapes disagree.
    """
    if len(scan.echo_times_s) != 1:
        raise InputError(f"a single echo has one echo time; got {len(scan.echo_times_s)}: {list(scan.echo_times_s)} s")
    require_shape("image", image, scan.grid.shape, "scan.grid")
    image = torch.where(torch.isfinite(image.abs()), image, torch.zeros_like(image))
    power, echo_time_s = image.abs() ** 2, scan.echo_times_s[0]
    sums = LagSums(image.new_zeros((0, *image.shape)), power[None], noise_sd, 1)
    weight = _echo_weights(sums, image_noise_sd(sums))[0]
    noise_hz = (1.0 / (TWO_PI * echo_time_s * weight.sqrt())).clamp_max(largest_noise_hz(echo_time_s))
    return FieldEstimate(wrap(torch.angle(image)), echo_time_s, noise_hz, (power > 0).to(power.dtype))


def largest_noise_hz(spacing_s: float) -> float:
    """Standard deviation of a field known only to lie within one wrap: 1 / (2 spacing sqrt(3))."""
    return 1.0 / (2.0 * spacing_s * math.sqrt(3.0))


def wrap(phase_rad: torch.Tensor) -> torch.Tensor:
    """Map a phase to (-pi, pi] by whole turns."""
    wrapped = phase_rad - TWO_PI * torch.round(phase_rad / TWO_PI)
    # The nearest floating-point number above -pi stands for a phase just under -pi as well.
    return torch.where(wrapped <= -math.pi, wrapped.new_full((), math.pi), wrapped.clamp_max(math.pi))


def _with_finite_signal(sums: LagSums) -> LagSums:
    """Voxels in which anything is not finite lose all their signal."""
    finite = torch.isfinite(sums.lags).all(0) & torch.isfinite(sums.power).all(0)
    if bool(finite.all()):
        return sums
    lags = torch.where(finite, sums.lags, torch.zeros_like(sums.lags))
    power = torch.where(finite, sums.power, torch.zeros_like(sums.power))
    return LagSums(lags, power, sums.noise_sd, sums.n_channels)


def _refined_phase(sums: LagSums, sigma: torch.Tensor, n_lags: int, lag_snr: float) -> torch.Tensor:
    """Weighted mean of arg(R_m) / m, lag m unwrapped by the mean of the lags below it."""
    total = sums.lags[0].abs()
    phase, up_to = torch.angle(sums.lags[0]), sums.power.cumsum(0)
    for m, lag in enumerate(sums.lags[1:n_lags], start=2):
        size = lag.abs()
        weight = m * m * size * (size**2 > lag_snr**2 * _lag_variance(up_to, sigma, m, sums.n_channels))
        step = torch.angle(lag) - m * phase
        step = (step - TWO_PI * torch.round(step / TWO_PI)) / m
        total = total + weight
        phase = phase + step * weight / total.clamp_min(torch.finfo(total.dtype).tiny)
    return phase


def _lag_variance(power_up_to: torch.Tensor, sigma: torch.Tensor, m: int, n_channels: int) -> torch.Tensor:
    """Variance of R_m (complex), 2 sigma^2 (sum_e P_e + P_(e+m)) - 4 sigma^4 n_channels (n_echoes - m).

    ``power_up_to`` are the running sums of P_e. The floor is the variance without signal.
    """
    n_echoes = power_up_to.shape[0]
    power = power_up_to[-1 - m] + power_up_to[-1] - power_up_to[m - 1]
    floor = 4.0 * sigma**4 * n_channels * (n_echoes - m)
    return torch.maximum(2.0 * sigma**2 * power - floor, floor.expand_as(power))


def _echo_weights(sums: LagSums, sigma: torch.Tensor) -> torch.Tensor:
    """Inverse phase variance of each echo, w_e = max(P_e / sigma^2 - 2 n_channels, 0)."""
    variance = (sigma**2).clamp_min(torch.finfo(sums.power.dtype).tiny)
    weights = (sums.power / variance - 2.0 * sums.n_channels).clamp_min(0.0)
    return weights.clamp_max(torch.finfo(weights.dtype).max ** 0.5)


def _field_noise_hz(
    sums: LagSums, sigma: torch.Tensor, echo_times_s: tuple[float, ...], spacing_s: float
) -> torch.Tensor:
    weights = _echo_weights(sums, sigma)
    times = weights.new_tensor([t / spacing_s for t in echo_times_s])[:, None, None, None]
    total = weights.sum(0).clamp_min(torch.finfo(weights.dtype).tiny)
    centre = (weights * times).sum(0) / total
    information = (weights * (times - centre) ** 2).sum(0)
    return (1.0 / (TWO_PI * spacing_s * information.sqrt())).clamp_max(largest_noise_hz(spacing_s))


def _coherence(sums: LagSums) -> torch.Tensor:
    """|R_1| / sqrt(sum_(e < n) P_e  sum_(e > 1) P_e)."""
    energy = (sums.power[:-1].sum(0) * sums.power[1:].sum(0)).sqrt()
    ratio = sums.lags[0].abs() / energy.clamp_min(torch.finfo(energy.dtype).tiny)
    return torch.where(energy > 0, ratio.clamp(0.0, 1.0), torch.zeros_like(ratio))
