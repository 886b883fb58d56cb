"""The streak measure: 1 for what knows no cone, above for noise in it, below for a map that lacks it."""

import pytest
import torch

from dlqsm.core.checks import InputError
from dlqsm.core.dipole import dipole_kernel, susceptibility_to_field
from dlqsm.core.fourier import irfft3, rfft3
from dlqsm.core.scan import Grid, Scan
from dlqsm.qsm.inversion import l1, tkd
from dlqsm.qsm.inversion.streaks import CONE, streak_measure

GRID = Grid((40, 38, 30), (1.0, 1.0, 1.5))
SCAN = Scan(GRID, b0_direction=(0.2, 0.1, 0.97))
AXES = [(torch.arange(n, dtype=torch.float64) - n / 2) * v for n, v in zip(GRID.shape, GRID.voxel_size_mm, strict=True)]
RADIUS = sum(x**2 for x in torch.meshgrid(*AXES, indexing="ij")).sqrt()
MASK = RADIUS < 17


def smooth_object(generator: torch.Generator) -> torch.Tensor:
    """White noise smoothed alike in all directions, sd 0.05 ppm."""
    white = torch.randn(GRID.shape, dtype=torch.float64, generator=generator)
    kernel = torch.fft.ifftshift(torch.exp(-0.5 * (RADIUS / 1.5) ** 2))
    smooth = irfft3(rfft3(white) * rfft3(kernel), GRID.shape)
    return 0.05 * smooth / smooth[MASK].std()


def cone_noise(generator: torch.Generator) -> torch.Tensor:
    white = rfft3(torch.randn(GRID.shape, dtype=torch.float64, generator=generator))
    kernel = dipole_kernel(GRID, SCAN.b0_direction, white.real)
    return irfft3(torch.where(kernel.abs() < CONE, white, 0.0), GRID.shape)


def test_an_object_without_direction_has_about_one(generator: torch.Generator) -> None:
    found = [streak_measure(smooth_object(generator), MASK, SCAN) for _ in range(5)]
    assert all(0.75 < value < 1.3 for value in found)
    assert abs(sum(found) / 5 - 1.0) < 0.1


def test_noise_in_the_cone_raises_it_steadily(generator: torch.Generator) -> None:
    chi, noise = smooth_object(generator), cone_noise(generator)
    values = [streak_measure(chi + sd * noise, MASK, SCAN) for sd in (0.0, 0.02, 0.05, 0.1, 0.2)]
    assert values == sorted(values)
    assert values[-1] > 2.0 * values[0]


def test_division_by_a_small_kernel_streaks_and_an_emptied_cone_is_told(generator: torch.Generator) -> None:
    chi = smooth_object(generator)
    field = susceptibility_to_field(torch.where(MASK, chi, 0.0), GRID, SCAN.b0_direction)
    noisy = field + 3e-3 * torch.randn(GRID.shape, dtype=torch.float64, generator=generator)
    divided, emptied = (streak_measure(tkd(noisy, MASK, SCAN, threshold=t)[0], MASK, SCAN) for t in (0.02, 0.3))
    regularised = streak_measure(l1(noisy, MASK, SCAN)[0], MASK, SCAN)
    assert divided > 2.0 * regularised
    assert emptied < 0.6 * regularised
    assert 0.6 < regularised < 1.4


def test_scale_offset_outside_and_direction(generator: torch.Generator) -> None:
    chi = smooth_object(generator) + 0.1 * cone_noise(generator)
    value = streak_measure(chi, MASK, SCAN)
    assert streak_measure(-30.0 * chi, MASK, SCAN) == pytest.approx(value, rel=1e-9)
    assert streak_measure(torch.where(MASK, chi + 0.3, torch.nan), MASK, SCAN) == pytest.approx(value, rel=1e-9)
    assert streak_measure(chi.float(), MASK, SCAN) == pytest.approx(value, rel=1e-3)
    assert streak_measure(chi, MASK, Scan(GRID, b0_direction=(0.9, 0.1, 0.2))) < 0.8 * value
    assert streak_measure(torch.ones_like(chi), MASK, SCAN) == 1.0


def test_unusable_input_is_refused() -> None:
    with pytest.raises(InputError, match="not finite"):
        streak_measure(torch.full(GRID.shape, torch.nan), MASK, SCAN)
    with pytest.raises(InputError, match="susceptibility has shape"):
        streak_measure(torch.zeros(3, 3, 3), MASK, SCAN)
    with pytest.raises(InputError, match="mask is empty"):
        streak_measure(torch.zeros(GRID.shape), torch.zeros_like(MASK), SCAN)
