"""Veins: the moment of a painted tube, its place on oblique grids, and courses through the brain."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from dlqsm.acquisition.surroundings import MENINGES_MM, make_surroundings
from dlqsm.acquisition.veins import medullary_veins, named_veins, paint_tubes, superficial_veins, trace
from dlqsm.core.scan import Grid
from dlqsm.io.anatomy import load_anatomy

LENGTH_MM = 40.0


@pytest.fixture(scope="module")
def surroundings():
    return make_surroundings(load_anatomy())


def painted(tubes, grid):
    coverage = np.zeros(grid.shape, dtype=np.float32)
    paint_tubes(tubes, grid, coverage)
    return coverage


def straight(radius_mm, direction=(0.3, 0.5, 0.81)):
    unit = np.asarray(direction) / np.linalg.norm(direction)
    return np.array([[*(-0.5 * LENGTH_MM * unit), *(0.5 * LENGTH_MM * unit), radius_mm, radius_mm]])


@pytest.mark.parametrize("radius_mm", [0.2, 0.5, 1.0, 2.5])
@pytest.mark.parametrize("voxel_mm", [(0.5, 0.5, 0.5), (0.8, 0.8, 1.0)])
def test_a_tube_keeps_its_volume_on_every_grid(radius_mm, voxel_mm):
    grid = Grid.centred((100, 100, 100), voxel_mm, np.eye(3))
    coverage = painted(straight(radius_mm), grid)
    caps = 4 / 3 * np.pi * radius_mm**3
    assert coverage.sum() * grid.voxel_volume_mm3 == pytest.approx(np.pi * radius_mm**2 * LENGTH_MM + caps, rel=0.06)
    assert coverage.max() <= 1


def test_a_tube_lies_where_it_was_put_on_an_oblique_grid():
    rotation = Rotation.from_euler("xyz", (25.0, -10.0, 5.0), degrees=True).as_matrix()
    grid = Grid.centred((60, 60, 40), (0.9, 0.8, 1.2), rotation)
    coverage = painted(np.array([[4.0, -3.0, 5.0, 4.0, -3.0, 5.1, 3.0, 3.0]]), grid)
    index = np.argwhere(coverage > 0.5)
    centre = (index @ grid.affine[:3, :3].T + grid.affine[:3, 3]).mean(0)
    assert centre == pytest.approx([4.0, -3.0, 5.05], abs=0.1)


def test_tubes_outside_the_grid_leave_it_empty():
    grid = Grid.centred((10, 10, 10), (1.0, 1.0, 1.0), np.eye(3))
    assert painted(straight(1.0) + np.array([50.0, 0, 0, 50.0, 0, 0, 0, 0]), grid).sum() == 0


def test_a_trace_goes_through_its_points_and_keeps_the_radius_in_range():
    course = ((0.0, 0.0, 0.0, 1.0), (10.0, 5.0, 0.0, 2.0), (20.0, 0.0, 3.0, 1.5))
    tubes = trace(course)
    for point in course:
        assert np.linalg.norm(tubes[:, :3] - point[:3], axis=1).min() < 1.0 or np.allclose(tubes[-1, 3:6], point[:3])
    assert np.allclose(tubes[1:, :3], tubes[:-1, 3:6])
    assert tubes[:, 6:].min() >= 1.0
    assert tubes[:, 6:].max() <= 2.0


def test_named_veins_come_in_pairs():
    tubes = named_veins()
    paired = tubes[np.abs(tubes[:, 0]) > 1.0]
    assert (paired[:, 0] > 0).sum() == (paired[:, 0] < 0).sum() > 50


def test_veins_lie_inside_the_skull(surroundings):
    rng = np.random.default_rng(2)
    for tubes in (named_veins(), medullary_veins(rng), superficial_veins(surroundings, rng)):
        hull = surroundings.sample(torch.from_numpy(tubes[:, :3]).float())[0]
        assert (hull < MENINGES_MM + 1.5).float().mean() > 0.95


def test_random_veins_follow_from_the_seed(surroundings):
    first, again, other = (superficial_veins(surroundings, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert first.shape != other.shape or not np.allclose(first, other)
    assert len(medullary_veins(np.random.default_rng(0), 40)) < len(medullary_veins(np.random.default_rng(0), 80))
