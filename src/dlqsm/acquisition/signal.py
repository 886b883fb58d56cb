"""The spoiled multi-echo gradient-echo signal of tissue in a field."""

from __future__ import annotations

import math

import torch

from dlqsm.core.units import TWO_PI


def ernst_signal(
    proton_density: torch.Tensor, t1_s: torch.Tensor, repetition_time_s: float, flip_angle_deg: float
) -> torch.Tensor:
    """Steady-state spoiled signal PD sin(a) (1 - E1) / (1 - cos(a) E1), E1 = exp(-TR / T1).

    Parameters
    ----------
    proton_density
        Proton density, water 1.
    t1_s
        Longitudinal relaxation time [s]; zero where there is nothing.
    repetition_time_s
        TR [s].
    flip_angle_deg
        Flip angle [degrees].

    Returns
    -------
    Transverse magnetisation after the pulse, in units of water's equilibrium.

    References
    ----------
    Ernst & Anderson, Rev Sci Instrum 37:93 (1966), doi:10.1063/1.1719961.
    """
    angle = math.radians(flip_angle_deg)
    e1 = torch.exp(-repetition_time_s / t1_s.clamp_min(1e-3))
    return proton_density * math.sin(angle) * (1.0 - e1) / (1.0 - math.cos(angle) * e1)


def gradient_echo(
    amplitude: torch.Tensor,
    r2star_hz: torch.Tensor,
    field_hz: torch.Tensor,
    field_steps_hz: torch.Tensor,
    phase_rad: torch.Tensor,
    echo_time_s: float,
) -> torch.Tensor:
    """One echo: A exp(-R2* TE) prod_a sinc(df_a TE) exp(i (phi0 + 2 pi f TE)).

    Parameters
    ----------
    amplitude
        Transverse magnetisation after the pulse.
    r2star_hz
        R2* without macroscopic field gradients [1/s].
    field_hz
        Field offset [Hz]; higher frequency is positive phase.
    field_steps_hz
        ``(3, ...)``: change of the field across one cell along each axis [Hz], for the dephasing inside the cell.
    phase_rad
        Phase at echo time zero [rad].
    echo_time_s
        Echo time [s].

    Returns
    -------
    Complex signal.
    """
    dephasing = torch.sinc(field_steps_hz * echo_time_s).prod(dim=0)
    magnitude = amplitude * torch.exp(-r2star_hz * echo_time_s) * dephasing
    return torch.polar(torch.ones_like(magnitude), phase_rad + TWO_PI * echo_time_s * field_hz) * magnitude


def central_differences(volume: torch.Tensor) -> torch.Tensor:
    """Change across one cell along each axis, ``(3, x, y, z)``: half the difference of the neighbours."""
    return torch.stack(torch.gradient(volume))


def slab_profile(n: int, edge: float, like: torch.Tensor) -> torch.Tensor:
    """Excitation over ``n`` planes: 1 inside, a quarter sine squared over the share ``edge`` at both ends.

    It is zero outside the slab, so that nothing folds in along the second phase-encoding axis.
    """
    position = (torch.arange(n, dtype=like.dtype, device=like.device) + 0.5) / n
    depth = torch.minimum(position, 1.0 - position)
    return torch.sin(0.5 * math.pi * (depth / max(edge, 1e-9)).clamp_max(1.0)) ** 2
