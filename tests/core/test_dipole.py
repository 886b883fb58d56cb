"""The dipole kernel: its algebra, and a sphere against the analytic field."""

import math

import pytest
import torch

from dlqsm.core.dipole import dipole_kernel, susceptibility_to_field
from dlqsm.core.fourier import irfft3, rfft3
from dlqsm.core.scan import Grid

OBLIQUE = (0.3, -0.4, math.sqrt(0.75))


def test_kernel_is_zero_at_dc_and_in_its_range() -> None:
    kernel = dipole_kernel(Grid((16, 18, 20), (1, 1, 2)), OBLIQUE, torch.zeros(1, dtype=torch.float64))
    assert kernel[0, 0, 0] == 0
    assert -2 / 3 - 1e-9 <= kernel.min() < -0.5
    assert 0.3 < kernel.max() <= 1 / 3 + 1e-9


@pytest.mark.parametrize("shape", [(16, 18, 20), (15, 18, 21), (1, 8, 9)])
def test_real_and_complex_transforms_agree_with_oblique_b0(
    shape: tuple[int, int, int], generator: torch.Generator
) -> None:
    """Only a Hermitian kernel gives one field by both; even sizes break it unless Nyquist planes are mended."""
    grid = Grid(shape, (1.0, 1.2, 2.0))
    x = torch.randn(shape, dtype=torch.float64, generator=generator)
    spectrum = rfft3(x) * dipole_kernel(grid, OBLIQUE, x)
    assert torch.allclose(rfft3(irfft3(spectrum, shape)), spectrum, atol=1e-9)


def test_forward_model_is_self_adjoint(generator: torch.Generator) -> None:
    grid = Grid((10, 12, 14), (1.0, 1.0, 2.0))
    u, v = torch.randn(2, *grid.shape, dtype=torch.float64, generator=generator)
    left = (susceptibility_to_field(u, grid, OBLIQUE) * v).sum()
    right = (u * susceptibility_to_field(v, grid, OBLIQUE)).sum()
    assert torch.allclose(left, right)


@pytest.mark.parametrize("b0", [(0.0, 0.0, 1.0), OBLIQUE])
def test_field_of_a_sphere(b0: tuple[float, float, float]) -> None:
    """Inside 0; outside chi/3 (a/r)^3 (3 cos^2 - 1), with the sphere of Lorentz (Jackson, section 5.10)."""
    grid, radius, chi = Grid((64, 64, 64), (1.0, 1.0, 1.0)), 8.0, 0.3
    axes = [torch.arange(64, dtype=torch.float64) - 32 for _ in range(3)]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    r = (x**2 + y**2 + z**2).sqrt()
    occupancy = (radius + 0.5 - r).clamp(0, 1)
    field = susceptibility_to_field(chi * occupancy, grid, b0, padding_mm=64)
    cosine = (b0[0] * x + b0[1] * y + b0[2] * z) / r.clamp_min(1e-9)
    expected = chi / 3 * (radius / r.clamp_min(1.0)) ** 3 * (3 * cosine**2 - 1)
    shell = (r > radius + 3) & (r < 24)
    slope = (field[shell] * expected[shell]).sum() / (expected[shell] ** 2).sum()
    assert abs(slope - 1) < 0.02
    assert (field[shell] - expected[shell]).abs().max() < 0.02 * chi
    assert field[r < radius - 3].abs().mean() < 0.01 * chi


def test_rotating_the_field_direction_permutes_the_kernel() -> None:
    grid, like = Grid((12, 12, 12), (1, 1, 1)), torch.zeros(1, dtype=torch.float64)
    source = torch.zeros(12, 12, 12, dtype=torch.float64)
    source[6, 6, 6] = 1
    along_z = irfft3(rfft3(source) * dipole_kernel(grid, (0, 0, 1), like), grid.shape)
    along_x = irfft3(rfft3(source) * dipole_kernel(grid, (1, 0, 0), like), grid.shape)
    assert torch.allclose(along_z, along_x.permute(2, 1, 0), atol=1e-12)
