"""RESHARP: its normal equations hold, its regularisation does what it says, its mask is where the sphere fits."""

import itertools

import pytest
import torch

from dlqsm.core.checks import ConvergenceWarning, InputError
from dlqsm.core.fourier import irfft3, pad_to, padded_grid, rfft3
from dlqsm.core.scan import Grid, Scan
from dlqsm.core.solvers import conjugate_gradient
from dlqsm.qsm.background import resharp
from dlqsm.qsm.background.resharp import _deconvolved
from dlqsm.qsm.background.spheres import fits, mean_spectrum, sphere_kernel

GRID = Grid((30, 26, 18), (1.6, 1.6, 2.5))
SCAN = Scan(GRID)


def distance(centre):
    axes = [
        (torch.arange(n, dtype=torch.float64) - (n - 1) / 2) * v - c
        for n, v, c in zip(GRID.shape, GRID.voxel_size_mm, centre, strict=True)
    ]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    return (x**2 + y**2 + z**2).sqrt()


MASK = distance((0.0, 0.0, 0.0)) < 18.0
SOURCES = ((22.0, 3.0, -7.0), (-9.0, 19.0, 6.0), (2.0, -8.0, 24.0), (5.0, 6.0, -3.0), (-6.0, -2.0, 5.0))
SMOOTH = sum(1.0 / (distance(centre) ** 2 + 16.0) ** 0.5 for centre in SOURCES)
"""Harmonic but near the centres, and of low spatial frequency, where the filter is small."""


def rms(value, mask):
    return float(value[mask].square().mean().sqrt())


def test_solution_obeys_the_normal_equations(generator):
    """h * E (h * (b - b_local)) = regularisation * b_local, with the sphere's mean taken by plain convolution."""
    wide = padded_grid(GRID, 8.0)
    inside = pad_to(MASK, wide)
    field = torch.randn(wide.shape, dtype=torch.float64, generator=generator) * inside
    mean = mean_spectrum(5.0, wide, field)
    kept = inside & fits(rfft3(inside.double()), mean, wide)
    local, convergence = _deconvolved(field, kept, 1.0 - mean, 1e-2, 1e-10, 300)

    def high_pass(volume):
        return volume - irfft3(rfft3(volume) * rfft3(sphere_kernel(5.0, wide, field)), wide.shape)

    left = high_pass(torch.where(kept, high_pass(field - local), 0.0))
    assert convergence.converged
    assert torch.allclose(left, 1e-2 * local, atol=1e-8)
    assert float(local[~inside].abs().max()) < 1e-3 * float(local.abs().max())


def test_change_of_unknown_comes_nearer_in_the_first_iterations():
    field = SMOOTH * MASK
    mean = mean_spectrum(5.0, GRID, field)
    kept = MASK & fits(rfft3(MASK.double()), mean, GRID)

    def high_pass(volume):
        return irfft3(rfft3(volume) * (1.0 - mean), GRID.shape)

    plain, _ = conjugate_gradient(
        lambda u: high_pass(torch.where(kept, high_pass(u), 0.0)) + 1e-2 * u,
        high_pass(torch.where(kept, high_pass(field), 0.0)),
        tolerance=1e-12,
        max_iterations=5,
    )
    here, _ = _deconvolved(field, kept, 1.0 - mean, 1e-2, 1e-12, 5)
    solved, convergence = _deconvolved(field, kept, 1.0 - mean, 1e-2, 1e-9, 1000)
    assert convergence.converged
    assert rms(here - solved, kept) < 0.4 * rms(plain - solved, kept)


def test_energy_falls_as_the_regularisation_grows():
    options = {"tolerance": 1e-6, "max_iterations": 400}
    energies = [
        float(resharp(SMOOTH, MASK, SCAN, regularisation=share, **options)[0].square().sum())
        for share in (1e-3, 1e-2, 1e-1, 1.0)
    ]
    assert all(b < 0.95 * a for a, b in itertools.pairwise(energies))


def test_kept_is_where_the_sphere_fits_and_b0_does_not_matter(generator):
    field = torch.randn(GRID.shape, dtype=torch.float64, generator=generator)
    local, kept, _ = resharp(field, MASK, SCAN, radius_mm=6.0)
    wide = padded_grid(GRID, 8.0)
    inside = pad_to(MASK, wide).double()
    share = irfft3(rfft3(inside) * rfft3(sphere_kernel(6.0, wide, inside)), wide.shape)
    assert torch.equal(kept, MASK & (share > 0.9999)[tuple(slice(n) for n in GRID.shape)])
    assert 0.2 < float(kept.sum() / MASK.sum()) < 0.5
    assert not local[~kept].any()
    turned = Scan(GRID, b0_direction=(0.0, 1.0, 0.0))
    assert torch.equal(local, resharp(field, MASK, turned, radius_mm=6.0)[0])


def test_what_it_cannot_do_is_said_in_one_sentence():
    with pytest.warns(ConvergenceWarning, match="after 2 iterations.*raise max_iterations"):
        assert not resharp(SMOOTH, MASK, SCAN, max_iterations=2)[2].converged
    with pytest.raises(InputError, match=r"holds no sphere of radius 19\.0 mm"):
        resharp(SMOOTH, MASK, SCAN, radius_mm=19.0)
    with pytest.raises(InputError, match=r"longest voxel edge, 2\.5"):
        resharp(SMOOTH, MASK, SCAN, radius_mm=2.0)
    with pytest.raises(InputError, match="regularisation must be above zero"):
        resharp(SMOOTH, MASK, SCAN, regularisation=0.0)
    with pytest.raises(InputError, match="not finite"):
        resharp(torch.full(GRID.shape, torch.inf), MASK, SCAN)
