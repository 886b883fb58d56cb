"""Similarity figures against values known by algebra, a direct loop, and what blur and noise must do."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from dlqsm.agreement import similarity
from dlqsm.agreement.similarity import compare_maps
from dlqsm.core.checks import InputError
from dlqsm.core.scan import Grid

GRID = Grid((40, 36, 24), (1.0, 1.2, 2.0))
KEYS = {"rmse_ppb", "nrmse_percent", "ssim", "xsim", "psnr_db", "hfen_percent", "sharpness_ratio"}


@pytest.fixture(scope="module")
def mask():
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in GRID.shape), indexing="ij")
    return torch.from_numpy(x**2 + y**2 + z**2 < 0.8)


@pytest.fixture(scope="module")
def reference():
    """Blobs of some 0.05 ppm with soft edges."""
    noise = np.random.default_rng(4).standard_normal(GRID.shape)
    blobs = ndimage.gaussian_filter(noise, 3.0)
    return torch.from_numpy(0.05 * np.tanh(4 * blobs / blobs.std()))


def blurred(volume, sigma):
    return torch.from_numpy(ndimage.gaussian_filter(volume.numpy(), sigma))


def noise(sd_ppm, seed):
    return sd_ppm * torch.randn(GRID.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_equal_maps_are_perfect(reference, mask):
    found = compare_maps(reference, reference, mask, GRID)
    assert set(found) == KEYS
    assert all(isinstance(value, float) for value in found.values())
    perfect = {"rmse_ppb": 0, "nrmse_percent": 0, "ssim": 1, "xsim": 1, "hfen_percent": 0, "sharpness_ratio": 1}
    for key, value in perfect.items():
        assert found[key] == pytest.approx(value, abs=1e-12), key
    assert found["psnr_db"] == math.inf


def test_constant_offset_and_all_outside_the_mask_count_nothing(reference, mask):
    other = torch.where(mask, reference + 0.3, torch.full_like(reference, math.nan))
    found = compare_maps(other, reference, mask, GRID)
    assert found["rmse_ppb"] == pytest.approx(0, abs=1e-9)
    assert found["ssim"] == pytest.approx(1) and found["xsim"] == pytest.approx(1)
    assert found["hfen_percent"] == pytest.approx(0, abs=1e-9)
    assert found["sharpness_ratio"] == pytest.approx(1)


@pytest.mark.parametrize("factor", [0.9, 1.2, -1.0])
def test_scaling_gives_relative_errors_and_slope_exactly(reference, mask, factor):
    found = compare_maps(factor * reference, reference, mask, GRID)
    assert found["nrmse_percent"] == pytest.approx(100 * abs(factor - 1))
    assert found["hfen_percent"] == pytest.approx(100 * abs(factor - 1))
    if factor > 0:
        assert found["sharpness_ratio"] == pytest.approx(factor)


def test_gaussian_noise_gives_its_sd_and_the_peak_ratio(reference, mask):
    found = compare_maps(reference + noise(0.010, 1), reference, mask, GRID)
    assert found["rmse_ppb"] == pytest.approx(10.0, rel=0.02)
    assert found["psnr_db"] == pytest.approx(20 * math.log10(0.5 / 0.010), abs=0.2)


def test_xsim_is_the_formula_over_truncated_windows():
    rng = np.random.default_rng(0)
    a, b = 0.05 * rng.standard_normal((2, 7, 6, 5))
    inside = rng.random((7, 6, 5)) < 0.7
    x, r = (np.where(inside, v - v[inside].mean(), 0.0) for v in (a, b))
    total = []
    for i, j, k in itertools.product(*map(range, inside.shape)):
        window = tuple(slice(max(c - 2, 0), c + 3) for c in (i, j, k))
        p, q = x[window].ravel(), r[window].ravel()
        cov = np.mean((p - p.mean()) * (q - q.mean()))
        above = (2 * p.mean() * q.mean() + 1e-4) * (2 * cov + 1e-6)
        total.append(above / ((p.mean() ** 2 + q.mean() ** 2 + 1e-4) * (p.var() + q.var() + 1e-6)))
    expected = np.reshape(total, inside.shape)[inside].mean()
    found = similarity.xsim(*map(torch.from_numpy, (a, b, inside)))
    assert found == pytest.approx(expected, rel=1e-9)


def test_ssim_is_the_formula_over_gaussian_windows():
    rng = np.random.default_rng(1)
    a, b = 0.05 * rng.standard_normal((2, 6, 5, 4))
    inside = rng.random((6, 5, 4)) < 0.7
    x, r = (np.pad(np.where(inside, v - v[inside].mean(), 0.0), 5) for v in (a, b))
    line = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    weight = np.einsum("i,j,k->ijk", line, line, line) / line.sum() ** 3
    c1, c2 = (0.01 * 0.5) ** 2, (0.03 * 0.5) ** 2
    total = []
    for i, j, k in np.argwhere(inside):
        p, q = (v[i : i + 11, j : j + 11, k : k + 11] for v in (x, r))
        m, n = (weight * p).sum(), (weight * q).sum()
        cov, var_p, var_q = (weight * p * q).sum() - m * n, (weight * p**2).sum() - m**2, (weight * q**2).sum() - n**2
        total.append((2 * m * n + c1) * (2 * cov + c2) / ((m**2 + n**2 + c1) * (var_p + var_q + c2)))
    found = similarity.ssim(*map(torch.from_numpy, (a, b, inside)))
    assert found == pytest.approx(np.mean(total), rel=1e-9)


def test_all_figures_worsen_with_blur(reference, mask):
    runs = [compare_maps(blurred(reference, sigma), reference, mask, GRID) for sigma in (0.6, 1.0, 1.6)]
    better_is = {"rmse_ppb": -1, "nrmse_percent": -1, "hfen_percent": -1, "psnr_db": 1, "ssim": 1, "xsim": 1}
    for key, better in better_is.items():
        values = [better * run[key] for run in runs]
        assert values == sorted(values, reverse=True) and values[0] > values[2], key
    slopes = [run["sharpness_ratio"] for run in runs]
    assert 1 > slopes[0] > slopes[1] > slopes[2] > 0


def test_sharpness_does_not_take_noise_for_edges(reference, mask):
    def ratio(x, r):
        return similarity.sharpness_ratio(x, r, mask, GRID.voxel_size_mm)

    soft = blurred(reference, 1.0)
    without = ratio(soft, reference)
    assert ratio(soft + noise(0.01, 2), reference) == pytest.approx(without, abs=0.015)
    assert ratio(soft + noise(0.01, 2), reference + noise(0.01, 3)) == pytest.approx(without, abs=0.03)
    assert ratio(reference + noise(0.02, 5), reference) == pytest.approx(1.0, abs=0.02)
    assert ratio(reference, soft) > 1.1, "a map sharper than its reference is above one"


def test_mask_without_core_has_no_sharpness(reference, mask):
    thin = torch.zeros_like(mask)
    thin[:, :, 10:13] = mask[:, :, 10:13]
    assert math.isnan(compare_maps(reference * 0.9, reference, thin, GRID)["sharpness_ratio"])


def test_empty_room_round_the_head_changes_nothing(reference, mask):
    other = reference + noise(0.01, 7)
    wide = Grid((60, 50, 40), GRID.voxel_size_mm)
    room = (8, 8, 7, 7, 10, 10)
    padded = [torch.nn.functional.pad(v, room) for v in (other, reference, mask)]
    inside, outside = compare_maps(other, reference, mask, GRID), compare_maps(*padded, wide)
    for key in KEYS:
        assert outside[key] == pytest.approx(inside[key], rel=2e-3), key


def test_float32_gives_the_same_figures(reference, mask):
    other = reference + noise(0.01, 8)
    double = compare_maps(other, reference, mask, GRID)
    single = compare_maps(other.float(), reference.float(), mask, GRID)
    for key in KEYS:
        assert single[key] == pytest.approx(double[key], rel=1e-4), key


def test_unusable_input_is_refused(reference, mask):
    with pytest.raises(InputError, match="expected"):
        compare_maps(reference[:-1], reference, mask, GRID)
    with pytest.raises(InputError, match="empty"):
        compare_maps(reference, reference, torch.zeros_like(mask), GRID)
    with pytest.raises(InputError, match="constant"):
        compare_maps(reference, torch.full_like(reference, 0.1), mask, GRID)
    with pytest.raises(InputError, match="not finite"):
        compare_maps(torch.full_like(reference, math.nan), reference, mask, GRID)
