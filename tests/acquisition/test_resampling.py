"""Separable resampling: equal to the transform it replaces, exact for what it must carry exactly."""

import numpy as np
import pytest
import torch

from dlqsm.acquisition.resampling import (
    apply_along,
    at_voxel_centres,
    crop_matrices,
    fraction_of_voxels,
    resample,
    spline_matrices,
)
from dlqsm.core.fourier import crop_kspace, fftc, ifftc
from dlqsm.core.scan import Grid


@pytest.mark.parametrize(("fine", "shape"), [((16, 24, 20), (8, 12, 5)), ((18, 21, 12), (9, 7, 6))])
def test_crop_is_the_crop_of_centred_kspace(fine, shape, generator):
    volume = torch.randn(fine, generator=generator)
    kspace = crop_kspace(fftc(volume, (0, 1, 2)), shape)
    expected = ifftc(kspace, (0, 1, 2)) * np.sqrt(np.prod(shape) / np.prod(fine))
    # One Nyquist plane is a real cosine here; away from it the two agree to rounding.
    smooth = fftc(resample(volume, crop_matrices(fine, shape)), (0, 1, 2))
    inner = [slice(1 if n % 2 == 0 else 0, None) for n in shape]
    torch.testing.assert_close(
        smooth[inner[0], inner[1], inner[2]], fftc(expected, (0, 1, 2))[inner[0], inner[1], inner[2]], atol=1e-4, rtol=0
    )


def test_crop_keeps_constants_and_voxel_centres():
    fine, shape = (32, 24, 16), (16, 12, 4)
    ones = torch.ones(fine)
    torch.testing.assert_close(resample(ones, crop_matrices(fine, shape)), torch.ones(shape))
    position = (torch.arange(32) - 16) / 32
    wave = torch.cos(2 * torch.pi * 3 * position)[:, None, None].expand(fine).contiguous()
    torch.testing.assert_close(
        resample(wave, crop_matrices(fine, shape)), at_voxel_centres(wave, shape), atol=1e-5, rtol=0
    )


def test_voxel_centres_share_the_isocentre():
    for shape, factor in (((5, 8, 7), (2, 3, 4)), ((6, 5, 4), (3, 2, 1))):
        fine_shape = tuple(n * f for n, f in zip(shape, factor, strict=True))
        offset = [torch.arange(n) - n // 2 for n in fine_shape]
        radius = sum(o.reshape([-1 if i == a else 1 for i in range(3)]).abs() for a, o in enumerate(offset))
        picked = at_voxel_centres(radius.expand(fine_shape), shape)
        assert picked.shape == shape
        assert picked[shape[0] // 2, shape[1] // 2, shape[2] // 2] == 0


def test_complex_volumes_and_single_axes(generator):
    volume = torch.randn((8, 6, 4), generator=generator, dtype=torch.complex64)
    matrix = torch.randn((3, 6), generator=generator)
    torch.testing.assert_close(apply_along(volume, matrix, 1), torch.einsum("jb,abc->ajc", matrix.cfloat(), volume))
    matrices = crop_matrices((8, 6, 4), (4, 3, 2))
    torch.testing.assert_close(resample(volume, matrices).imag, resample(volume.imag, matrices))


def test_fractions_equal_the_crop_of_the_whole_indicator(generator):
    cells = torch.zeros((24, 24, 24), dtype=torch.bool)
    cells[5:13, 8:17, 9:12] = torch.rand((8, 9, 3), generator=generator) > 0.3
    matrices = crop_matrices(cells.shape, (12, 8, 6))
    torch.testing.assert_close(
        fraction_of_voxels(cells, matrices), resample(cells.float(), matrices), atol=1e-5, rtol=0
    )
    assert not fraction_of_voxels(torch.zeros_like(cells), matrices).any()


def test_spline_carries_quintics_exactly():
    coarse = Grid.centred((24, 20, 22), (5.0, 5.0, 5.0), np.eye(3))
    fine = Grid.centred((30, 17, 40), (1.1, 2.3, 0.7), np.eye(3))

    def quintic(grid):
        x, y, z = (
            ((torch.arange(n) - n // 2) * v / 50).reshape([-1 if i == a else 1 for i in range(3)])
            for a, (n, v) in enumerate(zip(grid.shape, grid.voxel_size_mm, strict=True))
        )
        return 1 + x**5 - 2 * x * y**3 + z**4 * y

    torch.testing.assert_close(
        resample(quintic(coarse), spline_matrices(coarse, fine)), quintic(fine), atol=2e-5, rtol=0
    )
