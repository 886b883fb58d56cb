"""The strength that l1 chooses from the data, and what it gives back of what total variation flattens."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from dlqsm.core.differences import gradient, isotropic_spacing
from dlqsm.core.dipole import susceptibility_to_field
from dlqsm.core.scan import Grid, Scan
from dlqsm.qsm.inversion import l1
from dlqsm.qsm.inversion.smooth_rest import smooth_rest
from dlqsm.qsm.inversion.strength import NEAR, asked_strength, first_guess, held_out, set_strength
from dlqsm.qsm.inversion.strength_curve import FACTORS, strength_curve
from dlqsm.qsm.inversion.total_variation import pose
from dlqsm.qsm.splitting.admm import State, solve
from dlqsm.qsm.splitting.uniform import MEAN_SQUARED_DIPOLE

GRID = Grid((40, 36, 28), (1.0, 1.0, 1.5))
SCAN = Scan(GRID, field_strength_t=3.0)
X, Y, Z = torch.meshgrid(
    *[
        (torch.arange(n, dtype=torch.float64) - (n - 1) / 2) * v
        for n, v in zip(GRID.shape, GRID.voxel_size_mm, strict=True)
    ],
    indexing="ij",
)
MASK = X**2 + Y**2 + Z**2 < 17.0**2
NUCLEUS = (X - 4) ** 2 + (Y + 3) ** 2 + (Z - 1) ** 2 < 4.0**2
TEXTURE = 0.005 * torch.sin(X / 4.0) * torch.cos(Y / 5.0)


def tissue() -> torch.Tensor:
    """Spheres of many sizes and values, as of cells of a mosaic."""
    generator = torch.Generator().manual_seed(1)
    chi = torch.zeros_like(X)
    for _ in range(60):
        x, y, z, radius, value = (torch.rand(5, generator=generator, dtype=torch.float64) - 0.5).tolist()
        chi[(X - 34 * x) ** 2 + (Y - 34 * y) ** 2 + (Z - 34 * z) ** 2 < (5.0 + 6.0 * radius) ** 2] = 0.08 * value
    return chi


CHI = torch.where(MASK, torch.where(NUCLEUS, 0.12, tissue()) + TEXTURE, 0.0)
FIELD = susceptibility_to_field(CHI, GRID, SCAN.b0_direction)
NOISE = torch.full_like(FIELD, 1e-3)


def noisy(sd_ppm: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return FIELD + sd_ppm * torch.randn(GRID.shape, dtype=torch.float64, generator=generator)


def error(chi: torch.Tensor) -> float:
    difference = (chi - CHI)[MASK]
    return float((difference - difference.mean()).norm() / (CHI[MASK] - CHI[MASK].mean()).norm())


def posed(field: torch.Tensor, strength: float = 2e-4):
    options = {"edge_share": 0.0, "padding_mm": 10.0}
    return pose(field, MASK, SCAN, None, None, strength=strength, **options)


def test_held_out_voxels_are_a_twentieth_and_no_two_are_neighbours():
    held = held_out(MASK)
    assert 0.04 < float(held.sum() / MASK.sum()) < 0.065
    assert not bool((held & ~MASK).any())
    for axis in range(3):
        assert not bool((held & held.roll(1, axis)).any())


@pytest.mark.parametrize("sd_ppm", [1e-3, 4e-3])
def test_the_misfit_tells_the_noise_and_the_strength_follows_it(sd_ppm):
    _, told = l1(noisy(sd_ppm), MASK, SCAN, NOISE)
    assert 0.9 * sd_ppm < told.chosen["misfit_ppm"] < 1.6 * sd_ppm
    expected = math.sqrt(2) * told.chosen["misfit_ppm"] ** 2 / float(CHI[MASK].std())
    assert told.chosen["strength_ppm"] == pytest.approx(expected, rel=0.4)


@pytest.mark.parametrize("sd_ppm", [5e-4, 1e-3, 2e-3])
def test_neither_five_times_more_nor_less_would_be_better(sd_ppm):
    field = noisy(sd_ppm)
    chi, told = l1(field, MASK, SCAN, NOISE)
    strength = told.chosen["strength_ppm"]
    others = [error(l1(field, MASK, SCAN, NOISE, strength=strength * factor)[0]) for factor in (0.2, 5.0)]
    assert error(chi) < 1.05 * min(others)
    assert error(chi) < 0.9 * max(others)


def test_strength_and_map_scale_with_the_field():
    field = noisy(1e-3)
    once, told = l1(field, MASK, SCAN, NOISE)
    twice, doubled = l1(2.0 * field, MASK, SCAN, NOISE)
    assert doubled.chosen["strength_ppm"] == pytest.approx(2.0 * told.chosen["strength_ppm"], rel=1e-6)
    assert torch.allclose(twice, 2.0 * once, atol=1e-9)


def test_the_curve_around_the_chosen_strength_shows_why_it_was_chosen():
    field = noisy(1e-3)
    _, told = l1(field, MASK, SCAN, NOISE)
    chosen = told.chosen["strength_ppm"]
    options = {"edge_share": 0.1, "nonlinear_time_s": 0.0, "padding_mm": 16.0, "tolerance": 2e-3, "max_iterations": 500}
    curve = strength_curve(field, MASK, SCAN, NOISE, None, strength=chosen, **options)
    assert [point.strength_ppm / chosen for point in curve] == pytest.approx(list(FACTORS))
    for weaker, stronger in itertools.pairwise(curve):
        assert stronger.misfit_ppm > weaker.misfit_ppm
        assert stronger.total_variation_ppm < weaker.total_variation_ppm
    assert all(point.held_out_misfit_ppm > point.misfit_ppm for point in curve[:4])
    middle = curve[3]
    assert middle.held_out_misfit_ppm == pytest.approx(told.chosen["misfit_ppm"], rel=0.2)
    assert 1 / NEAR < middle.asked_strength_ppm / chosen < NEAR
    # Far too little or too much foretells worse, or asks for something else than it uses.
    assert curve[-1].held_out_misfit_ppm > 1.5 * middle.held_out_misfit_ppm
    assert curve[0].asked_strength_ppm > NEAR * curve[0].strength_ppm


def test_the_total_variation_of_the_curve_is_that_of_the_solution():
    """Where nothing is known but a field of zero noise, the weakest penalty leaves the map's own variation."""
    chi = torch.where(NUCLEUS, 0.1, 0.0).double()
    field = susceptibility_to_field(chi, GRID, SCAN.b0_direction)
    options = {
        "edge_share": 0.0,
        "nonlinear_time_s": 0.0,
        "padding_mm": 16.0,
        "tolerance": 1e-4,
        "max_iterations": 4000,
    }
    weakest = strength_curve(field, MASK, SCAN, None, None, strength=1e-5, **options)[0]
    exact = gradient(chi, isotropic_spacing(GRID.voxel_size_mm)).abs().sum() / MASK.sum()
    assert weakest.total_variation_ppm == pytest.approx(float(exact), rel=0.1)
    assert weakest.misfit_ppm < 0.02 * float(field[MASK].std())


