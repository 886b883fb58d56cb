"""Other means than that over the label: weighted by probability, and over the label's core."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from dlqsm.core.checks import InputError, require_choice, require_shape
from dlqsm.core.scan import Grid
from dlqsm.core.units import PPB_PER_PPM
from dlqsm.nuclei.regions import COLUMNS, measure_regions, regions_of
from dlqsm.nuclei.transfer import labels_of

WEIGHTINGS: Final = {
    "label": "mean over the label: voxels whose probability is at least 0.5",
    "probability": "mean weighted by the probability of the label",
    "eroded": "mean over the voxels that lie (almost) wholly inside the label: probability at least 0.9",
}
CORE_PROBABILITY: Final = 0.9


def measure_nuclei(
    chi_ppm: torch.Tensor,
    probabilities: torch.Tensor,
    names: Mapping[int, tuple[str, str]],
    grid: Grid,
    *,
    participant: str,
    arm: str,
    weighting: str = "label",
) -> pd.DataFrame:
    """Region values from label probabilities, in the columns of `regions.measure_regions`.

    Parameters
    ----------
    chi_ppm
        Susceptibility [ppm], ``(x, y, z)``; what is not finite is not measured.
    probabilities
        ``(label, x, y, z)`` in [0, 1], in the order of ``names``.
    names
        Label number to (region, side).
    grid
        Grid of both.
    participant, arm
        For the columns ``participant_id`` and ``arm``.
    weighting
        One of `WEIGHTINGS`. With ``probability`` mean, SD and median are weighted, ``n_voxels`` counts the voxels of
        any probability and ``volume_mm3`` sums their probabilities.

    Raises
    ------
    InputError
        If shapes disagree or the weighting is unknown.
    """
    require_choice("weighting", weighting, WEIGHTINGS)
    if weighting == "probability":
        return _measure_weighted(chi_ppm, probabilities, names, grid, participant, arm)
    labels = weighted_labels(probabilities, names, weighting)
    return measure_regions(chi_ppm, labels, names, grid, participant=participant, arm=arm)


def weighted_labels(probabilities: torch.Tensor, names: Mapping[int, tuple[str, str]], weighting: str) -> torch.Tensor:
    """Labels ``(x, y, z)`` of the voxels that ``label`` or ``core`` takes, from probabilities ``(label, x, y, z)``."""
    kept = probabilities if weighting == "label" else probabilities * (probabilities >= CORE_PROBABILITY)
    return labels_of(kept, names)


def _measure_weighted(
    chi_ppm: torch.Tensor,
    probabilities: torch.Tensor,
    names: Mapping[int, tuple[str, str]],
    grid: Grid,
    participant: str,
    arm: str,
) -> pd.DataFrame:
    require_shape("susceptibility map", chi_ppm, grid.shape, "the grid")
    if tuple(probabilities.shape) != (len(names), *grid.shape):
        raise InputError(
            f"probabilities have shape {tuple(probabilities.shape)}; expected {(len(names), *grid.shape)}, "
            "one volume a label"
        )
    values = chi_ppm.detach().cpu().double().numpy() * PPB_PER_PPM
    order = {number: index for index, number in enumerate(names)}
    rows = []
    for roi, side, members in regions_of(names):
        weights = probabilities[[order[m] for m in members]].sum(0).cpu().double().numpy()
        rows.append((participant, arm, roi, side, *_weighted(values, weights, grid.voxel_volume_mm3)))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _weighted(
    values: NDArray[np.float64], weights: NDArray[np.float64], voxel_volume_mm3: float
) -> tuple[float, float, float, int, float]:
    """Weighted mean, SD (divisor: the sum of weights) and median, count and volume of the finite values."""
    chosen = np.isfinite(values) & (weights > 0)
    if not chosen.any():
        return np.nan, np.nan, np.nan, 0, 0.0
    v, w = values[chosen], weights[chosen]
    mean = float(np.average(v, weights=w))
    sd = float(np.sqrt(np.average((v - mean) ** 2, weights=w)))
    order = np.argsort(v)
    half = np.searchsorted(np.cumsum(w[order]), 0.5 * w.sum())
    return mean, sd, float(v[order][min(half, len(v) - 1)]), int(chosen.sum()), float(w.sum()) * voxel_volume_mm3
