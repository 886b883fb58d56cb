"""The noise of nucleus values, from realisations of the noise of their map."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import torch

from dlqsm.core.checks import InputError, require_choice
from dlqsm.core.realisations import sds_of_means
from dlqsm.core.scan import Grid
from dlqsm.core.units import PPB_PER_PPM
from dlqsm.nuclei.regions import regions_of
from dlqsm.nuclei.weighting import WEIGHTINGS, weighted_labels

COLUMN = "noise_sd_ppb"


def weights_of(
    probabilities: torch.Tensor, names: Mapping[int, tuple[str, str]], weighting: str
) -> dict[int, torch.Tensor]:
    """Label number to the weights of its voxels, as `weighting.measure_nuclei` takes the mean."""
    require_choice("weighting", weighting, WEIGHTINGS)
    if weighting == "probability":
        return dict(zip(names, probabilities, strict=True))
    labels = weighted_labels(probabilities, names, weighting)
    return {number: labels == number for number in names}


def with_noise_sd(
    table: pd.DataFrame,
    errors_ppm: torch.Tensor,
    chi_ppm: torch.Tensor,
    weights: Mapping[int, torch.Tensor],
    names: Mapping[int, tuple[str, str]],
    grid: Grid,
) -> pd.DataFrame:
    """Append the column ``noise_sd_ppb``: the standard deviation of each mean by noise of the field.

    Parameters
    ----------
    table
        What `regions.measure_regions` or `weighting.measure_nuclei` made.
    errors_ppm
        Realisations of the map's error [ppm], ``(n, x, y, z)``, two or more; of the map as it was referenced.
    chi_ppm
        Susceptibility [ppm]; voxels that are not finite are not measured.
    weights
        Label number to weights or to the voxels of the label, ``(x, y, z)``.
    names
        Label number to (region, side).
    grid
        Grid of all volumes.

    Raises
    ------
    InputError
        If the realisations are on another grid or fewer than two.
    """
    if tuple(errors_ppm.shape[1:]) != grid.shape:
        raise InputError(
            f"realisations have shape {tuple(errors_ppm.shape[1:])}; expected {grid.shape}, that of the map"
        )
    measured = torch.isfinite(chi_ppm).to(errors_ppm.dtype)
    regions = [
        sum((weights[number].to(errors_ppm.dtype) for number in members), torch.zeros_like(measured)) * measured
        for _, _, members in regions_of(names)
    ]
    sds_ppm = sds_of_means(errors_ppm, regions, (errors_ppm != 0).any(0), grid)
    return table.assign(**{COLUMN: [PPB_PER_PPM * sd for sd in sds_ppm]})
