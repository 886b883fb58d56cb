"""Phase after a homodyne filter of any common size lacks the low frequencies that the field of a head has."""

import math

import pytest
import torch

from dlqsm.core.checks import InputError
from dlqsm.core.scan import Grid, Scan
from dlqsm.qsm.filtered_phase import field_spread

GRID = Grid((64, 64, 20), (3.0, 3.0, 4.0))
SCAN = Scan(GRID, (0.005, 0.010), 3.0)
X, Y, Z = torch.meshgrid(
    *(v * (torch.arange(n) - n // 2) for n, v in zip(GRID.shape, GRID.voxel_size_mm, strict=True)), indexing="ij"
)
HEAD = (X / 80) ** 2 + (Y / 90) ** 2 + (Z / 45) ** 2 < 1


def field_hz():
    """A background that a shim left, and sources of 6 mm on a lattice."""
    background = 25 * torch.exp(-((X**2 + (Y - 90) ** 2 + Z**2) / 60**2)) - 10 * X * Z / 2000
    return background + 4 * torch.cos(2 * math.pi * X / 14) * torch.cos(2 * math.pi * Y / 14)


def homodyne(kernel, echo_s):
    """Phase [rad] of one echo divided, slice by slice, by its image of ``kernel`` x ``kernel`` central samples."""
    image = torch.polar(HEAD.float(), 2 * math.pi * echo_s * field_hz())
    k = torch.fft.fft2(image, dim=(0, 1))
    taken = [torch.fft.fftfreq(n, 1 / n).abs() < kernel / 2 for n in GRID.shape[:2]]
    low = torch.fft.ifft2(k * (taken[0][:, None] & taken[1])[..., None], dim=(0, 1))
    return torch.angle(image * low.conj())


def test_a_head_has_its_low_frequencies():
    found = field_spread(field_hz(), HEAD, SCAN)
    assert found.verdict == "whole"
    assert found.low_ppb > 16


@pytest.mark.parametrize("kernel", [32, 48, 60])
def test_a_filtered_phase_has_none(kernel):
    filtered_hz = (homodyne(kernel, 0.010) - homodyne(kernel, 0.005)) / (2 * math.pi * 0.005)
    found = field_spread(filtered_hz, HEAD, SCAN)
    assert found.verdict == "filtered"
    assert found.low_ppb < 4


def test_spreads_are_those_of_the_parts():
    """A slow wave is low, a fast one high, each with the deviation of a cosine that the Gaussian passes or stops."""
    everywhere = torch.ones(GRID.shape, dtype=torch.bool)
    slow, fast = 100 * torch.cos(2 * math.pi * X / 192), 100 * torch.cos(2 * math.pi * Y / 16)
    hz_per_ppb = SCAN.hz_per_ppm * 1e-3
    low, high = field_spread(slow, everywhere, SCAN), field_spread(fast, everywhere, SCAN)
    passed = math.exp(-2 * (math.pi * 40 / 2.3548 / 192) ** 2)
    assert low.low_ppb == pytest.approx(passed * 100 / math.sqrt(2) / hz_per_ppb, rel=0.1)
    assert low.high_ppb < 0.3 * low.low_ppb
    assert high.low_ppb < 0.1 * high.high_ppb


def test_a_small_mask_decides_nothing():
    small = (X**2 + Y**2 + Z**2) < 20**2
    assert field_spread(torch.zeros(GRID.shape), small, SCAN).verdict == "unclear"


def test_without_a_field_strength_there_is_no_ppb():
    with pytest.raises(InputError, match="field strength"):
        field_spread(field_hz(), HEAD, Scan(GRID))
