"""Total generalised variation of second order (TGV) by a preconditioned primal-dual iteration."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from dlqsm.core.fourier import irfft3, rfft3
from dlqsm.core.passes import in_slabs
from dlqsm.core.scan import Vector
from dlqsm.core.solvers import Convergence
from dlqsm.qsm.inversion.primal_dual_kernels import (
    gradient_adjoint,
    step_curvatures,
    step_field,
    step_gradients,
    step_slopes,
)
from dlqsm.qsm.splitting.admm_kernels import solve_spectrum
from dlqsm.qsm.splitting.gradients import squared_gradient

RELAXATION = 1.8
CHECK_EVERY = 10
PAIRS = ((0, 1), (0, 2), (1, 2))


@dataclass(slots=True)
class Problem:
    """min over chi, w of 1/2 |W (D chi - b)|^2 + alpha1 sum |G chi - w| + alpha0 sum |E w|, on the padded box.

    G are forward differences over h, E w the symmetric differences of w: three along their own axis, backward, and
    three mixed ones, forward, times sqrt 2 as each stands for two. Lengths are those of the 3 and 6 components.

    Parameters
    ----------
    field, weights_squared
        b [ppm] and W^2, zero where there are no data.
    kernel
        D, for the real FFT.
    linked
        Which of the nine components count, as bits 0 to 8 of int16 ``(x, y, z)``; from `links`.
    spacing
        h_d: voxel edges over their geometric mean.
    alpha1, alpha0
        Strengths [ppm] of the first and second order.
    sigma_gradient, sigma_curvature, sigma_field
        Steps of the duals of G chi - w, of E w and of D chi.
    """

    field: torch.Tensor
    weights_squared: torch.Tensor
    kernel: torch.Tensor
    linked: torch.Tensor
    spacing: Vector
    alpha1: float
    alpha0: float
    sigma_gradient: float
    sigma_curvature: float
    sigma_field: float

    @property
    def tau(self) -> float:
        """Step of w: the reciprocal of a bound on 2 sigma_gradient + sigma_curvature E^T E."""
        bound = 4.0 * sum(1.0 / h**2 for h in self.spacing)
        return 1.0 / (2.0 * self.sigma_gradient + self.sigma_curvature * bound)

    def steps_of_chi(self) -> torch.Tensor:
        """Step of chi at each frequency, 1 / (2 sigma_gradient |G|^2 + sigma_field D^2); 0 at k = 0."""
        nx, ny, nz = self.field.shape
        bound = 2.0 * self.sigma_gradient * squared_gradient((nx, ny, nz), self.spacing, self.kernel)
        bound += self.sigma_field * self.kernel**2
        bound[0, 0, 0] = torch.inf
        return bound.reciprocal_()


@dataclass(slots=True)
class State:
    """Iterates: chi, D chi and w; the duals p of G chi - w, r of E w and s of D chi."""

    chi: torch.Tensor
    fitted: torch.Tensor
    w: torch.Tensor
    p: torch.Tensor
    r: torch.Tensor
    s: torch.Tensor

    @classmethod
    def zero(cls, like: torch.Tensor) -> State:
        """Start from nothing."""
        three, six = (like.new_zeros((n, *like.shape)) for n in (3, 6))
        return cls(torch.zeros_like(like), torch.zeros_like(like), three, three.clone(), six, torch.zeros_like(like))


def links(smooth: torch.Tensor) -> torch.Tensor:
    """Components of G and E that count, packed into bits: those of E where all that they difference counts.

    ``smooth`` is bool ``(3, x, y, z)``, the components of G. All that touches the last plane of an axis is cut.
    """
    whole = torch.zeros_like(smooth[0])
    whole[:-1, :-1, :-1] = True
    first = [smooth[a] & whole & whole.roll(-1, a) for a in range(3)]
    second = [first[a] & first[a].roll(1, a) for a in range(3)]
    mixed = [first[a] & first[a].roll(-1, b) & first[b] & first[b].roll(-1, a) for a, b in PAIRS]
    packed = torch.zeros(smooth.shape[1:], dtype=torch.int16, device=smooth.device)
    for bit, component in enumerate((*first, *second, *mixed)):
        packed |= component.to(torch.int16) << bit
    return packed


def solve(problem: Problem, state: State, *, tolerance: float, max_iterations: int) -> tuple[State, Convergence]:
    """Iterate until a step changes the duals by no more than the tolerance, relative to their size.

    Chambolle and Pock's iteration with matrix-valued steps: sigma by block, tau for w a number, for chi a filter in
    k-space. It converges since K^T Sigma K <= T^-1, where K = (G -1; 0 E; D 0): the mixed term of G and 1 costs a
    factor of two. Steps are over-relaxed by 1.8.
    """
    step = step_on_cpu if state.chi.device.type == "cpu" else step_in_torch
    filter_, ahead = problem.steps_of_chi(), torch.zeros_like(state.w)
    history: list[float] = []
    n = 0
    while n < max_iterations:
        n += 1
        changed, held = step(problem, state, filter_, ahead)
        if n % CHECK_EVERY == 0 or n == max_iterations:
            history.append(math.sqrt(float(changed) / max(float(held), 1e-300)))
            if history[-1] <= tolerance:
                break
    residual = history[-1]
    return state, Convergence(residual <= tolerance, n, residual, tolerance, tuple(history))


def step_on_cpu(problem: Problem, state: State, filter_: torch.Tensor, ahead: torch.Tensor) -> tuple[float, float]:
    """One iteration by fused passes; returns squared norms of the step of the duals and of the duals, over sigma."""
    real = state.chi.numpy().dtype.type
    inverse = tuple(real(1.0 / h) for h in problem.spacing)
    s_gradient, s_curvature, s_field, tau, alpha1, alpha0, relax, one = (
        real(v)
        for v in (
            problem.sigma_gradient,
            problem.sigma_curvature,
            problem.sigma_field,
            problem.tau,
            problem.alpha1,
            problem.alpha0,
            RELAXATION,
            1.0,
        )
    )
    n, n_threads = state.chi.shape[0], torch.get_num_threads()
    right = torch.empty_like(state.chi)
    w, p, r, aim, linked = (t.numpy() for t in (state.w, state.p, state.r, ahead, problem.linked))
    in_slabs(gradient_adjoint, n, n_threads, p, inverse, right.numpy())
    spectrum, fitted = rfft3(right), rfft3(state.s)
    arrays = (t.numpy() for t in (spectrum, fitted, problem.kernel, filter_))
    in_slabs(solve_spectrum, n, n_threads, *arrays, one)
    down, down_fitted = irfft3(spectrum, state.chi.shape), irfft3(fitted, state.chi.shape)
    known = (state.chi, state.fitted, down, down_fitted, state.s, problem.weights_squared, problem.field)
    told = [in_slabs(step_field, n, n_threads, *(t.numpy() for t in known), s_field, relax)]
    in_slabs(step_slopes, n, n_threads, w, aim, p, r, inverse, tau, relax)
    told.append(
        in_slabs(step_gradients, n, n_threads, down.numpy(), aim, p, linked, inverse, s_gradient, alpha1, relax)
    )
    told.append(in_slabs(step_curvatures, n, n_threads, aim, r, linked, inverse, s_curvature, alpha0, relax))
    return sum(changed for changed, _ in told), sum(held for _, held in told)


def step_in_torch(
    problem: Problem, state: State, filter_: torch.Tensor, ahead: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `step_on_cpu`, on any device; the norms stay there until they are asked for."""
    spectrum = rfft3(state.s).mul_(problem.kernel).add_(rfft3(_gradient_adjoint(state.p, problem.spacing)))
    spectrum.mul_(filter_)
    down = irfft3(spectrum, state.chi.shape)
    down_fitted = irfft3(spectrum.mul_(problem.kernel), state.chi.shape)
    down_w = (_curvature_adjoint(state.r, problem.spacing) - state.p).mul_(problem.tau)
    ahead.copy_(state.w - 2.0 * down_w)
    ahead_chi = state.chi - 2.0 * down
    misfit = state.fitted - 2.0 * down_fitted - problem.field
    for value, step in ((state.chi, down), (state.fitted, down_fitted), (state.w, down_w)):
        value.sub_(step, alpha=RELAXATION)
    s = problem.weights_squared * (state.s + problem.sigma_field * misfit)
    s.div_(problem.weights_squared + problem.sigma_field)
    p = state.p + problem.sigma_gradient * (_gradient(ahead_chi, problem.spacing) - ahead)
    r = state.r + problem.sigma_curvature * _curvature(ahead, problem.spacing)
    p, r = _clipped(p, problem.linked, 0, problem.alpha1), _clipped(r, problem.linked, 3, problem.alpha0)
    changed, held = state.chi.new_zeros(()), state.chi.new_zeros(())
    sigmas = (problem.sigma_field, problem.sigma_gradient, problem.sigma_curvature)
    for old, new, sigma in zip((state.s, state.p, state.r), (s, p, r), sigmas, strict=True):
        step = new - old
        changed = changed + step.square().sum(dtype=torch.float64) / sigma
        held = held + new.square().sum(dtype=torch.float64) / sigma
        old.add_(step, alpha=RELAXATION)
    return changed, held


