"""Readout of alternating polarity: the phase between odd and even echoes, measured from the echoes and taken out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch

from dlqsm.core.checks import InputError, require_positive, require_shape
from dlqsm.core.scan import Scan

N_STEPS: Final = 20
"""Steps of the fit; each leaves a share 1 - <cos> of the error, which is 0.1 at a residual phase of half a radian."""
SMALLEST_STEP_RAD: Final = 1e-6
"""The fit ends when no coefficient moves by more: far below the noise of any."""


@dataclass(frozen=True, slots=True)
class OddEvenPhase:
    """Phase psi of the even echoes (the first, the third, ...) over the odd ones, linear along the array axes.

    Parameters
    ----------
    offset_rad
        At the centre of the array, in (-pi / 2, pi / 2]; half a turn more would move the field as a whole.
    gradient_rad_per_voxel
        Along x, y and z.
    rms_rad
        Root mean square over the head, voxels weighted by magnitude squared.
    """

    offset_rad: float
    gradient_rad_per_voxel: tuple[float, float, float]
    rms_rad: float

    def as_dict(self) -> dict[str, object]:
        """Plain numbers for a JSON file."""
        gradient = list(self.gradient_rad_per_voxel)
        return {"offset_rad": self.offset_rad, "gradient_rad_per_voxel": gradient, "rms_rad": self.rms_rad}


def odd_even_correction(
    magnitude: torch.Tensor, phase_rad: torch.Tensor, scan: Scan
) -> tuple[torch.Tensor, OddEvenPhase]:
    """Take the phase between odd and even echoes out, half of it from each: phi_e - (-1)^e psi / 2, e from 0.

    For echoes read with alternating polarity, whose delays and eddy currents change sign from echo to echo. Echoes of
    one polarity have psi = 0 within its error, and come out as they went in but for that.

    Parameters
    ----------
    magnitude
        Magnitude of the echoes, any unit, ``(echo, coil, x, y, z)``.
    phase_rad
        Their phase [rad], same shape.
    scan
        Needs evenly spaced echo times, three or more.

    Returns
    -------
    Phase [rad], not wrapped, and what was taken out.

    Raises
    ------
    InputError
        As `odd_even_phase`.
    """
    found = odd_even_phase(magnitude, phase_rad, scan)
    slopes = (g * _reach(n) for g, n in zip(found.gradient_rad_per_voxel, scan.grid.shape, strict=True))
    half = 0.5 * _linear(torch.tensor([found.offset_rad, *slopes]), phase_rad[0, 0])
    sign = phase_rad.new_tensor([(-1.0) ** e for e in range(len(phase_rad))])
    return phase_rad - sign[:, None, None, None, None] * half, found


def odd_even_phase(magnitude: torch.Tensor, phase_rad: torch.Tensor, scan: Scan) -> OddEvenPhase:
    """Measure the phase between odd and even echoes as a linear function of position, without unwrapping.

    The bend phi_e - 2 phi_(e+1) + phi_(e+2) is free of field, offset and coils, and equals 2 (-1)^e psi. Its phasors,
    weighted by magnitude squared and summed over echoes and coils, make a complex image D = |D| exp(2 i psi). The
    gradients of psi are the phases of the products of neighbours of D, the offset is the phase of what is left; both
    are refined by maximising Re sum D exp(-2 i psi) over the four coefficients, each step the least-squares solution
    with weights |D|.

    Parameters
    ----------
    magnitude
        Magnitude of the echoes, any unit, ``(echo, coil, x, y, z)``.
    phase_rad
        Their phase [rad], same shape.
    scan
        Needs evenly spaced echo times, three or more.

    Returns
    -------
    The phase psi.

    Raises
    ------
    InputError
        If there are fewer than three echoes, if their spacing is uneven, or if shapes disagree.
    """
    n_echoes = len(scan.echo_times_s)
    if n_echoes < 3:
        raise InputError(f"odd and even echoes can be told apart from three echoes on; got {n_echoes}")
    require_positive("echo spacing", [scan.echo_spacing_s], "s")
    require_shape("phase", phase_rad, (n_echoes, phase_rad.shape[1], *scan.grid.shape), "scan: a volume per echo")
    require_shape("magnitude", magnitude, tuple(phase_rad.shape), "the phase")
    image = _bend(magnitude, phase_rad)
    second = _second_moments(image.abs())
    half_turns = 0.5 * _refined(image, _start(image), second)
    half_turns[0] -= math.pi * torch.ceil(half_turns[0] / math.pi - 0.5)
    rms = (half_turns @ second @ half_turns / second[0, 0].clamp_min(torch.finfo(second.dtype).tiny)).sqrt()
    gx, gy, gz = (float(c) / _reach(n) for c, n in zip(half_turns[1:], image.shape, strict=True))
    return OddEvenPhase(float(half_turns[0]), (gx, gy, gz), float(rms))


def _bend(magnitude: torch.Tensor, phase_rad: torch.Tensor) -> torch.Tensor:
    """Complex ``(x, y, z)`` of phase 2 psi: phasors of the bends of three echoes each, that of odd starts conjugate."""
    real, imaginary = torch.zeros_like(phase_rad[0, 0]), torch.zeros_like(phase_rad[0, 0])
    for e in range(len(phase_rad) - 2):
        for coil in range(phase_rad.shape[1]):
            before, here, after = phase_rad[e : e + 3, coil]
            bend = before - 2.0 * here + after
            weight = magnitude[e + 1, coil] * (magnitude[e, coil] * magnitude[e + 2, coil]).sqrt()
            real += weight * torch.cos(bend)
            imaginary += (1 - 2 * (e % 2)) * weight * torch.sin(bend)
    return torch.complex(real, imaginary)


def _start(image: torch.Tensor) -> torch.Tensor:
    """Coefficients of 1, x, y, z (each axis from -1 to 1) in the phase of an image, the slopes between neighbours."""
    slopes = []
    for axis, n in enumerate(image.shape):
        ahead, behind = image.narrow(axis, min(1, n - 1), max(n - 1, 1)), image.narrow(axis, 0, max(n - 1, 1))
        slopes.append(torch.angle((behind.conj() * ahead).sum()) * _reach(n))
    flat = image * torch.polar(torch.ones_like(image.real), -_linear(torch.stack([0 * slopes[0], *slopes]), image.real))
    return torch.stack([torch.angle(flat.sum()), *slopes]).double()


def _refined(image: torch.Tensor, start: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Coefficients at the maximum of Re sum D exp(-i phase) next to ``start``."""
    inverse = torch.linalg.pinv(second, hermitian=True)
    for _ in range(N_STEPS):
        turned = image * torch.polar(torch.ones_like(image.real), -_linear(start, image.real))
        step = inverse @ _moments(turned.imag, 1)[_FIRST]
        start = start + step
        if float(step.abs().max()) < SMALLEST_STEP_RAD:
            break
    return start


