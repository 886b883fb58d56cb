"""Region values: labels and a susceptibility map to one row a nucleus and side."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from dlqsm.core.checks import InputError, require_shape
from dlqsm.core.labels import SIDES
from dlqsm.core.scan import Grid
from dlqsm.core.units import PPB_PER_PPM

COLUMNS = (
    "participant_id",
    "arm",
    "roi",
    "side",
    "mean_ppb",
    "sd_ppb",
    "median_ppb",
    "n_voxels",
    "volume_mm3",
)
BOTH = "both"


def measure_regions(
    chi_ppm: torch.Tensor,
    labels: torch.Tensor,
    names: Mapping[int, tuple[str, str]],
    grid: Grid,
    *,
    participant: str,
    arm: str,
) -> pd.DataFrame:
    """Mean, spread and size of each labelled region, in ppb.

    A voxel whose susceptibility is not finite is no measurement: it counts neither in the mean nor in ``n_voxels``.
    A region without a measured voxel keeps its row, with ``n_voxels`` 0 and NaN values, so that tables of many
    participants stay rectangular and the gap is seen. The values keep the reference of the map.

    Parameters
    ----------
    chi_ppm
        Susceptibility [ppm], ``(x, y, z)``.
    labels
        Whole numbers, ``(x, y, z)``, 0 outside the regions; on the grid of the map.
    names
        Label number to (region, side), side ``left``, ``right`` or ``both``; `core.labels.label_table` for the nuclei.
    grid
        Grid of both volumes.
    participant
        Name for the column ``participant_id``.
    arm
        Name of the scan or reconstruction.

    Returns
    -------
    One row a region and side, regions in the order of ``names``; ``both`` pools the voxels of all sides (it is not
    the mean of the sides). Columns `COLUMNS`: mean, standard deviation (divisor n - 1; NaN for one voxel) and median
    over the voxels [ppb], number of measured voxels and their volume [mm3].

    Raises
    ------
    InputError
        If shapes disagree, labels are not whole numbers or hold a number without a name, or a side is unknown.
    """
    require_shape("susceptibility map", chi_ppm, grid.shape, "the grid")
    require_shape("labels", labels, grid.shape, "the susceptibility map; resample the labels to its grid")
    numbers = _whole_numbers(labels)
    _check_names(numbers, names)
    values_ppb = chi_ppm.detach().cpu().double().numpy() * PPB_PER_PPM
    rows = [
        (participant, arm, roi, side, *_statistics(values_ppb[np.isin(numbers, members)], grid.voxel_volume_mm3))
        for roi, side, members in regions_of(names)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _whole_numbers(labels: torch.Tensor) -> NDArray[np.int64]:
    values = labels.detach().cpu()
    if values.is_floating_point():
        uneven = values[values != values.round()]  # NaN differs from itself, so it is found too
        if uneven.numel():
            raise InputError(
                f"labels hold {uneven.numel()} values that are not whole numbers (such as {float(uneven[0]):g}); "
                "expected a label volume, resampled with nearest neighbours"
            )
    return values.to(torch.int64).numpy()


def _check_names(numbers: NDArray[np.int64], names: Mapping[int, tuple[str, str]]) -> None:
    unnamed = sorted({int(n) for n in np.unique(numbers)} - set(names) - {0})
    if unnamed:
        listed = ", ".join(map(str, unnamed[:8])) + (" ..." if len(unnamed) > 8 else "")
        raise InputError(
            f"labels hold the numbers {listed}, which the table of names lacks; name them or set them to 0"
        )
    for number, (roi, side) in names.items():
        if side not in (*SIDES, BOTH):
            raise InputError(f"label {number} ({roi}) has side '{side}'; expected left, right or both")


def regions_of(names: Mapping[int, tuple[str, str]]) -> list[tuple[str, str, list[int]]]:
    """Region, side and the label numbers that make it up."""
    found: list[tuple[str, str, list[int]]] = []
    for roi in dict.fromkeys(roi for roi, _ in names.values()):
        of_roi = {number: side for number, (name, side) in names.items() if name == roi}
        for side in SIDES:
            members = [number for number, its_side in of_roi.items() if its_side == side]
            if members:
                found.append((roi, side, members))
        found.append((roi, BOTH, list(of_roi)))
    return found


def _statistics(values_ppb: NDArray[np.float64], voxel_volume_mm3: float) -> tuple[float, float, float, int, float]:
    """Mean, SD, median [ppb], count and volume [mm3] of the finite values."""
    finite = values_ppb[np.isfinite(values_ppb)]
    if not finite.size:
        return math.nan, math.nan, math.nan, 0, 0.0
    sd = float(finite.std(ddof=1)) if finite.size > 1 else math.nan
    return float(finite.mean()), sd, float(np.median(finite)), int(finite.size), finite.size * voxel_volume_mm3
