"""SSIM and PSNR of two susceptibility maps in all definitions that papers leave open.

Papers give both without peak, domain or dimension, and these move PSNR by more than 20 dB and SSIM from 0.5 to 0.99 on
the same pair of maps. What is computed here is for reading such figures; `similarity` holds those to judge by.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import ndimage

from dlqsm.agreement.similarity import SSIM_RADIUS_VOXELS, SSIM_SIGMA_VOXELS, WINDOW_PPM, demeaned
from dlqsm.core.checks import InputError, require_mask, require_shape
from dlqsm.core.fourier import bounding_box

Volume = NDArray[np.floating[Any]]
Inside = NDArray[np.bool_]

SCALES: Final = ("window", "one", "max", "range")
"""Peak of PSNR and data range of SSIM: 0.5 ppm, 1 ppm, maximum and range of the reference inside the mask."""
DIMENSIONS: Final = ("2d", "3d")
"""Slice by slice along the last axis, or the volume at once."""
PRIMARY: Final = ("window", "brain", "3d")
"""Scale, domain and dimension of `similarity.ssim` and `similarity.psnr_db`."""
OTHER_MEASURES: Final = ("xsim", "rmse_ppb", "sharpness_ratio")
"""Figures of `similarity.compare_maps` that stand beside: they have one definition."""
K1, K2 = 0.01, 0.03


@dataclass(frozen=True, slots=True)
class Definition:
    """One way to compute a measure, and what it gives."""

    measure: str
    scale: str
    domain: str
    dimension: str
    value: float


def all_definitions(chi_ppm: torch.Tensor, reference_ppm: torch.Tensor, mask: torch.Tensor) -> list[Definition]:
    """SSIM and PSNR [dB] for every scale, domain and dimension.

    Both maps lose their mean inside the mask and are zero outside it. SSIM has Gaussian windows of SD 1.5 voxels (11
    wide), K1 0.01, K2 0.03, as MATLAB's ``ssim``; the array goes on with zeros. PSNR = 20 log10(peak / RMSE); slice by
    slice it is the mean over the slices that hold a voxel of the mask. SSIM has no scale ``max``.

    Parameters
    ----------
    chi_ppm, reference_ppm
        Maps [ppm], ``(x, y, z)``.
    mask
        Voxels that count, bool.

    Raises
    ------
    InputError
        If shapes disagree, the mask is empty, or the reference is constant inside it.

    References
    ----------
    Wang et al., IEEE Trans Image Process 13:600 (2004), doi:10.1109/TIP.2003.819861; Milovic et al., Magn Reson Med
    93:411 (2025), doi:10.1002/mrm.30271, on how much hangs on the definition.
    """
    pair = _boxed(chi_ppm, reference_ppm, mask)
    return [*_psnr_definitions(pair), *_ssim_definitions(pair)]


@dataclass(frozen=True, eq=False, slots=True)
class _Pair:
    """Both maps within a box that has room for every window that sees the brain, and the size of the whole array."""

    chi: Volume
    reference: Volume
    inside: Inside
    in_array: Inside
    box: tuple[slice, ...]
    n_voxels: int
    n_in_slice: int
    scales_ppm: dict[str, float]


def _boxed(chi_ppm: torch.Tensor, reference_ppm: torch.Tensor, mask: torch.Tensor) -> _Pair:
    require_mask(mask, chi_ppm.shape)
    require_shape("reference", reference_ppm, chi_ppm.shape, "the map")
    tight = bounding_box(mask, 0, (1.0, 1.0, 1.0))
    chi, reference, inside = demeaned(chi_ppm[tight], reference_ppm[tight], mask[tight])
    values = reference[inside]
    span = float(np.ptp(values))
    if span == 0:
        raise InputError("the reference is constant inside the mask; SSIM and PSNR have no meaning there")
    room = SSIM_RADIUS_VOXELS
    in_array = np.zeros([n + 2 * room for n in inside.shape], bool)
    kept = tuple(slice(max(0, room - t.start), room - t.start + n) for t, n in zip(tight, mask.shape, strict=True))
    in_array[kept] = True
    box = tuple(slice(room, room + n) for n in inside.shape)
    x, r = (np.pad(volume, room).astype(np.float32) for volume in (chi, reference))
    scales = {"window": WINDOW_PPM, "one": 1.0, "max": float(values.max()), "range": span}
    n_in_slice = mask.shape[0] * mask.shape[1]
    return _Pair(x, r, np.pad(inside, room), in_array, box, mask.numel(), n_in_slice, scales)


def _psnr_definitions(pair: _Pair) -> Iterator[Definition]:
    squares = (pair.chi - pair.reference).astype(np.float64) ** 2
    by_slice = squares.sum(axis=(0, 1))
    n_brain = pair.inside.sum(axis=(0, 1))
    slices = n_brain > 0
    n_box = float(np.prod([s.stop - s.start for s in pair.box[:2]]))
    n_slices = pair.box[2].stop - pair.box[2].start
    counts = {
        "volume": (pair.n_voxels, np.full(n_brain.shape, pair.n_in_slice)),
        "brain": (int(n_brain.sum()), n_brain),
        "box": (n_box * n_slices, np.full(n_brain.shape, n_box)),
    }
    for domain, (n_all, n_each) in counts.items():
        for scale, peak in pair.scales_ppm.items():
            each = [_db(peak, total / n) for total, n in zip(by_slice[slices], n_each[slices], strict=True)]
            yield Definition("psnr_db", scale, domain, "2d", float(np.mean(each)))
            yield Definition("psnr_db", scale, domain, "3d", _db(peak, float(by_slice.sum()) / n_all))


def _db(peak: float, mean_square: float) -> float:
    return math.inf if mean_square == 0 else 20.0 * math.log10(peak) - 10.0 * math.log10(mean_square)


def _ssim_definitions(pair: _Pair) -> Iterator[Definition]:
    for dimension in DIMENSIONS:
        local = _local_moments(pair.chi, pair.reference, axes=(0, 1) if dimension == "2d" else (0, 1, 2))
        for scale in ("window", "one", "range"):
            similar = _ssim_map(local, pair.scales_ppm[scale])
            # Windows that see no voxel of the brain hold two equal constants, of which SSIM is 1.
            n_rest = pair.n_voxels - int(pair.in_array.sum())
            means = {
                "volume": (float(similar[pair.in_array].sum(dtype=np.float64)) + n_rest) / pair.n_voxels,
                "brain": float(similar[pair.inside].mean(dtype=np.float64)),
                "box": float(similar[pair.box].mean(dtype=np.float64)),
            }
            for domain, value in means.items():
                yield Definition("ssim", scale, domain, dimension, value)


def _local_moments(x: Volume, r: Volume, axes: tuple[int, ...]) -> tuple[Volume, ...]:
    """Weighted means m_x, m_r, variances s_xx + s_rr together, and covariance s_xr."""

    def mean(volume: Volume) -> Volume:
        return ndimage.gaussian_filter(volume, SSIM_SIGMA_VOXELS, mode="constant", radius=SSIM_RADIUS_VOXELS, axes=axes)

    m_x, m_r = mean(x), mean(r)
    spread = mean(x * x + r * r) - m_x**2 - m_r**2
    return m_x, m_r, spread, mean(x * r) - m_x * m_r


def _ssim_map(local: tuple[Volume, ...], data_range: float) -> Volume:
    m_x, m_r, spread, shared = local
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    similar: Volume = (2 * m_x * m_r + c1) * (2 * shared + c2) / ((m_x**2 + m_r**2 + c1) * (spread + c2))
    return similar


def summary_table(definitions: pd.DataFrame, similarity: pd.DataFrame) -> pd.DataFrame:
    """Mean, SD and range over participants of every definition, and of what `similarity` adds to SSIM and PSNR.

    Parameters
    ----------
    definitions
        ``participant_id arm reference`` and the fields of `Definition`, of all participants.
    similarity
        ``participant_id arm reference`` and the figures of `similarity.compare_maps`.

    Returns
    -------
    One row an arm, reference, measure and definition: ``n mean sd lowest highest``; sd NaN of one participant alone.
    """
    keys = ["arm", "reference", "measure", "scale", "domain", "dimension"]
    others = [name for name in OTHER_MEASURES if name in similarity]
    long = similarity.melt(["participant_id", "arm", "reference"], others, "measure", "value")
    long = long.assign(scale="none", domain=PRIMARY[1], dimension=PRIMARY[2])
    whole = pd.concat([definitions, long], ignore_index=True)
    spread = {"n": "count", "mean": "mean", "sd": "std", "lowest": "min", "highest": "max"}
    # Infinite PSNR (two equal maps) has no spread; the mean tells it.
    with np.errstate(invalid="ignore"):
        return whole.groupby(keys, sort=False)["value"].agg(**spread).reset_index()  # type: ignore[call-overload]
