"""Iterative solvers; each returns its solution and how it got there."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field

import torch

from dlqsm.core.checks import ConvergenceWarning

Map = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Convergence:
    """How a solver ended.

    Parameters
    ----------
    converged
        Whether the tolerance was reached.
    n_iterations
        Iterations done (0 for closed forms).
    residual
        The stopping measure at the end, relative.
    tolerance
        What the measure had to fall below.
    history
        The measure at each check: after every iteration, or every few of them.
    chosen
        What the method chose from the data, by name.
    """

    converged: bool
    n_iterations: int
    residual: float
    tolerance: float
    history: tuple[float, ...] = ()
    chosen: Mapping[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        """Plain numbers for a JSON file."""
        return asdict(self)


def warn_unless_converged(
    method: str, convergence: Convergence, *, steps: str = "iterations", option: str = "max_iterations"
) -> None:
    """Issue a `ConvergenceWarning` where a method stopped above a tolerance that it was to reach (none if it is 0)."""
    if not convergence.converged and convergence.tolerance > 0:
        text = (
            f"{method} stopped after {convergence.n_iterations} {steps} at a residual of {convergence.residual:.1e}, "
            f"above {convergence.tolerance:.1e}; raise {option} or tolerance"
        )
        warnings.warn(text, ConvergenceWarning, stacklevel=3)


CLOSED_FORM = Convergence(converged=True, n_iterations=0, residual=0.0, tolerance=0.0)


def conjugate_gradient(
    normal: Map,
    right_side: torch.Tensor,
    *,
    start: torch.Tensor | None = None,
    precondition: Map | None = None,
    tolerance: float,
    max_iterations: int,
) -> tuple[torch.Tensor, Convergence]:
    """Solve N x = r for a Hermitian positive N by conjugate gradients, stopping at ||r - N x|| <= tolerance ||r||.

    Parameters
    ----------
    normal
        The map N.
    right_side
        r, real or complex, any shape; the inner product runs over all axes.
    start
        First guess; zero where absent.
    precondition
        A Hermitian positive map near the inverse of N. The norm of the stopping rule becomes
        ||v||^2 = <v, precondition(v)>, which is near the error's own energy <e, N e>.
    tolerance, max_iterations
        When to stop.

    Returns
    -------
    The solution and its `Convergence`.

    References
    ----------
    Hestenes & Stiefel, J Res Natl Bur Stand 49:409 (1952), doi:10.6028/jres.049.044.
    """
    x = torch.zeros_like(right_side) if start is None else start.clone()
    r = right_side.clone() if start is None else right_side - normal(x)
    z, rho = _preconditioned(precondition, r)
    scale = rho if start is None else _preconditioned(precondition, right_side)[1]
    p = z.clone()
    if scale == 0.0:
        return torch.zeros_like(right_side), Convergence(True, 0, 0.0, tolerance)
    residual = (rho / scale) ** 0.5
    history: list[float] = []
    while residual > tolerance and len(history) < max_iterations:
        q = normal(p)
        alpha = rho / _inner(p, q)
        x, r = x + alpha * p, r - alpha * q
        previous = rho
        z, rho = _preconditioned(precondition, r)
        residual = (rho / scale) ** 0.5
        history.append(residual)
        p = z + (rho / previous) * p
    return x, Convergence(residual <= tolerance, len(history), residual, tolerance, tuple(history))


def _preconditioned(precondition: Map | None, r: torch.Tensor) -> tuple[torch.Tensor, float]:
    """The preconditioned residual z, and <r, z>."""
    if precondition is None:
        return r, _inner(r, r)
    z = precondition(r)
    return z, _inner(r, z)


def _inner(a: torch.Tensor, b: torch.Tensor) -> float:
    """Re <a, b>, in double precision: in single precision the order in which threads add moves the last iteration."""
    return float((a.conj() * b).real.sum(dtype=torch.float64))


def conjugate_gradient_of_each(
    normal: Map, right_side: torch.Tensor, *, n_batch_axes: int, tolerance: float, max_iterations: int
) -> tuple[torch.Tensor, Convergence]:
    """Solve many independent systems N x = r at once; as `conjugate_gradient`, but each with its own step lengths.

    Parameters
    ----------
    normal
        The map N, Hermitian positive, which does not mix the items.
    right_side
        r, real or complex; the leading axes count the items, inner products run over the others.
    n_batch_axes
        Number of leading axes.
    tolerance, max_iterations
        When to stop: each item rests once its relative residual has reached the tolerance, so that the result does
        not depend on its neighbours.

    Returns
    -------
    The solutions, and the `Convergence` of the worst item.
    """
    axes = tuple(range(n_batch_axes, right_side.ndim))

    def inner(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a.conj() * b).real.sum(axes, keepdim=True)

    tiny = torch.finfo(right_side.real.dtype).tiny
    x, r, p = torch.zeros_like(right_side), right_side.clone(), right_side.clone()
    rho = scale = inner(r, r)
    scale = scale.clamp_min(tiny)
    history: list[float] = []
    for _ in range(max_iterations):
        if history and history[-1] <= tolerance:
            break
        q = normal(p)
        busy = rho > tolerance**2 * scale
        alpha = torch.where(busy, rho / inner(p, q).clamp_min(tiny), 0.0)
        x, r = x + alpha * p, r - alpha * q
        rho, previous = inner(r, r), rho
        history.append(float((rho / scale).max()) ** 0.5)
        p = torch.where(busy, r + (rho / previous.clamp_min(tiny)) * p, p)
    residual = history[-1] if history else float(bool((rho > 0).any()))
    return x, Convergence(residual <= tolerance, len(history), residual, tolerance, tuple(history))
