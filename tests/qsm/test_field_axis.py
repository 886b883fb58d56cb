"""A field is known by the cone that it leaves empty; a mask by its border."""

import pytest
import torch
from scipy import ndimage

from dlqsm.core.dipole import susceptibility_to_field
from dlqsm.core.scan import Grid, Scan
from dlqsm.qsm.field_axis import AXES, axis_misfit
from dlqsm.qsm.mask_shift import mask_shift

GRID = Grid((40, 44, 30), (3.0, 3.0, 4.0))


def _ball(share: float, n_off: int = 0) -> torch.Tensor:
    axes = [(torch.arange(n) - n / 2) / (n / 2) for n in GRID.shape]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    return torch.roll(x**2 + y**2 + z**2 < share, n_off, 1)


def _field(axis: tuple[float, float, float]) -> torch.Tensor:
    noise = torch.randn(GRID.shape, generator=torch.Generator().manual_seed(1)).numpy()
    chi = torch.from_numpy(ndimage.gaussian_filter(noise, [5.0 / v for v in GRID.voxel_size_mm])) * _ball(0.7)
    return susceptibility_to_field(chi, GRID, axis)


@pytest.mark.parametrize("true_axis", [*AXES, (0.0, 0.2, 0.98)])
def test_the_right_axis_leaves_its_cone_empty(true_axis: tuple[float, float, float]) -> None:
    field, mask = _field(true_axis), _ball(0.7)
    right = axis_misfit(field, mask, Scan(GRID, (), 3.0, true_axis))
    assert right is not None and right < 0.7
    nearest = max(range(3), key=lambda n: true_axis[n])
    for n, axis in enumerate(AXES):
        if n != nearest:
            wrong = axis_misfit(field, mask, Scan(GRID, (), 3.0, axis))
            assert wrong is not None and wrong > 1.5


def test_scale_and_offset_of_the_field_do_not_matter() -> None:
    field, mask, scan = _field(AXES[2]), _ball(0.7), Scan(GRID, (), 3.0)
    assert axis_misfit(-7.0 * field + 3.0, mask, scan) == pytest.approx(axis_misfit(field, mask, scan), rel=1e-3)


def test_nothing_is_told_of_a_small_mask_or_a_constant_field() -> None:
    assert axis_misfit(_field(AXES[2]), _ball(0.03), Scan(GRID, (), 3.0)) is None
    assert axis_misfit(torch.ones(GRID.shape), _ball(0.7), Scan(GRID, (), 3.0)) is None


@pytest.mark.parametrize("shift", [0, 1, 3, -4])
def test_a_mask_that_lies_off_is_found_even_where_part_of_it_is_missing(shift: int) -> None:
    brain, mask = _ball(0.5), _ball(0.5, shift)
    assert mask_shift(mask, brain) == (0, -shift, 0)
    mask[:, :, :9] = False  # as without the cerebellum
    assert mask_shift(mask, brain) == (0, -shift, 0)