_POWERS: Final = torch.tensor([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
_FIRST: Final = tuple(_POWERS.T)
_SECOND: Final = tuple((_POWERS[:, None] + _POWERS).movedim(-1, 0))


def _second_moments(weight: torch.Tensor) -> torch.Tensor:
    """Sums of weight times the products of two of 1, x, y, z."""
    return _moments(weight, 2)[_SECOND]


def _moments(weight: torch.Tensor, highest: int) -> torch.Tensor:
    """Sums of weight x^a y^b z^c for all powers up to ``highest``, in double precision, axes from -1 to 1."""
    powers = [torch.stack([_axis(n, weight) ** p for p in range(highest + 1)]) for n in weight.shape]
    return torch.einsum("xyz,cz,by,ax->abc", weight, powers[2], powers[1], powers[0]).double()


def _linear(coefficients: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The phase with these coefficients of 1, x, y, z on the grid of ``like``."""
    offset, a, b, c = coefficients.to(like).unbind()
    x, y, z = (_axis(n, like) for n in like.shape)
    return offset + (a * x)[:, None, None] + (b * y)[:, None] + c * z


def _axis(n: int, like: torch.Tensor) -> torch.Tensor:
    """Positions of the voxels of an axis, the outermost at -1 and 1."""
    return (torch.arange(n, dtype=like.dtype, device=like.device) - (n - 1) / 2.0) / _reach(n)


def _reach(n: int) -> float:
    """Voxels from the centre of an axis to its end."""
    return max((n - 1) / 2.0, 0.5)
