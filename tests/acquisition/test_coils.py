"""The helmet: the field of a loop, how smooth maps are interpolated, and correlated noise."""

import numpy as np
import pytest
import torch
from scipy.special import ellipe, ellipk

from dlqsm.acquisition.coils import (
    WIRE_MM,
    _elliptic_integrals,
    _loop_field,
    correlated_noise,
    helmet,
    receive_gain,
    sensitivities_at,
    sensitivity_map,
)
from dlqsm.core.scan import Grid


@pytest.fixture(scope="module")
def coils():
    return helmet(8, np.random.default_rng(3))


def test_elliptic_integrals_equal_scipy():
    complement = torch.linspace(0.02, 1.0, 60, dtype=torch.float64)
    k, e = _elliptic_integrals(complement)
    parameter = 1 - complement.numpy() ** 2
    np.testing.assert_allclose(k, ellipk(parameter), rtol=1e-12)
    np.testing.assert_allclose(e, ellipe(parameter), rtol=1e-12)


def test_loop_field_equals_the_sum_over_its_segments():
    radius, n = 40.0, 4000
    angle = (np.arange(n) + 0.5) / n * 2 * np.pi
    wire = radius * np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    step = radius * 2 * np.pi / n * np.stack([-np.sin(angle), np.cos(angle), 0 * angle], axis=1)
    for rho, z in ((10.0, 20.0), (60.0, 30.0), (1e-2, 50.0)):
        to_point = np.array([rho, 0, z]) - wire
        distance = np.sqrt((to_point**2).sum(axis=1, keepdims=True) + WIRE_MM**2)
        field = (np.cross(step, to_point) / distance**3).sum(axis=0) / 4
        b_radial, b_axial = _loop_field(torch.tensor([rho]).double(), torch.tensor([z]).double(), radius)
        # mu0 I / 4 pi in the sum against mu0 I / pi in the closed form.
        assert float(b_radial) == pytest.approx(field[0], rel=2e-3, abs=1e-9)
        assert float(b_axial) == pytest.approx(field[2], rel=1.5e-2)


def test_helmet_surrounds_the_head_and_sees_its_middle_with_gain_one(coils):
    for n in (8, 16, 32):
        array = helmet(n, np.random.default_rng(0))
        distance = np.linalg.norm(array.centres_mm, axis=1)
        assert 110 < distance.min() < distance.max() < 135
        assert array.centres_mm[:, 2].max() > 80
        assert array.centres_mm[:, 2].min() < -30
        middle = sensitivities_at(array, torch.zeros(1, 3, dtype=torch.float64))
        assert float(torch.linalg.vector_norm(middle)) == pytest.approx(1.0)
        spacing = np.linalg.norm(array.centres_mm[:, None] - array.centres_mm[None], axis=-1) + 1e3 * np.eye(n)
        assert spacing.min(axis=1).max() < 2 * array.loop_radius_mm  # every loop overlaps a neighbour


def test_map_equals_the_law_of_biot_and_savart_inside_the_head(coils):
    grid = Grid.centred((24, 28, 18), (7.0, 7.0, 7.0), np.eye(3))
    index = np.indices(grid.shape).reshape(3, -1).T
    where = torch.from_numpy(index @ grid.affine[:3, :3].T + grid.affine[:3, 3])
    head = ((where / torch.tensor([72.0, 90.0, 65.0])) ** 2).sum(dim=1) < 1
    direct = sensitivities_at(coils, where)
    for coil in range(8):
        interpolated = sensitivity_map(coils, coil, grid).reshape(-1)
        error = (interpolated - direct[coil])[head].abs().max() / direct[coil][head].abs().max()
        assert float(error) < 1e-3


def test_map_follows_the_grid_and_b0_stays_with_the_scanner(coils):
    tilt = np.array([[1, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]])
    flat = Grid.centred((9, 9, 9), (10.0, 10.0, 10.0), np.eye(3))
    oblique = Grid.centred((9, 9, 9), (10.0, 10.0, 10.0), tilt)
    at = torch.tensor([[6, 7, 2]])
    where = (at.double() @ torch.from_numpy(oblique.affine)[:3, :3].T) + torch.from_numpy(oblique.affine)[:3, 3]
    value = sensitivity_map(coils, 2, oblique)[6, 7, 2]
    assert abs(complex(value) - complex(sensitivities_at(coils, where)[2, 0])) < 1e-3
    assert abs(complex(value) - complex(sensitivity_map(coils, 2, flat)[6, 7, 2])) > 1e-2


def test_channel_phases_come_from_the_seed_and_maps_from_it_alone(coils):
    same, other = helmet(8, np.random.default_rng(3)), helmet(8, np.random.default_rng(4))
    np.testing.assert_array_equal(coils.gains, same.gains)
    np.testing.assert_allclose(np.abs(coils.gains), np.abs(other.gains))
    assert np.abs(np.angle(coils.gains / other.gains)).max() > 0.3


@pytest.mark.parametrize("n", [1, 8, 32])
def test_covariance_is_positive_with_the_correlations_of_a_real_array(n):
    covariance = helmet(n, np.random.default_rng(1)).covariance
    np.testing.assert_allclose(covariance, covariance.conj().T)
    np.testing.assert_allclose(np.diag(covariance), 1.0)
    assert np.linalg.eigvalsh(covariance).min() > 0.5
    off = np.abs(covariance[~np.eye(n, dtype=bool)])
    assert ((off >= 0.05 - 1e-9) & (off <= 0.2)).all()


def test_noise_has_the_covariance_it_is_given(coils):
    noise = correlated_noise(coils.covariance, 40000, np.random.default_rng(0))
    assert noise.dtype == np.complex64
    measured = noise @ noise.conj().T / (2 * noise.shape[1])
    assert np.abs(measured - coils.covariance).max() < 5 / np.sqrt(2 * 40000)
    assert np.abs(noise @ noise.T).max() / (2 * noise.shape[1]) < 5 / np.sqrt(2 * 40000)


def test_receive_gain_is_that_of_the_best_combination(coils):
    sensitivities = sensitivities_at(coils, torch.tensor([[30.0, -20.0, 10.0]], dtype=torch.float64))
    inverse, c = np.linalg.inv(coils.covariance), sensitivities[:, 0].numpy()
    weights = inverse @ c / (c.conj() @ inverse @ c)
    variance = (weights.conj() @ coils.covariance @ weights).real
    assert float(receive_gain(sensitivities, coils.covariance)) == pytest.approx(variance**-0.5)
