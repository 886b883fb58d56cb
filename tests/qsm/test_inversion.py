"""Dipole inversion: known sources come back, options matter, solvers say how they stopped."""

import nibabel as nib
import numpy as np
import pytest
import torch
from sphere_problem import FIELD, GRID, MAGNITUDE, MASK, OBLIQUE, SCAN, contrast, distance, invert, noisy, relative

from dlqsm.core.checks import ConvergenceWarning, InputError
from dlqsm.core.differences import divergence, gradient, isotropic_spacing
from dlqsm.core.dipole import dipole_kernel, susceptibility_to_field
from dlqsm.core.fourier import irfft3, rfft3
from dlqsm.core.scan import Grid, Scan
from dlqsm.qsm.inversion import INVERSIONS, fansi, l1, medi, tikhonov, tkd, tv
from dlqsm.qsm.inversion.total_variation import FIELD_PENALTY, SHRINKAGE
from dlqsm.qsm.splitting.admm import Problem, State, solve
from dlqsm.qsm.splitting.gradients import difference, squared_gradient, steepest, surface


def test_l1_recovers_a_sphere(generator):
    chi, convergence = invert("l1", noisy(generator), magnitude=MAGNITUDE)
    assert convergence.converged
    assert 0.97 < contrast(chi) < 1.03


@pytest.mark.parametrize("name", ["tv", "fansi"])
def test_plain_total_variation_recovers_a_sphere_nearly(name, generator):
    """It knows no edges, so that it takes some contrast; with the edges of the magnitude (wTV) nothing is lost."""
    chi, convergence = invert(name, noisy(generator))
    assert convergence.converged
    assert 0.9 < contrast(chi) < 0.99
    assert 0.97 < contrast(invert("fansi", noisy(generator), magnitude=MAGNITUDE, edge_share=0.1)[0]) < 1.03


def test_closed_forms_recover_the_sphere_roughly():
    assert 0.6 < contrast(invert("tkd", FIELD)[0]) < 1.05
    assert 0.6 < contrast(invert("tikhonov", FIELD)[0]) < 1.05


@pytest.mark.parametrize("name", INVERSIONS)
def test_zero_gives_zero_and_the_outside_has_no_influence(name, generator):
    assert not invert(name, torch.zeros_like(FIELD))[0].any()
    field = noisy(generator)
    chi, _ = invert(name, field, magnitude=MAGNITUDE)
    spoilt, _ = invert(name, torch.where(MASK, field, torch.nan), magnitude=MAGNITUDE)
    assert torch.equal(chi, spoilt)
    assert not chi[~MASK].any()


@pytest.mark.parametrize("name", ["tkd", "tikhonov"])
def test_closed_forms_are_linear(name, generator):
    a, b = (torch.randn(GRID.shape, dtype=torch.float64, generator=generator) for _ in range(2))
    together = invert(name, 2.0 * a - b)[0]
    assert torch.allclose(together, 2.0 * invert(name, a)[0] - invert(name, b)[0], atol=1e-10)


def test_l1_scales_with_the_field_where_the_strength_does(generator):
    field = noisy(generator)
    once, _ = invert("l1", field, magnitude=MAGNITUDE, strength=1e-4, dynamic="both")
    tenfold, _ = invert("l1", 10.0 * field, magnitude=MAGNITUDE, strength=1e-3, dynamic="both")
    assert relative(tenfold, 10.0 * once) < 1e-6


@pytest.mark.parametrize("name", INVERSIONS)
def test_turned_grid_gives_the_same_values(name, generator):
    """Anisotropic axes permuted, oblique B0 with them."""
    field, order = noisy(generator), (2, 0, 1)
    grid = Grid(tuple(GRID.shape[a] for a in order), tuple(GRID.voxel_size_mm[a] for a in order))
    turned = Scan(grid, field_strength_t=3.0, b0_direction=tuple(OBLIQUE[a] for a in order))
    chi, _ = invert(name, field, magnitude=MAGNITUDE)
    again, _ = invert(name, field.permute(order), MASK.permute(order), turned, None, MAGNITUDE.permute(order))
    assert relative(again, chi.permute(order)) < 0.01


@pytest.mark.parametrize("shape", [(36, 33, 24), (35, 34, 25)])
@pytest.mark.parametrize("tilt", [(0.0, 0.0, 1.0), (0.0, 0.342, 0.94)])
def test_l1_slope_holds_for_odd_sizes_and_tilts(shape, tilt, generator):
    grid = Grid(shape, (1.0, 1.0, 1.5))
    sphere, rim = (distance((1.0, -2.0, 0.5), grid) < 5.0), (distance((0, 0, 0), grid) < 15.0)
    field = susceptibility_to_field(
        torch.where(sphere, 0.1, 0.0).double(), grid, Scan(grid, b0_direction=tilt).b0_direction
    )
    chi, _ = invert("l1", field, rim, Scan(grid, b0_direction=tilt), None, 1.0 + 0.3 * sphere.double())
    assert 0.97 < contrast(chi, sphere, rim & (distance((1.0, -2.0, 0.5), grid) > 8.0)) < 1.03


