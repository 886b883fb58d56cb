"""MEDI: its steps go downhill to where the smoothed cost is flat, edges keep contrast, outliers lose weight."""

import itertools

import pytest
import torch

from dlqsm.core.checks import ConvergenceWarning
from dlqsm.core.differences import gradient
from dlqsm.core.dipole import susceptibility_to_field
from dlqsm.core.scan import Grid, Scan
from dlqsm.qsm.inversion import medi
from dlqsm.qsm.inversion.medi import SMOOTHING_PPM, gauss_newton_step
from dlqsm.qsm.inversion.total_variation import phase_per_ppm, pose
from dlqsm.qsm.splitting.admm import Problem

GRID = Grid((28, 26, 20), (1.0, 1.0, 1.5))
SCAN = Scan(GRID, field_strength_t=3.0)
AXES = [(torch.arange(n, dtype=torch.float64) - n / 2) * v for n, v in zip(GRID.shape, GRID.voxel_size_mm, strict=True)]
RADIUS = sum(x**2 for x in torch.meshgrid(*AXES, indexing="ij")).sqrt()
MASK, SPHERE = RADIUS < 12, RADIUS < 4
FIELD = susceptibility_to_field(torch.where(SPHERE, 0.1, 0.0).double(), GRID, SCAN.b0_direction)
MAGNITUDE = 1.0 + 0.3 * SPHERE.double()
RAD_PER_PPM = phase_per_ppm(SCAN, 0.03)


def noisy(generator: torch.Generator, sd_ppm: float = 1e-3) -> torch.Tensor:
    return FIELD + sd_ppm * torch.randn(GRID.shape, dtype=torch.float64, generator=generator)


def posed(field: torch.Tensor) -> Problem:
    return pose(
        field,
        MASK,
        SCAN,
        None,
        MAGNITUDE,
        strength=1e-4,
        edge_share=0.05,
        padding_mm=4.0,
    ).problem


def cost(problem: Problem, chi: torch.Tensor) -> torch.Tensor:
    """The smoothed problem, written out with complex exponentials as published, halved over c^2."""
    c = RAD_PER_PPM
    fitted = torch.fft.irfftn(torch.fft.rfftn(chi) * problem.kernel, s=chi.shape)
    missed = torch.exp(1j * c * fitted) - torch.exp(1j * c * problem.field)
    slope = problem.smooth * gradient(chi, problem.spacing)
    data = 0.5 * (problem.weights_squared * missed.abs() ** 2).sum() / c**2
    return data + problem.alpha * (slope**2 + SMOOTHING_PPM**2).sqrt().sum()


def test_each_step_goes_downhill_to_where_the_published_cost_is_flat(generator: torch.Generator) -> None:
    problem = posed(noisy(generator, 5e-3))
    chi = torch.zeros_like(problem.field)
    costs = [float(cost(problem, chi))]
    steepness = []
    for _ in range(12):
        asked = chi.clone().requires_grad_()
        (slope,) = torch.autograd.grad(cost(problem, asked), asked)
        steepness.append(float(slope.norm()))
        chi = chi + gauss_newton_step(problem, chi, RAD_PER_PPM)
        costs.append(float(cost(problem, chi)))
    assert all(after < before for before, after in itertools.pairwise(costs))
    assert steepness[-1] < 1e-2 * steepness[0]


def test_a_sphere_with_edges_in_the_magnitude_keeps_its_contrast(generator: torch.Generator) -> None:
    chi, convergence = medi(noisy(generator), MASK, SCAN, None, MAGNITUDE, edge_share=0.1)
    shell = MASK & (RADIUS > 7)
    assert convergence.converged and convergence.residual == convergence.history[-1] <= 0.03
    assert 0.97 < float(chi[SPHERE].mean() - chi[shell].mean()) / 0.1 < 1.03


def test_merit_takes_weight_from_what_is_not_explained(generator: torch.Generator) -> None:
    field = noisy(generator)
    field[14, 17, 10] += 0.2
    truth = torch.where(SPHERE, 0.1, 0.0)
    quick = {"padding_mm": 4.0, "tolerance": 0.1}
    kept, rejected = (medi(field, MASK, SCAN, None, MAGNITUDE, merit=m, **quick)[0] for m in (False, True))
    errors = [float((chi - truth)[MASK].std()) for chi in (kept, rejected)]
    assert errors[1] < 0.8 * errors[0]


def test_too_few_steps_are_told() -> None:
    with pytest.warns(ConvergenceWarning, match="medi stopped after 1 iterations.*raise max_iterations or tolerance"):
        medi(FIELD, MASK, SCAN, max_iterations=1)
