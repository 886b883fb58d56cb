"""Sensitivities on measured coil maps and on in-vivo k-space."""

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import scipy.io
import torch

from dlqsm.core.fourier import fftc
from dlqsm.reconstruction.sensitivity import espirit


def test_measured_coil_maps_are_found_again(shared_data: Path):
    folder = shared_data / "emory_coil_maps_16ch"
    with h5py.File(folder / "sensitivity_map_2d.mat") as file:
        parts = file["maps"][()]
    maps = torch.from_numpy(parts["real"] + 1j * parts["imag"]).to(torch.complex64)
    mask = torch.from_numpy(scipy.io.loadmat(folder / "mask_2d.mat")["mask_2d"].T > 0.5)
    n = maps.shape[1:]
    y, z = (torch.arange(m, dtype=torch.float32) - m // 2 for m in n)
    texture = 1 + 0.3 * torch.cos(0.35 * y[:, None] + 0.2 * z) + 0.2 * torch.cos(0.5 * z - 0.1 * y[:, None])
    image = mask * texture * torch.exp(1j * 0.02 * (y[:, None] + z))
    kspace = fftc(100 * image * maps, (-2, -1))
    kspace += torch.randn(kspace.shape, dtype=kspace.dtype, generator=torch.Generator().manual_seed(0)) * 2**0.5
    offsets = np.argwhere(np.ones((24, 24), bool)) - 12
    lines = (offsets + np.array(n) // 2).astype(np.int32)
    calibration = kspace[:, None, lines[:, 0], lines[:, 1]].numpy()
    found = espirit(calibration, lines, (1, *n)).slab(0, 1)[:, 0]
    inside = mask & (maps.abs().sum(0) > 0)
    assert (found.abs().sum(0) > 0)[inside].float().mean() > 0.99
    across = maps - found * (found.conj() * maps).sum(0)
    error = across.abs().square().sum(0).sqrt() / maps.abs().square().sum(0).sqrt()
    assert float(error[inside].square().mean().sqrt()) < 0.01


def test_the_example_predicts_samples_that_were_held_back(shared_data: Path, tmp_path: Path):
    script = Path(__file__).parents[2] / "examples" / "sigpy_to_ismrmrd.py"
    environment = os.environ | {"DLQSM_SHARED_DATA": str(shared_data)}
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, env=environment, check=True
    )
    errors = {line.split(":")[0]: float(line.split()[-1]) for line in done.stdout.splitlines() if "relative" in line}
    assert errors["zero"] == 1.0
    assert errors["sense"] < 0.45
    assert (tmp_path / "sigpy_brain.png").stat().st_size > 10_000