@pytest.mark.parametrize("name", INVERSIONS)
def test_single_precision_agrees_with_double(name, generator):
    field = noisy(generator)
    double, _ = invert(name, field, magnitude=MAGNITUDE)
    single, _ = invert(name, field.float(), magnitude=MAGNITUDE.float())
    assert single.dtype == torch.float32
    assert relative(single.double(), double) < 1e-3


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("tkd", {"threshold": 0.25}),
        ("tikhonov", {"strength": 1e-2}),
        ("tikhonov", {"penalty": "identity"}),
        ("tgv", {"strength": 5e-5}),
        ("tgv", {"second_order": 0.5}),
        ("tgv", {"edge_share": 0.0}),
        ("tgv", {"harmonic": "keep"}),
        ("tgv", {"padding_mm": 20.0}),
        ("tgv", {"tolerance": 2e-2}),
        ("ilsqr", {"cone": 0.2}),
        ("ilsqr", {"tolerance": 3e-3}),
        ("l1", {"strength": 5e-5}),
        ("l1", {"edge_share": 0.0}),
        ("l1", {"smooth_length_mm": 0.0}),
        ("l1", {"dynamic": "none"}),
        ("l1", {"dynamic": "data"}),
        ("l1", {"dynamic": "prior"}),
        ("l1", {"nonlinear_time_s": 0.05}),
        ("l1", {"padding_mm": 20.0}),
        ("l1", {"tolerance": 3e-2}),
        ("tv", {"strength": 5e-5}),
        ("tv", {"padding_mm": 20.0}),
        ("tv", {"tolerance": 3e-2}),
        ("fansi", {"strength": 5e-5}),
        ("fansi", {"edge_share": 0.1}),
        ("fansi", {"nonlinear_time_s": 0.05}),
        ("fansi", {"padding_mm": 20.0}),
        ("fansi", {"tolerance": 3e-2}),
        ("medi", {"strength": 5e-5}),
        ("medi", {"edge_share": 0.0}),
        ("medi", {"nonlinear_time_s": 0.005}),
        ("medi", {"merit": True}),
        ("medi", {"padding_mm": 20.0}),
        ("medi", {"tolerance": 1e-2}),
    ],
)
def test_each_option_changes_the_result(name, options, generator):
    field = noisy(generator)
    field[18, 16, 20] += 0.3
    before, after = (invert(name, field, magnitude=MAGNITUDE, **o)[0] for o in ({}, options))
    assert relative(after, before) > 1e-4


def objective(chi, field, weights, smooth, strength, grid):
    """The problem of `l1`, written out: data term in the mask and edge-weighted total variation on the whole grid."""
    misfit = weights * (irfft3(rfft3(chi) * dipole_kernel(grid, OBLIQUE, chi), grid.shape) - field)
    variation = (smooth * gradient(chi, isotropic_spacing(grid.voxel_size_mm))).abs().sum()
    return float(0.5 * (misfit**2).sum() + strength * variation)


def test_objective_is_within_two_thousandths_of_a_very_long_run(generator):
    """On the periodic grid without padding, where the objective is written down independently of the solver."""
    grid, strength = Grid((20, 20, 16), (1.0, 1.0, 1.5)), 2e-4
    chi = torch.where(distance((0, 0, 0), grid) < 5.0, 0.1, 0.0).double()
    kernel = dipole_kernel(grid, OBLIQUE, chi)
    field = irfft3(rfft3(chi) * kernel, grid.shape)
    field = field + 1e-3 * torch.randn(grid.shape, dtype=torch.float64, generator=generator)
    scale = float(field.abs().mean())
    weights = 0.5 + torch.rand(grid.shape, dtype=torch.float64, generator=generator)
    smooth = torch.rand((3, *grid.shape), generator=generator) > 0.3
    penalties = (strength / (SHRINKAGE * scale), FIELD_PENALTY * (strength / scale) ** 0.5)
    spacing = isotropic_spacing(grid.voxel_size_mm)
    problem = Problem(field, weights**2, kernel, smooth, spacing, strength, *penalties)
    values = {}
    for tolerance in (1e-3, 1e-7):
        state, told = solve(problem, State.zero(field), tolerance=tolerance, max_iterations=5000)
        assert told.converged
        values[tolerance] = objective(state.chi, field, weights, smooth, strength, grid)
    assert values[1e-7] < values[1e-3] < 1.002 * values[1e-7]


