"""iLSQR: least squares stopped early, less the streaks that its ill-conditioned part of k-space holds."""

from __future__ import annotations

import torch

from dlqsm.core.checks import InputError, require_finite, require_mask, require_shape, require_stop
from dlqsm.core.differences import divergence, gradient
from dlqsm.core.dipole import dipole_kernel
from dlqsm.core.fourier import irfft3, rfft3, wavenumbers
from dlqsm.core.scan import Grid, Scan, Vector
from dlqsm.core.solvers import Convergence, conjugate_gradient, warn_unless_converged
from dlqsm.core.units import TWO_PI
from dlqsm.qsm.box import PADDING_MM, Box
from dlqsm.qsm.weights import relative_weights

FIELD_PERCENTILES = 60.0, 99.9
"""The first fit's weight falls from 1 to 0 between these percentiles of the field's Laplacian (published)."""
EDGE_PERCENTILES = 50.0, 70.0
"""The second fit's weight falls from 1 to 0 between these percentiles of the fast map's differences (published)."""
CONE_PERCENTILES = 1.0, 30.0
CONE_POWER = 0.001
"""The fast map keeps its own spectrum as far as |D|^0.001 has climbed between these percentiles (published)."""
SMALL_ANGLE = 0.05
"""Below it the transform of a ball is taken from its series, which single precision needs."""
SMOOTHING_MM = 3.0
"""Radius of the ball whose mean stands for the fast map near the cone."""

LOOSER = 5.0
"""The fit of streaks stops at so many times the tolerance: at once the tolerance nuclei were 1 ppb worse."""


def ilsqr(
    local_field_ppm: torch.Tensor,
    mask: torch.Tensor,
    scan: Scan,
    noise_ppm: torch.Tensor | None = None,
    magnitude: torch.Tensor | None = None,
    *,
    cone: float = 0.1,
    tolerance: float = 1e-2,
    max_iterations: int = 100,
) -> tuple[torch.Tensor, Convergence]:
    """Invert by least squares and subtract the streaks that explain its roughness inside the cone (iLSQR).

        chi_0 = argmin sum W_I (D chi - b)^2, stopped early        x = argmin || W_G G (chi_0 - C x) ||^2
        chi = chi_0 - C x

    C keeps |D| < ``cone`` alone. W_I is small where the Laplacian of the field is large, W_G where a fast map, made
    from sign(D) F b, has edges: what is rough in chi_0 but not there is called a streak.

    Published: the steps, the percentiles, the cone and the tolerance. Ours: magnitudes of Laplacian and differences are
    ranked, not signed values; W_I is multiplied by the inverse noise; conjugate gradients on the normal equations
    in the place of LSQR; the box of the mask, padded. On three bench heads of 1.6 x 1.6 x 4 mm nuclei were 11 to
    12 ppb off, where `l1` leaves 2 to 3.

    Parameters
    ----------
    local_field_ppm
        Local field relative to B0 [ppm], ``(x, y, z)``; used inside the mask.
    mask
        Voxels in which the field is known, bool ``(x, y, z)``.
    scan
        Geometry of the scan and B0 direction.
    noise_ppm
        Standard deviation of the field [ppm], ``(x, y, z)``; equal weights where absent.
    magnitude
        Not used by this method.
    cone
        Magnitude of the dipole kernel below which streaks are looked for, between 0 and 1/3.
    tolerance
        Relative residual of the normal equations at which the first fit stops; that of streaks stops at five times it.
    max_iterations
        Iterations after which each fit stops in any case.

    Returns
    -------
    Susceptibility [ppm], not referenced, zero outside the mask; the `Convergence` of the streaks, whose iterations and
    history are those of both fits.

    Raises
    ------
    InputError
        If shapes disagree, the mask is empty or the cone is out of range.

    References
    ----------
    Li et al., NeuroImage 108:111 (2015), doi:10.1016/j.neuroimage.2014.12.043.
    """
    del magnitude
    require_shape("local field", local_field_ppm, scan.grid.shape, "scan.grid")
    require_mask(mask, scan.grid.shape)
    require_finite("local field inside the mask", local_field_ppm[mask])
    require_stop(tolerance, max_iterations)
    if not 0.0 < cone < 1.0 / 3.0:
        raise InputError(f"cone must lie between 0 and 1/3; got {cone}")
    box = Box.around(mask, scan.grid, PADDING_MM)
    inside, field = box.take(mask), box.take(torch.where(mask, local_field_ppm, 0.0))
    noise_weights = box.take(relative_weights(mask, noise_ppm, local_field_ppm))
    kernel = dipole_kernel(box.wide, scan.b0_direction, field)
    voxel = box.wide.voxel_size_mm
    weights = noise_weights * _falling(_laplacian_inside(field, inside, voxel).abs(), inside, FIELD_PERCENTILES)
    first, told = _least_squares(field, weights, kernel, tolerance, max_iterations)
    first.mul_(inside)
    fast = _fast_map(field, inside, kernel, box.wide)
    streaks, convergence = _streaks(first, fast, inside, kernel.abs() < cone, voxel, LOOSER * tolerance, max_iterations)
    convergence = _joined(told, convergence)
    warn_unless_converged("ilsqr", convergence)
    return torch.where(mask, box.put_back(first - streaks), 0.0), convergence