def test_a_given_strength_is_kept_and_nothing_is_chosen():
    _, told = l1(noisy(1e-3), MASK, SCAN, NOISE, strength=3e-4)
    assert told.chosen == {}
    assert first_guess(torch.zeros_like(FIELD), MASK) > 0.0


def test_a_zero_field_gives_a_zero_map():
    chi, _ = l1(torch.zeros_like(FIELD), MASK, SCAN)
    assert not bool(chi.any())


def test_another_strength_from_a_solved_state_ends_where_a_fresh_start_ends():
    field = noisy(1e-3)
    task, fresh = posed(field, 2e-4).problem, posed(field, 6e-4).problem
    state, _ = solve(task, State.zero(task.field), tolerance=1e-3, max_iterations=500)
    set_strength(task, state, 6e-4)
    assert (task.mu_gradient, task.mu_field) == pytest.approx((fresh.mu_gradient, fresh.mu_field))
    again, warm = solve(task, state, tolerance=1e-5, max_iterations=3000)
    cold, _ = solve(fresh, State.zero(fresh.field), tolerance=1e-5, max_iterations=3000)
    assert float((again.chi - cold.chi).norm() / cold.chi.norm()) < 1e-3
    _, first = solve(task, again, tolerance=1e-4, max_iterations=3000)
    assert first.n_iterations < warm.n_iterations


def test_smooth_changes_that_total_variation_flattens_come_back():
    field = noisy(1e-3)
    flat, given = (l1(field, MASK, SCAN, NOISE, strength=1e-3, smooth_length_mm=length)[0] for length in (0.0, 2.0))
    smooth = TEXTURE - TEXTURE[MASK].mean()

    def missing(chi: torch.Tensor) -> float:
        """Share of the texture that the error holds with its sign turned."""
        return -float(((chi - CHI) * smooth)[MASK].sum() / (smooth**2)[MASK].sum())

    assert missing(flat) > 0.3
    assert abs(missing(given)) < 0.6 * missing(flat)
    assert error(given) < error(flat)


def test_nothing_comes_back_where_the_fit_is_exact():
    task = posed(FIELD)
    state, _ = solve(task.problem, State.zero(task.problem.field), tolerance=1e-3, max_iterations=100)
    task.problem.field = state.fitted.clone()
    assert not bool(smooth_rest(task.problem, state, task.inside, task.box.wide, 2.0).any())


@pytest.mark.parametrize("unevenness", [0.0, 0.3, 0.6])
def test_noise_leaves_the_foretold_spread_as_it_weighs_in_it(unevenness):
    """The weighted variance of the field holds the misfit over the mean of W^2: without it, that of the true field."""
    generator = torch.Generator().manual_seed(2)
    noise_ppm = 4e-3 * (unevenness * torch.randn(GRID.shape, generator=generator, dtype=torch.float64)).exp()
    field = FIELD + noise_ppm * torch.randn(GRID.shape, generator=generator, dtype=torch.float64)
    task = pose(field, MASK, SCAN, noise_ppm, None, strength=2e-4, edge_share=0.0, padding_mm=10.0)
    weights, true = task.weights[task.inside].double(), FIELD[MASK]
    misfit = float((weights * (field - FIELD)[MASK]).std())
    mean = (weights**2 * true).sum() / (weights**2).sum()
    variance = float((weights**2 * (true - mean) ** 2).sum() / (weights**2).sum())
    spread = math.sqrt(2.0) * misfit**2 / asked_strength(task, misfit)
    assert spread == pytest.approx(math.sqrt(variance / MEAN_SQUARED_DIPOLE), rel=0.03)
