"""Weighted L1 dipole inversion by ADMM: one problem, its state, one iteration, its residual."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from dlqsm.core.fourier import irfft3, rfft3
from dlqsm.core.passes import in_slabs
from dlqsm.core.scan import Vector
from dlqsm.core.solvers import Convergence
from dlqsm.qsm.splitting.admm_kernels import (
    divergence,
    solve_spectrum,
    split_field,
    split_gradients,
)
from dlqsm.qsm.splitting.gradients import difference, squared_gradient
from dlqsm.qsm.splitting.uniform import Uniform

RELAXATION = 1.8
CHECK_EVERY = 5


@dataclass(slots=True)
class Problem:
    """min over chi of 1/2 || W (D chi - b) ||^2 + alpha sum_d M_d |G_d chi|, on the padded box.

    Parameters
    ----------
    field, weights_squared
        b [ppm] and W^2, zero outside the mask.
    kernel
        D, for the real FFT.
    smooth
        M, bool ``(3, x, y, z)``: components that are penalised; False at edges.
    spacing
        h_d: voxel edges over their geometric mean.
    alpha, mu_gradient, mu_field
        Strength [ppm] and the penalties of the splits z = G chi and q = D chi.
    uniform
        A further term that keeps a region uniform, by the split u = chi; None without.
    """

    field: torch.Tensor
    weights_squared: torch.Tensor
    kernel: torch.Tensor
    smooth: torch.Tensor
    spacing: Vector
    alpha: float
    mu_gradient: float
    mu_field: float
    uniform: Uniform | None = None


@dataclass(slots=True)
class State:
    """Iterates: chi and D chi; each split with its scaled dual, of which only the sum is kept.

    ``split`` is v = z + dual, of h_d times the gradient. Shrinkage leaves dual = clamp(v) to alpha h_d / mu
    where M is 1 and zero elsewhere, and z = v - dual, so that one array a direction says both. ``aim`` is q + dual,
    and ``level`` u + dual where a region is kept uniform.
    """

    chi: torch.Tensor
    fitted: torch.Tensor
    split: torch.Tensor
    q: torch.Tensor
    aim: torch.Tensor
    level: torch.Tensor | None = None

    @classmethod
    def zero(cls, like: torch.Tensor) -> State:
        """Start from nothing."""
        chi, fitted, q, aim = (torch.zeros_like(like) for _ in range(4))
        return cls(chi, fitted, like.new_zeros((3, *like.shape)), q, aim)


def solve(problem: Problem, state: State, *, tolerance: float, max_iterations: int) -> tuple[State, Convergence]:
    """Iterate until the splits miss by no more than the tolerance, relative to what they hold.

    The iteration is a fixed-point map of (v, q + dual): its step, 1.8 (G chi - z, D chi - q), is zero at the solution
    and nowhere else. The residual is its norm over that of (v, q + dual), in the metric of the penalties, without the
    1.8; it is the primal and the dual residual of ADMM in one.
    """
    step = step_on_cpu if state.chi.device.type == "cpu" else step_in_torch
    inverse = _inverse(problem)
    if problem.uniform is not None and state.level is None:
        state.level = torch.zeros_like(state.chi)
    history: list[float] = []
    n = 0
    while n < max_iterations:
        n += 1
        missed, held = step(problem, state, inverse)
        if n % CHECK_EVERY == 0 or n == max_iterations:
            history.append(math.sqrt(float(missed) / max(float(held), 1e-300)))
            if history[-1] <= tolerance:
                break
    residual = history[-1]
    return state, Convergence(residual <= tolerance, n, residual, tolerance, tuple(history))


def step_on_cpu(problem: Problem, state: State, inverse: torch.Tensor) -> tuple[float, float]:
    """One iteration by fused passes; returns the squared norms of what the splits miss and of what they hold."""
    limits, scales = _constants(problem)
    split, smooth = state.split.numpy(), problem.smooth.numpy()
    limits_np, scales_np = (np.array(values, split.dtype) for values in (limits, scales))
    mu, relax = split.dtype.type(problem.mu_field), split.dtype.type(RELAXATION)
    n, n_threads = split.shape[1], torch.get_num_threads()
    in_slabs(divergence, n, n_threads, split, smooth, limits_np, scales_np, state.chi.numpy())
    gradients = rfft3(_with_level(problem, state, state.chi))
    data = rfft3(torch.sub(2.0 * state.q, state.aim, out=state.fitted))
    arrays = (t.numpy() for t in (gradients, data, problem.kernel, inverse))
    in_slabs(solve_spectrum, n, n_threads, *arrays, mu)
    state.chi, state.fitted = irfft3(gradients, state.chi.shape), irfft3(data, state.chi.shape)
    found = in_slabs(split_gradients, n, n_threads, state.chi.numpy(), split, smooth, limits_np, scales_np, relax)
    known = (state.fitted, state.aim, state.q, problem.weights_squared, problem.field)
    more = in_slabs(split_field, n, n_threads, *(t.numpy() for t in known), mu, relax)
    level = _split_level(problem, state)
    return found[0] + more[0] + float(level[0]), found[1] + more[1] + float(level[1])


def step_in_torch(problem: Problem, state: State, inverse: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """As `step_on_cpu`, on any device; the norms stay there until they are asked for."""
    _solve_for_chi(problem, state, inverse)
    missed, held = state.chi.new_zeros(()), state.chi.new_zeros(())
    for axis, (limit, scale) in enumerate(zip(*_constants(problem), strict=True)):
        v = state.split[axis]
        error = difference(state.chi, axis).add_(_dual(problem, v, axis, limit)).sub_(v)
        v.add_(error, alpha=RELAXATION)
        missed, held = missed + scale * _energy(error), held + scale * _energy(v)
    error = state.fitted - state.q
    state.aim.add_(error, alpha=RELAXATION)
    mu, w = problem.mu_field, problem.weights_squared
    state.q = (w * problem.field).add_(state.aim, alpha=mu).div_(w + mu)
    level = _split_level(problem, state)
    return missed + mu * _energy(error) + level[0], held + mu * _energy(state.aim) + level[1]


def _solve_for_chi(problem: Problem, state: State, inverse: torch.Tensor) -> None:
    """Let chi be the argmin of the two quadratic penalties, in k-space."""
    right = torch.zeros_like(state.chi)
    for axis, (limit, scale) in enumerate(zip(*_constants(problem), strict=True)):
        v = state.split[axis]
        y = v - 2.0 * _dual(problem, v, axis, limit)
        right.add_(y.roll(1, axis).sub_(y), alpha=scale)
    spectrum = rfft3(_with_level(problem, state, right))
    spectrum.addcmul_(rfft3(2.0 * state.q - state.aim), problem.kernel, value=problem.mu_field).mul_(inverse)
    state.chi = irfft3(spectrum, state.chi.shape)
    state.fitted = irfft3(spectrum.mul_(problem.kernel), state.chi.shape)


def _with_level(problem: Problem, state: State, right: torch.Tensor) -> torch.Tensor:
    """The right side with what the split u = chi adds to it."""
    if problem.uniform is None or state.level is None:
        return right
    return right.add_(problem.uniform.reflected(state.level), alpha=problem.uniform.mu)


def _split_level(problem: Problem, state: State) -> tuple[torch.Tensor | float, torch.Tensor | float]:
    """Update u and its dual; the squared norms of what the split misses and of what it holds."""
    if problem.uniform is None or state.level is None:
        return 0.0, 0.0
    mu, u = problem.uniform.mu, (problem.uniform.reflected(state.level) + state.level) / 2.0
    error = state.chi - u
    state.level.add_(error, alpha=RELAXATION)
    return mu * _energy(error), mu * _energy(state.level)


def _dual(problem: Problem, v: torch.Tensor, axis: int, limit: float) -> torch.Tensor:
    return v.clamp(-limit, limit).mul_(problem.smooth[axis])


def _inverse(problem: Problem) -> torch.Tensor:
    """Reciprocal of mu_field D^2 + mu_gradient |G|^2, which turns the two right sides into chi; 1 at k = 0."""
    nx, ny, nz = problem.field.shape
    denominator = problem.mu_field * problem.kernel**2
    denominator += problem.mu_gradient * squared_gradient((nx, ny, nz), problem.spacing, problem.kernel)
    denominator[0, 0, 0] = 1.0
    if problem.uniform is not None:
        denominator += problem.uniform.mu
    return denominator.reciprocal_()


def _constants(problem: Problem) -> tuple[list[float], list[float]]:
    """By axis: where the dual is clamped, alpha h / mu, and the penalty of a bare difference, mu / h^2."""
    limits = [problem.alpha / problem.mu_gradient * h for h in problem.spacing]
    return limits, [problem.mu_gradient / h**2 for h in problem.spacing]


def _energy(value: torch.Tensor) -> torch.Tensor:
    return value.square().sum(dtype=torch.float64)
