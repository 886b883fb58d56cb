"""Combination of coil images in phase, by offsets that two echoes and the unwrapped field tell: MCPC-3D-S."""

from __future__ import annotations

import math
from typing import Final

import torch
from scipy import ndimage

from dlqsm.core.checks import InputError, require_shape
from dlqsm.core.lags import lag_sums_of_polar
from dlqsm.core.scan import Scan
from dlqsm.qsm.brain_surface import head_threshold
from dlqsm.qsm.mask import phase_quality
from dlqsm.qsm.mdi import mdi
from dlqsm.qsm.unwrap import spun

SMOOTHING_MM: Final = 6.0
"""SD of the Gaussian over the phasors of the offsets: coils vary over centimetres, noise from voxel to voxel."""
LEAST_QUALITY: Final = 0.3
"""Phase quality of the two echoes below which a voxel tells no offset."""


def mcpc3ds(
    magnitude: torch.Tensor, phase_rad: torch.Tensor, scan: Scan, *, smoothing_mm: float = SMOOTHING_MM
) -> tuple[torch.Tensor, torch.Tensor]:
    """Combine the coils of every echo without poles that the coils do not share.

    The product of the first two echoes over all coils, H = sum_c conj(S_1c) S_2c, is free of coil phases. Unwrapped it
    foretells the phase at TE_1, and what is left is the offset of each coil,

        phi_c = arg(S_1c) - arg_unwrapped(H) TE_1 / (TE_2 - TE_1),

    smoothed as a phasor with weights |S_1c|^2. The combined image is sum_c |S_ec| S_ec exp(-i phi_c); its magnitude is
    the root of that sum's, which is the root sum of squares where the coils agree. A number of turns by which H is
    unwrapped as a whole shifts all coils and echoes alike, and so no field.

    Of alternating readout, the phase between odd and even echoes must be taken out before (`qsm.bipolar`): what is left
    of it enters all coils alike, as a phase that does not change with echo time.

    Parameters
    ----------
    magnitude
        Magnitude of the images, any unit, ``(echo, coil, x, y, z)``.
    phase_rad
        Their phase [rad], same shape.
    scan
        Needs two echo times or more.
    smoothing_mm
        SD of the Gaussian over the offsets [mm].

    Returns
    -------
    Magnitude and phase [rad] of the combined echoes, ``(echo, 1, x, y, z)``.

    Raises
    ------
    InputError
        If there is one echo, or if shapes disagree.

    References
    ----------
    Eckstein et al., Magn Reson Med 79:2996 (2018), doi:10.1002/mrm.26963.
    """
    n_echoes = len(scan.echo_times_s)
    if n_echoes < 2:
        raise InputError(f"MCPC-3D-S needs two echoes or more to tell the offsets of coils; got {n_echoes}")
    require_shape("phase", phase_rad, (n_echoes, phase_rad.shape[1], *scan.grid.shape), "scan: a volume per echo")
    require_shape("magnitude", magnitude, tuple(phase_rad.shape), "the phase")
    at_first_echo = _phase_at_first_echo(magnitude[:2], phase_rad[:2], scan)
    total = torch.zeros((n_echoes, *scan.grid.shape), dtype=torch.complex64, device=phase_rad.device)
    for coil in range(phase_rad.shape[1]):
        offset = _offset(magnitude[0, coil], phase_rad[0, coil] - at_first_echo, scan, smoothing_mm)
        total += torch.polar(magnitude[:, coil].float().square(), (phase_rad[:, coil] - offset).float())
    return total.abs().sqrt().unsqueeze(1), total.angle().unsqueeze(1)


def _phase_at_first_echo(magnitude: torch.Tensor, phase_rad: torch.Tensor, scan: Scan) -> torch.Tensor:
    """Phase that the field has gathered at TE_1 [rad]; NaN outside what could be unwrapped."""
    first, second = scan.echo_times_s[:2]
    pair = Scan(scan.grid, (first, second), scan.field_strength_t, scan.b0_direction)
    sums = lag_sums_of_polar(magnitude, phase_rad, None)
    estimate = mdi(sums, pair)
    bright = sums.power[0].sqrt()
    head = bright > float(head_threshold(bright.cpu().numpy()))
    quality = phase_quality(estimate)
    known = head & (quality > LEAST_QUALITY)
    if not bool(known.any()):
        raise InputError("no voxel of the first two echoes has a phase quality that tells the offsets of coils")
    gathered, known, _ = spun(estimate.wrapped_phase_rad, known, pair, quality)
    return torch.where(known, gathered * (first / (second - first)), math.nan)


def _offset(weight: torch.Tensor, offset_rad: torch.Tensor, scan: Scan, smoothing_mm: float) -> torch.Tensor:
    """Smooth phase of one coil [rad], from where it is known to everywhere."""
    known = torch.isfinite(offset_rad)
    phasor = torch.polar(torch.where(known, weight.square(), 0.0).float(), offset_rad.nan_to_num(0.0).float())
    sd = [smoothing_mm / v for v in scan.grid.voxel_size_mm]
    parts = [torch.from_numpy(ndimage.gaussian_filter(p.cpu().numpy(), sd)) for p in (phasor.real, phasor.imag)]
    return torch.complex(*parts).angle().to(weight.device)