def _least_squares(
    field: torch.Tensor, weights: torch.Tensor, kernel: torch.Tensor, tolerance: float, max_iterations: int
) -> tuple[torch.Tensor, Convergence]:
    """Conjugate gradients on D W D chi = D W b: their early stop is the only regularisation."""

    def dipole(volume: torch.Tensor) -> torch.Tensor:
        return irfft3(rfft3(volume).mul_(kernel), field.shape)

    return conjugate_gradient(
        lambda chi: dipole(dipole(chi).mul_(weights)),
        dipole(weights * field),
        tolerance=tolerance,
        max_iterations=max_iterations,
    )


def _fast_map(field: torch.Tensor, inside: torch.Tensor, kernel: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Fast QSM: sign(D) F b, its cone twice replaced by that of its local mean, masked in between.

    The published scaling by a truncated division is left out: edges are found by rank, whatever the scale.
    """
    slope = kernel.abs().pow_(CONE_POWER)
    low, high = (_percentile(slope, share) for share in CONE_PERCENTILES)
    own = ((slope - low) / (high - low)).clamp_(0.0, 1.0)
    filling = own + (1.0 - own) * _ball_spectrum(SMOOTHING_MM, grid, field)
    spectrum = rfft3(field).mul_(kernel.sign()).mul_(filling)
    masked = irfft3(spectrum, field.shape).mul_(inside)
    return irfft3(rfft3(masked).mul_(filling), field.shape).mul_(inside)


def _streaks(
    first: torch.Tensor,
    fast: torch.Tensor,
    inside: torch.Tensor,
    cone: torch.Tensor,
    voxel: Vector,
    tolerance: float,
    max_iterations: int,
) -> tuple[torch.Tensor, Convergence]:
    """C x that minimises || W_G G (chi_0 - C x) ||^2; iterates never leave the cone, so that C is applied once."""
    slopes = gradient(fast, voxel).abs_()
    both = [inside & inside.roll(-1, axis) for axis in range(3)]
    squared = torch.stack([_falling(s, b, EDGE_PERCENTILES) for s, b in zip(slopes, both, strict=True)]).square_()

    def roughness_in_cone(volume: torch.Tensor) -> torch.Tensor:
        rough = divergence(gradient(volume, voxel).mul_(squared), voxel).neg_()
        return irfft3(rfft3(rough).mul_(cone), volume.shape)

    return conjugate_gradient(
        roughness_in_cone, roughness_in_cone(first), tolerance=tolerance, max_iterations=max_iterations
    )


def _laplacian_inside(field: torch.Tensor, inside: torch.Tensor, voxel: Vector) -> torch.Tensor:
    """Laplacian of the field without the differences that cross the surface of the mask."""
    both = torch.stack([inside & inside.roll(-1, axis) for axis in range(3)])
    return divergence(gradient(field, voxel).mul_(both), voxel)


def _falling(values: torch.Tensor, known: torch.Tensor, percentiles: tuple[float, float]) -> torch.Tensor:
    """1 up to the lower percentile, falling in proportion to 0 at the upper; 0 where not known."""
    low, high = (_percentile(values[known], share) for share in percentiles)
    return ((high - values) / (high - low).clamp_min(torch.finfo(values.dtype).tiny)).clamp_(0.0, 1.0).mul_(known)


def _percentile(values: torch.Tensor, percent: float) -> torch.Tensor:
    flat = values.flatten()
    return flat.kthvalue(1 + round(percent / 100.0 * (flat.numel() - 1))).values


def _ball_spectrum(radius_mm: float, grid: Grid, like: torch.Tensor) -> torch.Tensor:
    """Transform of the mean over a ball, 3 (sin u - u cos u) / u^3 with u = 2 pi |k| radius."""
    u = torch.stack(torch.broadcast_tensors(*wavenumbers(grid, like))).square().sum(0).sqrt_().mul_(TWO_PI * radius_mm)
    series = 1.0 - u**2 / 10.0
    return torch.where(u < SMALL_ANGLE, series, 3.0 * (torch.sin(u) - u * torch.cos(u)) / u.clamp_min(SMALL_ANGLE) ** 3)


def _joined(first: Convergence, last: Convergence) -> Convergence:
    n, history = first.n_iterations + last.n_iterations, first.history + last.history
    return Convergence(first.converged and last.converged, n, last.residual, last.tolerance, history)
