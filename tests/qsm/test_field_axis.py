"""The right axis makes what decays fast paramagnetic; a mask is known by its border."""

import pytest
import torch
from scipy import ndimage

from dlqsm.core.dipole import susceptibility_to_field
from dlqsm.core.scan import Grid, Scan
from dlqsm.qsm.field_axis import AXES, axis_misfit
from dlqsm.qsm.mask_shift import mask_shift

GRID = Grid((40, 44, 30), (3.0, 3.0, 4.0))
CLEAR = 3.5


def _ball(share: float, n_off: int = 0) -> torch.Tensor:
    axes = [(torch.arange(n) - n / 2) / (n / 2) for n in GRID.shape]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    return torch.roll(x**2 + y**2 + z**2 < share, n_off, 1)


MASK = _ball(0.7)


def _iron() -> torch.Tensor:
    """Susceptibility [ppm] of some places of iron, and of noise that is none."""
    drawn = torch.randn((2, *GRID.shape), generator=torch.Generator().manual_seed(1)).numpy()
    spread = [4.0 / v for v in GRID.voxel_size_mm]
    iron, other = (torch.from_numpy(ndimage.gaussian_filter(each, spread)) for each in drawn)
    return (2.0 * (iron - 0.35 * iron.max()).clamp_min(0.0) + 0.1 * other) * MASK


def _misfit(true_axis, told_axis, sign: float = 1.0) -> float:
    chi = _iron()
    rate_hz = 15.0 + 400.0 * chi.clamp_min(0.0)
    found = axis_misfit(
        sign * susceptibility_to_field(chi, GRID, true_axis), rate_hz, MASK, Scan(GRID, (), 3.0, told_axis)
    )
    assert found is not None
    return found


@pytest.mark.parametrize("true_axis", [*AXES, (0.0, 0.2, 0.98)])
def test_only_the_right_axis_makes_iron_paramagnetic(true_axis: tuple[float, float, float]) -> None:
    assert _misfit(true_axis, true_axis) < -CLEAR
    nearest = max(range(3), key=lambda n: true_axis[n])
    for n, axis in enumerate(AXES):
        if n != nearest:
            assert _misfit(true_axis, axis) > CLEAR


def test_a_field_of_the_opposite_sign_is_no_other_axis() -> None:
    assert abs(_misfit(AXES[2], AXES[2], sign=-1.0)) < CLEAR


def test_scale_of_the_field_does_not_matter() -> None:
    assert _misfit(AXES[2], AXES[2], 7.0) == pytest.approx(_misfit(AXES[2], AXES[2]), rel=1e-3)


def test_nothing_is_told_where_nothing_decays_fast() -> None:
    field = susceptibility_to_field(_iron(), GRID, AXES[2])
    assert axis_misfit(field, torch.full(GRID.shape, 15.0), MASK, Scan(GRID, (), 3.0)) is None


@pytest.mark.parametrize("shift", [0, 1, 3, -4])
def test_a_mask_that_lies_off_is_found_even_where_part_of_it_is_missing(shift: int) -> None:
    brain, mask = _ball(0.5), _ball(0.5, shift)
    assert mask_shift(mask, brain) == (0, -shift, 0)
    mask[:, :, :9] = False  # as without the cerebellum
    assert mask_shift(mask, brain) == (0, -shift, 0)
