"""Weighted L1 dipole inversion by ADMM: one problem, its state, one iteration, its residual."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from dlqsm.core.fourier import irfft3, rfft3
from dlqsm.core.scan import Vector
from dlqsm.core.solvers import Convergence
from dlqsm.qsm.inversion.gradients import difference, squared_gradient

RELAXATION = 1.8
CHECK_EVERY = 5
NEWTON_STEPS = 3


@dataclass(slots=True)
class Problem:
    """min over chi of E(W, D chi - b) + alpha sum_d M_d |G_d chi|, on the padded box.

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
    rad_per_ppm
        c of the nonlinear data term; 0 for the linear one.
    """

    field: torch.Tensor
    weights_squared: torch.Tensor
    kernel: torch.Tensor
    smooth: torch.Tensor
    spacing: Vector
    alpha: float
    mu_gradient: float
    mu_field: float
    rad_per_ppm: float


@dataclass(slots=True)
class State:
    """Iterates: chi and D chi; z and q with their scaled duals. z and its dual hold h_d times the gradient."""

    chi: torch.Tensor
    fitted: torch.Tensor
    z: torch.Tensor
    z_dual: torch.Tensor
    q: torch.Tensor
    q_dual: torch.Tensor

    @classmethod
    def zero(cls, like: torch.Tensor) -> State:
        """Start from nothing."""
        scalar = [torch.zeros_like(like) for _ in range(4)]
        return cls(
            scalar[0], scalar[1], like.new_zeros((3, *like.shape)), like.new_zeros((3, *like.shape)), *scalar[2:]
        )


def solve(problem: Problem, state: State, *, tolerance: float, max_iterations: int) -> tuple[State, Convergence]:
    """Iterate until primal and dual residual, relative, are both below the tolerance."""
    denominator = problem.mu_field * problem.kernel**2
    denominator += problem.mu_gradient * squared_gradient(_shape(state.chi), problem.spacing, problem.kernel)
    denominator[0, 0, 0] = 1.0
    history: list[float] = []
    n = 0
    while n < max_iterations:
        n += 1
        checked = n % CHECK_EVERY == 0 or n == max_iterations
        _update_chi(problem, state, denominator)
        gradient_change = _update_gradients(problem, state, checked)
        field_change = _update_field(problem, state, checked)
        if checked:
            history.append(_residual(problem, state, gradient_change, field_change))
            if history[-1] <= tolerance:
                break
    residual = history[-1]
    return state, Convergence(residual <= tolerance, n, residual, tolerance, tuple(history))


def _update_chi(problem: Problem, state: State, denominator: torch.Tensor) -> None:
    """Let chi be the argmin of the two quadratic penalties, in k-space."""
    right = torch.zeros_like(state.chi)
    for axis, h in enumerate(problem.spacing):
        y = state.z[axis] - state.z_dual[axis]
        right.add_(y.roll(1, axis).sub_(y), alpha=problem.mu_gradient / h**2)
    spectrum = rfft3(right)
    spectrum.addcmul_(rfft3(state.q - state.q_dual), problem.kernel, value=problem.mu_field)
    spectrum.div_(denominator)
    state.chi = irfft3(spectrum, state.chi.shape)
    state.fitted = irfft3(spectrum.mul_(problem.kernel), state.chi.shape)


def _update_gradients(problem: Problem, state: State, checked: bool) -> tuple[float, float]:
    """Let z = soft(G chi + dual), over-relaxed; returns the squared norms of G chi - z and of the change of z."""
    primal = dual = 0.0
    for axis, h in enumerate(problem.spacing):
        limit = problem.alpha / problem.mu_gradient * h
        old = state.z[axis]
        gradient = difference(state.chi, axis)
        moved = state.z_dual[axis].add_(gradient, alpha=RELAXATION).add_(old, alpha=1.0 - RELAXATION)
        dual_part = moved.clamp(-limit, limit).mul_(problem.smooth[axis])
        new = moved.sub_(dual_part)
        if checked:
            primal += _energy(gradient - new) / h**2
            dual += _energy(new - old) / h**2
        state.z[axis] = new
        state.z_dual[axis] = dual_part
    return primal, dual


def _update_field(problem: Problem, state: State, checked: bool) -> tuple[float, float]:
    """Let q be the argmin of the data term and its penalty, over-relaxed; returns norms as the other."""
    old = state.q
    aim = state.q_dual.add_(state.fitted, alpha=RELAXATION).add_(old, alpha=1.0 - RELAXATION)
    new = _fit_data(problem, aim, old)
    # Exactly zero where there are no data: rounding errors there would shrink to denormal numbers, which are slow.
    state.q, state.q_dual = new, aim.sub_(new).mul_(problem.weights_squared > 0)
    return (_energy(state.fitted - new), _energy(new - old)) if checked else (0.0, 0.0)


def _fit_data(problem: Problem, aim: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """Find the q that minimises the data term + mu/2 (q - aim)^2.

    Linear: 1/2 W^2 (q - b)^2, in closed form. Nonlinear: W^2 (1 - cos c(q - b)) / c^2 by steps that each minimise the
    parabola of curvature W^2 sin(u)/u, u = c(q - b) in (-pi, pi]: it lies above the cosine, so no step can go uphill.
    """
    w, mu, c = problem.weights_squared, problem.mu_field, problem.rad_per_ppm
    if c == 0.0:
        return (w * problem.field).add_(aim, alpha=mu).div_(w + mu)
    q = start
    for _ in range(NEWTON_STEPS):
        turn = 2.0 * math.pi / c
        error = q - problem.field
        error = error - turn * torch.round(error / turn)
        curvature = w * torch.sinc(error * (c / math.pi))
        q = (curvature * (q - error) + mu * aim) / (curvature + mu)
    return q


def _residual(problem: Problem, state: State, gradient: tuple[float, float], field: tuple[float, float]) -> float:
    """The larger of the primal and the dual residual, each relative, in the metric of the penalties."""
    mu = (problem.mu_gradient, problem.mu_field)
    primal = mu[0] * gradient[0] + mu[1] * field[0]
    dual = mu[0] * gradient[1] + mu[1] * field[1]
    split = sum(mu[0] * _energy(state.z[a]) / h**2 for a, h in enumerate(problem.spacing)) + mu[1] * _energy(state.q)
    duals = sum(mu[0] * _energy(state.z_dual[a]) / h**2 for a, h in enumerate(problem.spacing))
    duals += mu[1] * _energy(state.q_dual)
    return math.sqrt(max(primal / max(split, 1e-300), dual / max(duals, 1e-300)))


def _energy(value: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(value)) ** 2


def _shape(volume: torch.Tensor) -> tuple[int, int, int]:
    nx, ny, nz = volume.shape
    return nx, ny, nz
