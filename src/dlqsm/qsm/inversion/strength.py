"""Strength of the penalty from the data: voxels that the fit does not see tell how far it can be believed."""

from __future__ import annotations

import math

import torch

from dlqsm.core.solvers import Convergence
from dlqsm.qsm.inversion.total_variation import Posed, nearest_turns, solve_periodic
from dlqsm.qsm.splitting.admm import Problem, State
from dlqsm.qsm.splitting.uniform import MEAN_SQUARED_DIPOLE
from dlqsm.qsm.weights import MAD_TO_SD

FIRST_GUESS = 0.05
"""Strength to begin with, over the mean absolute field: right for heads at 3 T and an SNR of 40 to 100."""
LEAST = 1e-3
"""The strength never falls below this share of the mean absolute field: a field without noise needs hardly any."""
LEAST_SIGNAL = 0.5
"""Share of the field's standard deviation that is believed to be signal whatever the misfit says."""
NEAR = 2.0
"""A choice within this factor of the strength that it was made with stands."""
MOST_ROUNDS = 4
HELD_OUT_EVERY, STEPS = 19, (1, 7, 11)
"""Held out is the lattice of voxels with x + 7 y + 11 z divisible by 19: 5 % of them, no two of them neighbours."""


def first_guess(local_field_ppm: torch.Tensor, mask: torch.Tensor) -> float:
    """Strength [ppm] to begin with; 1 for a field that is zero."""
    return FIRST_GUESS * float(local_field_ppm[mask].abs().mean(dtype=torch.float64)) or 1.0


def solve_and_choose(
    posed: Posed, rad_per_ppm: float = 0.0, *, tolerance: float, max_iterations: int
) -> tuple[State, Convergence]:
    """Solve without the held-out voxels, and set the strength of the problem to sigma^2 / scale.

    sigma is the robust standard deviation, over the held-out voxels, of W (D chi - b), the least of all rounds: what
    the field holds that the other voxels do not foretell, be it noise or another error. With white noise of that size
    and gradients that are Laplace distributed, the most probable map has strength sigma^2 / scale, the scale of that
    distribution being its standard deviation over root 2. For the latter the one of chi itself is taken, which served
    on simulated heads. Rounds go on until a strength nearly chooses itself.

    Returns
    -------
    The solution for the other voxels, its duals scaled to the new strength, and the `Convergence`, which tells
    ``strength_ppm`` and ``misfit_ppm``, sigma.
    """
    problem, held = posed.problem, held_out(posed.inside)
    known = problem.weights_squared
    problem.weights_squared = torch.where(held, 0.0, known)
    state, n, misfit = State.zero(problem.field), 0, math.inf
    history: tuple[float, ...] = ()
    for _ in range(MOST_ROUNDS):
        state, last = solve_periodic(problem, state, rad_per_ppm, tolerance=tolerance, max_iterations=max_iterations)
        n, history = n + last.n_iterations, history + last.history
        before, misfit = problem.alpha, min(misfit, robust_misfit(posed, state, rad_per_ppm, held & (known > 0)))
        set_strength(problem, state, asked_strength(posed, misfit))
        if 1 / NEAR < problem.alpha / before < NEAR:
            break
    problem.weights_squared = known
    chosen = {"strength_ppm": problem.alpha, "misfit_ppm": misfit}
    return state, Convergence(last.converged, n, last.residual, tolerance, history, chosen)


def robust_misfit(posed: Posed, state: State, rad_per_ppm: float, where: torch.Tensor) -> float:
    """Robust standard deviation of W (D chi - b); periodic where the data term is."""
    fitted = state.fitted[where]
    misfit = fitted - nearest_turns(posed.problem.field[where], fitted, rad_per_ppm)
    if misfit.numel() == 0:
        return 0.0
    weighted = posed.weights[where] * misfit
    return MAD_TO_SD * float((weighted - weighted.median()).abs().median())


def asked_strength(posed: Posed, misfit: float) -> float:
    """Root 2 sigma^2 / SD(chi), not below its least; what it was for a field that is zero.

    SD(chi) is foretold from the field, SD(b)^2 = <D^2> SD(chi)^2 + sigma^2 / <W^2>, weighted by W^2: a map flattens
    where the strength is large. Where noise exceeds the local field the choice is too large.
    """
    field, weights = posed.problem.field[posed.inside].double(), posed.weights[posed.inside].double() ** 2
    mean = (weights * field).sum() / weights.sum()
    variance = float((weights * (field - mean) ** 2).sum() / weights.sum())
    if variance == 0.0:
        return posed.problem.alpha
    noise = misfit**2 / float(weights.mean())
    signal = max(variance - noise, LEAST_SIGNAL**2 * variance)
    spread = math.sqrt(signal / MEAN_SQUARED_DIPOLE)
    return max(math.sqrt(2.0) * misfit**2 / spread, LEAST * float(field.abs().mean()))


def set_strength(problem: Problem, state: State, strength: float) -> None:
    """Change alpha, with the penalties that go with it, and the scaled duals with these.

    mu_gradient is proportional to alpha, so that the dual of the gradient stays; mu_field to its root.
    """
    ratio = strength / problem.alpha
    problem.alpha, problem.mu_gradient = strength, ratio * problem.mu_gradient
    problem.mu_field *= ratio**0.5
    state.aim = torch.lerp(state.q, state.aim, ratio**-0.5)


def held_out(inside: torch.Tensor) -> torch.Tensor:
    """One voxel in 19 of the mask, spread evenly."""
    axes = [torch.arange(n, device=inside.device) * step for n, step in zip(inside.shape, STEPS, strict=True)]
    place = axes[0][:, None, None] + axes[1][None, :, None] + axes[2]
    return inside & (place % HELD_OUT_EVERY == 0)