def _clipped(dual: torch.Tensor, linked: torch.Tensor, first_bit: int, limit: float) -> torch.Tensor:
    for component in range(dual.shape[0]):
        dual[component] *= (linked >> (first_bit + component)) & 1
    return dual.mul_(limit / dual.square().sum(0).sqrt_().clamp_(min=limit))


def _forward(volume: torch.Tensor, axis: int, h: float) -> torch.Tensor:
    return (volume.roll(-1, axis) - volume) / h


def _backward(volume: torch.Tensor, axis: int, h: float) -> torch.Tensor:
    return (volume - volume.roll(1, axis)) / h


def _gradient(chi: torch.Tensor, spacing: Vector) -> torch.Tensor:
    return torch.stack([_forward(chi, axis, h) for axis, h in enumerate(spacing)])


def _gradient_adjoint(p: torch.Tensor, spacing: Vector) -> torch.Tensor:
    parts = [_backward(p[axis], axis, h) for axis, h in enumerate(spacing)]
    return -(parts[0] + parts[1] + parts[2])


def _curvature(w: torch.Tensor, spacing: Vector) -> torch.Tensor:
    own = [_backward(w[axis], axis, h) for axis, h in enumerate(spacing)]
    mixed = [math.sqrt(0.5) * (_forward(w[a], b, spacing[b]) + _forward(w[b], a, spacing[a])) for a, b in PAIRS]
    return torch.stack(own + mixed)


def _curvature_adjoint(r: torch.Tensor, spacing: Vector) -> torch.Tensor:
    out = torch.stack([-_forward(r[axis], axis, h) for axis, h in enumerate(spacing)])
    for component, (a, b) in zip(r[3:], PAIRS, strict=True):
        out[a] -= math.sqrt(0.5) * _backward(component, b, spacing[b])
        out[b] -= math.sqrt(0.5) * _backward(component, a, spacing[a])
    return out
