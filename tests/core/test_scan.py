"""Geometry: affines, B0 directions, echo times."""

import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dlqsm.core import units
from dlqsm.core.checks import InputError
from dlqsm.core.scan import Grid, Scan


def _affine(rotation: np.ndarray, voxel: tuple[float, float, float]) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = rotation * np.asarray(voxel)
    affine[:3, 3] = (3.0, -2.0, 7.0)
    return affine


def test_affine_round_trip_with_flips_and_permutation() -> None:
    rotation = Rotation.from_euler("xyz", (20, -8, 5), degrees=True).as_matrix()[:, [2, 0, 1]] * (1, -1, 1)
    affine = _affine(rotation, (0.8, 2.0, 1.1))
    grid = Grid.from_affine((10, 11, 12), affine)
    assert np.allclose(grid.affine, affine, atol=1e-12)
    assert np.allclose(grid.voxel_size_mm, (0.8, 2.0, 1.1))


@pytest.mark.parametrize("angle", [0.0, 20.0, -45.0])
def test_b0_of_a_tilted_anisotropic_volume_is_the_tilt(angle: float) -> None:
    rotation = Rotation.from_euler("x", angle, degrees=True).as_matrix()
    b0 = Grid.from_affine((8, 8, 8), _affine(rotation, (0.8, 0.8, 2.0))).b0_direction()
    assert np.allclose(b0, rotation.T @ (0, 0, 1), atol=1e-12)
    assert math.isclose(math.degrees(math.acos(b0[2])), abs(angle), abs_tol=1e-9)


def test_b0_of_flipped_axes_changes_sign_only() -> None:
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])
    assert Grid.from_affine((4, 4, 4), affine).b0_direction() == (0.0, 0.0, 1.0)
    affine = np.diag([1.0, 1.0, -2.0, 1.0])
    assert Grid.from_affine((4, 4, 4), affine).b0_direction() == (0.0, 0.0, -1.0)


def test_b0_given_overrides_the_affine_and_is_normalised() -> None:
    scan = Scan(Grid((4, 4, 4), (1, 1, 1)), b0_direction=(0.0, 3.0, 4.0))
    assert np.allclose(scan.b0_direction, (0, 0.6, 0.8))


def test_centred_grid_has_its_centre_voxel_at_the_isocentre() -> None:
    rotation = Rotation.from_euler("zyx", (10, 20, 30), degrees=True).as_matrix()
    grid = Grid.centred((7, 8, 9), (1.0, 2.0, 3.0), rotation)
    assert np.allclose(grid.affine @ (3, 4, 4, 1), (0, 0, 0, 1), atol=1e-12)


@pytest.mark.parametrize(
    ("times", "says"),
    [
        ((3.3, 6.4), "seconds, not milliseconds"),
        ((0.006, 0.003), "ascend"),
        ((-0.001, 0.003), "above zero"),
        ((float("nan"),), "above zero"),
    ],
)
def test_echo_times_that_cannot_be(times: tuple[float, ...], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Scan(Grid((4, 4, 4), (1, 1, 1)), echo_times_s=times)


def test_uneven_or_single_echoes_have_no_spacing() -> None:
    grid = Grid((4, 4, 4), (1, 1, 1))
    assert math.isclose(Scan(grid, (0.003, 0.006, 0.009)).echo_spacing_s, 0.003)
    for times in ((0.003,), (0.003, 0.006, 0.010)):
        with pytest.raises(InputError):
            _ = Scan(grid, times).echo_spacing_s


def test_one_ppm_at_3_tesla_is_127_73_hz() -> None:
    assert math.isclose(Scan(Grid((4, 4, 4), (1, 1, 1)), (), 3.0).hz_per_ppm, 127.732, abs_tol=1e-3)
    assert math.isclose(units.rad_per_ppm(3.0, 3.1e-3), 2.488, abs_tol=1e-3)
    with pytest.raises(InputError, match="--field-strength"):
        _ = Scan(Grid((4, 4, 4), (1, 1, 1))).hz_per_ppm


def test_degenerate_grids_are_refused() -> None:
    with pytest.raises(InputError, match="three axes"):
        Grid((4, 0, 4), (1, 1, 1))
    with pytest.raises(InputError, match="voxel edge"):
        Grid.from_affine((4, 4, 4), np.zeros((4, 4)))
    with pytest.raises(InputError, match="voxel_size_mm"):
        Grid((4, 4, 4), (1, -1, 1))
