"""Standard deviations from realisations: white and filtered noise of known variance, few realisations against many."""

import math

import pytest
import torch

from dlqsm.core.checks import InputError
from dlqsm.core.fourier import irfft3, rfft3
from dlqsm.core.realisations import (
    ENOUGH_REALISATIONS,
    monte_carlo_sd,
    moved_sd,
    pooled_sd,
    sds_of_means,
    standard_deviation,
)
from dlqsm.core.scan import Grid

GRID = Grid((32, 30, 20), (1.0, 1.2, 2.0))
ALL = torch.ones(GRID.shape, dtype=torch.bool)
X = torch.arange(32)[:, None, None] * torch.ones(GRID.shape)
BALL = (
    sum(
        ((torch.arange(n) - n / 2) * v).reshape([-1 if a == d else 1 for d in range(3)]) ** 2
        for a, (n, v) in enumerate(zip(GRID.shape, GRID.voxel_size_mm, strict=True))
    )
    < 5.0**2
)


def white(n, generator, sd=1.0):
    return sd * torch.randn(n, *GRID.shape, generator=generator, dtype=torch.float64)


def smooth(errors):
    """Mean of each voxel and its two neighbours along x; variance 1/3."""
    return (errors + errors.roll(1, 1) + errors.roll(-1, 1)) / 3.0


def test_white_noise_of_uneven_size(generator):
    sd = 0.5 + X / 32
    few, many = (sd * white(n, generator) for n in (4, 60))
    assert (pooled_sd(few, ALL, GRID) / sd).median() == pytest.approx(1.0, abs=0.03)
    assert (pooled_sd(few, ALL, GRID) / sd).log().std() < 0.15
    assert (monte_carlo_sd(many) / sd).median() == pytest.approx(1.0, abs=0.02)


def test_few_are_pooled_and_many_are_not(generator):
    errors = white(ENOUGH_REALISATIONS, generator)
    assert torch.equal(standard_deviation(errors, ALL, GRID), monte_carlo_sd(errors))
    assert torch.equal(standard_deviation(errors[:-1], ALL, GRID), pooled_sd(errors[:-1], ALL, GRID))


def test_noise_stays_in_the_mask(generator):
    errors = torch.where(BALL, white(4, generator), 0.0)
    sd = pooled_sd(errors, BALL, GRID)
    assert not sd[~BALL].any()
    # The outside, where nothing varies, does not calm the rim.
    assert sd[BALL].log().mean() == pytest.approx(0.0, abs=0.05)
    spoilt = torch.where(BALL, errors, 1e3 * white(4, generator))
    assert torch.equal(pooled_sd(spoilt, BALL, GRID)[BALL], sd[BALL])


def test_mean_of_correlated_noise(generator):
    """SD of a mean is ||A^T w||, larger than that of independent voxels by sqrt(3) along a filtered axis."""
    errors = smooth(white(100, generator))
    weights = BALL.double() / BALL.sum()
    exact, independent = float(smooth(weights[None]).norm()), float(weights.norm()) / 3**0.5
    assert exact > 1.5 * independent
    (told,) = sds_of_means(errors, [BALL.double()], ALL, GRID)
    assert told == pytest.approx(exact, rel=0.15)
    few = errors[:4]
    assert moved_sd(few, pooled_sd(few, ALL, GRID), BALL.double(), GRID) == pytest.approx(exact, rel=0.15)


def test_regions_share_what_moving_them_does_not_see(generator):
    """Each region gets an error of its own, as a whole, which neighbours lack: all of few realisations tell it."""
    boxes = [torch.zeros(GRID.shape, dtype=torch.float64) for _ in range(12)]
    for number, box in enumerate(boxes):
        i, j = divmod(number, 3)
        box[8 * i + 2 : 8 * i + 6, 10 * j + 3 : 10 * j + 7, 8:12] = 1.0
    errors = 0.3 * white(8, generator)
    for box in boxes:
        errors += box * torch.randn(8, 1, 1, 1, generator=generator, dtype=torch.float64)
    sd = pooled_sd(errors, ALL, GRID)
    moved = [moved_sd(errors, sd, box, GRID) for box in boxes]
    told = sds_of_means(errors, boxes, ALL, GRID)
    assert max(moved) < 0.8
    assert sum(told) / len(told) == pytest.approx(1.0, abs=0.15)
    (alone,) = sds_of_means(errors, boxes[:1], ALL, GRID)
    means = (errors * boxes[0]).sum((1, 2, 3)) / boxes[0].sum()
    assert alone == pytest.approx(float(means.std()))


def test_mean_with_the_regions_own_noise(generator):
    """A region that is three times as noisy as its surroundings keeps its noise, though it is moved about."""
    sd = torch.where(BALL, 3.0, 1.0)
    errors = sd * white(4, generator)
    weights = BALL.double() / BALL.sum()
    assert moved_sd(errors, sd.double(), weights, GRID) == pytest.approx(3.0 * float(weights.norm()), rel=0.12)


def test_region_at_the_border_of_the_mask(generator):
    """Shifts that leave the mask count by the share of the region that stays inside."""
    half = X < 12
    errors, region = torch.where(half, white(4, generator), 0.0), (half & (X > 8)).double()
    told = moved_sd(errors, half.double(), region, GRID)
    assert told == pytest.approx(float((region / region.sum()).norm()), rel=0.3)


def test_scale_and_weights(generator):
    errors, weights = white(5, generator), BALL.double()
    sd = pooled_sd(errors, ALL, GRID)
    told = moved_sd(errors, sd, weights, GRID)
    assert torch.allclose(pooled_sd(3.0 * errors, ALL, GRID), 3.0 * sd)
    assert moved_sd(3.0 * errors, 3.0 * sd, weights, GRID) == pytest.approx(3.0 * told)
    assert moved_sd(errors, sd, 7.0 * weights, GRID) == pytest.approx(told)
    assert moved_sd(errors + 5.0, sd, weights, GRID) == pytest.approx(told)
    assert math.isnan(moved_sd(errors, sd, 0.0 * weights, GRID))


def test_no_noise_is_zero():
    nothing = torch.zeros(4, *GRID.shape)
    sd = pooled_sd(nothing, ALL, GRID)
    assert not sd.any()
    assert moved_sd(nothing, sd, BALL.float(), GRID) == 0.0


def test_single_precision_agrees(generator):
    errors = smooth(white(4, generator))
    sd = pooled_sd(errors, ALL, GRID)
    assert torch.allclose(pooled_sd(errors.float(), ALL, GRID).double(), sd, rtol=1e-4)
    assert moved_sd(errors.float(), sd.float(), BALL.float(), GRID) == pytest.approx(
        moved_sd(errors, sd, BALL.double(), GRID), rel=1e-4
    )


def test_one_realisation_is_refused():
    with pytest.raises(InputError, match="two realisations"):
        standard_deviation(torch.zeros(1, *GRID.shape), ALL, GRID)


def test_the_filter_of_the_tests_is_what_it_says():
    weights = BALL.double()
    assert torch.allclose(smooth(irfft3(rfft3(weights[None]), GRID.shape)), smooth(weights[None]))
