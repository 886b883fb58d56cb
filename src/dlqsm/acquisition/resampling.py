"""Separable resampling between grids with the same axes: the k-space crop (partial volume) and spline interpolation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.interpolate import make_interp_spline
from torch.nn import functional

from dlqsm.core.fourier import bounding_box
from dlqsm.core.scan import Grid

Matrices = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def crop_matrices(fine_shape: Sequence[int], shape: Sequence[int]) -> Matrices:
    """Matrices, one an axis, that do in image space what cropping the centred k-space to ``shape`` does.

    They hold the periodic sinc of the crop, so that mean values are kept; for an even number of samples the single
    Nyquist sample counts with its real part. As matrix products they are faster than the transforms.
    """
    x, y, z = (_crop_matrix(a, b) for a, b in zip(fine_shape, shape, strict=True))
    return x, y, z


def spline_matrices(coarse: Grid, fine: Grid) -> Matrices:
    """Matrices, one an axis, of quintic spline interpolation between grids with the same axes and isocentre."""
    x, y, z = (_spline_matrix(_offsets(coarse, axis), _offsets(fine, axis)) for axis in range(3))
    return x, y, z


def resample(volume: torch.Tensor, matrices: Matrices) -> torch.Tensor:
    """Apply one matrix an axis to a real or complex volume ``(x, y, z)``."""
    # The axis that shrinks most goes first.
    for axis in sorted(range(3), key=lambda i: matrices[i].shape[0] / matrices[i].shape[1]):
        volume = apply_along(volume, matrices[axis], axis)
    return volume


def apply_along(volume: torch.Tensor, matrix: torch.Tensor, axis: int) -> torch.Tensor:
    """Apply a real matrix along one axis of a real or complex volume ``(x, y, z)``."""
    if volume.is_complex():
        # Strided halves of a complex array would miss the fast matrix product.
        halves = (part.contiguous() for part in (volume.real, volume.imag))
        return torch.complex(*(apply_along(half, matrix, axis) for half in halves))
    matrix = matrix.to(volume)
    if axis == 0:
        return (matrix @ volume.reshape(volume.shape[0], -1)).reshape(-1, *volume.shape[1:])
    return matrix @ volume if axis == 1 else functional.linear(volume, matrix)


def fraction_of_voxels(cells: torch.Tensor, matrices: Matrices) -> torch.Tensor:
    """Share of each voxel that is True in ``cells``: the indicator through the k-space crop; zeros where none is."""
    if not bool(cells.any()):
        return torch.zeros([len(matrix) for matrix in matrices], device=cells.device)
    box = bounding_box(cells, 0.0, (1.0, 1.0, 1.0))
    x, y, z = (matrix[:, part] for matrix, part in zip(matrices, box, strict=True))
    return resample(cells[box].to(torch.float32), (x, y, z))


def at_voxel_centres(fine: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Values of a fine map at the centres of the voxels of ``shape``, which has the same field of view."""
    steps = [n_fine // n for n_fine, n in zip(fine.shape, shape, strict=True)]
    x, y, z = (
        slice(n_fine // 2 - step * (n // 2), None, step)
        for n_fine, n, step in zip(fine.shape, shape, steps, strict=True)
    )
    return fine[x, y, z].contiguous()


def _crop_matrix(n_fine: int, n: int) -> torch.Tensor:
    k = np.arange(n) - n // 2
    at = (np.arange(n) - n // 2) / n
    of = (np.arange(n_fine) - n_fine // 2) / n_fine
    waves = np.exp(2j * np.pi * np.outer(at, k)) @ np.exp(-2j * np.pi * np.outer(k, of))
    return torch.from_numpy(waves.real.astype(np.float32) / np.float32(n_fine))


def _spline_matrix(coarse_mm: np.ndarray, fine_mm: np.ndarray) -> torch.Tensor:
    unit = make_interp_spline(coarse_mm, np.eye(len(coarse_mm)), k=5)
    return torch.from_numpy(unit(fine_mm).astype(np.float32))


def _offsets(grid: Grid, axis: int) -> np.ndarray:
    """Distance of the voxels from the isocentre along one array axis [mm]."""
    return (np.arange(grid.shape[axis]) - grid.shape[axis] // 2) * grid.voxel_size_mm[axis]
