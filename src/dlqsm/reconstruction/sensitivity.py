"""Coil sensitivities by ESPIRiT, once for the whole volume, smooth in magnitude and phase.

The local operator G(r) of ESPIRiT (Uecker et al. 2014, eq. 16 there) is a trigonometric polynomial in r: its
coefficients are sums along the block diagonals of the projection onto the calibration matrix's row space. It is
therefore evaluated on a coarse grid without loss, and only its eigenvectors are interpolated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import make_interp_spline
from torch.nn import functional

from dlqsm.core.checks import InputError

Shape = tuple[int, ...]
Points = NDArray[np.float64]
LEAST_KERNEL, ROWS_A_COLUMN = 3, 0.5
"""Samples along each edge of the smallest window that is tried; rows that a larger one needs for each unknown."""


@dataclass(frozen=True)
class CoilMaps:
    """Sensitivities on a coarse grid, and what evaluates them on slabs of the image grid.

    Parameters
    ----------
    coarse
        ``(coil, x, y, z)`` complex, sum over coils of |S|^2 = 1, in a smooth phase.
    eigenvalue
        Largest eigenvalue of G, ``(x, y, z)``: near 1 where one sensitivity explains the calibration data.
    weights
        For each axis the interpolation matrix ``(fine, coarse)``.
    threshold
        Maps are zero where the eigenvalue is below this.
    """

    coarse: torch.Tensor
    eigenvalue: torch.Tensor
    weights: tuple[torch.Tensor, ...]
    threshold: float

    def slab(self, first: int, last: int) -> torch.Tensor:
        """Maps of planes ``first`` to ``last - 1``: ``(coil, x, y, z)``, normalised, zero in the background."""
        wx, wy, wz = self.weights
        maps = _interpolate(self.coarse, (wx[first:last], wy, wz))
        inside = _interpolate(self.eigenvalue, (wx[first:last], wy, wz)) >= self.threshold
        norm = maps.abs().square().sum(0).sqrt().clamp_min(torch.finfo(wx.dtype).tiny)
        return maps * (inside / norm)


def espirit(
    kspace: NDArray[np.complex64],
    lines: NDArray[np.int32],
    shape: Shape,
    *,
    kernel: int = 5,
    noise_factor: float = 1.0,
    relative_threshold: float = 0.005,
    crop: float = 0.8,
    coarse_points: int = 32,
) -> CoilMaps:
    """Estimate coil sensitivities from calibration data of any outline.

    Rows of the calibration matrix are all windows of ``kernel``^3 samples that are sampled wholly. V holds the
    eigenvectors of its Gram matrix above the noise; G(r) = sum_k V_k(r) V_k(r)^H / kernel^3 with V_k(r) the Fourier
    transform of kernel k; the map is the eigenvector of G(r) with the largest eigenvalue, and its phase, which is free,
    is made smooth by `smooth_phase`.

    Parameters
    ----------
    kspace
        ``(coil, kx, line)``, noise of standard deviation 1 per component.
    lines
        ``(n_lines, 2)``: ky, kz on the image grid, k-space centre at ``n // 2``.
    shape
        Image grid.
    kernel
        Samples along each edge of the window; fewer, down to 3, where the region holds less than half as many windows
        as a window has unknowns. Too few rows do not span the row space: 61 lines of 24 samples (8 coils) gave the
        brain eigenvalues of 0.72 with 5 samples, 0.994 with 4.
    noise_factor
        Singular values below this multiple of the largest that noise alone would have are left out.
    relative_threshold
        Singular values below this fraction of the largest are left out.
    crop
        Eigenvalue below which a voxel is background.
    coarse_points
        Points of the coarse grid along each axis (fewer where the image has fewer).

    References
    ----------
    Uecker et al., Magn Reson Med 71:990 (2014), doi:10.1002/mrm.24751.
    """
    cube, sampled = _calibration_cube(kspace, lines, shape)
    size = _window(cube.shape, sampled, kernel)
    gram, n_rows = _gram_matrix(cube, sampled, size)
    energies, vectors = torch.linalg.eigh(gram)
    n_columns = len(energies)
    # Largest singular value of white noise (Marchenko-Pastur); rows overlap, so that fewer are independent.
    noise_edge = 2.0 * (n_rows**0.5 + n_columns**0.5) ** 2 * noise_factor**2
    strong = energies > max(noise_edge, relative_threshold**2 * float(energies[-1]))
    if not bool(strong.any()):
        raise InputError("the calibration lines hold nothing but noise; coil sensitivities cannot be estimated")
    rows = vectors[:, strong].T.reshape(-1, len(cube), *size)
    px, py, pz = (np.linspace(0.0, n - 1.0, min(coarse_points, n)) for n in shape)
    maps, eigenvalue = dominant_eigenvector(_local_operator(rows, shape, (px, py, pz)))
    weights = tuple(interpolation_matrix(points, n) for points, n in zip((px, py, pz), shape, strict=True))
    return CoilMaps(smooth_phase(maps, eigenvalue), eigenvalue, weights, crop)


def dominant_eigenvector(matrices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Eigenvector with the largest eigenvalue of Hermitian ``(x, y, z, coil, coil)``: ``(coil, x, y, z)``, and it."""
    values, vectors = torch.linalg.eigh(matrices)
    return vectors[..., -1].movedim(-1, 0).contiguous(), values[..., -1].contiguous()


