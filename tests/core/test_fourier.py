"""Transforms against the analytic pair of a Gaussian, unitarity, padding, cropping, boxes."""

import math

import pytest
import torch

from dlqsm.core import fourier
from dlqsm.core.scan import Grid


@pytest.mark.parametrize("shape", [(32, 24), (31, 25)])
def test_centred_fft_of_a_gaussian_is_its_analytic_transform(shape: tuple[int, int]) -> None:
    y, z = (torch.arange(n, dtype=torch.float64) - n // 2 for n in shape)
    sigma = 1.9
    image = torch.exp(-(y[:, None] ** 2 + z[None, :] ** 2) / (2 * sigma**2)).to(torch.complex128)
    ky, kz = y / shape[0], z / shape[1]
    expected = 2 * math.pi * sigma**2 * torch.exp(-2 * (math.pi * sigma) ** 2 * (ky[:, None] ** 2 + kz[None, :] ** 2))
    measured = fourier.fftc(image, (-2, -1))
    assert torch.allclose(measured.real, expected / math.sqrt(shape[0] * shape[1]), atol=1e-6)
    assert measured.imag.abs().max() < 1e-12


def test_centred_fft_is_unitary(generator: torch.Generator) -> None:
    x = torch.randn(3, 7, 8, dtype=torch.complex128, generator=generator)
    k = fourier.fftc(x, (-2, -1))
    assert torch.allclose(k.norm(), x.norm())
    assert torch.allclose(fourier.ifftc(k, (-2, -1)), x)


def test_shift_theorem_about_the_centre() -> None:
    image = torch.zeros(8, 8, dtype=torch.complex128)
    image[4, 5] = 1.0
    phase = fourier.fftc(image, (-2, -1)).angle()
    assert torch.allclose(phase[4, 5], torch.tensor(-2 * math.pi / 8, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_real_transform_keeps_dtype_and_inverts(dtype: torch.dtype, generator: torch.Generator) -> None:
    x = torch.randn(9, 10, 11, dtype=dtype, generator=generator)
    spectrum = fourier.rfft3(x)
    assert spectrum.dtype == (torch.complex64 if dtype == torch.float32 else torch.complex128)
    assert torch.allclose(fourier.irfft3(spectrum, x.shape), x, atol=1e-5)
    assert torch.allclose(spectrum, torch.fft.rfftn(x), atol=1e-4)


def test_padding_and_cropping_are_inverse_and_large_enough(generator: torch.Generator) -> None:
    grid = Grid((9, 10, 11), (1.0, 2.0, 3.0))
    wide = fourier.padded_grid(grid, 10.0)
    assert all((b - a) * v >= 10.0 for a, b, v in zip(grid.shape, wide.shape, grid.voxel_size_mm, strict=True))
    x = torch.randn(2, *grid.shape, generator=generator)
    assert torch.equal(fourier.crop_to(fourier.pad_to(x, wide), grid), x)


@pytest.mark.parametrize(("n", "m"), [(16, 8), (16, 7), (15, 7), (15, 8)])
def test_kspace_crop_keeps_the_centre(n: int, m: int) -> None:
    k = torch.zeros(n)
    k[n // 2] = 1.0
    assert fourier.crop_kspace(k, (m,))[m // 2] == 1.0


def test_bounding_box_holds_the_mask_with_its_margin() -> None:
    mask = torch.zeros(20, 20, 20, dtype=torch.bool)
    mask[5:8, 10, 0:2] = True
    box = fourier.bounding_box(mask, 2.0, (1.0, 2.0, 1.0))
    assert box == (slice(3, 10), slice(9, 12), slice(0, 4))
    assert mask[box].sum() == mask.sum()
