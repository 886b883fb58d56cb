"""What inversions by total variation share: a masked field becomes a problem for ADMM, its solution a map."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from dlqsm.core.checks import (
    InputError,
    require_finite,
    require_mask,
    require_positive,
    require_shape,
)
from dlqsm.core.differences import isotropic_spacing
from dlqsm.core.dipole import dipole_kernel
from dlqsm.core.scan import ECHO_TIME_LIMIT_S, Scan
from dlqsm.core.solvers import Convergence, warn_unless_converged
from dlqsm.core.units import TWO_PI
from dlqsm.qsm.box import Box
from dlqsm.qsm.splitting.admm import CHECK_EVERY, Problem, State, solve
from dlqsm.qsm.splitting.gradients import steepest, surface
from dlqsm.qsm.splitting.uniform import uniform_csf
from dlqsm.qsm.weights import relative_weights

SHRINKAGE = 0.8
"""alpha / mu_gradient over the mean absolute field: fastest convergence in sweeps over strengths 3e-5 to 5e-4 ppm."""
FIELD_PENALTY = 0.45
"""mu_field over sqrt(alpha / mean absolute field): from the same sweeps."""
LEVEL_PENALTY = 0.3
"""Penalty of the split that keeps a region uniform, over mu_field."""


@dataclass(frozen=True, slots=True)
class Posed:
    """The problem of a masked field on its padded box.

    Parameters
    ----------
    box, mask
        Where the box lies, and the mask on the full grid.
    inside, weights
        The mask and W in the box.
    problem
        What `solve` takes.
    """

    box: Box
    mask: torch.Tensor
    inside: torch.Tensor
    weights: torch.Tensor
    problem: Problem

    def result(self, method: str, chi: torch.Tensor, convergence: Convergence) -> tuple[torch.Tensor, Convergence]:
        """Bring the map back to the full grid; warns where the iteration of ``method`` ended too early."""
        warn_unless_converged(method, convergence)
        return torch.where(self.mask, self.box.put_back(chi), 0.0), convergence


def pose(
    local_field_ppm: torch.Tensor,
    mask: torch.Tensor,
    scan: Scan,
    noise_ppm: torch.Tensor | None,
    magnitude: torch.Tensor | None,
    *,
    strength: float,
    edge_share: float,
    padding_mm: float,
    csf_strength: float = 0.0,
    csf_region: torch.Tensor | None = None,
) -> Posed:
    """Check the input of an inversion and pose min 1/2 || W (D chi - b) ||^2 + strength sum_d || M_d G_d chi ||_1.

    M_d is 0 across the surface of the mask and, where a magnitude is given, at the steepest ``edge_share`` of its
    gradient components. The other parameters are those of `l1`.
    """
    _check(local_field_ppm, mask, scan, magnitude)
    _check_options(strength, edge_share, padding_mm)
    box = Box.around(mask, scan.grid, padding_mm)
    inside = box.take(mask)
    field = box.take(torch.where(mask, local_field_ppm, 0.0))
    weights = box.take(relative_weights(mask, noise_ppm, local_field_ppm))
    edges = surface(inside)
    if magnitude is not None and edge_share > 0.0:
        edges |= steepest(box.take(magnitude.to(field.dtype)), inside, box.wide.voxel_size_mm, edge_share)
    # Of a field that is zero any penalties find the solution at once.
    scale = float(field[inside].abs().mean(dtype=torch.float64)) or 1.0
    mu_field = FIELD_PENALTY * (strength / scale) ** 0.5
    problem = Problem(
        field=field,
        weights_squared=weights**2,
        kernel=dipole_kernel(box.wide, scan.b0_direction, field),
        smooth=~edges,
        spacing=isotropic_spacing(scan.grid.voxel_size_mm),
        alpha=strength,
        mu_gradient=strength / (SHRINKAGE * scale),
        mu_field=mu_field,
        uniform=uniform_csf(csf_strength, csf_region, mask, box, LEVEL_PENALTY * mu_field),
    )
    return Posed(box, mask, inside, weights, problem)


def phase_per_ppm(scan: Scan, nonlinear_time_s: float) -> float:
    """Phase of one ppm at ``nonlinear_time_s`` [rad/ppm], c of a periodic data term; 0 for a linear one."""
    if not 0.0 <= nonlinear_time_s < ECHO_TIME_LIMIT_S:
        raise InputError(f"nonlinear_time_s must lie between 0 and {ECHO_TIME_LIMIT_S} seconds; got {nonlinear_time_s}")
    return TWO_PI * scan.hz_per_ppm * nonlinear_time_s if nonlinear_time_s else 0.0


def solve_periodic(
    problem: Problem, state: State, rad_per_ppm: float, *, tolerance: float, max_iterations: int
) -> tuple[State, Convergence]:
    """Solve with the data term W^2 (1 - cos c (D chi - b)) / c^2 by linear problems; one linear problem where c is 0.

    Each of them lies above the periodic one and touches it where the last one ended: with u = c (D chi - b) in
    (-pi, pi], the parabola W^2 (sin(u) / u) r^2 / 2 of the residual from the nearest whole turn lies above
    W^2 (1 - cos c r) / c^2. The end is reached when a new parabola needs no more than the first check.
    """
    if rad_per_ppm == 0.0:
        return solve(problem, state, tolerance=tolerance, max_iterations=max_iterations)
    n = 0
    history: tuple[float, ...] = ()
    while True:
        near = nearest_turns(problem.field, state.fitted, rad_per_ppm)
        trusted = torch.sinc((state.fitted - near) * (rad_per_ppm / math.pi)).mul_(problem.weights_squared)
        above = replace(problem, field=near, weights_squared=trusted)
        state, last = solve(above, state, tolerance=tolerance, max_iterations=max_iterations - n)
        n, history = n + last.n_iterations, history + last.history
        if n >= max_iterations or last.n_iterations <= CHECK_EVERY:
            return state, Convergence(last.converged, n, last.residual, tolerance, history)


def nearest_turns(field_ppm: torch.Tensor, fitted_ppm: torch.Tensor, rad_per_ppm: float) -> torch.Tensor:
    """The field [ppm] with the whole turns of the phase that bring it nearest to what was fitted; itself if c is 0."""
    if rad_per_ppm == 0.0:
        return field_ppm
    turn = TWO_PI / rad_per_ppm
    return field_ppm + turn * torch.round((fitted_ppm - field_ppm) / turn)


def _check(field_ppm: torch.Tensor, mask: torch.Tensor, scan: Scan, magnitude: torch.Tensor | None) -> None:
    require_shape("local field", field_ppm, scan.grid.shape, "scan.grid")
    require_mask(mask, scan.grid.shape)
    require_finite("local field inside the mask", field_ppm[mask])
    if magnitude is not None:
        require_shape("magnitude", magnitude, scan.grid.shape, "scan.grid")
        require_finite("magnitude inside the mask", magnitude[mask])


def _check_options(strength: float, edge_share: float, padding_mm: float) -> None:
    require_positive("strength", [strength], "ppm")
    require_positive("padding_mm", [padding_mm], "mm")
    if not 0.0 <= edge_share < 1.0:
        raise InputError(f"edge_share must lie between 0 and 1; got {edge_share}")
