"""Noise through the solver: the analytic variance of a filter, and eight realisations against Monte Carlo."""

import math

import pytest
import torch

from dlqsm.core.checks import InputError
from dlqsm.core.dipole import dipole_kernel, susceptibility_to_field
from dlqsm.core.realisations import monte_carlo_sd, pooled_sd, sds_of_means
from dlqsm.core.scan import Grid, Scan
from dlqsm.qsm.background import BACKGROUND_REMOVERS
from dlqsm.qsm.inversion import INVERSIONS
from dlqsm.qsm.uncertainty import chi_errors

GRID = Grid((24, 26, 20), (1.6, 1.6, 2.4))
SCAN = Scan(GRID, field_strength_t=3.0, b0_direction=(0.0, 0.0, 1.0))
ALL = torch.ones(GRID.shape, dtype=torch.bool)
AXES = torch.meshgrid(
    *[(torch.arange(n) - (n - 1) / 2) * v for n, v in zip(GRID.shape, GRID.voxel_size_mm, strict=True)], indexing="ij"
)
CENTRES = ((-8, 3, 0), (8, 3, 0), (0, -9, 3), (0, 9, -4), (-5, -6, -6), (5, -6, -6))
N_FAST, N_MANY = 8, 32


def ball(centre, radius_mm):
    return sum((x - c) ** 2 for x, c in zip(AXES, centre, strict=True)) < radius_mm**2


HEAD = ball((0, 0, 0), 17.0)
NUCLEI = [ball(centre, 3.5) for centre in CENTRES]
CHI = sum(0.1 * nucleus for nucleus in NUCLEI)
SIGMA = 2e-3 * (1.0 + 0.5 * CHI / 0.1)
FIELD = susceptibility_to_field(CHI + 5.0 * ball((0, 0, 20), 3.0), GRID, SCAN.b0_direction)


def invert_all(name, field, **options):
    return INVERSIONS[name](field, ALL, SCAN, None, None, **options)[0]


@pytest.mark.parametrize(("name", "options"), [("tkd", {"threshold": 0.15}), ("tikhonov", {"penalty": "identity"})])
def test_white_noise_through_a_filter(name, options):
    """Its SD is sigma times the root of the mean squared filter, everywhere."""
    kernel = dipole_kernel(GRID, SCAN.b0_direction, torch.zeros(GRID.shape, dtype=torch.float64))
    truncated, damped = torch.where(kernel.abs() > 0.15, 1.0 / kernel, 0.0), kernel / (kernel**2 + 3e-3)
    inverse = truncated if name == "tkd" else damped
    twice = torch.full(kernel.shape, 2.0, dtype=torch.float64)  # the other half spectrum, but for kz = 0 and Nyquist
    twice[..., [0, -1]] = 1.0
    exact = 1e-3 * float((twice * inverse**2).sum() / math.prod(GRID.shape)) ** 0.5
    zero, noise = torch.zeros(GRID.shape), torch.full(GRID.shape, 1e-3)
    errors = chi_errors(zero, noise, ALL, lambda field: invert_all(name, field, **options), N_MANY)
    assert float(errors.square().mean() * N_MANY / (N_MANY - 1)) ** 0.5 == pytest.approx(exact, rel=0.02)
    assert float(pooled_sd(errors[:N_FAST], ALL, GRID).median()) == pytest.approx(exact, rel=0.05)


def test_linear_solvers_scale_with_the_noise_and_forget_the_field():
    def solve(field):
        return invert_all("tkd", field)

    small = chi_errors(torch.zeros_like(SIGMA), SIGMA, HEAD, solve, 3)
    assert torch.allclose(chi_errors(FIELD, 2.0 * SIGMA, HEAD, solve, 3), 2.0 * small, atol=1e-5)
    assert small.mean(0).abs().max() < 1e-7


def test_seed_zero_noise_and_unknown_noise():
    def solve(field):
        return INVERSIONS["l1"](field, HEAD, SCAN, SIGMA, CHI + 1.0, max_iterations=10, tolerance=0.0)[0]

    one = chi_errors(FIELD, SIGMA, HEAD, solve, 2, seed=3)
    assert torch.equal(chi_errors(FIELD, SIGMA, HEAD, solve, 2, seed=3), one)
    assert not torch.equal(chi_errors(FIELD, SIGMA, HEAD, solve, 2, seed=4), one)
    assert not chi_errors(FIELD, 0.0 * SIGMA, HEAD, solve, 2).any()
    assert not chi_errors(FIELD, torch.full_like(SIGMA, torch.nan), HEAD, solve, 2).any()
    with pytest.raises(InputError, match="noise has shape"):
        chi_errors(FIELD, SIGMA[1:], HEAD, solve, 2)
    with pytest.raises(InputError, match="two realisations"):
        chi_errors(FIELD, SIGMA, HEAD, solve, 1)


@pytest.mark.parametrize("background", ["vsharp", "pdf"])
def test_eight_realisations_agree_with_monte_carlo(background):
    """Median over voxels, and geometric mean over regions: of one region 32 realisations leave 13 % open."""
    options = {"radii_mm": (5.0, 3.0)} if background == "vsharp" else {"reach_mm": 12.0, "tolerance": 0.02}
    kept = []

    def solve(total):
        local, eroded, _ = BACKGROUND_REMOVERS[background](total, HEAD, SCAN, SIGMA, **options)
        kept.append(eroded)
        chi, _ = INVERSIONS["l1"](local, eroded, SCAN, SIGMA, CHI + 1.0, strength=2e-4, padding_mm=8.0, tolerance=0.01)
        return torch.where(eroded, chi - chi[eroded].mean(), 0.0)

    errors = chi_errors(FIELD, SIGMA, HEAD, solve, N_FAST + N_MANY)
    few, many, mask = errors[:N_FAST], errors[N_FAST:], kept[0]
    pooled = pooled_sd(few, mask, GRID)
    assert 0.85 < float((pooled / monte_carlo_sd(many))[mask].median()) < 1.15
    regions = [(nucleus & mask).float() for nucleus in NUCLEI]
    pairs = zip(sds_of_means(few, regions, mask, GRID), sds_of_means(many, regions, mask, GRID), strict=True)
    ratios = [told / exact for told, exact in pairs]
    assert 0.85 < math.exp(sum(map(math.log, ratios)) / len(ratios)) < 1.15
    assert all(0.6 < ratio < 1.6 for ratio in ratios)
