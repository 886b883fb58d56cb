"""V-SHARP: what is harmonic inside the brain is removed by spherical means of varying radius."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dlqsm.core.checks import (
    InputError,
    require_finite,
    require_mask,
    require_not_negative,
    require_positive,
    require_shape,
)
from dlqsm.core.fourier import irfft3, rfft3
from dlqsm.core.scan import Grid, Scan
from dlqsm.core.solvers import CLOSED_FORM, Convergence
from dlqsm.qsm.background.spheres import fits, mean_spectrum
from dlqsm.qsm.box import Box


def vsharp(
    total_field_ppm: torch.Tensor,
    mask: torch.Tensor,
    scan: Scan,
    noise_ppm: torch.Tensor | None = None,
    *,
    radii_mm: tuple[float, ...] = (12.0, 10.0, 8.0, 6.0, 5.0, 4.0, 3.0),
    threshold: float = 0.05,
    n_corrections: int = 3,
) -> tuple[torch.Tensor, torch.Tensor, Convergence]:
    """Remove the background field by variable-radius spherical means and their deconvolution (V-SHARP).

    The field of outside sources is harmonic, so it equals its mean over any sphere inside the mask. With s_r the mean
    over radius r and E_r the voxels whose sphere of radius r lies in the mask,

        b_hp(x) = (b - s_r * b)(x),  r the largest radius with x in E_r
        b_local = F^-1 [ F b_hp / H ]  where |H| >= threshold, else 0,  H = 1 - F s_r of the largest radius.

    The deconvolution treats all voxels as if the largest radius had fitted, so that near the rim the local field loses
    its low spatial frequencies. ``n_corrections`` steps of steepest descent (of length 1, so that the whole stays
    linear) bring it closer to the high-passed field with each voxel's own radius in the operator A:

        b_local <- b_local + A^T (b_hp - A b_local),    (A b)(x) = (b - s_r * b)(x)

    A larger threshold lowers the error of the field and the contrast of the nuclei with it: do not choose it by the
    field alone. Radii below the longest voxel edge average little but their own slice, and are left out.

    Parameters
    ----------
    total_field_ppm
        Total field relative to B0 [ppm], ``(x, y, z)``.
    mask
        Voxels in which the field is known, bool ``(x, y, z)``.
    scan
        Geometry of the scan.
    noise_ppm
        Not used by this method.
    radii_mm
        Radii of the spheres [mm]; those below the longest voxel edge are left out, and the smallest of the others
        decides how much of the rim is lost.
    threshold
        Magnitude of the high-pass filter below which it is not inverted, between 0 and 1.
    n_corrections
        Steps that make up for smaller spheres near the rim; 0 is V-SHARP as published.

    Returns
    -------
    Local field [ppm], zero outside the returned mask; the mask eroded by the smallest sphere; `CLOSED_FORM`, since
    the number of steps is fixed.

    Raises
    ------
    InputError
        If shapes disagree, the mask is empty, no voxel is left after the erosion, or an option is out of range.

    References
    ----------
    Wu et al., Magn Reson Med 67:137 (2012), doi:10.1002/mrm.23000.
    Ozbay et al., NMR Biomed 30:e3550 (2017), doi:10.1002/nbm.3550.
    """
    del noise_ppm
    require_shape("total field", total_field_ppm, scan.grid.shape, "scan.grid")
    require_mask(mask, scan.grid.shape)
    if not radii_mm:
        raise InputError("radii_mm is empty; expected one radius or more in mm")
    require_positive("radii_mm", radii_mm, "mm")
    require_not_negative("n_corrections", [n_corrections])
    if not 0.0 < threshold < 1.0:
        raise InputError(f"threshold of V-SHARP must lie between 0 and 1; got {threshold}")
    field = torch.where(mask, total_field_ppm, 0.0)
    require_finite("total field inside the mask", field)
    box = Box.around(mask, scan.grid, 2.0 * max(radii_mm))
    inside = box.take(mask)
    spheres = _spheres(inside, _usable_radii(radii_mm, scan.grid), box.wide, field)
    if not bool(spheres.kept.any()):
        raise InputError(f"the mask holds no sphere of the smallest radius, {min(radii_mm)} mm; give smaller radii_mm")
    high_pass = spheres.high_pass(box.take(torch.where(mask, field - field[mask].mean(dtype=torch.float64), 0.0)))
    largest_filter = 1.0 - spheres.means[0]
    inverse = torch.where(largest_filter.abs() >= threshold, 1.0 / largest_filter, 0.0)
    local = irfft3(rfft3(high_pass) * inverse, box.wide.shape)
    for _ in range(n_corrections):
        local += spheres.adjoint(high_pass - spheres.high_pass(local))
    return box.put_back(torch.where(spheres.kept, local, 0.0)), box.put_back(spheres.kept), CLOSED_FORM


@dataclass(frozen=True, slots=True)
class _Spheres:
    """Spectra of the spherical means, largest radius first, and the voxels that each is used in."""

    means: tuple[torch.Tensor, ...]
    where: tuple[torch.Tensor, ...]
    kept: torch.Tensor

    def high_pass(self, field: torch.Tensor) -> torch.Tensor:
        """Field minus its mean over the sphere of x, zero where no sphere fits."""
        spectrum = rfft3(field)
        out = torch.where(self.kept, field, 0.0)
        for mean, here in zip(self.means, self.where, strict=True):
            out -= torch.where(here, irfft3(spectrum * mean, field.shape), 0.0)
        return out

    def adjoint(self, residual: torch.Tensor) -> torch.Tensor:
        """Transpose of `high_pass`: the spectra are real and even, the selection of voxels comes first."""
        kept = torch.where(self.kept, residual, 0.0)
        spectrum = torch.zeros_like(rfft3(kept))
        for mean, here in zip(self.means, self.where, strict=True):
            spectrum += rfft3(torch.where(here, residual, 0.0)) * mean
        return kept - irfft3(spectrum, residual.shape)


def _spheres(mask: torch.Tensor, radii: list[float], grid: Grid, like: torch.Tensor) -> _Spheres:
    """For each voxel the largest sphere that lies in the mask, where any does."""
    mask_spectrum = rfft3(mask.to(like.dtype))
    kept = torch.zeros_like(mask)
    means, where = [], []
    for radius in radii:
        means.append(mean_spectrum(radius, grid, like))
        where.append(mask & fits(mask_spectrum, means[-1], grid) & ~kept)
        kept |= where[-1]
    return _Spheres(tuple(means), tuple(where), kept)


def _usable_radii(radii_mm: tuple[float, ...], grid: Grid) -> list[float]:
    """Radii that are not below the longest voxel edge, largest first."""
    longest = max(grid.voxel_size_mm)
    radii = sorted({r for r in radii_mm if r >= longest}, reverse=True)
    if not radii:
        raise InputError(
            f"radii_mm must hold a radius of the longest voxel edge, {longest} mm, or more; got {radii_mm}"
        )
    return radii
