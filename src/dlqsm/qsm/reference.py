"""The zero of the susceptibility scale: a region whose mean is subtracted."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch
from scipy import ndimage

from dlqsm.core.checks import InputError, require_mask, require_positive, require_shape
from dlqsm.core.scan import Grid


@dataclass(frozen=True, slots=True)
class Reference:
    """What was subtracted from a susceptibility map.

    Parameters
    ----------
    name
        The region: ``brain``, ``csf`` or another.
    mean_ppm, sd_ppm
        Mean and standard deviation of the map in the region, before the subtraction [ppm].
    n_voxels
        Voxels of the region.
    """

    name: str
    mean_ppm: float
    sd_ppm: float
    n_voxels: int

    def as_dict(self) -> dict[str, object]:
        """Plain numbers for a JSON file."""
        return asdict(self)


def reference(
    chi_ppm: torch.Tensor, mask: torch.Tensor, region: torch.Tensor, *, name: str = "brain"
) -> tuple[torch.Tensor, Reference]:
    """Make the mean over a region zero: chi - mean of chi over region and mask, inside the mask.

    Parameters
    ----------
    chi_ppm
        Susceptibility [ppm], ``(x, y, z)``.
    mask
        Voxels in which the map is valid, bool ``(x, y, z)``.
    region
        The reference region, bool ``(x, y, z)``; counted inside the mask only. The mask itself for the whole brain.
    name
        What the region is called in the report.

    Returns
    -------
    Referenced susceptibility [ppm], zero outside the mask, and the `Reference` that was subtracted.

    Raises
    ------
    InputError
        If shapes disagree or the region has no voxel inside the mask.

    References
    ----------
    QSM Consensus Organization Committee, Magn Reson Med 91:1834 (2024), doi:10.1002/mrm.30006.
    """
    require_mask(mask, chi_ppm.shape)
    require_shape(f"reference region '{name}'", region, mask.shape, "the mask")
    used = region & mask
    n_voxels = int(used.sum())
    if n_voxels == 0:
        raise InputError(f"the reference region '{name}' has no voxel inside the mask; choose another reference")
    values = chi_ppm[used].double()
    mean, sd = float(values.mean()), float(values.std(correction=0))
    return torch.where(mask, chi_ppm - mean, 0.0), Reference(name, mean, sd, n_voxels)


def csf_region(
    r2star_hz: torch.Tensor,
    mask: torch.Tensor,
    grid: Grid,
    quality: torch.Tensor | None = None,
    *,
    least_quality: float = 0.5,
    limit_hz: float = 5.0,
    radius_mm: float = 30.0,
    n_components: int = 3,
) -> torch.Tensor:
    """Find ventricular CSF: low R2*, in the largest connected pieces near the centre of the brain (as in MEDI+0).

    Voxels below ``limit_hz`` within ``radius_mm`` of the centroid of the mask are split into 6-connected pieces; the
    largest ones are kept.

    Parameters
    ----------
    r2star_hz
        Relaxation rate [1/s], ``(x, y, z)``.
    mask
        Brain mask, bool ``(x, y, z)``.
    grid
        Grid of the images.
    quality
        Phase quality in [0, 1], ``(x, y, z)``; every voxel counts where absent.
    least_quality
        Below this a voxel is a void, whose rate is a fit of noise or none, and no CSF.
    limit_hz
        R2* below which a voxel may be CSF [1/s].
    radius_mm
        Distance from the centre of the brain within which ventricles are looked for [mm].
    n_components
        How many of the largest connected pieces are kept.

    Returns
    -------
    The region, bool ``(x, y, z)``; empty where no voxel qualifies.

    Raises
    ------
    InputError
        If shapes disagree or the mask is empty.

    References
    ----------
    Liu et al., Magn Reson Med 79:2795 (2018), doi:10.1002/mrm.26946.
    """
    require_shape("R2*", r2star_hz, grid.shape, "the grid")
    require_mask(mask, grid.shape)
    require_positive("limit_hz and radius_mm", [limit_hz, radius_mm], "1/s and mm")
    low = mask & (r2star_hz < limit_hz) & (_distance_to_centroid_mm(mask, grid) <= radius_mm)
    if quality is not None:
        low &= quality >= least_quality
    pieces, n_found = ndimage.label(low.cpu().numpy())
    sizes = np.bincount(pieces.ravel(), minlength=n_found + 1)[1:]
    kept = np.argsort(sizes)[::-1][:n_components] + 1
    return torch.from_numpy(np.isin(pieces, kept)).to(mask.device)


def _distance_to_centroid_mm(mask: torch.Tensor, grid: Grid) -> torch.Tensor:
    position = torch.nonzero(mask).double().mean(dim=0)
    squared = torch.zeros(grid.shape, dtype=torch.float64, device=mask.device)
    for axis, (n, edge) in enumerate(zip(grid.shape, grid.voxel_size_mm, strict=True)):
        along = [-1 if a == axis else 1 for a in range(3)]
        offset = torch.arange(n, dtype=torch.float64, device=mask.device) - position[axis]
        squared += ((offset * edge) ** 2).reshape(along)
    return squared.sqrt()