def test_l1_history_falls_and_more_iterations_change_little(generator):
    field = noisy(generator)
    loose, told = invert("l1", field, magnitude=MAGNITUDE, tolerance=1e-3, dynamic="none")
    strict, _ = invert("l1", field, magnitude=MAGNITUDE, tolerance=1e-7, max_iterations=3000, dynamic="none")
    with pytest.warns(ConvergenceWarning, match="after 5 iterations.*raise max_iterations"):
        invert("l1", field, max_iterations=5, dynamic="none", strength=1e-4)
    assert told.history[-1] == told.residual <= told.tolerance
    assert told.history[-1] < 0.1 * told.history[0]
    assert abs(contrast(loose) - contrast(strict)) < 2e-3


def test_fixed_number_of_iterations_is_done_without_a_warning(generator):
    _, convergence = invert("l1", noisy(generator), tolerance=0.0, max_iterations=12, dynamic="none", strength=1e-4)
    assert convergence.n_iterations == 12


def test_differences_agree_with_core_and_with_their_spectrum(generator):
    a = torch.randn(GRID.shape, dtype=torch.float64, generator=generator)
    spacing = isotropic_spacing(GRID.voxel_size_mm)
    mine = torch.stack([difference(a, axis) / h for axis, h in enumerate(spacing)])
    assert torch.allclose(mine, gradient(a, spacing))
    by_spectrum = irfft3(rfft3(a) * squared_gradient(GRID.shape, spacing, a), GRID.shape)
    assert torch.allclose(by_spectrum, -divergence(gradient(a, spacing), spacing), atol=1e-10)


def test_edges_are_the_wanted_share_inside_the_mask(generator):
    image = torch.rand(GRID.shape, dtype=torch.float64, generator=generator)
    inside = torch.stack([MASK & MASK.roll(-1, axis) for axis in range(3)])
    found = steepest(image, MASK, GRID.voxel_size_mm, 0.3)
    assert not (found & ~inside).any()
    assert float(found.sum() / inside.sum()) == pytest.approx(0.3, abs=1e-3)
    assert not (surface(MASK) & inside).any()


def test_tkd_reproduces_the_map_of_another_toolbox(shared_data):
    """SEPIA's TKD of a 3 T neck scan: kernel, voxel size, direction and units, to rounding."""
    read = lambda name: nib.load(shared_data / "sepia_neck" / f"{name}.nii.gz")  # noqa: E731
    image = read("localfield")
    voxel = tuple(float(v) for v in image.header.get_zooms()[:3])
    scan = Scan(Grid(image.shape, voxel), b0_direction=(0.0, 0.0, 1.0))
    field, expected = (
        torch.from_numpy(np.asarray(read(n).dataobj, dtype=np.float64)) for n in ("localfield", "chi_tkd")
    )
    mask = torch.from_numpy(np.asarray(read("mask").dataobj) > 0)
    chi, _ = tkd(field / 127.732, mask, scan, threshold=0.15)
    assert relative(chi[mask], expected[mask]) < 1e-5


def test_unusable_input_is_refused_in_one_sentence():
    with pytest.raises(InputError, match="0 and 2/3"):
        tkd(FIELD, MASK, SCAN, threshold=0.9)
    with pytest.raises(InputError, match="unknown penalty 'l2'; choose one of identity, gradient"):
        tikhonov(FIELD, MASK, SCAN, penalty="l2")
    with pytest.raises(InputError, match="edge_share"):
        l1(FIELD, MASK, SCAN, edge_share=1.5)
    with pytest.raises(InputError, match="unknown choice of dynamic"):
        l1(FIELD, MASK, SCAN, dynamic="all")
    with pytest.raises(InputError, match="nonlinear_time_s"):
        l1(FIELD, MASK, SCAN, nonlinear_time_s=12.0)
    with pytest.raises(InputError, match="magnitude has shape"):
        l1(FIELD, MASK, SCAN, None, MAGNITUDE[1:])
    with pytest.raises(InputError, match="not finite"):
        l1(FIELD * torch.nan, MASK, SCAN)
    with pytest.raises(InputError, match="no voxel inside the mask"):
        l1(FIELD, MASK, SCAN, torch.zeros_like(FIELD))
    with pytest.raises(InputError, match="field strength is not known"):
        fansi(FIELD, MASK, Scan(GRID))
    for method in (fansi, medi):
        with pytest.raises(InputError, match="nonlinear_time_s must be above zero"):
            method(FIELD, MASK, SCAN, nonlinear_time_s=0.0)
    with pytest.raises(InputError, match="max_iterations"):
        tv(FIELD, MASK, SCAN, max_iterations=0)
    with pytest.raises(InputError, match="field strength is not known"):
        l1(FIELD, MASK, Scan(GRID), nonlinear_time_s=0.01)
