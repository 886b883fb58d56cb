"""Similarity of two susceptibility maps: 3-D, inside a mask, each map without its own mean there.

Both maps lose their mean inside the mask (susceptibility is known up to a constant) and are zero outside it, so that
nothing outside the mask, and no choice of reference region, changes a figure.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage.metrics import structural_similarity

from dlqsm.core.checks import InputError, require_finite, require_mask, require_shape
from dlqsm.core.fourier import bounding_box
from dlqsm.core.scan import Grid, Vector
from dlqsm.core.units import PPB_PER_PPM

Volume = NDArray[np.float64]
Inside = NDArray[np.bool_]

WINDOW_PPM = 0.5
"""Fixed data range of SSIM and peak of PSNR: -0.25 to 0.25 ppm holds all tissue; no voxel of the data moves it."""
SSIM_SIGMA_VOXELS = 1.5
SSIM_RADIUS_VOXELS = 5
XSIM_WINDOW_VOXELS = 5
XSIM_C1 = 1e-4
XSIM_C2 = 1e-6
LOG_SIGMA_VOXELS = 1.5
EDGE_SIGMA_VOXELS = 1.5
EDGE_SHARE = 0.05
"""Share of the voxels inside the mask that count as edges of the reference."""


def compare_maps(
    chi_ppm: torch.Tensor, reference_ppm: torch.Tensor, mask: torch.Tensor, grid: Grid
) -> dict[str, float]:
    """All similarity figures of a map against a reference.

    Parameters
    ----------
    chi_ppm
        Map to judge [ppm], ``(x, y, z)``.
    reference_ppm
        Map to judge it by [ppm], on the same grid.
    mask
        Voxels that count, bool; one mask for all maps of a comparison.
    grid
        Grid of the three volumes.

    Returns
    -------
    ``rmse_ppb nrmse_percent ssim xsim psnr_db hfen_percent sharpness_ratio``, each as its own function gives it.
    Equal maps give 0, 0, 1, 1, inf, 0, 1.

    Raises
    ------
    InputError
        If shapes disagree, the mask is empty, values inside it are not finite, or the reference is constant there.
    """
    require_mask(mask, grid.shape)
    require_shape("map", chi_ppm, grid.shape, "the mask")
    require_shape("reference", reference_ppm, grid.shape, "the mask")
    # Two voxels of room keep every XSIM window whole; the rest of the array holds zeros and no information.
    box = bounding_box(mask, XSIM_WINDOW_VOXELS // 2, (1.0, 1.0, 1.0))
    maps = chi_ppm[box], reference_ppm[box], mask[box]
    return {
        "rmse_ppb": rmse_ppb(*maps),
        "nrmse_percent": nrmse_percent(*maps),
        "ssim": ssim(*maps),
        "xsim": xsim(*maps),
        "psnr_db": psnr_db(*maps),
        "hfen_percent": hfen_percent(*maps),
        "sharpness_ratio": sharpness_ratio(*maps, grid.voxel_size_mm),
    }


def rmse_ppb(chi_ppm: torch.Tensor, reference_ppm: torch.Tensor, mask: torch.Tensor) -> float:
    """Root mean square difference [ppb]: sqrt(mean (x - r)^2)."""
    x, r, inside = demeaned(chi_ppm, reference_ppm, mask)
    return PPB_PER_PPM * float(np.sqrt(np.mean((x - r)[inside] ** 2)))


def nrmse_percent(chi_ppm: torch.Tensor, reference_ppm: torch.Tensor, mask: torch.Tensor) -> float:
    """Difference relative to the reference [percent]: 100 ||x - r|| / ||r||.

    References
    ----------
    Langkammer et al., Magn Reson Med 79:1661 (2018), doi:10.1002/mrm.26830.
    """
    x, r, inside = demeaned(chi_ppm, reference_ppm, mask)
    return _percent((x - r)[inside], r[inside], "the reference")


def psnr_db(chi_ppm: torch.Tensor, reference_ppm: torch.Tensor, mask: torch.Tensor) -> float:
    """Peak signal to noise ratio [dB]: 20 log10(0.5 ppm / RMSE); infinite for equal maps.

    The peak is `WINDOW_PPM` and not the maximum of a map, which a few vessel voxels would set.

    References
    ----------
    Milovic et al., Magn Reson Med 93:411 (2025), doi:10.1002/mrm.30271, on the harm of data-dependent peaks.
    """
    error_ppm = rmse_ppb(chi_ppm, reference_ppm, mask) / PPB_PER_PPM
    return math.inf if error_ppm == 0 else 20.0 * math.log10(WINDOW_PPM / error_ppm)


def ssim(chi_ppm: torch.Tensor, reference_ppm: torch.Tensor, mask: torch.Tensor) -> float:
    """Structural similarity, 3-D, averaged over the mask.

    Gaussian windows of SD 1.5 voxels (11 wide), divisor n, K1 0.01, K2 0.03 and a data range of `WINDOW_PPM`. What
    lies outside the array is zero, as all that lies outside the mask.

    References
    ----------
    Wang et al., IEEE Trans Image Process 13:600 (2004), doi:10.1109/TIP.2003.819861.
    """
    x, r, inside = demeaned(chi_ppm, reference_ppm, mask)
    _, similarity = structural_similarity(
        np.pad(x, SSIM_RADIUS_VOXELS),
        np.pad(r, SSIM_RADIUS_VOXELS),
        data_range=WINDOW_PPM,
        gaussian_weights=True,
        sigma=SSIM_SIGMA_VOXELS,
        use_sample_covariance=False,
        full=True,
    )
    return float(similarity[np.pad(inside, SSIM_RADIUS_VOXELS)].mean())


def xsim(chi_ppm: torch.Tensor, reference_ppm: torch.Tensor, mask: torch.Tensor) -> float:
    """Structural similarity with the constants made for susceptibility, averaged over the mask.

    SSIM = (2 m_x m_r + C1)(2 s_xr + C2) / ((m_x^2 + m_r^2 + C1)(s_x^2 + s_r^2 + C2)) in native ppm with C1 = 1e-4,
    C2 = 1e-6; means and (co)variances with divisor n over 5 x 5 x 5 windows, truncated at the borders of the array.

    References
    ----------
    Milovic et al., Magn Reson Med 93:411 (2025), doi:10.1002/mrm.30271.
    """
    x, r, inside = demeaned(chi_ppm, reference_ppm, mask)
    m_x, m_r = _window_mean(x), _window_mean(r)
    s_xr = _window_mean(x * r) - m_x * m_r
    s_xx, s_rr = _window_mean(x * x) - m_x**2, _window_mean(r * r) - m_r**2
    above = (2.0 * m_x * m_r + XSIM_C1) * (2.0 * s_xr + XSIM_C2)
    below = (m_x**2 + m_r**2 + XSIM_C1) * (s_xx + s_rr + XSIM_C2)
    return float((above / below)[inside].mean())


def hfen_percent(chi_ppm: torch.Tensor, reference_ppm: torch.Tensor, mask: torch.Tensor) -> float:
    """High-frequency error [percent]: 100 ||L x - L r|| / ||L r||, L a Laplacian of Gaussian of SD 1.5 voxels.

    References
    ----------
    Ravishankar & Bresler, IEEE Trans Med Imaging 30:1028 (2011), doi:10.1109/TMI.2010.2090538.
    """
    x, r, inside = demeaned(chi_ppm, reference_ppm, mask)
    edges = [ndimage.gaussian_laplace(v, LOG_SIGMA_VOXELS, mode="constant")[inside] for v in (x, r)]
    return _percent(edges[0] - edges[1], edges[1], "the filtered reference")


def sharpness_ratio(
    chi_ppm: torch.Tensor, reference_ppm: torch.Tensor, mask: torch.Tensor, voxel_size_mm: Vector
) -> float:
    """Steepness of the map over that of the reference, across the same edges; below 1 where the map is blurred.

    n is the direction of the gradient of the reference, smoothed with SD 1.5 voxels, and E the `EDGE_SHARE` of the
    voxels where that gradient is steepest: the ratio is mean_E(n . grad x) / mean_E(n . grad r). The slope is signed
    and along the reference's own direction, so noise of the map averages out instead of passing for sharpness; noise
    of the reference, which chose the edges, raises its own slope a little (measured on the virtual head: 1.5 % at
    10 ppb). The rim of the mask (two voxels) does not count; NaN where nothing else is left.

    Parameters
    ----------
    chi_ppm, reference_ppm, mask
        As in `compare_maps`.
    voxel_size_mm
        Voxel edges [mm].

    References
    ----------
    Edge slopes along the gradient of a smoothed image: Canny, IEEE Trans Pattern Anal Mach Intell 8:679 (1986),
    doi:10.1109/TPAMI.1986.4767851. The ratio is our definition.
    """
    x, r, inside = demeaned(chi_ppm, reference_ppm, mask)
    core = ndimage.binary_erosion(inside, iterations=2)
    if not core.any():
        return math.nan
    weight = ndimage.gaussian_filter(inside.astype(np.float64), EDGE_SIGMA_VOXELS, mode="constant")
    smooth = ndimage.gaussian_filter(r, EDGE_SIGMA_VOXELS, mode="constant") / np.maximum(weight, 1e-6)
    slope = _gradient(smooth, core, voxel_size_mm)
    steepness = np.sqrt((slope**2).sum(axis=0))
    edge = steepness >= np.quantile(steepness, 1.0 - EDGE_SHARE)
    normal = slope[:, edge] / np.maximum(steepness[edge], np.finfo(np.float64).tiny)
    along = [float((normal * _gradient(v, core, voxel_size_mm)[:, edge]).sum(axis=0).mean()) for v in (x, r)]
    return along[0] / along[1] if along[1] != 0 else math.nan


def demeaned(chi_ppm: torch.Tensor, reference_ppm: torch.Tensor, mask: torch.Tensor) -> tuple[Volume, Volume, Inside]:
    """Both maps without their mean inside the mask, zero outside, and the mask, as NumPy arrays."""
    require_mask(mask, chi_ppm.shape)
    require_shape("reference", reference_ppm, chi_ppm.shape, "the map")
    inside: Inside = mask.detach().cpu().numpy()
    maps = []
    for name, volume in (("map", chi_ppm), ("reference", reference_ppm)):
        require_finite(f"{name} inside the mask", volume[mask])
        values = volume.detach().cpu().double().numpy()
        maps.append(np.where(inside, values - values[inside].mean(), 0.0))
    return maps[0], maps[1], inside


def _percent(difference: Volume, reference: Volume, what: str) -> float:
    size = float(np.linalg.norm(reference))
    if size <= 1e-12 * math.sqrt(reference.size):
        raise InputError(f"{what} is constant inside the mask; a relative error has no meaning there")
    return 100.0 * float(np.linalg.norm(difference)) / size


def _window_mean(volume: Volume) -> Volume:
    """Mean over the cube round each voxel, of the voxels that the array has."""
    total = ndimage.uniform_filter(volume, XSIM_WINDOW_VOXELS, mode="constant")
    share = ndimage.uniform_filter(np.ones_like(volume), XSIM_WINDOW_VOXELS, mode="constant")
    return total / share


def _gradient(volume: Volume, where: Inside, voxel_size_mm: Vector) -> Volume:
    """Central differences [1/mm] at the chosen voxels, ``(3, n)``."""
    return np.stack([np.asarray(slope)[where] for slope in np.gradient(volume, *voxel_size_mm)])
