"""The field of a head in the scanner: sources near and far, and the shim."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from dlqsm.acquisition.resampling import resample, spline_matrices
from dlqsm.core.dipole import dipole_kernel
from dlqsm.core.fourier import crop_to, irfft3, pad_to, padded_grid, rfft3, wavenumbers
from dlqsm.core.scan import Grid

WIDE_EXTENT_MM: Final = 400.0
WIDE_BORDER_MM: Final = 30.0
"""The wide grid reaches at least this far beyond the field of view."""
WIDE_VOXEL_MM: Final = 2.5
SPLIT_SD_MM: Final = 3.5
"""SD of the Gaussian that splits near from far; 1.4 wide voxels leave 6e-5 of it beyond their Nyquist frequency."""
SPLIT_RANGE_MM: Final = 4.0 * SPLIT_SD_MM
"""Reach of the near part: the fine map must hold the sources this far beyond where the field is wanted."""
SHIM_UNIT_MM: Final = 100.0
PARALLEL: Final = 1.0 - 1e-9
"""Cosine from which the main field lies along an axis."""


def wide_field(fine_chi: torch.Tensor, fine: Grid, wide_chi: torch.Tensor, wide: Grid) -> torch.Tensor:
    """Relative field [ppm] on a fine grid of sources that reach far beyond it.

    The dipole kernel is split by a Gaussian G, as in Ewald's sum: D = D (1 - G) + D G. The first part is of short
    range, so that the fine grid needs no padding; the second is smooth, so that a coarse wide grid carries it and a
    spline interpolates it. The fine sources are softened by (1, 2, 1) / 4 along each axis: the field of sharp ones
    rings at the Nyquist frequency of the fine grid, far into the brain. Where the main field is oblique to the axes
    mixed terms of D change their sign across the Nyquist planes and ring on; there they are softened three times.

    Parameters
    ----------
    fine_chi
        Susceptibility relative to air [ppm] on ``fine``.
    fine
        Fine grid; sources up to `SPLIT_RANGE_MM` beyond the part that is used must lie in it.
    wide_chi
        The same sources on ``wide`` [ppm], zero at its border or far from the part that is used.
    wide
        Coarse grid with the same axes and isocentre.

    Returns
    -------
    Field [ppm] on ``fine``, without its mean.

    References
    ----------
    Ewald, Ann Phys 369:253 (1921), doi:10.1002/andp.19213690304.
    """
    direction = fine.b0_direction()
    soft = _soft(fine, fine_chi) ** (1 if max(map(abs, direction)) > PARALLEL else 3)
    near_kernel = dipole_kernel(fine, direction, fine_chi) * (1.0 - _gaussian(fine, fine_chi)) * soft
    near = irfft3(rfft3(fine_chi) * near_kernel, fine.shape)
    padded = padded_grid(wide, 100.0)
    far_kernel = dipole_kernel(padded, direction, wide_chi) * _gaussian(padded, wide_chi)
    far = crop_to(irfft3(rfft3(pad_to(wide_chi, padded)) * far_kernel, padded.shape), wide)
    return near + resample(far, spline_matrices(wide, fine))


@dataclass(frozen=True)
class SmoothMap:
    """A sum of the nine `solid_harmonics` with one coefficient each: a shim, or a smooth phase."""

    coefficients: tuple[float, ...]

    def on(self, grid: Grid, like: torch.Tensor) -> torch.Tensor:
        """Values on a grid centred on the isocentre, in the dtype of ``like``."""
        values = torch.zeros((), dtype=like.dtype, device=like.device)
        for coefficient, harmonic in zip(self.coefficients, solid_harmonics(grid, like), strict=True):
            values = values + coefficient * harmonic
        return values.expand(grid.shape)


def fit_shim(field_ppm: torch.Tensor, mask: torch.Tensor, grid: Grid) -> SmoothMap:
    """Least-squares fit of the nine solid harmonics to a field [ppm] inside a mask."""
    design = _design(mask, grid)
    solution = np.linalg.lstsq(design, field_ppm[mask].double().cpu().numpy(), rcond=None)[0]
    return SmoothMap(tuple(float(value) for value in solution))


def shim_error(mask: torch.Tensor, grid: Grid, rms_ppm: float, rng: np.random.Generator) -> SmoothMap:
    """Random first- and second-order field with the given expected root mean square [ppm] inside a mask."""
    design = _design(mask, grid)
    orthonormal, triangle = np.linalg.qr(design)
    drawn = rng.standard_normal((design.shape[1],)) * rms_ppm * math.sqrt(len(orthonormal) / (design.shape[1] - 1))
    drawn[0] = 0.0
    return SmoothMap(tuple(float(value) for value in np.linalg.solve(triangle, drawn)))


def solid_harmonics(grid: Grid, like: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The nine solid harmonics of order 0 to 2 about the isocentre, broadcastable, lengths in `SHIM_UNIT_MM`.

    Any rotation maps each order onto itself, so that they are written in array axes.
    """
    x, y, z = (
        ((torch.arange(n, dtype=like.dtype, device=like.device) - n // 2) * (v / SHIM_UNIT_MM)).reshape(
            [-1 if axis == i else 1 for i in range(3)]
        )
        for axis, (n, v) in enumerate(zip(grid.shape, grid.voxel_size_mm, strict=True))
    )
    one = torch.ones(1, 1, 1, dtype=like.dtype, device=like.device)
    return one, x, y, z, x * y, y * z, z * x, x**2 - y**2, 2 * z**2 - x**2 - y**2


def _design(mask: torch.Tensor, grid: Grid) -> NDArray[np.float64]:
    like = torch.zeros((), dtype=torch.float64, device=mask.device)
    columns = [harmonic.expand(grid.shape)[mask] for harmonic in solid_harmonics(grid, like)]
    return torch.stack(columns, dim=1).cpu().numpy()


def _soft(grid: Grid, like: torch.Tensor) -> torch.Tensor:
    """Transfer function of (1, 2, 1) / 4 along each axis: cos^2(pi k v / 2), zero at the Nyquist frequency."""
    kx, ky, kz = (
        torch.cos(0.5 * math.pi * k * v) ** 2 for k, v in zip(wavenumbers(grid, like), grid.voxel_size_mm, strict=True)
    )
    return kx * ky * kz


def _gaussian(grid: Grid, like: torch.Tensor) -> torch.Tensor:
    kx, ky, kz = wavenumbers(grid, like)
    return torch.exp(-2.0 * (math.pi * SPLIT_SD_MM) ** 2 * (kx**2 + ky**2 + kz**2))
