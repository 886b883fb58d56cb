"""What `l1` would fit and foretell at other strengths than its own: the reason for the choice, to look at."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dlqsm.core.differences import gradient
from dlqsm.core.scan import Scan
from dlqsm.qsm.inversion.strength import asked_strength, held_out, robust_misfit, set_strength
from dlqsm.qsm.inversion.total_variation import Posed, phase_per_ppm, pose, solve_periodic
from dlqsm.qsm.splitting.admm import State

FACTORS = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """The static solution at one strength, made without the held-out voxels.

    Parameters
    ----------
    factor, strength_ppm
        Strength over the one in the middle, and itself [ppm].
    misfit_ppm, held_out_misfit_ppm
        Robust standard deviation of W (D chi - b) [ppm]: over the voxels that it was made of, over the held-out ones.
    total_variation_ppm
        Sum of M_d |G_d chi|, the penalty without its strength, over the number of voxels [ppm].
    asked_strength_ppm
        The strength that the held-out misfit asks for [ppm].
    """

    factor: float
    strength_ppm: float
    misfit_ppm: float
    held_out_misfit_ppm: float
    total_variation_ppm: float
    asked_strength_ppm: float


def strength_curve(
    local_field_ppm: torch.Tensor,
    mask: torch.Tensor,
    scan: Scan,
    noise_ppm: torch.Tensor | None,
    magnitude: torch.Tensor | None,
    *,
    strength: float,
    edge_share: float,
    nonlinear_time_s: float,
    padding_mm: float,
    tolerance: float,
    max_iterations: int,
    csf_strength: float = 0.0,
    csf_region: torch.Tensor | None = None,
) -> tuple[CurvePoint, ...]:
    """Solve the static problem of `l1` at `FACTORS` times a strength, from the least to the largest.

    Each solution starts from the one before. The parameters are those of `l1`.
    """
    posed = pose(
        local_field_ppm,
        mask,
        scan,
        noise_ppm,
        magnitude,
        strength=FACTORS[0] * strength,
        edge_share=edge_share,
        padding_mm=padding_mm,
        csf_strength=csf_strength,
        csf_region=csf_region,
    )
    problem, c, held = posed.problem, phase_per_ppm(scan, nonlinear_time_s), held_out(posed.inside)
    known = problem.weights_squared > 0
    problem.weights_squared = torch.where(held, 0.0, problem.weights_squared)
    state, points = State.zero(problem.field), []
    for factor in FACTORS:
        set_strength(problem, state, factor * strength)
        state, _ = solve_periodic(problem, state, c, tolerance=tolerance, max_iterations=max_iterations)
        points.append(_point(posed, state, c, factor, held & known, posed.inside & ~held & known))
    return tuple(points)


def _point(
    posed: Posed, state: State, rad_per_ppm: float, factor: float, held: torch.Tensor, seen: torch.Tensor
) -> CurvePoint:
    problem = posed.problem
    misfit, foretold = (robust_misfit(posed, state, rad_per_ppm, where) for where in (seen, held))
    variation = (problem.smooth * gradient(state.chi, problem.spacing)).abs().sum() / posed.inside.sum()
    return CurvePoint(factor, problem.alpha, misfit, foretold, float(variation), asked_strength(posed, foretold))