def smooth_phase(maps: torch.Tensor, confidence: torch.Tensor, *, n_sweeps: int = 20) -> torch.Tensor:
    """Choose the free phase of unit vectors so that it varies smoothly, without poles even where a coil has none.

    Each voxel is rotated so that its inner product with the neighbour nearer the centre is real and positive: along x
    through the centre, from there along y, from there along z. Then every voxel is aligned to the mean of its
    surroundings, weighted by ``confidence``, a few times. A fixed reference coil would leave phase poles at its nulls.

    Parameters
    ----------
    maps
        ``(coil, x, y, z)`` of unit norm.
    confidence
        Weight of each voxel, ``(x, y, z)``.
    n_sweeps
        Alignments to the surroundings.

    Returns
    -------
    The maps, times one phase factor a voxel.
    """
    cx, cy, cz = (n // 2 for n in maps.shape[1:])
    along_x = _phase_gathered(maps[:, :, cy, cz], 1, cx)[:, None, None]
    along_y = _phase_gathered(maps[:, :, :, cz], 2, cy)[:, :, None]
    along_z = _phase_gathered(maps, 3, cz)
    smooth = maps * _phasor(-(along_x + along_y + along_z)).to(maps.dtype)
    for _ in range(n_sweeps):
        surroundings = _blur(smooth * confidence)
        turn = torch.sgn((smooth.conj() * surroundings).sum(0))
        smooth = smooth * torch.where(turn == 0, 1.0, turn)
    return smooth


def interpolation_matrix(points: Points, n: int) -> torch.Tensor:
    """Cubic spline through ascending ``points`` [voxels], evaluated at voxels 0 .. n - 1: ``(n, points)``."""
    if len(points) == 1:
        return torch.ones(n, 1)
    spline = make_interp_spline(points, np.eye(len(points)), k=min(3, len(points) - 1))
    return torch.from_numpy(spline(np.clip(np.arange(n), points[0], points[-1]))).float()


def _interpolate(coarse: torch.Tensor, weights: tuple[torch.Tensor, ...]) -> torch.Tensor:
    for axis, weight in zip((-3, -2, -1), weights, strict=True):
        coarse = torch.tensordot(coarse, weight.to(coarse.dtype), dims=([axis], [1])).movedim(-1, axis)
    return coarse


def _calibration_cube(
    kspace: NDArray[np.complex64], lines: NDArray[np.int32], shape: Shape
) -> tuple[torch.Tensor, torch.Tensor]:
    """Calibration data as ``(coil, kx, ky, kz)`` box, and which of its lines are sampled."""
    low, high = lines.min(axis=0), lines.max(axis=0) + 1
    box = tuple(int(n) for n in high - low)
    cube = torch.zeros((*kspace.shape[:2], *box), dtype=torch.complex64)
    sampled = torch.zeros(box, dtype=torch.bool)
    y, z = (torch.from_numpy((lines[:, axis] - low[axis]).astype(np.int64)) for axis in (0, 1))
    cube[:, :, y, z] = torch.from_numpy(kspace)
    sampled[y, z] = True
    return cube, sampled


def _window(cube_shape: Shape, sampled: torch.Tensor, kernel: int) -> Shape:
    """The largest window up to ``kernel`` for which there are enough rows, else the smallest that was tried."""
    n_coils, *box = cube_shape
    for edge in range(kernel, min(kernel, LEAST_KERNEL) - 1, -1):
        size = tuple(min(edge, n) for n in box)
        n_rows = (box[0] - size[0] + 1) * int(_whole_windows(sampled, size).sum())
        if n_rows >= ROWS_A_COLUMN * n_coils * math.prod(size):
            break
    return size


def _whole_windows(sampled: torch.Tensor, size: Shape) -> torch.Tensor:
    """Positions ``(ky, kz)`` at which all lines of a window are sampled."""
    return sampled.unfold(0, size[1], 1).unfold(1, size[2], 1).all(-1).all(-1)


def _gram_matrix(cube: torch.Tensor, sampled: torch.Tensor, size: Shape) -> tuple[torch.Tensor, int]:
    """Sum over all wholly sampled windows p of p p^H, and their number."""
    sx, sy, sz = size
    valid = _whole_windows(sampled, size)
    if not bool(valid.any()):
        raise InputError(
            f"the calibration region holds no window of {sy} x {sz} sampled lines; scan more of them side by side"
        )
    windows = cube.unfold(1, sx, 1).unfold(2, sy, 1).unfold(3, sz, 1)
    n_columns, n_positions = cube.shape[0] * sx * sy * sz, windows.shape[1]
    gram = torch.zeros((n_columns, n_columns), dtype=cube.dtype)
    for position in range(n_positions):
        patches = windows[:, position][:, valid].movedim(0, 1).reshape(-1, n_columns)
        gram += patches.T @ patches.conj()
    return gram, n_positions * int(valid.sum())


def _local_operator(rows: torch.Tensor, shape: Shape, points: tuple[Points, ...]) -> torch.Tensor:
    """G(r) on the coarse grid, ``(x, y, z, coil, coil)``, from kernels ``(kernel, coil, kx, ky, kz)``."""
    size = rows.shape[2:]
    spectra = torch.fft.fftn(rows, s=[2 * n - 1 for n in size], dim=(-3, -2, -1)).flatten(2).permute(2, 1, 0)
    products = (spectra @ spectra.mH).unflatten(0, [2 * n - 1 for n in size])
    local = torch.fft.ifftn(products, dim=(0, 1, 2)) / size.numel()
    for axis in range(3):
        local = _evaluate(local.movedim(axis, -1), shape[axis], points[axis], size[axis]).movedim(-1, axis)
    return local


def _evaluate(coefficients: torch.Tensor, n: int, points: Points, n_kernel: int) -> torch.Tensor:
    """Trigonometric polynomial of period ``n`` along the last axis, lags in FFT order, at ``points`` [voxels]."""
    lags = np.fft.fftfreq(2 * n_kernel - 1, 1 / (2 * n_kernel - 1))
    waves = np.exp(2j * np.pi * np.outer(lags, points - n // 2) / n)
    return coefficients @ torch.from_numpy(waves).to(coefficients.dtype)


def _phase_gathered(maps: torch.Tensor, axis: int, centre: int) -> torch.Tensor:
    """Phase along ``axis`` from ``centre``, summed over the steps from neighbour to neighbour."""
    n = maps.shape[axis]
    steps = (maps.narrow(axis, 0, n - 1).conj() * maps.narrow(axis, 1, n - 1)).sum(0).angle().double()
    total = (
        torch.cat([torch.zeros_like(steps.narrow(axis - 1, 0, 1)), steps.cumsum(axis - 1)], dim=axis - 1)
        if n > 1
        else torch.zeros(maps.shape[1:], dtype=torch.float64)
    )
    return total - total.narrow(axis - 1, centre, 1)


def _phasor(angle: torch.Tensor) -> torch.Tensor:
    return torch.polar(torch.ones_like(angle), angle)


def _blur(volumes: torch.Tensor) -> torch.Tensor:
    """Running mean over five voxels along each of the last three axes, fewer at the edges."""
    parts = torch.view_as_real(volumes).movedim(-1, 0).flatten(0, 1)
    for axis in (-3, -2, -1):
        line = parts.movedim(axis, -1)
        shaped = line.reshape(1, -1, line.shape[-1])
        parts = functional.avg_pool1d(shaped, 5, stride=1, padding=2).reshape(line.shape).movedim(-1, axis)
    return torch.view_as_complex(parts.unflatten(0, (2, -1)).movedim(0, -1).contiguous())
