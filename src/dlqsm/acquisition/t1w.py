"""A T1-weighted image of the virtual head, as the atlas step wants one."""

from __future__ import annotations

import numpy as np
import torch

from dlqsm.acquisition.head import Head, Pose, TissueMaps, tissue_maps
from dlqsm.core.checks import InputError, require_positive
from dlqsm.core.scan import Grid

FIELD_OF_VIEW_MM = (176.0, 224.0, 208.0)
INVERSION_TIME_S = 0.9
REPETITION_TIME_S = 2.3


def t1w_image(
    head: Head,
    seed: int,
    *,
    voxel_mm: float = 1.0,
    inversion_time_s: float = INVERSION_TIME_S,
    repetition_time_s: float = REPETITION_TIME_S,
    snr: float = 40.0,
) -> tuple[torch.Tensor, Grid]:
    """Magnetisation-prepared T1-weighted magnitude image of the head at rest.

    Follows the inversion recovery PD |1 - 2 exp(-TI / T1) + exp(-TR / T1)|: white matter is bright, grey matter
    darker, CSF nearly black. Noise is Rician; there is no receive bias.

    Parameters
    ----------
    head
        Who is scanned.
    seed
        Seed of the noise.
    voxel_mm
        Edge of the cubic voxels [mm].
    inversion_time_s
        Time from inversion to the k-space centre [s].
    repetition_time_s
        Time between inversions [s].
    snr
        Signal of white matter (T1 0.86 s, PD 0.7) over the SD of one component of the noise.

    Returns
    -------
    Magnitude, zero or more, and its grid.

    Raises
    ------
    InputError
        If a time, the voxel edge or the SNR is not above zero.

    References
    ----------
    Mugler & Brookeman, Magn Reson Med 15:152 (1990), doi:10.1002/mrm.1910150117.
    """
    require_positive("inversion and repetition time", [inversion_time_s, repetition_time_s], "seconds")
    require_positive("voxel edge", [voxel_mm], "mm")
    if not snr > 0:
        raise InputError(f"snr must be above zero (inf for no noise); got {snr}")
    x, y, z = (round(mm / voxel_mm) for mm in FIELD_OF_VIEW_MM)
    grid = Grid.centred((x, y, z), (voxel_mm, voxel_mm, voxel_mm), np.eye(3))
    signal = inversion_recovery(tissue_maps(head, grid, Pose()), inversion_time_s, repetition_time_s)
    noise_sd = 0.7 * float(_recovery(torch.tensor(0.86), inversion_time_s, repetition_time_s)) / snr
    parts = np.random.default_rng(seed).standard_normal((2, *grid.shape), dtype=np.float32) * np.float32(noise_sd)
    return torch.hypot(signal + torch.from_numpy(parts[0]), torch.from_numpy(parts[1])), grid


def inversion_recovery(
    maps: TissueMaps, inversion_time_s: float = INVERSION_TIME_S, repetition_time_s: float = REPETITION_TIME_S
) -> torch.Tensor:
    """Noise-free magnitude of an inversion recovery: PD |1 - 2 exp(-TI / T1) + exp(-TR / T1)|."""
    return maps.proton_density * _recovery(maps.t1_s, inversion_time_s, repetition_time_s)


def _recovery(t1_s: torch.Tensor, inversion_time_s: float, repetition_time_s: float) -> torch.Tensor:
    rate = 1.0 / t1_s.clamp_min(1e-3)
    return (1.0 - 2.0 * torch.exp(-inversion_time_s * rate) + torch.exp(-repetition_time_s * rate)).abs()
