"""Field of the head: analytic spheres on near, far and outer sides of the split, and the shim."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from dlqsm.acquisition.field import SmoothMap, fit_shim, shim_error, solid_harmonics, wide_field
from dlqsm.acquisition.protocols import Protocol
from dlqsm.core.scan import Grid

PROTOCOL = Protocol("test", (40, 40, 20), (2.0, 2.0, 4.0), (2, 2, 4), 2)


def positions(grid):
    affine = torch.from_numpy(grid.affine)
    index = torch.stack(torch.meshgrid(*(torch.arange(n).double() for n in grid.shape), indexing="ij"), dim=-1)
    return index @ affine[:3, :3].T + affine[:3, 3]


def soft_sphere(grid, centre, radius):
    """Indicator of a sphere with a ramp of one mm, which a point-sampled sphere's staircase is not."""
    distance = torch.linalg.vector_norm(positions(grid) - torch.tensor(centre).double(), dim=-1)
    return (radius + 0.5 * grid.voxel_size_mm[0] - distance).div(grid.voxel_size_mm[0]).clamp(0, 1).float()


def analytic(grid, centre, radius):
    offset = positions(grid) - torch.tensor(centre).double()
    r = torch.linalg.vector_norm(offset, dim=-1).clamp_min(1e-6)
    outside = (radius / r) ** 3 * (3 * (offset[..., 2] / r) ** 2 - 1) / 3
    return torch.where(r > radius, outside, 0.0).float(), r


@pytest.mark.parametrize("tilt", [(0.0, 0.0, 0.0), (20.0, 0.0, 10.0)])
@pytest.mark.parametrize(
    ("centre", "radius"), [((5.0, -3.0, 2.0), 15.0), ((90.0, 20.0, -40.0), 25.0), ((0.0, 0.0, -60.0), 22.0)]
)
def test_sphere_inside_or_outside_the_fine_grid(centre, radius, tilt):
    protocol = Protocol("test", (54, 54, 20), (2.0, 2.0, 4.0), (2, 2, 4), 2, tilt_deg=tilt)
    fine, wide = protocol.fine_grid(14), protocol.wide_grid(300.0, 2.5)
    field = wide_field(soft_sphere(fine, centre, radius), fine, soft_sphere(wide, centre, radius), wide)
    expected, distance = analytic(fine, centre, radius)
    used = (distance - radius).abs() > 6
    used[..., :14] = used[..., -14:] = False
    difference = (field - expected)[used]
    # A constant is the shim's business; 0.67 is the jump at the surface.
    assert float(difference.std()) < 2e-3
    assert float((difference - difference.mean()).abs().max()) < 1.5e-2


@pytest.mark.parametrize("tilt", [(0.0, 0.0, 0.0), (20.0, 0.0, 0.0), (20.0, -10.0, 5.0)])
def test_no_field_rings_at_the_nyquist_frequency_however_it_is_tilted(tilt):
    """Reading every second cell would alias it: more smoothing along the axes changes next to nothing inside."""
    protocol = Protocol("test", (54, 54, 20), (2.0, 2.0, 4.0), (2, 2, 4), 2, tilt_deg=tilt)
    fine, wide = protocol.fine_grid(14), protocol.wide_grid(300.0, 2.5)
    ball, wide_ball = soft_sphere(fine, (0.0, 0.0, 0.0), 40.0), soft_sphere(wide, (0.0, 0.0, 0.0), 40.0)
    field = wide_field(ball, fine, wide_ball, wide)
    smooth = field
    for axis in range(3):
        smooth = 0.5 * smooth + 0.25 * (smooth.roll(1, axis) + smooth.roll(-1, axis))
    inside = torch.linalg.vector_norm(positions(fine), dim=-1) < 31
    inside[..., :15] = inside[..., -15:] = False
    assert float((field - smooth)[inside].std()) < 2e-4


def test_shim_removes_second_order_fields_exactly():
    grid = PROTOCOL.grid
    mask = positions(grid).norm(dim=-1) < 35
    made = SmoothMap(tuple(np.linspace(-2, 3, 9)))
    field = made.on(grid, torch.zeros((), dtype=torch.float64))
    shim = fit_shim(field, mask, grid)
    np.testing.assert_allclose(shim.coefficients, made.coefficients, atol=1e-9)
    cubic = field + 0.01 * positions(grid)[..., 2] ** 3 / 1e4
    left = cubic - fit_shim(cubic, mask, grid).on(grid, cubic)
    assert float(left[mask].abs().mean()) > 1e-4


def test_solid_harmonics_have_no_laplacian_and_stay_so_when_rotated():
    grid = Grid.centred((20, 24, 22), (3.0, 2.0, 4.0), Rotation.from_euler("x", 25, degrees=True).as_matrix())
    for harmonic in solid_harmonics(grid, torch.zeros((), dtype=torch.float64)):
        volume = harmonic.expand(grid.shape)
        second = sum(
            (volume.roll(1, a) + volume.roll(-1, a) - 2 * volume)[1:-1, 1:-1, 1:-1] / grid.voxel_size_mm[a] ** 2
            for a in range(3)
        )
        assert float(second.abs().max()) < 1e-12
    # A field along the scanner's axis is in the span of the harmonics in array axes.
    z = positions(grid)[..., 2]
    mask = torch.ones(grid.shape, dtype=torch.bool)
    field = 2 * z**2 - positions(grid)[..., 0] ** 2 - positions(grid)[..., 1] ** 2
    left = field - fit_shim(field, mask, grid).on(grid, field)
    assert float(left.abs().max()) < 1e-8 * float(field.abs().max())


def test_shim_error_has_the_rms_it_is_given():
    grid = Grid.centred((12, 14, 10), (6.0, 6.0, 6.0), np.eye(3))
    mask = positions(grid).norm(dim=-1) < 30
    like = torch.zeros((), dtype=torch.float64)
    drawn = [shim_error(mask, grid, 0.05, np.random.default_rng(seed)) for seed in range(100)]
    rms = np.sqrt(np.mean([float((error.on(grid, like)[mask] ** 2).mean()) for error in drawn]))
    assert rms == pytest.approx(0.05, rel=0.06)
    assert not any(shim_error(mask, grid, 0.0, np.random.default_rng(1)).coefficients)
