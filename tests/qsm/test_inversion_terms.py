"""Terms of the inversions for outliers, wraps and edges, and how they weigh the data."""

import logging

import pytest
import torch
from sphere_problem import (
    CHI,
    GRID,
    MAGNITUDE,
    MASK,
    SCAN,
    contrast,
    invert,
    noisy,
    relative,
)

from dlqsm.core.differences import gradient
from dlqsm.core.scan import Grid, Scan
from dlqsm.qsm.inversion.total_variation import pose, solve_periodic
from dlqsm.qsm.splitting.admm import State, solve


def test_a_voxel_of_huge_noise_has_no_influence(generator):
    field = noisy(generator)
    noise = torch.full_like(field, 1e-3)
    noise[18, 20, 15] = 1e6
    spoilt = field.clone()
    spoilt[18, 20, 15] += 5.0
    clean, broken = (invert("l1", f, noise=noise, magnitude=MAGNITUDE, dynamic="none")[0] for f in (field, spoilt))
    ignorant, _ = invert("l1", spoilt, magnitude=MAGNITUDE, dynamic="none", tolerance=0.0, max_iterations=50)
    # The scale of the penalties and the first guess of the strength still see the voxel: equal within the tolerance.
    assert relative(broken, clean) < 0.02
    assert relative(ignorant, clean) > 0.5


def test_dynamic_data_weights_reject_outliers_and_say_how_many(generator, caplog):
    field = noisy(generator)
    field[18, 20, 15] += 0.5
    with caplog.at_level(logging.INFO):
        kept = invert("l1", field, magnitude=MAGNITUDE, dynamic="none")[0]
        rejected = invert("l1", field, magnitude=MAGNITUDE, dynamic="data")[0]
    assert relative(rejected, CHI * MASK) < 0.7 * relative(kept, CHI * MASK)
    assert "voxels lose weight" in caplog.text


def test_dynamic_prior_spares_edges_that_the_magnitude_does_not_show(generator):
    flat, dynamic = (invert("l1", noisy(generator), strength=2e-3, dynamic=d)[0] for d in ("none", "prior"))
    assert abs(contrast(dynamic) - 1) < 0.7 * abs(contrast(flat) - 1)


@pytest.mark.parametrize(
    ("name", "term"),
    [
        ("l1", {"nonlinear_time_s": 0.02, "dynamic": "none", "strength": 2e-4}),
        ("fansi", {"nonlinear_time_s": 0.02}),
        ("medi", {"nonlinear_time_s": 0.02}),
    ],
)
def test_nonlinear_term_forgives_a_whole_turn(name, term, generator):
    field = noisy(generator)
    turn_ppm = 1.0 / (term["nonlinear_time_s"] * SCAN.hz_per_ppm)
    wrapped = field.clone()
    wrapped[14:16, 16, 16:18] += turn_ppm
    clean, forgiven = (invert(name, f, magnitude=MAGNITUDE, **term)[0] for f in (field, wrapped))
    spoilt = invert("l1", wrapped, magnitude=MAGNITUDE, dynamic="none")[0]
    assert relative(forgiven, clean) < 0.05
    assert relative(spoilt, clean) > 0.5


def test_periodic_term_of_l1_ends_where_voxels_lie_half_a_turn_off(generator):
    """A quarter of a turn of noise puts one voxel in twenty beyond half a turn, where a cosine pushes both ways."""
    sd_ppm, time_s = 0.02, 0.1
    assert 0.2 < sd_ppm * time_s * SCAN.hz_per_ppm < 0.3
    chi, told = invert("l1", noisy(generator, sd_ppm), magnitude=MAGNITUDE, nonlinear_time_s=time_s, strength=2e-3)
    assert told.converged
    assert told.n_iterations < 300
    assert 0.9 < contrast(chi) < 1.1


def test_fansi_with_small_residuals_is_tv(generator):
    field, fine = noisy(generator), {"tolerance": 1e-5, "max_iterations": 1000}
    assert relative(invert("fansi", field, nonlinear_time_s=1e-3, **fine)[0], invert("tv", field, **fine)[0]) < 1e-3


def test_fansi_ends_below_the_linear_solution_in_the_periodic_cost(generator):
    grid, c = Grid((20, 20, 16), (1.0, 1.0, 1.5)), 20.0
    problem = pose(
        0.05 * torch.randn(grid.shape, dtype=torch.float64, generator=generator),
        torch.ones(grid.shape, dtype=torch.bool),
        Scan(grid),
        None,
        None,
        strength=1e-3,
        edge_share=0.0,
        padding_mm=4.0,
    ).problem
    data, known, spacing = problem.field, problem.weights_squared, problem.spacing

    def cost(state):
        periodic = (known * (1 - torch.cos(c * (state.fitted - data)))).sum() / c**2
        return float(periodic + problem.alpha * (problem.smooth * gradient(state.chi, spacing)).abs().sum())

    linear, _ = solve(problem, State.zero(data), tolerance=1e-4, max_iterations=2000)
    periodic, told = solve_periodic(problem, State.zero(data), c, tolerance=1e-4, max_iterations=2000)
    assert told.converged
    assert cost(periodic) < 0.99 * cost(linear)


def test_fansi_weighs_by_the_magnitude_where_the_noise_is_not_known(generator):
    magnitude = 0.5 + torch.rand(GRID.shape, dtype=torch.float64, generator=generator)
    field = noisy(generator)
    by_magnitude, by_noise, equal = (
        invert("fansi", field, noise=n, magnitude=m)[0]
        for n, m in ((None, magnitude), (1.0 / magnitude, None), (None, None))
    )
    assert relative(by_magnitude, by_noise) < 1e-9
    assert relative(by_magnitude, equal) > 0.01
