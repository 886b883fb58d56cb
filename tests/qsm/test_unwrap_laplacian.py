"""Laplacian unwrapping: right where the phase is smooth, never exact where it is noisy, and it says so."""

import math

import numpy as np
import pytest
import torch

from dlqsm.core.checks import InputError
from dlqsm.core.scan import Grid, Scan
from dlqsm.qsm.mdi import wrap
from dlqsm.qsm.unwrap import UNWRAPPERS, spun
from dlqsm.qsm.unwrap_laplacian import laplacian

GRID = Grid((40, 36, 30), (1.0, 1.0, 2.0))
SCAN = Scan(GRID)
X, Y, Z = torch.meshgrid(*(torch.linspace(-1, 1, n, dtype=torch.float64) for n in GRID.shape), indexing="ij")
MASK = X**2 + Y**2 + Z**2 < 0.9
HILLS = 14 * torch.exp(-4 * ((X - 0.3) ** 2 + Y**2 + (Z + 0.2) ** 2)) - 4 * (Y * X + Z**2)


def error(unwrapped, true):
    difference = (unwrapped.double() - true)[MASK]
    return difference - difference.median()


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("cycles", [1, 3, 7])
def test_waves_that_the_mirrored_box_can_hold_are_recovered(axis, cycles):
    """cos(pi n (i + 1/2) / N) is an eigenfunction of the Laplacian; a small one is solved to first order and more."""
    n = GRID.shape[axis]
    line = torch.cos(math.pi * cycles * (torch.arange(n, dtype=torch.float64) + 0.5) / n)
    true = (0.5 + 0.01 * line).reshape([-1 if a == axis else 1 for a in range(3)]).expand(GRID.shape)
    unwrapped, _, _ = laplacian(true, torch.ones(GRID.shape, dtype=torch.bool), SCAN)
    assert (unwrapped - true).abs().max() < 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_smooth_phase_of_several_turns_is_nearly_recovered(dtype):
    unwrapped, mask, report = laplacian(wrap(HILLS).to(dtype), MASK, SCAN)
    assert unwrapped.dtype == dtype
    assert torch.equal(mask, MASK)
    assert (unwrapped[~MASK] == 0).all()
    assert error(unwrapped, HILLS).square().mean().sqrt() < 0.25
    assert -math.pi < np.median(unwrapped[MASK].numpy()) <= math.pi
    assert 0 < report.largest_distance_rad <= math.pi + 1e-3


def test_it_says_that_it_is_not_exact_and_by_how_much(generator):
    noisy = HILLS + 0.5 * torch.randn(GRID.shape, generator=generator, dtype=torch.float64)
    unwrapped, _, report = laplacian(wrap(noisy), MASK, SCAN)
    change = (unwrapped - wrap(noisy))[MASK] / (2 * math.pi)
    distance = 2 * math.pi * (change - change.round()).abs()
    assert report.as_dict() == {
        "exact": False,
        "largest_distance_rad": pytest.approx(float(distance.max())),
        "rms_distance_rad": pytest.approx(float(distance.square().mean().sqrt())),
    }
    assert report.largest_distance_rad > 0.5
    assert spun(wrap(noisy), MASK, SCAN)[2].as_dict()["exact"] is True


def test_zero_gives_zero_and_a_constant_stays():
    for value in (0.0, 3.0, math.pi):
        unwrapped, _, report = laplacian(torch.full(GRID.shape, value), MASK, SCAN)
        assert torch.allclose(unwrapped[MASK], torch.tensor(value), atol=1e-5)
        assert report.largest_distance_rad < 1e-5


def test_whole_turns_and_what_lies_outside_do_not_matter(generator):
    wrapped = wrap(HILLS)
    turned = wrapped + 2 * math.pi * torch.randint(-3, 4, GRID.shape, generator=generator)
    spoilt = torch.where(MASK, wrapped, torch.nan)
    expected = laplacian(wrapped, MASK, SCAN)[0]
    assert torch.allclose(laplacian(turned, MASK, SCAN)[0], expected, atol=1e-6)
    assert torch.equal(laplacian(spoilt, MASK, SCAN)[0], expected)


def test_what_cannot_be_used_is_refused():
    with pytest.raises(InputError, match="mask is empty"):
        laplacian(HILLS, torch.zeros_like(MASK), SCAN)
    with pytest.raises(InputError, match="phase has shape"):
        laplacian(HILLS[1:], MASK, SCAN)
    with pytest.raises(InputError, match=r"not finite in \d+ voxels"):
        laplacian(torch.full(GRID.shape, torch.nan), MASK, SCAN)


def test_the_table_names_it():
    assert UNWRAPPERS["laplacian"] is laplacian
