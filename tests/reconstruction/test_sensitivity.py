import numpy as np
import pytest
import torch
from coil_phantom import every_second_row, loop_coils, make_phantom, positions

from dlqsm.core.checks import InputError
from dlqsm.reconstruction.hybrid import calibrate
from dlqsm.reconstruction.sensitivity import espirit, interpolation_matrix, smooth_phase

SHAPE = (24, 40, 28)


def largest_step(maps: torch.Tensor, mask: torch.Tensor) -> float:
    """Largest phase of <S(r), S(r + 1)> inside the mask, along any axis."""
    steps = []
    for axis in range(3):
        n = maps.shape[axis + 1]
        both = mask.narrow(axis, 0, n - 1) & mask.narrow(axis, 1, n - 1)
        inner = (maps.narrow(axis + 1, 0, n - 1).conj() * maps.narrow(axis + 1, 1, n - 1)).sum(0)
        steps.append(float(inner.angle().abs()[both].max()))
    return max(steps)


@pytest.fixture(scope="module")
def scan():
    return make_phantom(every_second_row(SHAPE[1:], 14), n_coils=6, noise_sd=0.01, shape=SHAPE)


@pytest.fixture(scope="module")
def estimated(scan):
    """Maps in the basis of the physical, whitened coils."""
    calibration = calibrate(scan.raw)
    maps = espirit(calibration.kspace, calibration.lines, SHAPE).slab(0, SHAPE[0])
    back = torch.from_numpy(np.linalg.inv(calibration.matrix).astype(np.complex64))
    physical = torch.einsum("cv,vxyz->cxyz", back, maps)
    return maps, physical / physical.abs().square().sum(0).sqrt().clamp_min(1e-9)


def test_maps_are_the_true_ones_up_to_phase(scan, estimated):
    overlap = (estimated[1].conj() * scan.maps).sum(0).abs()
    outside_span = (1 - overlap.square()).clamp_min(0).sqrt()
    core = (scan.images[0].abs() > 0.05) & scan.mask
    assert float(outside_span[core].square().mean().sqrt()) < 0.03


def test_maps_have_unit_norm_where_they_are_not_zero(estimated):
    norm = estimated[0].abs().square().sum(0)
    assert torch.allclose(norm[norm > 0], torch.ones(()), atol=1e-5)


def test_the_background_is_zero_and_the_object_is_not(scan, estimated):
    kept = estimated[0].abs().sum(0) > 0
    assert kept[scan.mask].float().mean() > 0.99
    assert kept.float().mean() < 0.95


def test_phase_is_smooth_over_the_whole_object(scan, estimated):
    assert largest_step(estimated[0], scan.mask) < 0.2


def test_a_pole_in_the_phase_is_removed():
    # A fixed reference coil that vanishes somewhere puts such a vortex into the maps.
    maps = loop_coils(4, (20, 20, 20)).to(torch.complex64)
    x, y, z = positions((20, 20, 20))
    inside = x**2 + y**2 + z**2 < 0.4**2
    with_pole = maps * torch.polar(torch.ones(20, 20, 20), torch.atan2(y - 0.01, x - 0.01).float())
    assert largest_step(with_pole, inside) > 1.0
    smooth = smooth_phase(with_pole, inside.float())
    assert largest_step(smooth, inside) < 0.2
    assert torch.allclose(smooth.abs(), maps.abs(), atol=1e-5)


def test_slabs_are_parts_of_the_whole(scan):
    calibration = calibrate(scan.raw)
    maps = espirit(calibration.kspace, calibration.lines, SHAPE)
    assert torch.allclose(maps.slab(5, 9), maps.slab(0, SHAPE[0])[:, 5:9], atol=1e-6)


@pytest.mark.parametrize(
    "option",
    [{"kernel": 4}, {"relative_threshold": 0.05}, {"noise_factor": 30.0}, {"crop": 0.99}, {"coarse_points": 12}],
)
def test_every_option_matters(scan, option):
    calibration = calibrate(scan.raw)
    plain = espirit(calibration.kspace, calibration.lines, SHAPE).slab(10, 12)
    other = espirit(calibration.kspace, calibration.lines, SHAPE, **option).slab(10, 12)
    assert not torch.allclose(plain, other, atol=1e-4)


def test_a_single_plane_is_enough():
    scan = make_phantom(shape=(1, 40, 28), noise_sd=0.01)
    calibration = calibrate(scan.raw)
    maps = espirit(calibration.kspace, calibration.lines, (1, 40, 28)).slab(0, 1)
    assert maps.shape == (6, 1, 40, 28)
    assert (maps.abs().sum(0) > 0)[scan.mask].float().mean() > 0.99


def test_noise_alone_is_refused():
    rng = np.random.default_rng(0)
    lines = np.argwhere(np.ones((12, 12), bool)).astype(np.int32)
    noise = (rng.standard_normal((3, 12, 144)) + 1j * rng.standard_normal((3, 12, 144))).astype(np.complex64)
    with pytest.raises(InputError, match="nothing but noise"):
        espirit(noise, lines, (12, 12, 12))


def test_few_lines_take_a_smaller_window(scan):
    """Windows of 5 would have too few rows to span their space; the object had maps in 0.2 % of its voxels then."""
    calibration = calibrate(scan.raw)
    centre = np.array(SHAPE[1:]) // 2
    few = ((calibration.lines - centre) ** 2).sum(1) <= 3.2**2
    maps = espirit(calibration.kspace[:, :, few], calibration.lines[few], SHAPE).slab(0, SHAPE[0])
    assert few.sum() < 40
    assert (maps[:, scan.mask].abs().sum(0) > 0).float().mean() > 0.99


def test_lines_that_hold_no_window_are_refused(scan):
    calibration = calibrate(scan.raw)
    alone = (calibration.lines % 2 == 0).all(1)
    with pytest.raises(InputError, match="no window of 3 x 3"):
        espirit(calibration.kspace[:, :, alone], calibration.lines[alone], SHAPE)


def test_interpolation_is_exact_for_cubics():
    points = np.linspace(0, 19, 8)
    weights = interpolation_matrix(points, 20).double()
    voxels = torch.arange(20, dtype=torch.float64)
    cubic = torch.from_numpy(points**3 - 4 * points)
    assert torch.allclose(weights @ cubic, voxels**3 - 4 * voxels, rtol=1e-5, atol=1e-2)
    assert torch.equal(interpolation_matrix(np.zeros(1), 3), torch.ones(3, 1))
