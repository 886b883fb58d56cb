"""Sampling: exact counts, the same from the same seed, calibration inside, density falling outwards."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from dlqsm.acquisition.sampling import SAMPLINGS, full, poisson, uniform
from dlqsm.core.checks import InputError

SHAPES = [(64, 18), (128, 36), (97, 31), (40, 120)]
ONE_DIMENSIONAL = [(1, 200), (151, 1), (2, 64)]
ACCELERATIONS = [1.0, 1.2, 2.0, 2.95, 4.0, 6.2, 12.0]


@pytest.mark.parametrize("kind", SAMPLINGS)
@pytest.mark.parametrize("shape", SHAPES + ONE_DIMENSIONAL)
@pytest.mark.parametrize("acceleration", ACCELERATIONS)
def test_count_is_exact_and_calibration_is_sampled(kind, shape, acceleration):
    sampling = SAMPLINGS[kind](shape, acceleration, 3)
    n = round(shape[0] * shape[1] / acceleration)
    assert sampling.mask.shape == shape
    assert sampling.mask.sum() == len(sampling.lines) == n
    assert sampling.mask[sampling.calibration].all()
    assert sampling.calibration[shape[0] // 2, shape[1] // 2]
    assert sampling.calibration.sum() <= max(0.15 * n, 1)
    assert sampling.mask[tuple(sampling.lines.T)].all()
    assert len(np.unique(sampling.lines, axis=0)) == n


def test_paper_grid_counts_and_calibration():
    for acceleration, n in ((2, 13440), (3, 8960), (4, 6720), (5, 5376)):
        sampling = poisson((280, 96), acceleration, 0)
        assert sampling.mask.sum() == n
        assert sampling.calibration.sum() == 304  # the ellipse of 24 x 16
        assert np.ptp(np.argwhere(sampling.calibration), axis=0).tolist() == [23, 15]


def test_same_seed_same_lines_and_other_seed_other_lines():
    first, again, other = poisson((64, 40), 4, 5), poisson((64, 40), 4, 5), poisson((64, 40), 4, 6)
    np.testing.assert_array_equal(first.lines, again.lines)
    assert (first.mask != other.mask).mean() > 0.05


def test_spacing_grows_with_radius_and_follows_the_slope():
    shape = (200, 100)
    nearest = {}
    for slope in (0.0, 1.5):
        sampling = poisson(shape, 6, 1, slope=slope)
        lines = sampling.lines[~sampling.calibration[tuple(sampling.lines.T)]].astype(float)
        distance = cKDTree(sampling.lines).query(lines, k=2)[0][:, 1]
        radius = np.hypot(*((lines - [100, 50]) / [100, 50]).T)
        nearest[slope] = [distance[(radius > a) & (radius <= b)].mean() for a, b in ((0.2, 0.4), (0.4, 0.7), (0.7, 1))]
    assert nearest[1.5][0] < 0.85 * nearest[1.5][1] < 0.85 * nearest[1.5][2]
    assert nearest[0.0][2] == pytest.approx(nearest[0.0][0], rel=0.1)


def test_no_two_poisson_samples_are_closer_than_the_radius_they_were_thrown_with():
    sampling = poisson((160, 160), 12, 2, slope=0.0)
    lines = sampling.lines[~sampling.calibration[tuple(sampling.lines.T)]]
    distance = cKDTree(sampling.lines).query(lines, k=2)[0][:, 1]
    # Maximal Poisson-disk sets reach a packing of about 0.70 n d^2 cells: 0.87 cells apart would be a random draw.
    n_cells = np.pi / 4 * 160 * 160
    assert distance.min() > 0.75 * np.sqrt(0.7 * n_cells / len(sampling.lines))


def test_corners_are_empty_only_where_the_samples_fit_into_the_ellipse():
    assert not poisson((60, 40), 2, 0).mask[0, 0]
    assert not uniform((60, 40), 2, 0).mask[0, 0]
    rectangle = poisson((60, 40), 1.1, 0).mask
    assert rectangle.mean() > np.pi / 4
    assert poisson((60, 40), 4, 0, elliptical=False, slope=0.0).mask[:6, :4].any()


def test_uniform_skips_whole_lines_regularly():
    sampling = uniform((128, 36), 2, 0, elliptical=False, calibration=(8, 8))
    outside = sampling.mask.copy()
    outside[56:72] = False
    fraction = outside.mean(axis=1)
    whole = np.flatnonzero(fraction > 0.8)
    assert set(fraction[fraction <= 0.8]) == {0.0}
    assert set(np.diff(whole[whole < 56])) <= {2, 3}
    assert uniform((128, 36), 2, 0).lines.tolist() == uniform((128, 36), 2, 99).lines.tolist()


def test_uniform_two_without_calibration_is_every_second_line():
    mask = uniform((64, 20), 2, 0, calibration=(1, 1), elliptical=False).mask
    np.testing.assert_array_equal(mask, np.broadcast_to((np.arange(64) % 2 == 0)[:, None], (64, 20)))


@pytest.mark.parametrize("kind", SAMPLINGS)
def test_order_starts_at_the_centre_and_is_smooth(kind):
    lines = SAMPLINGS[kind]((128, 36), 3, 4).lines
    radius = np.hypot((lines[:, 0] - 64) / 64, (lines[:, 1] - 18) / 18)
    assert lines[0].tolist() == [64, 18]
    assert (np.diff(np.maximum.accumulate(radius) - radius) < 0.06).all()
    assert np.corrcoef(np.arange(len(lines)), radius**2)[0, 1] > 0.9


def test_full_is_everything():
    sampling = full((32, 12))
    assert sampling.mask.all()
    assert sampling.acceleration == 1.0
    assert sampling.calibration.sum() < sampling.mask.sum()


def test_description_counts_inside_the_ellipse_and_sees_coherent_aliasing():
    regular, random = uniform((128, 36), 4, 0).describe(), poisson((128, 36), 4, 0).describe()
    assert random["n_samples"] == 1152
    assert random["acceleration_inside_ellipse"] == pytest.approx(np.pi, rel=0.01)
    assert random["peak_side_lobe"] < regular["peak_side_lobe"] < 1


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (((64, 18), 0.5), {}, "acceleration must be 1 or more"),
        (((64, 18), float("nan")), {}, "acceleration must be 1 or more"),
        (((64, 18), 5000.0), {}, "leaves no sample"),
        (((64, 18), 1.1), {"elliptical": True}, "do not fit into"),
        (((64, 18), 8.0), {"calibration": (24, 16)}, "calibration region has"),
        (((64, 18), 2.0), {"calibration": (0, 4)}, "at least one cell"),
        (((0, 18), 2.0), {}, "at least one cell"),
    ],
)
@pytest.mark.parametrize("kind", SAMPLINGS)
def test_impossible_requests_are_refused(kind, arguments, options, message):
    with pytest.raises(InputError, match=message):
        SAMPLINGS[kind](*arguments, 0, **options)


@pytest.mark.parametrize("kind", SAMPLINGS)
def test_all_cells_to_choose_among_are_as_none_told(kind):
    plain, told = (SAMPLINGS[kind]((64, 40), 3.0, 1, acquired) for acquired in (None, np.ones((64, 40), dtype=bool)))
    np.testing.assert_array_equal(plain.lines, told.lines)
    np.testing.assert_array_equal(plain.calibration, told.calibration)


def test_samples_are_drawn_among_the_lines_of_parallel_imaging():
    acquired = uniform((128, 36), 2.0, 0).mask
    sampling = poisson((128, 36), 4.0, 2, acquired)
    assert sampling.mask.sum() == len(sampling.lines) == 128 * 36 / 4
    assert acquired[sampling.mask].all()
    assert sampling.mask[sampling.calibration].all() and sampling.calibration.sum() > 100
    with pytest.raises(InputError, match="accelerate more"):
        poisson((128, 36), 1.5, 2, acquired)


def test_negative_slope_is_refused():
    with pytest.raises(InputError, match="slope"):
        poisson((64, 18), 3, 0, slope=-1.0)
