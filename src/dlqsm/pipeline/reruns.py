"""How far nucleus values move when the registration is done again with other samples of its metric."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import pandas as pd

from dlqsm.core.atlas import Atlas
from dlqsm.core.checks import InputError
from dlqsm.nuclei.weighting import measure_nuclei
from dlqsm.pipeline.alignment import ArmMap
from dlqsm.pipeline.nuclei import locate_nuclei

COLUMN: Final = "rerun_sd_ppb"


def with_rerun_sd(
    table: pd.DataFrame,
    arm: ArmMap,
    atlas: Atlas,
    *,
    n_reruns: int,
    seed: int = 0,
    weighting: str = "label",
    **options: Any,
) -> pd.DataFrame:
    """The table with the standard deviation of each mean over registrations with other seeds.

    SD = sqrt(sum_i (m_i - mean)^2 / n_reruns) over the value of the table and those of ``n_reruns`` further runs. It
    tells how repeatable the placement is, not how right.

    Parameters
    ----------
    table
        From `nuclei.weighting.measure_nuclei`, of the run with ``seed``.
    arm, atlas
        What that run was given.
    n_reruns
        Further runs, at least 1; their seeds follow ``seed``. Nothing of them is kept.
    seed, weighting
        Those of the table.
    options
        Other keywords of `pipeline.nuclei.locate_nuclei`.

    Raises
    ------
    InputError
        If there is no rerun.
    """
    if n_reruns < 1:
        raise InputError(f"the spread over reruns needs at least 1 of them; got {n_reruns}")
    measured_ppm = arm.chi_ppm.masked_fill(~arm.valid, math.nan)
    means_ppb = [table["mean_ppb"].to_numpy(float)]
    for rerun in range(1, n_reruns + 1):
        (found,) = locate_nuclei([arm], atlas, reference=arm.name, seed=seed + rerun, **options)
        again = measure_nuclei(
            measured_ppm, found.probabilities, atlas.names, arm.grid, participant="", arm=arm.name, weighting=weighting
        )
        means_ppb.append(again["mean_ppb"].to_numpy(float))
    return table.assign(**{COLUMN: np.std(means_ppb, axis=0, ddof=1)})
