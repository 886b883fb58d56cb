"""The T1-weighted image: contrast, geometry and noise."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from standins import ball_head

from dlqsm.acquisition import t1w
from dlqsm.acquisition.head import Pose
from dlqsm.acquisition.t1w import t1w_image
from dlqsm.core.checks import InputError

T1_S = {"CSF": 4.2, "GM": 1.35, "WM": 0.86}


@pytest.fixture
def head(monkeypatch):
    """A ball of white matter, with a half of CSF and a slice of grey matter in it."""

    def tissue(source, grid, pose):
        assert pose == Pose()
        maps = source(grid, pose)
        t1_s, density = maps.t1_s.clone(), maps.proton_density.clone()
        half, quarter = grid.shape[0] // 2, grid.shape[0] // 2 + grid.shape[0] // 8
        t1_s[half:], density[half:] = T1_S["CSF"], torch.where(density[half:] > 0, 1.0, 0.0)
        t1_s[half:quarter], density[half:quarter] = T1_S["GM"], torch.where(density[half:quarter] > 0, 0.82, 0.0)
        return dataclasses.replace(maps, t1_s=t1_s, proton_density=density)

    monkeypatch.setattr(t1w, "tissue_maps", tissue)
    return ball_head()


def test_white_matter_is_bright_and_csf_dark(head):
    image, grid = t1w_image(head, 1, voxel_mm=4.0, snr=math.inf)
    assert grid.voxel_size_mm == (4.0, 4.0, 4.0)
    np.testing.assert_allclose(grid.affine @ [*(n // 2 for n in grid.shape), 1], [0, 0, 0, 1], atol=1e-9)
    x, y, z = (n // 2 for n in grid.shape)
    white, grey, csf = float(image[x - 5, y, z]), float(image[x + 2, y, z]), float(image[x + 8, y, z])
    assert white > 1.5 * grey > 3 * csf > 0
    assert white == pytest.approx(0.7 * (1 - 2 * math.exp(-0.9 / 0.86) + math.exp(-2.3 / 0.86)), rel=1e-5)
    assert float(image[0, 0, 0]) == 0.0


def test_noise_has_the_level_and_the_seed(head):
    clean = t1w_image(head, 1, voxel_mm=4.0, snr=math.inf)[0]
    noisy, again, other = (t1w_image(head, seed, voxel_mm=4.0, snr=20.0)[0] for seed in (1, 1, 2))
    torch.testing.assert_close(noisy, again, atol=0, rtol=0)
    assert not torch.equal(noisy, other)
    white = clean > 0.9 * clean.max()
    assert float((noisy - clean)[white].std()) == pytest.approx(float(clean.max()) / 20, rel=0.05)
    air = clean == 0
    assert float(noisy[air].mean()) == pytest.approx(float(clean.max()) / 20 * math.sqrt(math.pi / 2), rel=0.05)


def test_timing_changes_the_contrast_and_bad_timing_is_refused(head):
    usual = t1w_image(head, 1, voxel_mm=4.0, snr=math.inf)[0]
    for options in ({"inversion_time_s": 0.7}, {"repetition_time_s": 3.0}):
        assert not torch.allclose(usual, t1w_image(head, 1, voxel_mm=4.0, snr=math.inf, **options)[0], atol=1e-3)
    with pytest.raises(InputError, match="inversion and repetition time"):
        t1w_image(head, 1, inversion_time_s=0.0)
    with pytest.raises(InputError, match="snr must be above zero"):
        t1w_image(head, 1, snr=0.0)
    with pytest.raises(InputError, match="voxel"):
        t1w_image(head, 1, voxel_mm=0.0)
